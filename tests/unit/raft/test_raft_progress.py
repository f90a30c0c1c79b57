"""What a leader may send to one follower: probing, streaming, windows, what got lost."""

from __future__ import annotations

from zmqim.limits import (
    APPEND_RETRY_MS,
    SEND_WINDOW_BYTES_MAX,
    SEND_WINDOW_ENTRIES_MAX,
)
from zmqim.raft.progress import Progress, Sending


def state(progress: Progress) -> tuple[Sending, int, int, int]:
    return progress.sending, progress.match, progress.next, progress.retry_at


def streaming(match: int) -> Progress:
    progress = Progress(match + 1)
    progress.sent(0, 0, 0)
    assert progress.accepted(0, match)
    return progress


def test_a_follower_is_probed_with_one_append_at_a_time() -> None:
    progress = Progress(8)
    assert state(progress) == (Sending.PROBING, 0, 8, 0)
    assert progress.room == SEND_WINDOW_BYTES_MAX // 4
    progress.sent(5, 2, 100)
    assert state(progress) == (Sending.PROBING, 0, 8, 5 + APPEND_RETRY_MS)
    assert progress.room == 0


def test_the_probe_that_is_accepted_begins_the_stream() -> None:
    progress = Progress(8)
    progress.sent(0, 2, 100)
    assert progress.accepted(1, 9)
    assert state(progress) == (Sending.STREAMING, 9, 10, 0)
    assert progress.room == SEND_WINDOW_BYTES_MAX


def test_a_stream_goes_ahead_of_the_answers_up_to_its_window_of_bytes() -> None:
    progress = streaming(9)
    progress.sent(0, 3, SEND_WINDOW_BYTES_MAX - 10)
    assert (progress.next, progress.room) == (13, 10)
    progress.sent(7, 1, 20)
    assert (progress.next, progress.room) == (14, 0)
    assert progress.accepted(50, 12)
    assert state(progress) == (Sending.STREAMING, 12, 14, 50 + APPEND_RETRY_MS)
    assert progress.room == SEND_WINDOW_BYTES_MAX - 20
    assert progress.accepted(60, 13)
    assert state(progress) == (Sending.STREAMING, 13, 14, 0)
    assert progress.room == SEND_WINDOW_BYTES_MAX


def test_a_stream_goes_ahead_up_to_its_window_of_entries() -> None:
    progress = streaming(0)
    progress.sent(0, SEND_WINDOW_ENTRIES_MAX, 1)
    assert progress.room == 0
    assert progress.accepted(0, SEND_WINDOW_ENTRIES_MAX)
    assert progress.room == SEND_WINDOW_BYTES_MAX


def test_the_patience_of_a_stream_begins_with_the_oldest_append() -> None:
    progress = streaming(9)
    progress.sent(10, 1, 1)
    progress.sent(90, 1, 1)
    assert progress.retry_at == 10 + APPEND_RETRY_MS


def test_an_answer_that_is_older_than_what_is_known_is_no_news() -> None:
    progress = streaming(9)
    assert not progress.accepted(0, 9)
    assert not progress.accepted(0, 4)
    probing = streaming(9)
    probing.probe(10)
    assert not probing.accepted(0, 4)
    assert probing.sending is Sending.PROBING


def test_a_refusal_goes_back_to_what_the_follower_has_committed() -> None:
    progress = Progress(8)
    progress.sent(0, 0, 0)
    progress.refused(7, 3)
    assert state(progress) == (Sending.PROBING, 0, 4, 0)
    progress = Progress(8)
    progress.refused(7, 100)
    assert progress.next == 7


def test_a_refusal_never_goes_below_what_is_known() -> None:
    progress = streaming(9)
    progress.sent(0, 5, 50)
    progress.refused(12, 0)
    assert state(progress) == (Sending.PROBING, 9, 10, 0)
    assert progress.room == SEND_WINDOW_BYTES_MAX // 4


def test_a_refusal_of_long_ago_changes_nothing() -> None:
    progress = streaming(9)
    progress.refused(9, 0)
    assert progress.sending is Sending.STREAMING
    probing = Progress(8)
    probing.refused(5, 0)
    assert probing.next == 8


def test_what_is_lost_of_a_stream_is_sent_again_behind_what_is_held() -> None:
    progress = streaming(9)
    progress.sent(0, 5, 50)
    progress.repeat()
    assert state(progress) == (Sending.PROBING, 9, 10, 0)


def test_a_probe_without_an_answer_is_asked_again_at_its_own_place() -> None:
    progress = Progress(8)
    progress.sent(0, 0, 0)
    progress.repeat()
    assert state(progress) == (Sending.PROBING, 0, 8, 0)
    progress.refused(7, 3)
    progress.sent(0, 0, 0)
    progress.repeat()
    assert state(progress) == (Sending.PROBING, 0, 4, 0)


def test_rows_without_a_pull_are_followed_by_a_probe_behind_them() -> None:
    progress = streaming(9)
    progress.snapshot(5, 40)
    progress.repeat()
    assert state(progress) == (Sending.PROBING, 9, 41, 0)


def test_rows_are_sent_until_the_follower_holds_them() -> None:
    progress = streaming(9)
    progress.snapshot(5, 40)
    assert state(progress) == (Sending.SNAPSHOT, 9, 41, 5 + APPEND_RETRY_MS)
    assert progress.room == 0
    progress.refused(12, 0)
    assert progress.sending is Sending.SNAPSHOT
    assert progress.accepted(6, 12)
    assert progress.sending is Sending.SNAPSHOT
    assert progress.accepted(7, 40)
    assert state(progress) == (Sending.STREAMING, 40, 41, 0)


def test_a_follower_that_was_ahead_of_the_rows_goes_on_from_there() -> None:
    progress = streaming(9)
    progress.snapshot(5, 40)
    assert progress.accepted(7, 60)
    assert state(progress) == (Sending.STREAMING, 60, 61, 0)
