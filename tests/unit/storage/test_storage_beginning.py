"""What a storage does before the cluster is born: it keeps who is linked, and lets birth speak."""

from __future__ import annotations

from storage_trio import ONE, TWO, ring_of_three
from storage_world import (
    CLUSTER,
    ROUTER,
    STORAGE,
    places_of,
    record_of,
    router_peer,
    storage_peer,
    uuid_of,
)

from zmqim.bus.effects import Send, View
from zmqim.bus.messages import Propose
from zmqim.bus.replication import BirthOffer, BirthStatus
from zmqim.meta.birth import BirthCore, Phase, WriteBirth
from zmqim.storage.beginning import Beginning

RING = ring_of_three()


def beginning() -> Beginning:
    """One of three storages, with an empty folder."""
    birth = BirthCore(TWO, uuid_of(TWO), CLUSTER, RING, places_of(RING), None)
    return Beginning(birth)


def test_everyone_linked_is_kept_for_the_storage_core_until_the_link_is_gone() -> None:
    begun = beginning()
    view = View((), (ROUTER,), (STORAGE,))
    begun.view_changed(0, view)
    for peer in (router_peer(), storage_peer(ONE)):
        begun.peer_up(0, peer)
    assert begun.peers == {ROUTER: router_peer(), ONE: storage_peer(ONE)}
    assert begun.view == view
    begun.peer_down(1, ROUTER)
    assert list(begun.peers) == [ONE]


def test_only_storages_are_asked_and_what_is_not_of_birth_is_counted() -> None:
    begun = beginning()
    for peer in (router_peer(), storage_peer(ONE)):
        begun.peer_up(0, peer)
    sent = begun.birth.turn(0)
    assert {effect.to for effect in sent if isinstance(effect, Send)} == {ONE}
    begun.receive(0, ROUTER, Propose([]))
    assert begun.birth.refused == 0, "routers are not heard yet"
    begun.receive(0, ONE, Propose([]))
    assert begun.birth.refused == 1
    begun.undeliverable(0, ONE, BirthStatus(b"", False, True))


def test_an_offer_ends_the_beginning() -> None:
    begun = beginning()
    begun.peer_up(0, storage_peer(ONE))
    record = record_of(RING)
    begun.receive(0, ONE, BirthOffer(record.encode()))
    assert WriteBirth(record) in begun.birth.turn(1)
    assert begun.birth.phase is Phase.READY
    begun.peer_down(2, ONE)
    assert begun.birth.turn(3) == []
