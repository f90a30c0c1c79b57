"""Faults in what persons read: streams, unread counts, commands; and the check that finds each.

As in mutants.py the faults live here alone, in subclasses. All of them are hunted by seeds whose
plan has readers (`zmqim.sim.audience`): 3 and 4, 60 to 63 and 91 to 95 are some.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace
from mutants import Mutant, Seeds

from zmqim.chat.commands import Commands
from zmqim.chat.conversations import Conversations
from zmqim.chat.encoding import encode
from zmqim.chat.heads import Channel
from zmqim.chat.notices import EventNotice, PushedEvents, decode_pushed
from zmqim.chat.operations import AcknowledgeCommands, AppendEvent, MoveCursor
from zmqim.chat.results import EventAppended, EventRefused
from zmqim.chat.rows import LaneRow
from zmqim.chat.state import ChatState
from zmqim.chat.stream_rows import Stream, StreamRows
from zmqim.chat.streams import Appended, Streams
from zmqim.chat.unread import Senders
from zmqim.gateway.command_acks import CommandAcks
from zmqim.gateway.core import GatewayCore
from zmqim.sim.nodes import Cores
from zmqim.storage.core import StorageCore


class _ForgetfulStreams(Streams):
    def _first_answer(
        self, stream: Stream, event: AppendEvent
    ) -> EventAppended | EventRefused | None:
        return None


class _MisnumberingStreams(Streams):
    def append(
        self, index: int, hlc: int, event: AppendEvent
    ) -> tuple[Appended, EventNotice | None]:
        answer, notice = super().append(index, hlc, event)
        if notice is not None:
            pushed = decode_pushed(notice.body)
            assert isinstance(pushed, PushedEvents)
            events = [replace(one, sequence=one.sequence + 1) for one in pushed.events]
            notice = replace(notice, body=encode(replace(pushed, events=events)))
        return answer, notice


class _ShorteningRows(StreamRows):
    def fold(self, stream: Stream, lane: LaneRow) -> None:
        last, lane.last = lane.last, lane.last - 2
        super().fold(stream, lane)
        lane.last = last


class _BackwardConversations(Conversations):
    def move(self, hlc: int, operation: MoveCursor) -> None:
        if operation.read:
            key, row = self._find(operation.uid, operation.channel_type, operation.channel_id)
            read = min(row.read, operation.read)
            self._put(operation.uid, key, replace(row, read=read))
        super().move(hlc, operation)


class _StickyMarks(Conversations):
    def move(self, hlc: int, operation: MoveCursor) -> None:
        count = self.get(operation.uid, operation.channel_type, operation.channel_id).marked_count
        marked = operation.marked_count if operation.marked_count >= 0 else count
        super().move(hlc, replace(operation, marked_count=marked))


class _NobodySent(Senders):
    def last(self, channel: Channel, uid: str) -> int:
        return 0


class _SkippingConversations(Conversations):
    """As WuKongIM: a position moves to whatever was acknowledged, over all that was not."""

    def take_commands(
        self, uid: str, channel_type: int, channel_id: str, sequences: Iterable[int]
    ) -> None:
        every = range(1, max(sequences, default=0) + 1)
        super().take_commands(uid, channel_type, channel_id, every)


class _ForgetfulCommands(Commands):
    def acknowledge(self, operation: AcknowledgeCommands) -> None:
        super().acknowledge(replace(operation, upto=max(operation.upto - 1, 0)))


class _ReadingCore(StorageCore):
    """The parts of its states are of other classes."""

    streams_class: type[Streams] = Streams
    stream_rows_class: type[StreamRows] = StreamRows
    conversations_class: type[Conversations] = Conversations
    senders_class: type[Senders] = Senders
    commands_class: type[Commands] = Commands

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        for group in self.groups.values():
            self._change(group.state)

    def _change(self, state: ChatState) -> None:
        state.streams.__class__ = self.streams_class
        state.streams.rows.__class__ = self.stream_rows_class
        state.conversations.__class__ = self.conversations_class
        state.senders.__class__ = self.senders_class
        state.commands.__class__ = self.commands_class


class AppendsAnEventAgain(_ReadingCore):
    """Does not know an event id again."""

    streams_class = _ForgetfulStreams


class PushesUnderTheNextNumber(_ReadingCore):
    """An event that is pushed has another number than the one that was answered."""

    streams_class = _MisnumberingStreams


class ForgetsTheLastWord(_ReadingCore):
    """What an ended stream comes to lacks its last event."""

    stream_rows_class = _ShorteningRows


class MovesPositionsBack(_ReadingCore):
    """Somebody who reads an old message has not read the newer ones."""

    conversations_class = _BackwardConversations


class KeepsMarks(_ReadingCore):
    """What was marked unread stays so, whatever is read."""

    conversations_class = _StickyMarks


class CountsOwnMessages(_ReadingCore):
    """Messages before one's own are unread."""

    senders_class = _NobodySent


class SkipsCommands(_ReadingCore):
    """One acknowledged command takes all before it along."""

    conversations_class = _SkippingConversations


class ForgetsAnAcknowledgement(_ReadingCore):
    """Of what was acknowledged the last command stays."""

    commands_class = _ForgetfulCommands


class _DeafAcks(CommandAcks):
    def note(self, now: int, session: Any, recv: Any) -> None:
        pass


class StoresNoRecvacks(GatewayCore):
    """What a device acknowledged is only its own business."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._command_acks.__class__ = _DeafAcks


def _seeds(core: type[StorageCore], first: int, count: int = 4) -> Seeds:
    return Seeds(Cores(storage=core), first, count)


READING_MUTANTS: tuple[Mutant, ...] = (
    Mutant("event ids not known again", "I-18 ", _seeds(AppendsAnEventAgain, 92), is_slow=True),
    Mutant("events pushed under another number", "I-18 Heard", _seeds(PushesUnderTheNextNumber, 3)),
    Mutant("the last word forgotten", "I-18 ", _seeds(ForgetsTheLastWord, 3)),
    Mutant("read positions go back", "I-15 ", _seeds(MovesPositionsBack, 60), is_slow=True),
    Mutant("marks outlive reading", "I-15 ", _seeds(KeepsMarks, 92), is_slow=True),
    Mutant("own messages do not count as seen", "I-15 ", _seeds(CountsOwnMessages, 3)),
    Mutant("commands skipped", "I-19 ", _seeds(SkipsCommands, 3)),
    Mutant(
        "an acknowledged command shown again",
        "I-19 ",
        _seeds(ForgetsAnAcknowledgement, 3),
        is_slow=True,
    ),
    Mutant(
        "a device's acknowledgement not stored",
        "I-19 ",
        Seeds(Cores(gateway=StoresNoRecvacks), 3, 2),
    ),
)
