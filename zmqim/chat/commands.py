"""Commands that a person was shown and has not acknowledged (/message/sync, /message/syncack).

Each is shown under a number that grows by one for the person, whatever channel it is of, and stays
the same until it is acknowledged. So an acknowledgement up to a number takes exactly what was shown
up to there, by whichever gateway it was and whichever storage leads; the channels' own sequences
could not say that.

What is pushed and acknowledged by a master device counts as taken too, one by one: earlier commands
that were never pushed to it stay wanted (`Conversations.take_commands`).
"""

from __future__ import annotations

from typing import Final

import msgspec

from zmqim.chat.codes import Reason
from zmqim.chat.conversations import Conversations
from zmqim.chat.encoding import encode
from zmqim.chat.keys import Keys
from zmqim.chat.operations import AcknowledgeCommands, NoteCommands
from zmqim.chat.results import Rejected
from zmqim.chat.rows import PendingCommand, PendingRow
from zmqim.chat.view import RowView
from zmqim.limits import COMMANDS_SHOWN_MAX

PENDING_MAX: Final = 2 * COMMANDS_SHOWN_MAX
"""Above, the oldest are forgotten: such a command is shown again, under another number. It takes
that many shown of channels that the person left, since no more are shown at a time."""
_decode: Final = msgspec.msgpack.Decoder(PendingRow).decode


class Commands:
    """The pending commands of the persons of one partition."""

    def __init__(self, keys: Keys, view: RowView, conversations: Conversations) -> None:
        self._keys = keys
        self._view = view
        self._conversations = conversations

    def pending(self, uid: str) -> PendingRow:
        """What `uid` was shown."""
        body = self._view.get(self._keys.pending(uid))
        return PendingRow() if body is None else _decode(body)

    def note(self, operation: NoteCommands) -> Rejected | None:
        """`uid` is shown some more."""
        row = self.pending(operation.uid)
        if operation.after != row.last_number:
            return Rejected(Reason.IDEMPOTENCY_CONFLICT, "others were shown meanwhile")
        new = [
            PendingCommand(number, place.channel_type, place.channel_id, place.sequence)
            for number, place in enumerate(operation.commands, row.last_number + 1)
        ]
        last = row.last_number + len(new)
        self._put(operation.uid, PendingRow(last, (row.commands + new)[-PENDING_MAX:]))
        return None

    def acknowledge(self, operation: AcknowledgeCommands) -> None:
        """`uid` has taken what was shown up to a number, and what was pushed."""
        uid = operation.uid
        row = self.pending(uid)
        pushed = {(one.channel_type, one.channel_id, one.sequence) for one in operation.pushed}
        left: list[PendingCommand] = []
        taken: dict[tuple[int, str], list[int]] = {}
        for one in operation.pushed:
            taken.setdefault((one.channel_type, one.channel_id), []).append(one.sequence)
        for shown in row.commands:
            if shown.number <= operation.upto:
                name = (shown.channel_type, shown.channel_id)
                taken.setdefault(name, []).append(shown.sequence)
            elif (shown.channel_type, shown.channel_id, shown.sequence) not in pushed:
                left.append(shown)
        for (channel_type, channel_id), sequences in taken.items():
            self._conversations.take_commands(uid, channel_type, channel_id, sequences)
        if len(left) < len(row.commands):
            self._put(uid, PendingRow(row.last_number, left))

    def _put(self, uid: str, row: PendingRow) -> None:
        self._view.put(self._keys.pending(uid), encode(row))
