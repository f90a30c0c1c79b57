"""Single messages are found by sequence, id and client_msg_no, within what the asker may see."""

from __future__ import annotations

import msgspec
import pytest
from chat_partition import Partition

from zmqim.chat import look_up
from zmqim.chat.channels import person_channel_id
from zmqim.chat.codes import ChannelType, MessageFlag
from zmqim.chat.encoding import encode
from zmqim.chat.operations import AddMembers, RemoveMembers, SendMessage
from zmqim.chat.queries import MessagesBy, decode_query
from zmqim.chat.results import MessagesFound, Sent
from zmqim.errors import DamagedData, WireError
from zmqim.limits import MESSAGES_BY_MAX, PULL_BYTES_MAX

GROUP, PERSON = ChannelType.GROUP, ChannelType.PERSON
BOTH = person_channel_id("alice", "bob")


def group(*uids: str) -> Partition:
    partition = Partition()
    partition.apply(AddMembers(GROUP, "g", list(uids)))
    return partition


def sent(partition: Partition, sender: str, number: str, payload: bytes = b"x", **more: int) -> int:
    """The id of a message that was sent into "g"."""
    result = partition.apply(SendMessage(GROUP, "g", sender, number, payload, **more))
    assert isinstance(result, Sent)
    return result.message_id


def found(partition: Partition, **fields: object) -> MessagesFound:
    result = partition.query(MessagesBy(GROUP, "g", **fields))  # type: ignore[arg-type]
    assert isinstance(result, MessagesFound)
    return result


def sequences(partition: Partition, **fields: object) -> list[int]:
    return [row.sequence for row in found(partition, **fields).messages]


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_every_message_is_found_by_each_of_its_names(count: int, durable: bool) -> None:
    partition = group("alice", "bob")
    senders = ["alice", "bob"] * count
    ids = [sent(partition, senders[n], f"n{n}") for n in range(count)]
    if durable:
        partition.turn()
        partition.open()
    for number, message_id in enumerate(ids):
        only = [number + 1]
        assert sequences(partition, sequences=only) == only
        assert sequences(partition, message_ids=[message_id]) == only
        assert sequences(partition, client_msg_nos=[f"n{number}"]) == only
    everything = list(range(1, count + 1))
    assert sequences(partition, message_ids=[*reversed(ids), *ids]) == everything
    assert sequences(partition, client_msg_nos=[f"n{n}" for n in range(count)]) == everything
    assert sequences(
        partition, sequences=[count], message_ids=ids[:1], client_msg_nos=["n0"]
    ) == sorted({1, count})


def test_what_is_not_there_is_not_found() -> None:
    partition = group("alice")
    ids = [sent(partition, "alice", str(n)) for n in range(3)]
    for unknown in (0, 1, ids[0] - 1, ids[1] + 1, ids[-1] + 1, 2**64 - 1, -1):
        assert sequences(partition, message_ids=[unknown]) == []
    assert sequences(partition, sequences=[0, -1, 4, 2**63]) == []
    assert sequences(partition, client_msg_nos=["", "3", "00"]) == []
    assert found(partition) == MessagesFound([])
    nowhere = MessagesBy(GROUP, "nowhere", "", [1], ids, ["1"])
    assert partition.query(nowhere) == MessagesFound([])


def test_a_number_that_several_senders_used_finds_the_message_of_each() -> None:
    partition = group("a", "aa", "b", "\U0001f600")
    for sender in ("b", "aa", "a", "\U0001f600"):
        sent(partition, sender, "1")
        sent(partition, sender, "a1")
    assert sequences(partition, client_msg_nos=["1"]) == [1, 3, 5, 7]
    assert sequences(partition, client_msg_nos=["a1", "a1"]) == [2, 4, 6, 8]


def test_a_person_channel_knows_the_numbers_of_both() -> None:
    partition = Partition()
    for sender in ("alice", "bob"):
        partition.apply(SendMessage(PERSON, BOTH, sender, f"of {sender}", b"x"))
    result = partition.query(MessagesBy(PERSON, BOTH, "bob", client_msg_nos=["of alice", "of bob"]))
    assert isinstance(result, MessagesFound)
    assert [row.sequence for row in result.messages] == [1, 2]


@pytest.mark.promise("P5")
def test_a_removed_member_finds_what_was_before_the_removal() -> None:
    partition = group("alice", "bob")
    ids = [sent(partition, "alice", "1")]
    partition.apply(RemoveMembers(GROUP, "g", ["bob"]))
    ids.append(sent(partition, "alice", "2"))
    names: dict[str, object] = {"sequences": [1, 2], "message_ids": ids}
    names["client_msg_nos"] = ["1", "2"]
    for each, values in names.items():
        assert sequences(partition, login_uid="bob", **{each: values}) == [1]
        assert sequences(partition, login_uid="alice", **{each: values}) == [1, 2]
        assert sequences(partition, **{each: values}) == [1, 2]


def test_commands_are_no_history() -> None:
    partition = group("alice")
    message_id = sent(partition, "alice", "1", flags=MessageFlag.SYNC_ONCE)
    assert sequences(partition, message_ids=[message_id], client_msg_nos=["1"]) == []


def test_above_the_bound_of_bytes_the_answer_is_cut_and_says_so() -> None:
    partition = group("alice")
    payload = bytes(60_000)
    count = PULL_BYTES_MAX // len(payload) + 2
    for number in range(count):
        sent(partition, "alice", str(number), payload)
    wanted = list(range(1, count + 1))
    result = found(partition, sequences=wanted)
    got = [row.sequence for row in result.messages]
    assert got == wanted[: len(got)]
    assert 0 < len(got) < count
    assert result.cut
    rest = found(partition, sequences=wanted[len(got) :])
    assert [row.sequence for row in rest.messages] == wanted[len(got) :]
    assert not rest.cut


def test_many_senders_are_looked_through_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_up, "LOOK_UP_STEPS_MAX", 4)
    senders = [f"u{number}" for number in range(9)]
    partition = group(*senders)
    for sender in senders:
        sent(partition, sender, "1")
    steps = []
    after = ""
    while True:
        result = found(partition, client_msg_nos=["1"], after_uid=after)
        steps.append(len(result.messages))
        after = result.after_uid
        if not after:
            break
    assert steps == [2, 2, 2, 2, 1]


def test_a_message_that_is_missing_among_the_rows_is_damage_and_not_a_no() -> None:
    partition = group("alice")
    message_id = sent(partition, "alice", "1")
    channel = partition.state.heads.find(GROUP, "g")
    partition.view.delete(channel.message_prefix + (1).to_bytes(8, "big"))
    for fields in ({"sequences": [1]}, {"message_ids": [message_id]}, {"client_msg_nos": ["1"]}):
        with pytest.raises(DamagedData):
            found(partition, **fields)


@pytest.mark.parametrize("name", ["sequences", "message_ids", "client_msg_nos"])
def test_longer_lists_are_no_query(name: str) -> None:
    one: object = "1" if name == "client_msg_nos" else 1
    query = MessagesBy(GROUP, "g", "", **{name: [one] * MESSAGES_BY_MAX})  # type: ignore[arg-type]
    assert decode_query(encode(query)) == query
    longer = msgspec.structs.replace(query, **{name: [one] * (MESSAGES_BY_MAX + 1)})
    with pytest.raises(WireError):
        decode_query(encode(longer))
