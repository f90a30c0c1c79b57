"""Persons who read: their conversations, how far they have read them, and their commands.

A reader does one thing after the other, so what the cluster must hold of him is known at each look;
what others send meanwhile is known at the end, from the log. He does what an application does for
its user with /conversation/sync, /conversations/clearUnread, /message/sync and /message/syncack;
his devices, which acknowledge the commands that are pushed to them, are clients as all others.
"""

from __future__ import annotations

from collections.abc import Generator

from zmqim.chat.channels import route_key_of_channel, route_key_of_user
from zmqim.chat.codes import MessageFlag
from zmqim.chat.listing import head_wanted, read_to, unread_of
from zmqim.chat.operations import AcknowledgeCommands, MoveCursor, NoteCommands, Operation
from zmqim.chat.queries import CommandsQuery, ConversationsQuery, HeadsQuery, PendingQuery
from zmqim.chat.results import (
    CommandsPage,
    ConversationsPage,
    HeadsPage,
    PendingCommands,
    Rejected,
    Result,
)
from zmqim.chat.rows import ConversationRow
from zmqim.chat.shown_commands import Found, chosen, commands_wanted
from zmqim.limits import COMMANDS_SHOWN_MAX
from zmqim.sim.backend import Backend
from zmqim.sim.calls import Call, Calls, Steps, reading, writing
from zmqim.sim.history import ChannelKey, Command, History, Place, Shown, Taken, Viewed
from zmqim.sim.world import MS, SECOND, World

TOLD_US = 3 * SECOND
"""What a device acknowledged in calm weather is stored so soon: it is gathered for a second."""
_RED_DOT = int(MessageFlag.RED_DOT)


