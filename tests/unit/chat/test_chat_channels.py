"""Names of channels, as WuKongIM v2.2 makes them; operations as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmqim.chat.channels import (
    canonical_channel_id,
    fault_of_name,
    is_valid_uid,
    members_channel,
    named_in,
    peer_of,
    peers_of,
    person_channel_id,
    route_key_of_channel,
    route_key_of_user,
    uid_list_id,
)
from zmqim.chat.codes import ChannelType
from zmqim.chat.encoding import encode
from zmqim.chat.operations import SendMessage, decode_operation, decode_send
from zmqim.chat.queries import Probe, decode_query
from zmqim.chat.results import Done, decode_result
from zmqim.errors import WireError

uids = st.text(min_size=1, max_size=9).filter(is_valid_uid)


@pytest.mark.parametrize(
    ("one", "other", "joined"),
    [
        ("u1", "u2", "u2@u1"),
        ("alice", "bob", "bob@alice"),
        ("10001", "10002", "10002@10001"),
        ("l98cu", "pvdba", "pvdba@l98cu"),
    ],
)
def test_person_channels_are_named_like_the_peers_do(one: str, other: str, joined: str) -> None:
    assert person_channel_id(one, other) == person_channel_id(other, one) == joined


@given(uids, uids)
def test_both_sides_of_a_person_channel_name_the_same_one(one: str, other: str) -> None:
    joined = person_channel_id(one, other)
    assert sorted(peers_of(joined)) == sorted((one, other))
    assert peer_of(joined, one) == other
    for uid, wire in ((one, other), (other, one), (one, f"{one}@{other}"), (one, f"{other}@{one}")):
        assert canonical_channel_id(ChannelType.PERSON, wire, uid) == joined
    assert canonical_channel_id(ChannelType.GROUP, one, other) == one


def test_uids_hold_none_of_the_characters_that_join_names() -> None:
    assert is_valid_uid("alice")
    assert not any(is_valid_uid(uid) for uid in ("", "a@b", "a#b", "a&b"))


def test_an_agent_channel_may_be_called_by_its_agent() -> None:
    assert canonical_channel_id(ChannelType.AGENT, "bot", "ann") == "ann@bot"
    assert canonical_channel_id(ChannelType.AGENT, "ann@bot", "bot") == "ann@bot"


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (ChannelType.PERSON, ["a@b"], ["a", "a@b@c", "@b", "a@"]),
        (ChannelType.GROUP, ["g", "群 1"], ["", "g@1", "g#1", "g&1", "g\n", "g" * 513]),
        (ChannelType.CUSTOMER_SERVICE, ["v|desk", "v|desk|2"], ["v", "v|", "|desk", "v@x|desk"]),
        (ChannelType.COMMUNITY, ["c"], ["c@t"]),
        (ChannelType.COMMUNITY_TOPIC, ["c@t"], ["c", "c@", "@t", "c@t@u"]),
        (ChannelType.INFO, ["news"], ["news#"]),
        (ChannelType.TEMPORARY, ["t", "t@tmp"], ["t@", "t@tmp@tmp", "@tmp"]),
        (ChannelType.VISITORS, ["v"], ["v@x"]),
        (ChannelType.AGENT, ["u@a"], ["u", "u@", "u@a@b"]),
        (ChannelType.AGENT_GROUP, ["ag"], ["u@a", "ag____cmd"]),
    ],
)
def test_what_an_id_may_be_is_a_matter_of_the_type(
    kind: ChannelType, right: list[str], wrong: list[str]
) -> None:
    assert [fault_of_name(kind, each) for each in right] == [""] * len(right)
    assert "" not in [fault_of_name(kind, each) for each in wrong]


@pytest.mark.parametrize(
    ("uids", "number"),
    [
        ([], 0xCBF29CE484222325),
        (["a"], 0xAF63DC4C8601EC8C),
        (["foobar"], 0x85944171F73967E8),
    ],
)
def test_a_list_of_uids_is_named_by_its_fnv_hash_in_decimal(uids: list[str], number: int) -> None:
    assert uid_list_id(uids) == str(number)


def test_lists_in_another_order_are_other_channels() -> None:
    assert uid_list_id(["a", "b"]) == uid_list_id(["a,b"]) != uid_list_id(["b", "a"])


def test_some_ids_name_who_belongs_to_the_channel() -> None:
    assert named_in(ChannelType.PERSON, "b@a") == ("b", "a")
    assert named_in(ChannelType.PERSON, "a@a") == ("a",)
    assert named_in(ChannelType.AGENT, "u@a") == ("u", "a")
    assert named_in(ChannelType.VISITORS, "v") == ("v",)
    assert named_in(ChannelType.CUSTOMER_SERVICE, "v|desk|2") == ("v",)
    assert named_in(ChannelType.GROUP, "g") == ()


def test_a_topic_is_heard_by_the_members_of_its_community() -> None:
    assert members_channel(ChannelType.COMMUNITY_TOPIC, "c@t") == (ChannelType.COMMUNITY, "c")
    assert members_channel(ChannelType.GROUP, "g") == (ChannelType.GROUP, "g")


def test_topics_live_with_their_community_and_commands_with_their_channel() -> None:
    assert route_key_of_channel(ChannelType.GROUP, "g") == b"\x02g"
    assert route_key_of_channel(ChannelType.GROUP, "g____cmd") == b"\x02g"
    topic = route_key_of_channel(ChannelType.COMMUNITY_TOPIC, "c@t")
    assert topic == route_key_of_channel(ChannelType.COMMUNITY, "c")
    assert route_key_of_user("g") == b"\x00g"


@pytest.mark.parametrize("decode", [decode_operation, decode_query, decode_result, decode_send])
@given(body=st.binary(max_size=40))
def test_bytes_that_are_no_value_are_a_wire_error(decode, body: bytes) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(WireError):
        decode(b"\xc1" + body)


def test_values_come_back_from_their_bytes() -> None:
    send = SendMessage(2, "g", "alice", "1", b"x", flags=2, expire=7, topic="t", origin=9)
    assert decode_operation(encode(send)) == decode_send(encode(send)) == send
    assert decode_query(encode(Probe())) == Probe()
    assert decode_result(encode(Done(3, 4))) == Done(3, 4)
