"""The checks are checked: a valid history passes, and each violation put into it is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from zmqim.sim.checks import CHECKS, check
from zmqim.sim.history import (
    Absence,
    Acknowledged,
    Attempt,
    Gauge,
    History,
    Pull,
    Push,
    Received,
    Refused,
    Seen,
    Sending,
    Session,
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
    return history


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
    history.pushes.pop()
    history.sessions[1] = history.sessions[1]._replace(closed=20 * SECOND)


def push_too_often(history: History) -> None:
    history.pushes += [Push(9 * SECOND, BOB, "bob", seen(3), True)] * 5


def push_to_who_was_removed(history: History) -> None:
    history.absences[1] = Absence("bob", GROUP, 2 * SECOND, 10 * SECOND)


def grow_beyond_a_bound(history: History) -> None:
    history.gauges.append(Gauge(1, "gateway-1", "window", 257, 256))


def differ_from_the_other_replicas(history: History) -> None:
    history.differing.append("storage-1 and storage-2 differ in partition 0 at entry 9")


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