class Reader:
    """One person, and what the cluster must hold of him."""

    def __init__(
        self,
        world: World,
        history: History,
        backend: Backend,
        calls: Calls,
        uid: str,
        channels: list[ChannelKey],
    ) -> None:
        """`channels` are those that are conversations of `uid` from the start."""
        self.uid = uid
        self.is_quiet = False
        self._world = world
        self._history = history
        self._backend = backend
        self._calls = calls
        self._channels = channels
        self._random = world.fork()
        self._key = route_key_of_user(uid)
        self._places = dict.fromkeys(channels, Place())
        self._lasts: dict[ChannelKey, int] = {}

    def live(self) -> None:
        """Do this and that until it is time to be quiet."""
        self._calls.run(self._live())

    def _live(self) -> Steps:
        while not self.is_quiet:
            yield self._random.randint(20, 500) * MS
            dice = self._random.random()
            if dice < 0.25:
                self._send()
            elif dice < 0.5:
                yield from self._move()
            elif dice < 0.75:
                yield from self._view()
            else:
                yield from self._take(self._random.choice((3, 20, COMMANDS_SHOWN_MAX)))

    def end(self) -> None:
        """Commands for everybody; when the devices have acknowledged theirs, a last look."""
        for channel in self._channels:
            self._backend.post(self.uid, (*channel[:2], True), "the last command")
        self._calls.run(self._end())

    def _end(self) -> Steps:
        yield TOLD_US
        yield from self._view(is_last=True)
        yield from self._sync(COMMANDS_SHOWN_MAX, is_last=True)
        while (yield from self._take(20, all_of_it=True)):
            pass

    def _send(self) -> None:
        channel = self._random.choice(self._channels)
        sender = self._random.choice(self._history.members[channel])
        if self._random.random() < 0.4:
            self._backend.post(sender, (*channel[:2], True), "do")
        else:
            self._backend.post(sender, channel, "look", flags=_RED_DOT)

    # ---- conversations -----------------------------------------------------------------------

    def _move(self) -> Steps:
        channel = self._random.choice(self._channels)
        upto = self._random.randint(0, self._lasts.get(channel, 0))
        place, request_id = self._places[channel], self._random.randbytes(16)
        read, deleted, marked, operation = place.read, place.deleted, place.marked, None
        kind = self._random.choice("rrrdm")
        if kind == "r":
            operation = MoveCursor(self.uid, *channel[:2], read=upto, request_id=request_id)
            read, marked = max(read, upto), marked if upto <= read else 0
        elif kind == "d":
            operation = MoveCursor(self.uid, *channel[:2], deleted=upto, request_id=request_id)
            deleted, marked = max(deleted, upto), marked if upto <= deleted else 0
        else:
            marked = self._random.randint(0, 5)
            operation = MoveCursor(
                self.uid, *channel[:2], marked_count=marked, request_id=request_id
            )
        yield from self._write(operation)
        self._places[channel] = Place(read, deleted, marked)

    def _view(self, *, is_last: bool = False) -> Steps:
        began = self._world.now
        rows = yield from self._rows()
        present = {(row.channel_type, row.channel_id, False): row for row in rows if row.present}
        missing = [channel for channel in self._channels if channel not in present]
        if is_last and missing:
            self._history.missing.append(f"{self.uid} has the conversations {missing}")
        for channel, row in present.items():
            if channel not in self._places:
                continue
            key = route_key_of_channel(*channel[:2])
            query = HeadsQuery(self.uid, [head_wanted(row, 1)])
            head = (yield from reading(key, query, HeadsPage)).heads[0]
            last = head.last_sequence
            self._lasts[channel] = max(last, self._lasts.get(channel, 0))
            place = Place(row.read, row.deleted, row.marked_count)
            counted = (unread_of(row, head), read_to(row, head))
            viewed = Viewed(self.uid, channel, began, last, place, self._places[channel], *counted)
            self._history.viewed.append(viewed)

    # ---- commands ----------------------------------------------------------------------------

    def _take(
        self, limit: int, *, all_of_it: bool = False
    ) -> Generator[Call | int, Result | None, bool]:
        """Look at the oldest commands and acknowledge them, or some; was there any?"""
        numbers = yield from self._sync(limit)
        if not numbers or not (all_of_it or self._random.random() < 0.7):
            return bool(numbers)
        upto = numbers[-1] if all_of_it else self._random.choice(numbers)
        taken = Taken(self.uid, upto, self._world.now)
        self._history.taken.append(taken)
        yield from self._write(AcknowledgeCommands(self.uid, upto, self._random.randbytes(16)))
        taken.answered = self._world.now
        return True

    def _sync(
        self, limit: int, *, is_last: bool = False
    ) -> Generator[Call | int, Result | None, list[int]]:
        """The numbers of the commands that are shown (`zmqim.gateway.http.commands`)."""
        while True:
            began = self._world.now
            pending = yield from reading(self._key, PendingQuery(self.uid), PendingCommands)
            rows = yield from self._rows()
            found: list[Found] = []
            for wanted in commands_wanted(rows):
                key = route_key_of_channel(wanted.channel_type, wanted.channel_id)
                page = yield from reading(key, CommandsQuery([wanted], limit), CommandsPage)
                found += [(wanted, message) for message in page.channels[0].messages]
            shown, new = chosen(pending, found, limit)
            if new:
                last, request_id = pending.last_number, self._random.randbytes(16)
                note = NoteCommands(self.uid, last, new, request_id)
                if isinstance((yield from self._write(note)), Rejected):
                    continue
            places = {message.message_id: wanted for wanted, message in found}
            commands = tuple(
                Command(
                    number,
                    (places[one.message_id].channel_type, places[one.message_id].channel_id, True),
                    one.sequence,
                    one.message_id,
                )
                for number, one in shown
            )
            present = frozenset((row.channel_type, row.channel_id) for row in rows if row.present)
            self._history.shown.append(
                Shown(self.uid, began, self._world.now, limit, commands, present, is_last)
            )
            return [command.number for command in commands]

    # ---- in common ---------------------------------------------------------------------------

    def _rows(self) -> Generator[Call | int, Result | None, list[ConversationRow]]:
        query = ConversationsQuery(self.uid)
        return (yield from reading(self._key, query, ConversationsPage)).rows

    def _write(self, operation: Operation) -> Generator[Call | int, Result | None, Result]:
        return (yield from writing(self._key, lambda: operation))
