"""Who is online, whom a login ends, and how lost announcements are repaired."""

from __future__ import annotations

import pytest
from router_rig import (
    GATEWAY_1,
    GATEWAY_2,
    PARTITIONS,
    ROUTER,
    STORAGE_1,
    STORAGE_2,
    Rig,
    entry,
    peer,
)

from zmqim.bus.effects import Send, View
from zmqim.bus.messages import (
    Announce,
    Kick,
    Login,
    LoginAck,
    OnlineAnswer,
    OnlineQuery,
    PresenceDiffers,
    PresenceDigest,
    PresenceEntry,
    PresenceShard,
    ShardDigest,
    Withdraw,
)
from zmqim.bus.presence import entry_hash
from zmqim.chat.channels import route_key_of_user
from zmqim.ids import NodeName
from zmqim.limits import PRESENCE_TTL_MS
from zmqim.ring.partitions import partition_of
from zmqim.router.presence import CONFLICT_AGE_MS, FRESH_MS, KICK_TEXT


def shard_of(uid: str) -> int:
    return partition_of(route_key_of_user(uid), PARTITIONS)


def digest_of(entries: list[PresenceEntry]) -> PresenceDigest:
    shards: dict[int, tuple[int, int]] = {}
    for one in entries:
        count, digest = shards.get(shard_of(one.uid), (0, 0))
        shards[shard_of(one.uid)] = (count + 1, digest ^ entry_hash(one))
    return PresenceDigest([ShardDigest(key, *value) for key, value in shards.items()])


def online(rig: Rig, *uids: str) -> list[tuple[str, int]]:
    (send,) = rig.say(GATEWAY_2, OnlineQuery(1, list(uids)))
    assert isinstance(send.message, OnlineAnswer)
    return send.message.devices


def test_the_first_login_gets_number_one_and_a_repetition_the_same() -> None:
    rig = Rig()
    login = Login(5, entry(1, "ann", login_no=0))
    assert rig.say(GATEWAY_1, login) == [Send(GATEWAY_1, LoginAck(5, 1))]
    assert rig.say(GATEWAY_1, login) == [Send(GATEWAY_1, LoginAck(5, 1))]
    assert online(rig, "ann", "bob") == [("ann", 0)]


def test_devices_are_named_once_each_in_the_order_asked() -> None:
    rig = Rig()
    rig.say(
        GATEWAY_1,
        Announce([entry(1, "ann", flag=1), entry(2, "ann", flag=0), entry(3, "bob", flag=2)]),
    )
    rig.say(GATEWAY_2, Announce([entry(1, "ann", flag=1)]))
    assert online(rig, "bob", "ann") == [("bob", 2), ("ann", 1), ("ann", 0)]
    assert rig.core.gauges()["sessions"] == 4


SILENT, LOUD = (0, ""), (12, KICK_TEXT)


@pytest.mark.parametrize(
    ("held", "new", "kick"),
    [
        pytest.param((0, 1, "d1"), (0, 1, "d2"), LOUD, id="a master ends another device"),
        pytest.param((0, 0, "d1"), (0, 1, "d2"), LOUD, id="a master ends a slave"),
        pytest.param((0, 1, "d1"), (0, 1, "d1"), SILENT, id="a master comes back"),
        pytest.param((0, 0, "d1"), (0, 0, "d2"), None, id="slaves live side by side"),
        pytest.param((0, 1, "d1"), (0, 0, "d2"), None, id="a slave ends no master"),
        pytest.param((0, 0, "d1"), (0, 0, "d1"), SILENT, id="a slave comes back"),
        pytest.param((1, 1, "d1"), (0, 1, "d2"), None, id="another device flag stays"),
    ],
)
def test_which_sessions_a_login_ends(
    held: tuple[int, int, str], new: tuple[int, int, str], kick: tuple[int, str] | None
) -> None:
    rig = Rig()
    flag, level, device = held
    rig.say(GATEWAY_1, Login(1, entry(1, "ann", flag=flag, level=level, device=device)))
    flag, level, device = new
    sends = rig.say(GATEWAY_2, Login(2, entry(1, "ann", flag=flag, level=level, device=device)))
    number = 2 if held[0] == new[0] else 1
    expected = [Send(GATEWAY_2, LoginAck(2, number))]
    if kick is not None:
        expected.append(Send(GATEWAY_1, Kick([1], *kick)))
    assert sends == expected


