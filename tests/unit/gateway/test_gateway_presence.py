"""What routers are told of sessions, and how what they lost is repaired."""

from __future__ import annotations

import pytest
from gateway_rig import Rig, connect_packet, messages, user_row

from zmqim import limits
from zmqim.bus.effects import Peer, Send
from zmqim.bus.messages import (
    Announce,
    Login,
    LoginAck,
    Ping,
    PresenceDiffers,
    PresenceDigest,
    PresenceEntry,
    PresenceShard,
    Role,
    ShardDigest,
    Withdraw,
)
from zmqim.bus.presence import entry_hash
from zmqim.ids import Incarnation, NodeName, NodeUuid


def peer(name: str, role: Role = Role.ROUTER) -> Peer:
    return Peer(NodeName(name), role, NodeUuid(name.encode().ljust(16)), Incarnation(1))


def entry(session: int, uid: str) -> PresenceEntry:
    return PresenceEntry(session, uid, 0, 0, "phone", 1)


ADA, BOB, CID = entry(1, "ada"), entry(2, "bob"), entry(3, "cid")


@pytest.fixture
def rig() -> Rig:
    """One partition: every entry is in one shard."""
    rig = Rig(partitions=1)
    rig.up("router-1")
    for one in (ADA, BOB, CID):
        rig.open_session(one.session, one.uid)
    return rig


def digest_of(*entries: PresenceEntry) -> PresenceDigest:
    digest = 0
    for one in entries:
        digest ^= entry_hash(one)
    return PresenceDigest([ShardDigest(0, len(entries), digest)] if entries else [])


@pytest.mark.promise("P12")
def test_digests_go_to_every_router_every_ten_seconds(rig: Rig) -> None:
    rig.up("router-2")
    rig.core.session_closed(rig.now, 2)
    effects = rig.advance(limits.PRESENCE_DIGEST_MS)
    assert digest_of(ADA, CID) in messages(effects, "router-1")
    assert digest_of(ADA, CID) in messages(effects, "router-2")
    rig.core.session_closed(rig.now, 1)
    rig.core.session_closed(rig.now, 3)
    assert digest_of() in messages(rig.advance(limits.PRESENCE_DIGEST_MS))


def test_a_router_that_differs_gets_the_whole_shard(rig: Rig) -> None:
    rig.receive(PresenceDiffers([0, 9]))
    assert messages(rig.turn()) == [PresenceShard(0, [ADA, BOB, CID]), PresenceShard(9, [])]


def test_a_router_that_comes_up_is_told_everything(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PRESENCE_BATCH_MAX", 2)
    found = messages(rig.up("router-2"), "router-2")
    assert found[:3] == [Announce([ADA, BOB]), Announce([CID]), digest_of(ADA, BOB, CID)]


@pytest.mark.promise("P12")
def test_a_router_that_died_is_told_everything_in_its_next_life(rig: Rig) -> None:
    rig.up("router-2")
    rig.down("router-1")
    rig.core.session_closed(rig.now, 2)
    rig.turn()
    found = messages(rig.up("router-1"), "router-1")
    assert found[:2] == [Announce([ADA, CID]), digest_of(ADA, CID)]


@pytest.mark.promise("P12")
def test_a_login_that_the_dead_router_had_admitted_is_known_to_the_next(rig: Rig) -> None:
    rig.up("router-2")
    rig.accept(4)
    rig.packets(4, connect_packet("dan"))
    rig.turn()
    rig.answer(rig.asked[-1], user_row("dan"))
    [send] = [e for e in rig.turn() if isinstance(e, Send) and isinstance(e.message, Login)]
    rig.receive(LoginAck(send.message.request, 1), send.to)  # type: ignore[union-attr]
    rig.down(send.to)
    other = "router-1" if send.to == "router-2" else "router-2"
    assert Announce([entry(4, "dan")]) in messages(rig.turn(), other)


def test_a_router_that_goes_down_at_once_is_told_nothing(rig: Rig) -> None:
    rig.core.peer_up(rig.now, peer("router-2"))
    rig.down("router-2")
    assert [m for m in messages(rig.turn(), "router-2") if isinstance(m, Announce)] == []


def test_ends_of_one_turn_share_a_frame_to_every_live_router(rig: Rig) -> None:
    rig.up("router-2")
    rig.core.session_closed(rig.now, 1)
    rig.core.session_closed(rig.now, 3)
    assert rig.turn() == [
        Send("router-1", Withdraw([1, 3])),
        Send("router-2", Withdraw([1, 3])),
    ]


def test_only_routers_that_gossip_sees_are_live_while_it_sees_any(rig: Rig) -> None:
    rig.up("router-2")
    rig.view("router-2", "router-3")
    rig.core.session_closed(rig.now, 1)
    assert rig.turn() == [Send("router-2", Withdraw([1]))]
    rig.view("router-3")
    rig.core.session_closed(rig.now, 2)
    assert len(rig.turn()) == 2


def test_what_is_not_for_gateways_is_counted(rig: Rig) -> None:
    rig.receive(Ping(False))
    rig.core.undeliverable(rig.now, "router-1", Ping(False))
    assert rig.core.counters.read()["messages_ignored"] == 1
    assert rig.core.counters.read()["sends_bounced"] == 1


def test_links_to_storages_are_none_of_its_business(rig: Rig) -> None:
    rig.core.peer_up(rig.now, peer("storage-1", Role.STORAGE))
    assert rig.turn() == []
    assert rig.core.gauges()["routers"] == 1
