"""Which commands /message/sync shows a person: pure, for whoever asks the partitions.

The person's partition tells the rows and what was shown before, the channels' partitions the oldest
commands above what the person took (`commands_wanted`). `chosen` puts both together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from zmqim.chat.channels import members_channel
from zmqim.chat.operations import CommandPlace
from zmqim.chat.queries import CommandsWanted
from zmqim.chat.results import MessageRow, PendingCommands
from zmqim.chat.rows import ConversationRow

Found = tuple[CommandsWanted, MessageRow]
"""A command, and for which question it was found."""


class Chosen(NamedTuple):
    """What is shown, and what of it was never shown before."""

    shown: list[tuple[int, MessageRow]]
    """(number, command), ascending."""
    new: list[CommandPlace]
    """To be noted before anything is shown: they get the numbers behind `last_number`."""


def commands_wanted(rows: Sequence[ConversationRow]) -> list[CommandsWanted]:
    """What to ask of the channels: not of a topic whose community the person had to leave."""
    left = {(row.channel_type, row.channel_id) for row in rows if row.version and not row.present}
    return [
        CommandsWanted(
            row.channel_type,
            row.channel_id,
            max(row.read_commands, row.joined_commands),
            row.taken,
        )
        for row in rows
        if row.bound
        or (row.present and members_channel(row.channel_type, row.channel_id) not in left)
    ]


def chosen(pending: PendingCommands, found: Sequence[Found], limit: int) -> Chosen:
    """The oldest of the commands that were found, at most `limit`: those that were shown before
    keep their numbers, new ones follow in the order in which they were logged."""
    wanted = sorted(found, key=lambda one: (one[1].hlc, one[1].message_id))
    numbers = {
        CommandPlace(one.channel_type, one.channel_id, one.sequence): one.number
        for one in pending.commands
    }
    new = [place for one in wanted if (place := _place_of(one)) not in numbers]
    new = new[: max(0, limit - (len(wanted) - len(new)))]
    numbers.update((place, number) for number, place in enumerate(new, pending.last_number + 1))
    shown = [(numbers[place], one[1]) for one in wanted if (place := _place_of(one)) in numbers]
    shown.sort(key=lambda one: one[0])
    return Chosen(shown[:limit], new)


def _place_of(found: Found) -> CommandPlace:
    wanted, message = found
    return CommandPlace(wanted.channel_type, wanted.channel_id, message.sequence)
