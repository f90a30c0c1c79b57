"""The checks are checked: a valid history passes, and each violation put into it is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zmqim.sim.checks import CHECKS, check
from zmqim.sim.history import (
    Absence,
    Acknowledged,
    Added,
    Attempt,
    Command,
    Gauge,
    Heard,
    History,
    Place,
    Pull,
    Push,
    Received,
    Refused,
    Seen,
    Sending,
    Session,
    Shown,
    Taken,
    Told,
    Viewed,
)
from zmqim.sim.world import SECOND

GROUP = (2, "g", False)
ADA = ("gateway-1", 1, 1)
BOB = ("gateway-1", 1, 2)
LATE = ("gateway-2", 1, 1)


def seen(sequence: int) -> Seen:
    return Seen(GROUP, sequence, 100 + sequence, "ada", f"n{sequence}", b"m%d" % sequence)


def valid() -> History:
    """Ada sends four messages, the last is refused; Bob gets three and acknowledges two."""
    history = History(ended=30 * SECOND)
    history.stored[GROUP] = [seen(1), seen(2), seen(3)]
    for number in (1, 2, 3):
        answer = Acknowledged(number * SECOND + 10, number, 100 + number)
        attempt = Attempt(ADA, number * SECOND, answer)
        history.sendings.append(
            Sending("ada", GROUP, f"n{number}", b"m%d" % number, attempts=[attempt])
        )
        history.pushes.append(Push(number * SECOND + 20, BOB, "bob", seen(number), False))
    history.sendings.append(
        Sending("ada", GROUP, "n4", b"m4", attempts=[Attempt(ADA, 4 * SECOND, Refused(1, 15))])
    )
    history.sendings.append(Sending("ada", GROUP, "n5", b"m5", attempts=[Attempt(ADA, 5 * SECOND)]))
    history.received += [Received(2 * SECOND, BOB, 101), Received(3 * SECOND, BOB, 102)]
    history.pushes.append(Push(8 * SECOND + 30, BOB, "bob", seen(3), True))
    history.sessions += [Session(ADA, "ada", 0, 30 * SECOND), Session(BOB, "bob", 0, 9 * SECOND)]
    rows = (seen(1), seen(2), seen(3))
    history.pulls.append(Pull(6 * SECOND, 7 * SECOND, LATE, GROUP, 1, rows[:2], True, 3))
    history.pulls.append(Pull(7 * SECOND, 8 * SECOND, LATE, GROUP, 3, rows[2:], False, 3))
    history.gauges.append(Gauge(1, "gateway-1", "window", 256, 256))
    history.absences.append(Absence("bob", (2, "left", False), 0, 9 * SECOND))
    history.absences.append(Absence("bob", GROUP, 9 * SECOND, 10 * SECOND))
    history.members[GROUP] = ["ada", "bob"]
    history.loses_frames = False
    add_readers(history)
    return history


COMMANDS = (2, "g", True)
CID = ("gateway-1", 1, 3)


def command(number: int) -> Seen:
    return Seen(COMMANDS, number, 200 + number, "ada", f"c{number}", b"do")


def shown(began: int, *numbers: int, limit: int = 9, is_last: bool = False) -> Shown:
    """Command n is shown as number n."""
    commands = tuple(Command(number, COMMANDS, number, 200 + number) for number in numbers)
    ended = began * SECOND + 9
    return Shown("cid", began * SECOND, ended, limit, commands, frozenset({(2, "g")}), is_last)


def add_readers(history: History) -> None:
    """Ada streams an answer and sends three commands. Cid reads all of it: he acknowledges the
    first command, and his device the second."""
    for number, word in enumerate(("An ", "answer."), 1):
        began = number * SECOND
        history.added.append(
            Added(f"e{number}", GROUP, 1, "main", word, began, began + 10, number, number)
        )
        history.heard.append(Heard(began + 5, BOB, f"e{number}", number, "main", word))
    history.added.append(Added("e3", GROUP, 1, "main", "lost", 3 * SECOND, 3 * SECOND + 10))
    history.added.append(
        Added("e4", GROUP, 1, "main", "", 4 * SECOND, 4 * SECOND + 10, 3, ends=True)
    )
    for at, is_open, words in ((1, True, "An "), (2, True, "An answer."), (5, False, "An answer.")):
        lanes = (("main", is_open, words),)
        history.told.append(Told(GROUP, 1, "cid", at * SECOND + 20, at * SECOND + 30, lanes))
    history.red[GROUP] = [1, 3]
    for at, last, place, unread, read in (
        (2, 2, Place(), 1, 0),
        (4, 3, Place(read=2), 1, 2),
        (5, 3, Place(read=2, marked=4), 4, 2),
        (6, 3, Place(read=3), 0, 3),
    ):
        history.viewed.append(Viewed("cid", GROUP, at * SECOND, last, place, place, unread, read))
    for number in (1, 2, 3):
        answer = Acknowledged(number * SECOND, number, 200 + number)
        sending = Sending("ada", COMMANDS, f"c{number}", b"do")
        sending.attempts.append(Attempt(ADA, number * SECOND - 5, answer))
        history.sendings.append(sending)
    history.stored[COMMANDS] = [command(number) for number in (1, 2, 3)]
    history.members[COMMANDS] = ["cid"]
    history.taken.append(Taken("cid", 1, 5 * SECOND, 5 * SECOND + 20))
    history.sessions.append(Session(CID, "cid", 5 * SECOND, 30 * SECOND))
    for number in (2, 3):
        at = 6 * SECOND + number
        history.pushes.append(Push(at, CID, "cid", command(number), False))
    history.received += [Received(7 * SECOND, CID, 202), Received(11 * SECOND, CID, 203)]
    history.healed = 6 * SECOND
    history.shown += [shown(4, 1, 2, 3), shown(4, 1, limit=1), shown(6, 2, 3)]
    history.shown.append(shown(10, 3, is_last=True))


def lose_an_acknowledged_message(history: History) -> None:
    history.stored[GROUP].pop()


def store_other_bytes(history: History) -> None:
    history.stored[GROUP][0] = seen(1)._replace(payload=b"other")


def store_what_nobody_sent(history: History) -> None:
    history.stored[GROUP].append(seen(4)._replace(client_msg_no="n9"))


def store_what_was_refused(history: History) -> None:
    history.stored[GROUP].append(seen(4))


def store_a_retry_twice(history: History) -> None:
    history.stored[GROUP].append(seen(1)._replace(sequence=4, message_id=104))


def answer_a_retry_otherwise(history: History) -> None:
    history.sendings[0].attempts.append(Attempt(ADA, SECOND, Acknowledged(2 * SECOND, 3, 103)))


def leave_a_gap(history: History) -> None:
    history.stored[GROUP][2] = seen(3)._replace(sequence=4)


def push_another_message_id(history: History) -> None:
    history.pushes[0] = history.pushes[0]._replace(seen=seen(1)._replace(message_id=7))


def acknowledge_another_message_id(history: History) -> None:
    history.sendings[0].attempts[0].answer = Acknowledged(SECOND + 10, 1, 7)


def send_after_a_later_one_was_acknowledged(history: History) -> None:
    history.sendings[0].attempts[0].began = 4 * SECOND
    history.sendings[0].attempts[0].answer = Acknowledged(5 * SECOND, 1, 101)


def pull_without_an_acknowledged_message(history: History) -> None:
    history.pulls[1] = history.pulls[1]._replace(rows=())


def pull_with_a_hole(history: History) -> None:
    history.pulls[0] = history.pulls[0]._replace(rows=(seen(2),))


def read_backwards(history: History) -> None:
    history.pulls.append(Pull(9 * SECOND, 9 * SECOND, LATE, (2, "h", False), 1, (), False, 5))
    history.pulls.append(Pull(10 * SECOND, 10 * SECOND, LATE, (2, "h", False), 1, (), False, 4))


def store_in_another_order_than_sent(history: History) -> None:
    first, second = history.sendings[:2]
    first.attempts[0].began, second.attempts[0].began = 2 * SECOND, SECOND


def push_out_of_order(history: History) -> None:
    history.pushes[0], history.pushes[1] = history.pushes[1], history.pushes[0]


def push_twice_without_saying_so(history: History) -> None:
    history.pushes.insert(1, history.pushes[0])


def leave_somebody_out(history: History) -> None:
    history.ended = 9 * SECOND
    history.pushes = [push for push in history.pushes if push.seen.sequence != 2]


def push_after_the_recvack(history: History) -> None:
    history.pushes.append(Push(9 * SECOND, BOB, "bob", seen(1), True))


def forget_to_push_again(history: History) -> None:
    history.pushes = [push for push in history.pushes if not push.repeated]
    history.sessions[1] = history.sessions[1]._replace(closed=20 * SECOND)


def push_too_often(history: History) -> None:
    history.pushes += [Push(9 * SECOND, BOB, "bob", seen(3), True)] * 5


def push_to_who_was_removed(history: History) -> None:
    history.absences[1] = Absence("bob", GROUP, 2 * SECOND, 10 * SECOND)


def grow_beyond_a_bound(history: History) -> None:
    history.gauges.append(Gauge(1, "gateway-1", "window", 257, 256))


def differ_from_the_other_replicas(history: History) -> None:
    history.differing.append("storage-1 and storage-2 differ in partition 0 at entry 9")


def show_a_word_twice(history: History) -> None:
    history.told[1] = history.told[1]._replace(lanes=(("main", True, "An An answer."),))


def show_words_in_another_order(history: History) -> None:
    history.told[1] = history.told[1]._replace(lanes=(("main", True, "answer.An "),))


def show_less_than_was_acknowledged(history: History) -> None:
    history.told[1] = history.told[1]._replace(lanes=(("main", True, "An "),))


def show_a_word_that_was_refused(history: History) -> None:
    history.told[2] = history.told[2]._replace(lanes=(("main", False, "An answer.lost"),))


def lose_a_stream(history: History) -> None:
    history.told[2] = history.told[2]._replace(lanes=())


def leave_a_lane_open(history: History) -> None:
    history.told[2] = history.told[2]._replace(lanes=(("main", True, "An answer."),))


def number_an_event_twice(history: History) -> None:
    history.added[1].number = 1


def view(history: History, number: int, **changes: object) -> None:
    history.viewed[number] = history.viewed[number]._replace(**changes)  # type: ignore[arg-type]


def answer_an_event_otherwise(history: History) -> None:
    history.added[0].repeated = 2


def push_an_event_under_another_number(history: History) -> None:
    history.heard[0] = history.heard[0]._replace(number=2)


def push_an_event_that_was_refused(history: History) -> None:
    history.heard.append(Heard(4 * SECOND, BOB, "e3", 3, "main", "lost"))


def push_an_event_that_nobody_added(history: History) -> None:
    history.heard.append(Heard(4 * SECOND, BOB, "e9", 4, "main", "more"))


def forget_how_far_somebody_read(history: History) -> None:
    view(history, 1, place=Place(read=1))


def read_positions_go_back(history: History) -> None:
    view(history, 3, place=Place(read=1), expected=Place(read=1), unread=1, read_to=1)


def count_a_message_without_a_red_dot(history: History) -> None:
    view(history, 0, unread=2)


def forget_a_mark(history: History) -> None:
    view(history, 2, unread=1)


def view_an_old_state(history: History) -> None:
    view(history, 3, last_sequence=2)


def skip_a_command(history: History) -> None:
    history.shown[0] = shown(4, 1, 3)


def skip_the_oldest_command_of_a_short_page(history: History) -> None:
    history.shown[2] = shown(6, 3)


def show_a_command_that_was_acknowledged(history: History) -> None:
    history.shown[2] = shown(6, 1, 2, 3)


def show_a_command_that_a_device_acknowledged(history: History) -> None:
    history.shown[3] = shown(10, 2, 3, is_last=True)


def show_a_command_under_another_number(history: History) -> None:
    other = history.shown[2].commands[0]._replace(number=4)
    history.shown[2] = history.shown[2]._replace(commands=(other,))


def show_commands_out_of_order(history: History) -> None:
    history.shown[0] = shown(4, 1, 3, 2)


def show_a_command_that_nobody_sent(history: History) -> None:
    history.shown[0] = shown(4, 1, 2, 3, 4)


def wait_for_ever(history: History) -> None:
    history.missing.append("n5 gets its answer")


CANARIES: list[tuple[str, Callable[[History], None]]] = [
    ("I-1", lose_an_acknowledged_message),
    ("I-1", store_other_bytes),
    ("I-2", store_what_nobody_sent),
    ("I-2", store_what_was_refused),
    ("I-3", store_a_retry_twice),
    ("I-3", answer_a_retry_otherwise),
    ("I-4", leave_a_gap),
    ("I-5", push_another_message_id),
    ("I-5", acknowledge_another_message_id),
    ("I-6", send_after_a_later_one_was_acknowledged),
    ("I-7", pull_without_an_acknowledged_message),
    ("I-7", pull_with_a_hole),
    ("I-7", read_backwards),
    ("I-8", store_in_another_order_than_sent),
    ("I-9", push_out_of_order),
    ("I-9", push_twice_without_saying_so),
    ("I-9", leave_somebody_out),
    ("I-10", push_after_the_recvack),
    ("I-10", forget_to_push_again),
    ("I-10", push_too_often),
    ("I-11", push_to_who_was_removed),
    ("I-13", differ_from_the_other_replicas),
    ("I-16", grow_beyond_a_bound),
    ("I-17", wait_for_ever),
    ("I-18", show_a_word_twice),
    ("I-18", show_words_in_another_order),
    ("I-18", show_less_than_was_acknowledged),
    ("I-18", show_a_word_that_was_refused),
    ("I-18", lose_a_stream),
    ("I-18", leave_a_lane_open),
    ("I-18", number_an_event_twice),
    ("I-18", answer_an_event_otherwise),
    ("I-18", push_an_event_under_another_number),
    ("I-18", push_an_event_that_was_refused),
    ("I-18", push_an_event_that_nobody_added),
    ("I-15", forget_how_far_somebody_read),
    ("I-15", read_positions_go_back),
    ("I-15", count_a_message_without_a_red_dot),
    ("I-15", forget_a_mark),
    ("I-15", view_an_old_state),
    ("I-19", skip_a_command),
    ("I-19", skip_the_oldest_command_of_a_short_page),
    ("I-19", show_a_command_that_was_acknowledged),
    ("I-19", show_a_command_that_a_device_acknowledged),
    ("I-19", show_a_command_under_another_number),
    ("I-19", show_commands_out_of_order),
    ("I-19", show_a_command_that_nobody_sent),
]


def test_a_valid_history_passes() -> None:
    assert check(valid()) == []


@pytest.mark.parametrize(("number", "harm"), CANARIES, ids=[harm.__name__ for _, harm in CANARIES])
def test_a_violation_is_named(number: str, harm: Callable[[History], None]) -> None:
    history = valid()
    harm(history)
    assert number in {complaint.split()[0] for complaint in check(history)}


def test_every_check_has_a_canary() -> None:
    assert {number for number, _ in CANARIES} == set(CHECKS)


def test_an_unanswered_attempt_may_have_happened_or_not() -> None:
    history = valid()
    history.stored[GROUP].append(Seen(GROUP, 4, 104, "ada", "n5", b"m5"))
    assert check(history) == []
    history = valid()
    history.sendings[3].attempts.append(Attempt(ADA, 5 * SECOND))
    history.stored[GROUP].append(seen(4))
    assert check(history) == []