def test_a_session_number_that_names_somebody_else_now_replaces_the_old_one() -> None:
    rig = Rig()
    rig.say(GATEWAY_1, Announce([entry(1, "ann")]))
    rig.say(GATEWAY_1, Announce([entry(1, "bob")]))
    assert online(rig, "ann", "bob") == [("bob", 0)]


def test_a_kick_that_had_no_effect_is_repeated_until_the_session_is_withdrawn() -> None:
    rig = Rig()
    rig.say(GATEWAY_1, Login(1, entry(1, "ann", level=1)))
    rig.core.peer_down(rig.now, GATEWAY_1)
    assert rig.say(GATEWAY_2, Login(2, entry(1, "ann", level=1, device="x"))) == [
        Send(GATEWAY_2, LoginAck(2, 2))
    ]
    rig.core.peer_up(rig.now, peer(GATEWAY_1))
    rig.turn()
    assert rig.wait(CONFLICT_AGE_MS) == [Send(GATEWAY_1, Kick([1], 12, KICK_TEXT))]
    rig.say(GATEWAY_1, Withdraw([1]))
    assert [send for send in rig.wait(CONFLICT_AGE_MS) if isinstance(send.message, Kick)] == []


@pytest.mark.promise("P12")
def test_two_logins_that_two_routers_admitted_end_as_one_the_later_number_wins() -> None:
    rig = Rig()
    rig.say(GATEWAY_1, Announce([entry(1, "ann", level=1, login_no=3)]))
    rig.say(GATEWAY_2, Announce([entry(1, "ann", level=1, device="x", login_no=2)]))
    assert rig.wait(CONFLICT_AGE_MS - 1) == []
    assert rig.wait(1) == [Send(GATEWAY_2, Kick([1], 12, KICK_TEXT))]


def test_logins_of_equal_number_are_told_apart_by_their_place() -> None:
    rig = Rig()
    rig.say(GATEWAY_2, Announce([entry(1, "ann", level=1)]))
    rig.say(GATEWAY_1, Announce([entry(9, "ann", level=1)]))
    assert rig.wait(CONFLICT_AGE_MS) == [Send(GATEWAY_1, Kick([9], 12, KICK_TEXT))]


def test_a_stale_entry_that_digests_clear_ends_nobodys_session() -> None:
    rig = Rig()
    rig.say(GATEWAY_1, Announce([entry(1, "ann", level=1, login_no=9)]))
    rig.say(GATEWAY_2, Announce([entry(1, "ann", level=1, device="x", login_no=1)]))
    rig.say(GATEWAY_1, PresenceShard(shard_of("ann"), []))
    assert rig.wait(CONFLICT_AGE_MS) == []


@pytest.mark.promise("P12")
def test_digests_repair_a_lost_announce_and_a_lost_withdraw() -> None:
    rig = Rig()
    truth = [entry(1, "ann"), entry(2, "bob"), entry(3, "cid")]
    rig.say(GATEWAY_1, Announce([entry(2, "bob"), entry(4, "dan")]))
    (send,) = rig.say(GATEWAY_1, digest_of(truth))
    differing = sorted({shard_of("ann"), shard_of("cid"), shard_of("dan")})
    assert send == Send(GATEWAY_1, PresenceDiffers(differing))
    for partition in differing:
        there = [one for one in truth if shard_of(one.uid) == partition]
        assert rig.say(GATEWAY_1, PresenceShard(partition, there)) == []
    assert rig.say(GATEWAY_1, digest_of(truth)) == []
    assert online(rig, "ann", "bob", "cid", "dan") == [("ann", 0), ("bob", 0), ("cid", 0)]


