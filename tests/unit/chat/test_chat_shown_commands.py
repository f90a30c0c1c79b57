"""Which commands a person is shown: the oldest, under numbers that stay."""

from __future__ import annotations

from zmqim.chat.codes import ChannelType
from zmqim.chat.operations import CommandPlace
from zmqim.chat.queries import CommandsWanted
from zmqim.chat.results import MessageRow, PendingCommands
from zmqim.chat.rows import ConversationRow, PendingCommand
from zmqim.chat.shown_commands import Chosen, Found, chosen, commands_wanted

GROUP, COMMUNITY, TOPIC = (
    int(ChannelType.GROUP),
    int(ChannelType.COMMUNITY),
    int(ChannelType.COMMUNITY_TOPIC),
)
NOTHING = PendingCommands(0, [])


def found(channel: str, *sequences: int, hlc: int = 0) -> list[Found]:
    """Commands of a group; the stamp of each is `hlc` plus its sequence."""
    wanted = CommandsWanted(GROUP, channel, 0)
    return [(wanted, MessageRow(one, hlc + one, hlc + one, 0, b"")) for one in sequences]


def numbers(choice: Chosen) -> list[tuple[int, int]]:
    return [(number, message.message_id) for number, message in choice.shown]


def test_the_oldest_of_all_channels_come_first_and_no_more_than_were_asked_for() -> None:
    commands = found("g", 1, 2, hlc=100) + found("h", 1, 2, hlc=50)
    choice = chosen(NOTHING, commands, 3)
    assert numbers(choice) == [(1, 51), (2, 52), (3, 101)]
    assert choice.new == [
        CommandPlace(GROUP, "h", 1),
        CommandPlace(GROUP, "h", 2),
        CommandPlace(GROUP, "g", 1),
    ]


def test_what_was_shown_keeps_its_number_though_older_ones_come() -> None:
    pending = PendingCommands(7, [PendingCommand(7, GROUP, "g", 1)])
    commands = found("g", 1, 2, hlc=100) + found("h", 1, hlc=50)
    choice = chosen(pending, commands, 9)
    assert numbers(choice) == [(7, 101), (8, 51), (9, 102)]
    assert choice.new == [CommandPlace(GROUP, "h", 1), CommandPlace(GROUP, "g", 2)]
    full = chosen(pending, commands, 1)
    assert (numbers(full), full.new) == ([(7, 101)], [])


def test_channels_are_asked_from_where_the_person_joined_or_took_all() -> None:
    rows = [
        ConversationRow(GROUP, "g", present=True, joined_commands=4, read_commands=2),
        ConversationRow(
            GROUP, "h", present=True, joined_commands=4, read_commands=6, taken=[(8, 9)]
        ),
        ConversationRow(GROUP, "bound", bound=True, read_commands=3),
        ConversationRow(GROUP, "left", version=9),
    ]
    wanted = [(one.channel_id, one.above, one.taken) for one in commands_wanted(rows)]
    assert wanted == [("g", 4, []), ("h", 6, [(8, 9)]), ("bound", 3, [])]


def test_a_topic_is_asked_unless_its_community_was_left() -> None:
    topic = ConversationRow(TOPIC, "c@t", present=True)
    home = ConversationRow(COMMUNITY, "c", present=True, version=3)
    left = ConversationRow(COMMUNITY, "c", present=False, version=4)
    assert [one.channel_id for one in commands_wanted([topic, home])] == ["c@t", "c"]
    assert commands_wanted([topic, left]) == []
    bound = ConversationRow(TOPIC, "c@t", bound=True)
    assert [one.channel_id for one in commands_wanted([bound, left])] == ["c@t"]
