"""The promises, as questions to a history; the numbers are those of the test plan (I-1 …).

Each check gives sentences about what is wrong, none if nothing is. tests/simulation breaks valid
histories one by one to see that each check notices what it is there for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter

from zmqim.limits import REDELIVERY_PAUSES_MS
from zmqim.sim.history import Acknowledged, ChannelKey, History, Push, Seen, Sending, SessionKey
from zmqim.sim.reading_checks import (
    commands_are_shown_until_taken,
    counted_as_the_formula_says,
    streams_are_whole,
)
from zmqim.sim.world import MS, SECOND

REDELIVERY_SLACK = 2 * SECOND
"""A repetition may come so much later than its pause: the gateway was stopped or slow."""
ANNOUNCED_WITHIN = 500 * MS
"""All routers know of a session so soon after its CONNACK, if no link is down."""

Complaints = Iterator[str]


def check(history: History) -> list[str]:
    """Everything that is wrong, each with its number."""
    return [f"{number} {sentence}" for number, ask in CHECKS.items() for sentence in ask(history)]


def acknowledged_is_stored(history: History) -> Complaints:
    """P1: what was acknowledged is in the log at the sequence that was told."""
    at = {(seen.channel, seen.sequence): seen for seen in _stored(history)}
    for sending, answer in _acknowledged(history):
        found = at.get((sending.channel, answer.sequence))
        expected = _as_seen(sending, answer)
        if found != expected:
            yield f"{expected} was acknowledged, the log holds {found}"


def stored_was_sent(history: History) -> Complaints:
    """P1: nothing is in the log that nobody sent, or that was refused for good."""
    sent = defaultdict(list)
    for sending in history.sendings:
        sent[
            _identity(sending.channel, sending.uid, sending.client_msg_no, sending.payload)
        ].append(sending)
    for seen in _stored(history):
        found = sent.get(_identity(seen.channel, seen.from_uid, seen.client_msg_no, seen.payload))
        if not found:
            yield f"{seen} is in the log, and nobody sent it"
        elif all(sending.is_refused or sending.transient for sending in found):
            yield f"{seen} is in the log, and every attempt was refused"


def one_sequence_per_message(history: History) -> Complaints:
    """P3: a client_msg_no is stored once, and every answer to it is the first one."""
    places: dict[tuple[ChannelKey, str, str], set[int]] = defaultdict(set)
    for seen in _stored(history):
        places[seen.channel, seen.from_uid, seen.client_msg_no].add(seen.sequence)
    for key, sequences in places.items():
        if len(sequences) > 1:
            yield f"{key} is stored at {sorted(sequences)}"
    answers: dict[tuple[ChannelKey, str, str], set[tuple[int, int]]] = defaultdict(set)
    for sending, answer in _acknowledged(history):
        key = (sending.channel, sending.uid, sending.client_msg_no)
        answers[key].add((answer.sequence, answer.message_id))
    for key, told in answers.items():
        if len(told) > 1:
            yield f"{key} was acknowledged as {sorted(told)}"


def sequences_have_no_gaps(history: History) -> Complaints:
    """P2: the sequences of a channel are 1, 2, 3 …"""
    for channel, stored in history.stored.items():
        sequences = [seen.sequence for seen in stored]
        if sequences != list(range(1, len(sequences) + 1)):
            yield f"{channel} holds {sequences}"


def observations_agree(history: History) -> Complaints:
    """P2: whoever sees a sequence, when and wherever, sees the same message there."""
    known: dict[tuple[ChannelKey, int], Seen] = {}
    for seen in _observed(history):
        before = known.setdefault((seen.channel, seen.sequence), seen)
        if before != seen:
            yield f"seen as {before} and as {seen}"
    for sending, answer in _acknowledged(history):
        found = known.get((sending.channel, answer.sequence))
        if found is not None and found.message_id != answer.message_id:
            yield f"acknowledged with message id {answer.message_id}, seen as {found}"


def acknowledged_comes_first(history: History) -> Complaints:
    """P2: what was acknowledged before another message was sent has the lower sequence."""
    by_channel: dict[ChannelKey, list[Sending]] = defaultdict(list)
    for sending, _ in _acknowledged(history):
        if sending not in by_channel[sending.channel][-1:]:
            by_channel[sending.channel].append(sending)
    for channel, sendings in by_channel.items():
        ends = sorted(
            (answer.at, answer.sequence)
            for answer in map(attrgetter("first_acknowledged"), sendings)
            if answer is not None
        )
        highest, place = 0, 0
        for sending in sorted(sendings, key=lambda each: each.attempts[0].began):
            while place < len(ends) and ends[place][0] < sending.attempts[0].began:
                highest = max(highest, ends[place][1])
                place += 1
            answer = sending.first_acknowledged
            assert answer is not None
            if answer.sequence < highest:
                yield f"{channel}: {answer.sequence} was sent after {highest} was acknowledged"


def pulls_are_complete(history: History) -> Complaints:
    """P4: a pull holds everything acknowledged before it; no reader goes backwards."""
    by_channel: dict[ChannelKey, list[Acknowledged]] = defaultdict(list)
    for sending, answer in _acknowledged(history):
        by_channel[sending.channel].append(answer)
    newest: dict[tuple[SessionKey, ChannelKey], tuple[int, int]] = {}
    for pull in sorted(history.pulls, key=attrgetter("began")):
        held = {seen.sequence for seen in pull.rows}
        top = max(held, default=0) if pull.more else pull.last_sequence
        for answer in by_channel[pull.channel]:
            due = answer.at < pull.began and pull.start <= answer.sequence
            if due and (answer.sequence not in held) and (not pull.more or answer.sequence <= top):
                yield f"{pull.channel}: {answer.sequence} was acknowledged, a later pull lacks it"
        reader = (pull.reader, pull.channel)
        ended, before = newest.get(reader, (0, 0))
        if pull.last_sequence < before and ended <= pull.began:
            yield f"{pull.channel}: a reader saw {before}, then {pull.last_sequence}"
        newest[reader] = max((ended, before), (pull.ended, pull.last_sequence))


def order_of_sending_is_kept(history: History) -> Complaints:
    """P2: what one session sends to one channel is stored in the order of sending."""
    sequence_of = {
        (seen.channel, seen.from_uid, seen.client_msg_no, seen.payload): seen.sequence
        for seen in _stored(history)
    }
    lanes: dict[tuple[SessionKey, ChannelKey], list[tuple[int, int]]] = defaultdict(list)
    for number, sending in enumerate(history.sendings):
        key = (sending.channel, sending.uid, sending.client_msg_no, sending.payload)
        if sending.attempts and key in sequence_of:
            first = sending.attempts[0]
            if first.session[0] != "http":
                lanes[first.session, sending.channel].append((first.began, number))
    for (_, channel), lane in lanes.items():
        sequences = []
        for _, number in sorted(lane):
            sending = history.sendings[number]
            sequences.append(
                sequence_of[channel, sending.uid, sending.client_msg_no, sending.payload]
            )
        if sequences != sorted(sequences):
            yield f"{channel}: one session's messages are stored as {sequences}"


def pushes_are_complete(history: History) -> Complaints:
    """P4: a session gets the messages of a channel in the order of their sequences; one that stands
    to the end gets all that were sent when it had been announced."""
    yield from _disorder(history)
    if history.loses_frames:
        return
    began: dict[object, int] = {}
    senders: dict[object, set[SessionKey]] = defaultdict(set)
    for sending in history.sendings:
        identity = _identity(sending.channel, sending.uid, sending.client_msg_no, sending.payload)
        senders[identity].update(attempt.session for attempt in sending.attempts)
        began[identity] = sending.attempts[0].began if sending.attempts else 0
    pushed = {(push.session, push.seen) for push in history.pushes}
    for session in history.sessions:
        if session.closed < history.ended:
            continue
        for seen in _stored(history):
            identity = _identity(seen.channel, seen.from_uid, seen.client_msg_no, seen.payload)
            if (
                session.uid in history.members.get(seen.channel, ())
                and session.key not in senders[identity]
                and began.get(identity, 0) > session.opened + ANNOUNCED_WITHIN
                and (session.key, seen) not in pushed
            ):
                yield f"{session} was online and did not get {seen}"


def _disorder(history: History) -> Complaints:
    newest: dict[tuple[SessionKey, ChannelKey], int] = {}
    for push in history.pushes:
        place = (push.session, push.seen.channel)
        if push.repeated or push.seen.sequence == 0:
            continue
        if push.seen.sequence <= newest.get(place, 0):
            yield f"{push.session} got {push.seen} behind {newest[place]}"
        newest[place] = max(newest.get(place, 0), push.seen.sequence)


def pushed_until_received(history: History) -> Complaints:
    """P4: a push is repeated until its RECVACK came, at most five times, and never after it."""
    received = {(one.session, one.message_id): one.at for one in reversed(history.received)}
    closed = {session.key: session.closed for session in history.sessions}
    tries: dict[tuple[SessionKey, int], list[Push]] = defaultdict(list)
    for push in history.pushes:
        if push.seen.sequence:
            tries[push.session, push.seen.message_id].append(push)
    for (session, message_id), pushes in tries.items():
        done = received.get((session, message_id))
        if done is not None and pushes[-1].at > done:
            yield f"{session} got {pushes[-1].seen} again after its RECVACK"
        if len(pushes) > 1 + len(REDELIVERY_PAUSES_MS):
            yield f"{session} got {pushes[-1].seen} {len(pushes)} times"
        until = min(closed.get(session, history.ended), history.ended if done is None else done)
        if len(pushes) <= len(REDELIVERY_PAUSES_MS) and session not in history.deaf:
            due = pushes[-1].at + REDELIVERY_PAUSES_MS[len(pushes) - 1] * MS + REDELIVERY_SLACK
            if until > due:
                yield f"{session} did not get {pushes[-1].seen} again by {due}"


def removed_hear_nothing(history: History) -> Complaints:
    """P5: nothing that was sent after a removal is pushed to who was removed."""
    began = {
        _identity(sending.channel, sending.uid, sending.client_msg_no, sending.payload): (
            sending.attempts[0].began
        )
        for sending in history.sendings
        if sending.attempts
    }
    for absence in history.absences:
        for push in history.pushes:
            seen = push.seen
            if push.uid == absence.uid and seen.channel[:2] == absence.channel[:2]:
                identity = _identity(seen.channel, seen.from_uid, seen.client_msg_no, seen.payload)
                if push.at < absence.until and began.get(identity, 0) > absence.since:
                    yield f"{absence} got {seen}"


def bounds_are_kept(history: History) -> Complaints:
    """P9: nothing that has a bound is ever above it."""
    for gauge in history.gauges:
        if gauge.value > gauge.bound:
            yield f"{gauge.name} of {gauge.node} is {gauge.value}, its bound {gauge.bound}"


def replicas_are_equal(history: History) -> Complaints:
    """P1: who applied the same log made the same of it."""
    yield from history.differing


def everything_came_about(history: History) -> Complaints:
    """P6, P12: once everything has healed, nobody waits for ever and all views agree."""
    yield from history.missing


CHECKS: dict[str, Callable[[History], Iterable[str]]] = {
    "I-1": acknowledged_is_stored,
    "I-2": stored_was_sent,
    "I-3": one_sequence_per_message,
    "I-4": sequences_have_no_gaps,
    "I-5": observations_agree,
    "I-6": acknowledged_comes_first,
    "I-7": pulls_are_complete,
    "I-8": order_of_sending_is_kept,
    "I-9": pushes_are_complete,
    "I-10": pushed_until_received,
    "I-11": removed_hear_nothing,
    "I-13": replicas_are_equal,
    "I-15": counted_as_the_formula_says,
    "I-16": bounds_are_kept,
    "I-17": everything_came_about,
    "I-18": streams_are_whole,
    "I-19": commands_are_shown_until_taken,
}


def _stored(history: History) -> Iterator[Seen]:
    for stored in history.stored.values():
        yield from stored


def _observed(history: History) -> Iterator[Seen]:
    yield from _stored(history)
    for push in history.pushes:
        if push.seen.sequence:
            yield push.seen
    for pull in history.pulls:
        yield from pull.rows


def _acknowledged(history: History) -> Iterator[tuple[Sending, Acknowledged]]:
    for sending in history.sendings:
        if not sending.transient:
            for attempt in sending.attempts:
                if isinstance(attempt.answer, Acknowledged):
                    yield sending, attempt.answer


def _as_seen(sending: Sending, answer: Acknowledged) -> Seen:
    return Seen(
        sending.channel,
        answer.sequence,
        answer.message_id,
        sending.uid,
        sending.client_msg_no,
        sending.payload,
    )


def _identity(channel: ChannelKey, uid: str, client_msg_no: str, payload: bytes) -> object:
    return channel, uid, client_msg_no, payload