def test_a_shard_sent_before_its_gateway_learned_of_a_login_does_not_undo_it() -> None:
    rig = Rig()
    rig.say(GATEWAY_1, Login(1, entry(1, "ann")))
    rig.say(GATEWAY_1, PresenceShard(shard_of("ann"), []))
    assert online(rig, "ann") == [("ann", 0)]
    rig.wait(FRESH_MS)
    rig.say(GATEWAY_1, PresenceShard(shard_of("ann"), []))
    assert online(rig, "ann") == []


def test_withdrawing_an_unknown_session_changes_nothing() -> None:
    rig = Rig()
    rig.say(GATEWAY_1, Announce([entry(1, "ann")]))
    rig.say(GATEWAY_1, Withdraw([2, 3]))
    rig.core.presence.withdraw(NodeName("gateway-9"), [1])
    assert online(rig, "ann") == [("ann", 0)]


def test_entries_of_a_gateway_that_sends_no_digest_are_dropped() -> None:
    rig = Rig()
    rig.say(GATEWAY_1, Announce([entry(1, "ann")]))
    rig.say(GATEWAY_2, PresenceDigest([]))
    rig.wait(PRESENCE_TTL_MS - 1)
    assert online(rig, "ann") == []


def test_digests_keep_entries_alive() -> None:
    rig = Rig()
    rig.say(GATEWAY_1, Announce([entry(1, "ann")]), digest_of([entry(1, "ann")]))
    for _ in range(4):
        rig.wait(PRESENCE_TTL_MS - 1)
        assert rig.say(GATEWAY_1, digest_of([entry(1, "ann")])) == []
    assert online(rig, "ann") == [("ann", 0)]


def view(*gateways: NodeName) -> View:
    return View(gateways, (ROUTER,), (STORAGE_1, STORAGE_2))


@pytest.mark.promise("P12")
def test_a_gateway_that_leaves_the_view_loses_its_sessions_at_once() -> None:
    rig = Rig()
    rig.say(GATEWAY_1, Announce([entry(1, "ann")]))
    rig.core.view_changed(rig.now, view(GATEWAY_2))
    assert online(rig, "ann") == []


def test_a_gateway_without_link_counts_as_offline_and_comes_back_with_its_sessions() -> None:
    rig = Rig()
    rig.say(GATEWAY_1, Announce([entry(1, "ann")]))
    rig.core.peer_down(rig.now, GATEWAY_1)
    assert online(rig, "ann") == []
    rig.core.peer_up(rig.now, peer(GATEWAY_1))
    assert online(rig, "ann") == [("ann", 0)]


def test_a_new_life_of_a_gateway_has_none_of_the_old_sessions() -> None:
    rig = Rig()
    rig.say(GATEWAY_1, Announce([entry(1, "ann")]))
    rig.core.peer_up(rig.now, peer(GATEWAY_1, 2))
    assert online(rig, "ann") == []


def test_a_gateway_that_no_view_names_is_gone_with_its_link() -> None:
    rig = Rig()
    name = NodeName("gateway-node")
    rig.core.peer_up(rig.now, peer(name))
    rig.say(name, Announce([entry(1, "ann")]))
    rig.core.peer_down(rig.now, name)
    rig.core.peer_up(rig.now, peer(name))
    assert online(rig, "ann") == []


def test_a_gateway_that_returns_to_the_view_on_the_same_link_is_asked_for_everything() -> None:
    rig = Rig()
    rig.say(GATEWAY_1, Announce([entry(1, "ann")]))
    rig.core.view_changed(rig.now, view(GATEWAY_2))
    rig.core.view_changed(rig.now, view(GATEWAY_1, GATEWAY_2))
    assert rig.turn() == [Send(GATEWAY_1, PresenceDiffers(list(range(PARTITIONS))))]


def test_a_gateway_that_leaves_the_view_after_its_link_is_forgotten() -> None:
    rig = Rig()
    rig.say(GATEWAY_1, Announce([entry(1, "ann")]))
    rig.core.peer_down(rig.now, GATEWAY_1)
    rig.core.view_changed(rig.now, view(GATEWAY_2))
    rig.core.peer_up(rig.now, peer(GATEWAY_1))
    assert online(rig, "ann") == []
