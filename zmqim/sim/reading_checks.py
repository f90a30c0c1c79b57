"""Questions about what persons read: streams, unread counts, commands (I-15, I-18, I-19).

As in `zmqim.sim.checks` each gives sentences about what is wrong. They compare with models that
know nothing of how it is done: a list of words, a count by hand over the log, and which commands
somebody could have taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from zmqim.sim.history import (
    Acknowledged,
    Added,
    ChannelKey,
    Command,
    History,
    Place,
    Seen,
    Shown,
    Told,
    Viewed,
)
from zmqim.sim.world import MS

COMMAND_ACKS_STORED_US = 2_500 * MS
"""Where nothing is in trouble, what a device acknowledged is stored so soon: it is gathered for a
second (COMMAND_ACKS_DELAY_MS) and written once."""

OWN_EVENTS = "zmqim-"
"""How the ids of events begin that a partition makes itself (`zmqim.chat.streams`)."""

Complaints = Iterator[str]


def streams_are_whole(history: History) -> Complaints:
    """P1, P2: whoever reads a stream, of a replica too, finds each acknowledged word once and in
    order, and none that was refused; what is pushed is what was added."""
    words: dict[tuple[ChannelKey, int], dict[str, list[Added]]] = defaultdict(dict)
    numbers: dict[tuple[ChannelKey, int], int] = defaultdict(int)
    for added in history.added:
        words[added.channel, added.sequence].setdefault(added.lane, []).append(added)
        if not added.number:
            continue
        if added.repeated not in (0, added.number):
            yield f"{added} was answered otherwise when it was repeated"
        highest = numbers[added.channel, added.sequence]
        if added.number <= highest:
            yield f"{added} has a number behind {highest}"
        numbers[added.channel, added.sequence] = added.number
    yield from _pushed_faults(history)
    for told in history.told:
        lanes = {lane: (is_open, text) for lane, is_open, text in told.lanes}
        for lane, asked in words[told.channel, told.sequence].items():
            yield from _stream_faults(told, asked, *lanes.get(lane, (False, "")))


def _pushed_faults(history: History) -> Complaints:
    """An event that is pushed is one of the log. Those that end lanes for us have ids of ours."""
    known = {added.event_id: added for added in history.added}
    for heard in history.heard:
        if heard.event_id.startswith(OWN_EVENTS):
            continue
        added = known.get(heard.event_id)
        if added is None or (heard.lane, heard.word) != (added.lane, added.word):
            yield f"{heard} was pushed, {added} was asked for"
        elif added.answered and heard.number != added.number:
            yield f"{heard} was pushed, {added} is what was answered"


def _stream_faults(told: Told, asked: list[Added], is_open: bool, text: str) -> Complaints:
    known = [one for one in asked if one.began <= told.ended]
    sure = [one for one in known if one.number and one.answered <= told.began]
    possible = [one for one in known if one.number or not 0 < one.answered <= told.began]
    whole = "".join(one.word for one in possible)
    least = "".join(one.word for one in sure)
    if not (whole.startswith(text) and text.startswith(least)):
        yield f"{told.reader} read {text!r}, acknowledged were {least!r} of {whole!r}: {told}"
    if is_open and any(one.ends for one in sure):
        yield f"{told.reader} found a lane open that was ended: {told}"


def counted_as_the_formula_says(history: History) -> Complaints:
    """P11: how far somebody read never goes back, and unread is what a count by hand gives."""
    acknowledged: dict[ChannelKey, list[Acknowledged]] = defaultdict(list)
    for sending in history.sendings:
        answer = sending.first_acknowledged
        if answer is not None and not sending.transient:
            acknowledged[sending.channel].append(answer)
    furthest: dict[tuple[str, ChannelKey], int] = {}
    for viewed in history.viewed:
        who = (viewed.uid, viewed.channel)
        if viewed.place != viewed.expected:
            yield f"{who} is at {viewed.place}, acknowledged was {viewed.expected}"
        if viewed.read_to < furthest.get(who, 0):
            yield f"{who} had read {furthest[who]}, then {viewed.read_to}"
        furthest[who] = max(viewed.read_to, furthest.get(who, 0))
        told = [one.sequence for one in acknowledged[viewed.channel] if one.at < viewed.began]
        if max(told, default=0) > viewed.last_sequence:
            yield f"{who} saw {viewed.last_sequence}, acknowledged was {max(told)}"
        log = history.stored.get(viewed.channel, [])
        unread, read_to = _counted(viewed, log, set(history.red.get(viewed.channel, ())))
        if (unread, read_to) != (viewed.unread, viewed.read_to):
            yield f"{viewed}: by hand {unread} are unread behind {read_to}"


def _counted(viewed: Viewed, log: list[Seen], red: set[int]) -> tuple[int, int]:
    place: Place = viewed.expected
    seen = [one for one in log if one.sequence <= viewed.last_sequence]
    sent = max((one.sequence for one in seen if one.from_uid == viewed.uid), default=0)
    floor = max(place.read, place.deleted, sent)
    unread = sum(floor < one.sequence and one.sequence in red for one in seen)
    return max(unread, place.marked), floor


def commands_are_shown_until_taken(history: History) -> Complaints:
    """P1: a command is shown, under one number, until it is acknowledged; none is skipped."""
    devices = {session.key: session.uid for session in history.sessions}
    received: dict[tuple[str, int], int] = {}
    for one in history.received:
        who = (devices.get(one.session, ""), one.message_id)
        received[who] = min(one.at, received.get(who, one.at))
    numbers: dict[str, dict[Command, int]] = defaultdict(dict)
    for shown in history.shown:
        held = numbers[shown.uid]
        for command in shown.commands:
            place = command._replace(number=0)
            if held.setdefault(place, command.number) != command.number:
                yield f"{shown.uid} was shown {command} as number {held[place]} before"
        ascending = [command.number for command in shown.commands]
        if ascending != sorted(set(ascending)):
            yield f"{shown.uid} was shown the numbers {ascending}"
        yield from _shown_too_long(history, shown, received)
        if len(shown.commands) < shown.limit:
            yield from _skipped(history, shown, held, received)


def _shown_too_long(
    history: History, shown: Shown, received: dict[tuple[str, int], int]
) -> Complaints:
    stored = {(one.channel, one.sequence): one.message_id for one in _commands(history)}
    upto = max(
        (
            one.upto
            for one in history.taken
            if one.uid == shown.uid and 0 < one.answered < shown.began
        ),
        default=0,
    )
    for command in shown.commands:
        if stored.get((command.channel, command.sequence)) != command.message_id:
            yield f"{shown.uid} was shown {command}, which is not in the log"
        if command.number <= upto:
            yield f"{shown.uid} was shown {command} after acknowledging up to {upto}"
        at = received.get((shown.uid, command.message_id))
        late = at is not None and history.healed < at < shown.began - COMMAND_ACKS_STORED_US
        if late and shown.is_last:
            yield f"{shown.uid} was shown {command}, which a device had acknowledged at {at}"


def _skipped(
    history: History,
    shown: Shown,
    numbers: dict[Command, int],
    received: dict[tuple[str, int], int],
) -> Complaints:
    """What was acknowledged to its sender before, and is neither shown nor could be taken."""
    taken = [one.upto for one in history.taken if one.uid == shown.uid and one.began < shown.ended]
    upto = max(taken, default=0)
    held = {command._replace(number=0) for command in shown.commands}
    for sending in history.sendings:
        answer, channel = sending.first_acknowledged, sending.channel
        if answer is None or not channel[2] or answer.at >= shown.began:
            continue
        if channel[:2] not in shown.present or shown.uid not in history.members.get(channel, ()):
            continue
        command = Command(0, channel, answer.sequence, answer.message_id)
        if command in held or 0 < numbers.get(command, 0) <= upto:
            continue
        if received.get((shown.uid, answer.message_id), shown.ended) < shown.ended:
            continue
        yield f"{shown.uid} was not shown {command}, which nobody took for him"


def _commands(history: History) -> Iterator[Seen]:
    for channel, stored in history.stored.items():
        if channel[2]:
            yield from stored
