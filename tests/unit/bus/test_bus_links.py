"""Links between lives of processes: both ends of a pair joined by a wire that the tests hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
import pytest

from zmqim.bus.admission import Terms, routing_id
from zmqim.bus.effects import Peer
from zmqim.bus.envelope import NO_INCARNATION, NO_NODE, BadBody, Header
from zmqim.bus.link_events import (
    Left,
    LinkEvent,
    LinkFault,
    PeerDown,
    PeerUp,
    Place,
    Received,
    Refused,
    Reply,
    SayHello,
    Transmit,
)
from zmqim.bus.link_table import TRANSITIONS, Occurrence, State
from zmqim.bus.links import Links, dials
from zmqim.bus.messages import (
    DeliverAck,
    Goodbye,
    Hello,
    JoinRefused,
    Message,
    Ping,
    Role,
    Welcome,
    WhoAreYou,
)
from zmqim.ids import Incarnation, Milliseconds, NodeName, NodeUuid
from zmqim.limits import (
    HELLO_RETRY_MS,
    JOIN_GRACE_MS,
    JOIN_SETTLED_MS,
    LINK_PING_MS,
    LINK_SILENCE_MS_MAX,
    MEMBERS_MAX,
)

DATA = DeliverAck(1)
ROLES = {
    "gateway-1": Role.GATEWAY,
    "gateway-2": Role.GATEWAY,
    "router-1": Role.ROUTER,
    "router-2": Role.ROUTER,
    "storage-1": Role.STORAGE,
}
PLACES = {
    NodeName(name): Place(NodeName(name), role, "here", f"tcp://{name}", f"tcp://{name}-pub")
    for name, role in ROLES.items()
}
DIGESTS = {"partitions": "a", "replicas": "b"}


class End:
    """One process: its links, and the frames that they want carried."""

    def __init__(
        self,
        name: str,
        *,
        uuid: str | None = None,
        incarnation: int = 1,
        ring: bytes = b"ring",
        digests: dict[str, str] | None = None,
        role: int | None = None,
        now: int = 0,
    ) -> None:
        node_uuid = NodeUuid((uuid or name).encode().ljust(16, b".")[:16])
        role = ROLES.get(name, Role.GATEWAY) if role is None else role
        self.me = Peer(NodeName(name), role, node_uuid, Incarnation(incarnation))
        home = PLACES.get(self.me.name) or Place(self.me.name, role, "there", "", "tcp://f")
        others = [place for place in PLACES.values() if place.name != name]
        terms = Terms(
            {place.name: place.role for place in PLACES.values()}, ring, b"{}", digests or DIGESTS
        )
        self.links = Links(self.me, home, others, terms, Milliseconds(now))
        self.route = routing_id(name, node_uuid, incarnation)
        self.told: list[LinkEvent] = []
        """What a core would hear."""

    def header(self, to: Peer | None, link: int) -> Header:
        node, life = (to.node_uuid, to.incarnation) if to else (NO_NODE, NO_INCARNATION)
        return Header(self.me.node_uuid, self.me.incarnation, node, life, link)


class Wire:
    """Carries frames between a dialling and an accepting end, in order, as long as it is whole."""

    def __init__(self, dialer: End, acceptor: End) -> None:
        self.dialer, self.acceptor = dialer, acceptor
        self.whole = True
        self.faults: list[str] = []

    def run(self, now: int, *, tick: bool = True) -> None:
        """Let both ends do what is due and carry frames until nobody has any."""
        at = Milliseconds(now)
        if tick:
            self.dialer.links.tick(at)
            self.acceptor.links.tick(at)
        while self._carry(at, self.dialer, self.acceptor) + self._carry(
            at, self.acceptor, self.dialer
        ):
            pass

    def _carry(self, now: Milliseconds, source: End, target: End) -> int:
        events = source.links.take()
        for event in events:
            match event:
                case SayHello(name, hello, number) if name == target.me.name:
                    self._put(now, source, target, source.header(None, number), hello)
                case Transmit(name, message) if name == target.me.name:
                    link = source.links.link_to(name)
                    if link is not None:
                        header = source.header(link.peer, link.number)
                        self._put(now, source, target, header, message)
                case Reply(_, message, asked):
                    peer = Peer(target.me.name, 0, asked.from_node, asked.from_incarnation)
                    header = source.header(peer, asked.link)
                    self._put(now, source, target, header, message)
                case SayHello() | Transmit():
                    pass
                case told:
                    source.told.append(told)
        return len(events)

    def send(self, now: int, source: End, target: End, message: Message = DATA) -> None:
        """A message of a core, if its link stands."""
        link = source.links.link_to(target.me.name)
        assert link is not None
        header = source.header(link.peer, link.number)
        self._put(Milliseconds(now), source, target, header, message)
        self.run(now, tick=False)

    def _put(
        self, now: Milliseconds, source: End, target: End, header: Header, message: Message
    ) -> None:
        if not self.whole:
            return
        try:
            if target is self.acceptor:
                target.links.receive_accepted(now, source.route, header, iter([message]))
            else:
                target.links.receive_dialed(now, source.me.name, header, iter([message]))
        except LinkFault as fault:
            self.faults.append(fault.kind)


def linked(dialer: End | None = None, acceptor: End | None = None) -> Wire:
    wire = Wire(dialer or End("gateway-1"), acceptor or End("router-1"))
    wire.run(0)
    assert wire.dialer.told == [PeerUp(wire.acceptor.me)]
    assert wire.acceptor.told == [PeerUp(wire.dialer.me)]
    wire.dialer.told.clear()
    wire.acceptor.told.clear()
    return wire


def kinds(events: Iterable[LinkEvent]) -> list[type]:
    return [type(event) for event in events]


# ---- coming up ---------------------------------------------------------------------------------


def test_hello_and_welcome_bring_both_ends_up() -> None:
    wire = linked()
    wire.send(5, wire.dialer, wire.acceptor)
    wire.send(6, wire.acceptor, wire.dialer)
    assert wire.acceptor.told == [Received(NodeName("gateway-1"), DATA)]
    assert wire.dialer.told == [Received(NodeName("router-1"), DATA)]
    assert wire.faults == []


def test_hello_is_repeated_until_the_connection_carries_it() -> None:
    wire = Wire(End("gateway-1"), End("router-1"))
    wire.whole = False
    for now in range(0, 1_000, 10):
        wire.run(now)
    wire.whole = True
    wire.run(1_000)
    assert wire.acceptor.told == [PeerUp(wire.dialer.me)]
    assert "router-1" not in str(wire.dialer.links.problems(Milliseconds(1_000)))


def test_a_repeated_hello_of_one_link_changes_nothing() -> None:
    wire = linked()
    hello = hello_of(wire.dialer)
    header = wire.dialer.header(None, 1)
    wire.acceptor.links.receive_accepted(Milliseconds(1), wire.dialer.route, header, iter([hello]))
    wire.run(1)
    assert wire.dialer.told == wire.acceptor.told == []
    assert wire.faults == []


def test_a_hello_follows_a_new_connection_at_once() -> None:
    end = End("gateway-1")
    end.links.tick(Milliseconds(0))
    end.links.take()
    end.links.tick(Milliseconds(10))
    assert end.links.take() == []
    end.links.connected(Milliseconds(20), NodeName("router-1"))
    end.links.tick(Milliseconds(20))
    assert [e.name for e in end.links.take() if isinstance(e, SayHello)] == ["router-1"]


def test_who_dials_whom() -> None:
    dialled = {
        name: [p.name for p in PLACES.values() if p.name != name and dials(End(name).me, p)]
        for name in ROLES
    }
    home = PLACES[NodeName("storage-1")]
    storages = [home._replace(name=NodeName(f"storage-{number}")) for number in (1, 2, 3)]
    assert [dials(End("storage-1").me, place) for place in storages] == [False, True, True]
    assert dialled == {
        "gateway-1": ["router-1", "router-2"],
        "gateway-2": ["router-1", "router-2"],
        "router-1": ["router-2", "storage-1"],
        "router-2": ["storage-1"],
        "storage-1": [],
    }


def hello_of(end: End) -> Hello:
    return Hello(
        end.me.name, end.me.role, "here", end.me.node_uuid, end.me.incarnation, "", b"ring", DIGESTS
    )


# ---- staying up --------------------------------------------------------------------------------


def test_a_quiet_link_is_kept_by_pings_of_both_ends() -> None:
    wire = linked()
    for now in range(0, 20 * LINK_PING_MS, 50):
        wire.run(now)
    assert wire.dialer.told == wire.acceptor.told == []
    assert wire.dialer.links.next_wake() <= 21 * LINK_PING_MS


def test_silence_takes_both_ends_down_and_the_next_link_has_the_next_number() -> None:
    wire = linked()
    wire.whole = False
    for now in range(0, LINK_SILENCE_MS_MAX + 50, 50):
        wire.run(now)
    assert wire.dialer.told == [PeerDown(NodeName("router-1"))]
    assert wire.acceptor.told == [PeerDown(NodeName("gateway-1"))]
    wire.whole = True
    wire.run(LINK_SILENCE_MS_MAX + 200)
    link = wire.dialer.links.link_to(NodeName("router-1"))
    assert link is not None
    assert link.number == 2
    assert kinds(wire.dialer.told) == kinds(wire.acceptor.told) == [PeerDown, PeerUp]


def test_a_lost_connection_takes_the_link_down_at_once() -> None:
    wire = linked()
    wire.dialer.links.disconnected(Milliseconds(1), NodeName("router-1"))
    wire.acceptor.links.disconnected_route(Milliseconds(1), wire.dialer.route)
    wire.run(1)
    assert kinds(wire.dialer.told) == kinds(wire.acceptor.told) == [PeerDown, PeerUp]


def test_when_only_the_dialling_end_lost_the_link_the_other_is_told_down_and_up() -> None:
    wire = linked()
    wire.dialer.links.disconnected(Milliseconds(1), NodeName("router-1"))
    wire.run(1)
    assert kinds(wire.acceptor.told) == [PeerDown, PeerUp]


def test_when_only_the_accepting_end_lost_the_link_it_asks_and_both_begin_anew() -> None:
    wire = linked()
    wire.acceptor.links.disconnected_route(Milliseconds(1), wire.dialer.route)
    wire.run(1)
    wire.send(2, wire.dialer, wire.acceptor)
    assert kinds(wire.dialer.told) == [PeerDown]
    wire.run(2)
    assert kinds(wire.dialer.told) == [PeerDown, PeerUp]
    assert kinds(wire.acceptor.told) == [PeerDown, PeerUp]


def test_goodbye_ends_the_link_and_says_that_it_was_meant() -> None:
    wire = linked()
    wire.acceptor.links.leave(Milliseconds(1))
    wire.run(1)
    assert kinds(wire.dialer.told) == [Left, PeerDown]
    wire.run(1 + HELLO_RETRY_MS)
    assert kinds(wire.dialer.told) == [Left, PeerDown]
    assert set(wire.faults) == {"leaving"}


# ---- lives -------------------------------------------------------------------------------------


def test_stale_frames_of_a_past_link_or_life_are_dropped_and_counted() -> None:
    wire = linked()
    dialer, acceptor = wire.dialer, wire.acceptor
    sound = dialer.header(acceptor.me, 1)
    for header in (
        sound._replace(link=2),
        sound._replace(from_incarnation=Incarnation(2)),
        sound._replace(from_node=NodeUuid(b"x" * 16)),
        sound._replace(to_incarnation=Incarnation(2)),
        sound._replace(to_node=NodeUuid(b"x" * 16)),
    ):
        for message in (DATA, Ping(False), Goodbye()):
            with pytest.raises(LinkFault) as caught:
                acceptor.links.receive_accepted(
                    Milliseconds(1), dialer.route, header, iter([message])
                )
            assert caught.value.kind == "stale_frame"
    assert acceptor.links.take() == []


def test_a_router_that_restarted_asks_who_speaks_and_gets_a_new_link() -> None:
    wire = linked()
    wire.acceptor = End("router-1", uuid="another", now=10)
    wire.send(10, wire.dialer, wire.acceptor)
    assert wire.acceptor.told == []
    wire.run(20)
    assert wire.dialer.told == [PeerDown(NodeName("router-1")), PeerUp(wire.acceptor.me)]
    assert wire.acceptor.told == [PeerUp(wire.dialer.me)]


def test_a_restarted_gateway_is_admitted_at_once_when_its_connection_was_seen_to_end() -> None:
    wire = linked()
    wire.acceptor.links.disconnected_route(Milliseconds(5), wire.dialer.route)
    wire.dialer = End("gateway-1", uuid="second", now=5)
    wire.run(5)
    assert wire.acceptor.told == [PeerDown(NodeName("gateway-1")), PeerUp(wire.dialer.me)]


def test_a_restarted_gateway_waits_for_the_silence_of_its_past_life_and_no_longer() -> None:
    wire = linked()
    first, wire.dialer = wire.dialer, End("gateway-1", uuid="second", now=5)
    for now in range(5, LINK_SILENCE_MS_MAX, 5):
        wire.run(now)
    assert wire.acceptor.told == []
    assert "name_taken" in wire.faults
    problems = wire.acceptor.links.problems(Milliseconds(LINK_SILENCE_MS_MAX - 5))
    assert problems == ["a second process that calls itself gateway-1 asks router-1 for a link"]
    wire.run(LINK_SILENCE_MS_MAX + HELLO_RETRY_MS)
    assert wire.acceptor.told == [PeerDown(first.me.name), PeerUp(wire.dialer.me)]


def test_a_later_incarnation_replaces_the_earlier_at_once_and_never_the_reverse() -> None:
    wire = linked(End("router-1"), End("storage-1"))
    first, wire.dialer = wire.dialer, End("router-1", incarnation=2, now=5)
    wire.run(5)
    assert wire.acceptor.told == [PeerDown(NodeName("router-1")), PeerUp(wire.dialer.me)]
    wire.dialer = first
    hello = hello_of(first)
    header = first.header(None, 9)
    with pytest.raises(LinkFault, match="gone"):
        wire.acceptor.links.receive_accepted(Milliseconds(6), first.route, header, iter([hello]))


def test_a_late_hello_of_an_earlier_link_is_stale() -> None:
    wire = linked()
    wire.dialer.links.disconnected(Milliseconds(1), NodeName("router-1"))
    wire.run(1)
    hello = hello_of(wire.dialer)
    header = wire.dialer.header(None, 1)
    with pytest.raises(LinkFault) as caught:
        wire.acceptor.links.receive_accepted(
            Milliseconds(2), wire.dialer.route, header, iter([hello])
        )
    assert caught.value.kind == "stale_frame"


# ---- who may join ------------------------------------------------------------------------------


def test_a_process_with_another_ring_is_refused_by_the_names_of_the_keys_that_differ() -> None:
    differing = {"partitions": "z", "replicas": "b", "storage.storage-9.weight": "q"}
    wire = Wire(End("gateway-1", ring=b"other", digests=differing), End("router-1"))
    for now in range(0, JOIN_GRACE_MS + 1, 50):
        wire.run(now)
    sentence = (
        "the topology of gateway-1 differs from that of router-1 in "
        "partitions, storage.storage-9.weight"
    )
    assert wire.dialer.told[0] == Refused(sentence)
    assert sentence in wire.acceptor.links.problems(Milliseconds(JOIN_GRACE_MS))


def test_equal_keys_with_another_ring_are_told_as_another_version() -> None:
    wire = Wire(End("gateway-1", ring=b"other"), End("router-1"))
    for now in range(0, JOIN_GRACE_MS + 1, 50):
        wire.run(now)
    [refused] = {e.sentence for e in wire.dialer.told if isinstance(e, Refused)}
    assert "different versions of zmqim" in refused


def test_who_ran_long_in_agreement_stays_when_somebody_else_differs() -> None:
    wire = linked(acceptor=End("router-2"))
    stranger = Wire(End("router-1", ring=b"other", now=JOIN_SETTLED_MS), wire.acceptor)
    late = Wire(End("gateway-2", ring=b"other", now=JOIN_SETTLED_MS), wire.acceptor)
    for now in range(0, JOIN_SETTLED_MS + 4 * JOIN_GRACE_MS, 50):
        wire.run(now)
        if now > JOIN_SETTLED_MS:
            stranger.run(now)
            late.run(now)
    assert wire.acceptor.told == []
    assert kinds(stranger.dialer.told)[:1] == kinds(late.dialer.told)[:1] == [Refused]


def test_who_agrees_with_fewer_than_differ_stops_also_when_nobody_refuses_it() -> None:
    storage = End("storage-1", ring=b"other")
    wires = [Wire(End("router-1"), storage), Wire(End("router-2"), storage)]
    for now in range(0, 2 * JOIN_GRACE_MS, 50):
        for wire in wires:
            wire.run(now)
    assert kinds(storage.told)[:1] == [Refused]


def test_a_refusal_is_forgotten_when_the_process_stops_asking() -> None:
    wire = Wire(End("gateway-1", ring=b"other"), End("router-1"))
    wire.run(0)
    assert wire.acceptor.links.problems(Milliseconds(1)) != []
    wire.acceptor.links.tick(Milliseconds(LINK_SILENCE_MS_MAX + LINK_PING_MS))
    problems = wire.acceptor.links.problems(Milliseconds(LINK_SILENCE_MS_MAX + LINK_PING_MS))
    assert not [one for one in problems if "gateway-1" in one]


@pytest.mark.parametrize(
    ("end", "sentence"),
    [
        (End("router-1", uuid="twin"), "the name router-1 is taken: router-1 itself answers here"),
        (End("router-7", role=Role.ROUTER), "the topology of router-1 has no process router-7"),
        (End("gateway-1", role=Role.ROUTER), "gateway-1 is a gateway in router-1's topology"),
    ],
)
def test_who_is_not_in_the_topology_is_told_so(end: End, sentence: str) -> None:
    acceptor = End("router-1")
    hello = hello_of(end)
    header = end.header(None, 1)
    acceptor.links.receive_accepted(Milliseconds(1), end.route, header, iter([hello]))
    assert acceptor.links.take() == [Reply(end.route, JoinRefused(sentence, []), header)]


def follower(number: int) -> tuple[End, Hello]:
    end = End(f"node-{number}", uuid=f"{number}")
    hello = hello_of(end)
    return end, msgspec.structs.replace(hello, ring_hash=b"", key_digests={})


def test_followers_without_a_ring_are_admitted_up_to_a_bound() -> None:
    acceptor = End("router-1")
    for number in range(MEMBERS_MAX + 1):
        end, hello = follower(number)
        header = end.header(None, 1)
        acceptor.links.receive_accepted(Milliseconds(1), end.route, header, iter([hello]))
    events = acceptor.links.take()
    assert sum(isinstance(event, PeerUp) for event in events) == MEMBERS_MAX
    assert isinstance(events[-1], Reply)
    assert acceptor.links.member_of(NodeName("node-1")).host == "here"


def test_a_process_of_the_topology_must_have_its_ring() -> None:
    end = End("gateway-1")
    hello = hello_of(end)
    bare = msgspec.structs.replace(hello, ring_hash=b"", key_digests={})
    acceptor = End("router-1")
    acceptor.links.receive_accepted(Milliseconds(1), end.route, end.header(None, 1), iter([bare]))
    assert kinds(acceptor.links.take()) == [Reply]


@pytest.mark.parametrize("name", ["", "a:b", "a b", "näme", "x" * 65, "tab\t"])
def test_names_that_cannot_stand_in_an_identity_are_faults(name: str) -> None:
    end = End(name)
    hello = hello_of(end)
    acceptor = End("router-1")
    with pytest.raises(LinkFault) as caught:
        acceptor.links.receive_accepted(
            Milliseconds(1), end.route, end.header(None, 1), iter([hello])
        )
    assert caught.value.kind == "bad_hello"


def test_a_hello_whose_routing_id_names_another_life_is_a_fault() -> None:
    end, acceptor = End("gateway-1"), End("router-1")
    hello = hello_of(end)
    header = end.header(None, 1)
    wrong = (routing_id("gateway-1", end.me.node_uuid, 2), b"", b"gateway-1")
    for route in wrong:
        with pytest.raises(LinkFault):
            acceptor.links.receive_accepted(Milliseconds(1), route, header, iter([hello]))


def test_another_process_at_the_dialled_address_is_named_in_the_problems() -> None:
    end = End("gateway-1")
    other = End("router-2")
    welcome = Welcome("router-2", 2, other.me.node_uuid, other.me.incarnation, b"ring", b"")
    with pytest.raises(LinkFault) as caught:
        end.links.receive_dialed(
            Milliseconds(1), NodeName("router-1"), other.header(end.me, 1), iter([welcome])
        )
    assert caught.value.kind == "wrong_name"
    [problem, _] = end.links.problems(Milliseconds(5_000))
    assert problem.endswith("no link to router-1 for 5 s: router-2 answers at tcp://router-1")


def test_a_welcome_that_names_another_life_than_its_frame_is_a_fault() -> None:
    end, router = End("gateway-1"), End("router-1")
    welcome = Welcome("router-1", 2, b"y" * 16, 1, b"ring", b"")
    with pytest.raises(LinkFault) as caught:
        end.links.receive_dialed(
            Milliseconds(1), NodeName("router-1"), router.header(end.me, 1), iter([welcome])
        )
    assert caught.value.kind == "bad_welcome"


@pytest.mark.parametrize(
    "message", [JoinRefused("no", []), Welcome("router-1", 2, b"", 1, b"", b"")]
)
def test_answers_to_an_earlier_hello_are_stale(message: Message) -> None:
    end, router = End("gateway-1"), End("router-1")
    header = router.header(end.me, 7)
    with pytest.raises(LinkFault) as caught:
        end.links.receive_dialed(Milliseconds(1), NodeName("router-1"), header, iter([message]))
    assert caught.value.kind == "stale_frame"


def test_a_question_about_an_earlier_link_is_stale() -> None:
    wire = linked()
    question = WhoAreYou()
    header = wire.acceptor.header(wire.dialer.me, 0)
    with pytest.raises(LinkFault):
        wire.dialer.links.receive_dialed(
            Milliseconds(1), NodeName("router-1"), header, iter([question])
        )


# ---- frames of several messages ----------------------------------------------------------------


def joined_by(names: tuple[str, str]) -> Wire:
    """A standing link between these two, whose events were taken."""
    wire = Wire(End(names[0]), End(names[1]))
    wire.run(1)
    assert wire.faults == []
    return wire


def give(wire: Wire, source: End, header: Header, *messages: Message) -> list[LinkEvent]:
    """What the other end makes of a frame of the link."""
    at = Milliseconds(2)
    if source is wire.dialer:
        wire.acceptor.links.receive_accepted(at, source.route, header, iter(messages))
        return wire.acceptor.links.take()
    wire.dialer.links.receive_dialed(at, source.me.name, header, iter(messages))
    return wire.dialer.links.take()


BOTH_WAYS = pytest.mark.parametrize("way", [0, 1])


def ends(wire: Wire, way: int) -> tuple[End, End]:
    return (wire.dialer, wire.acceptor) if way == 0 else (wire.acceptor, wire.dialer)


@BOTH_WAYS
def test_messages_of_a_frame_are_received_in_order(way: int) -> None:
    wire = joined_by(("gateway-1", "router-1"))
    source, target = ends(wire, way)
    sent: list[Message] = [DeliverAck(number) for number in range(5)]
    sent[3:3] = [Ping(False)]
    found = give(wire, source, source.header(target.me, 1), *sent)
    name = source.me.name
    assert found == [
        *[Received(name, DeliverAck(number)) for number in range(3)],
        Transmit(name, Ping(True)),
        *[Received(name, DeliverAck(number)) for number in (3, 4)],
    ]


@BOTH_WAYS
def test_a_frame_of_a_past_link_is_one_fault_and_nothing_of_it_is_received(way: int) -> None:
    wire = joined_by(("gateway-1", "router-1"))
    source, target = ends(wire, way)
    with pytest.raises(LinkFault, match="gone"):
        give(wire, source, source.header(target.me, 2), DATA, DATA)
    assert target.links.take() == []


@BOTH_WAYS
def test_what_stands_behind_a_goodbye_is_not_read(way: int) -> None:
    wire = joined_by(("gateway-1", "router-1"))
    source, target = ends(wire, way)
    found = give(wire, source, source.header(target.me, 1), DATA, Goodbye(), DATA, DATA)
    name = source.me.name
    assert found == [Received(name, DATA), Left(name), PeerDown(name)]


def test_a_frame_on_no_link_is_asked_about_once() -> None:
    wire = Wire(End("gateway-1"), End("router-1"))
    header = wire.dialer.header(wire.acceptor.me, 1)
    found = give(wire, wire.dialer, header, DATA, DATA, DATA)
    assert found == [Reply(wire.dialer.route, WhoAreYou(), header)]


def test_a_welcome_may_have_data_and_even_a_goodbye_behind_it_in_its_frame() -> None:
    wire = Wire(End("gateway-1"), End("router-1"))
    router = wire.acceptor
    welcome = Welcome("router-1", Role.ROUTER, router.me.node_uuid, 1, b"ring", b"{}")
    header = router.header(wire.dialer.me, 1)
    found = give(wire, router, header, welcome, DATA, Goodbye(), DATA)
    name = router.me.name
    assert found == [PeerUp(router.me), Received(name, DATA), Left(name), PeerDown(name)]


def test_behind_a_hello_nothing_passes_and_a_hello_that_is_not_first_is_a_fault() -> None:
    wire = Wire(End("gateway-1"), End("router-1"))
    hello = wire.dialer.links._hello
    with pytest.raises(LinkFault, match="gone"):
        give(wire, wire.dialer, wire.dialer.header(None, 1), hello, DATA)
    wire.acceptor.links.take()
    with pytest.raises(LinkFault) as caught:
        give(wire, wire.dialer, wire.dialer.header(wire.acceptor.me, 1), DATA, hello)
    assert caught.value.kind == "out_of_order"
    assert wire.acceptor.links.take() == [Received(wire.dialer.me.name, DATA)]


def test_messages_before_one_that_cannot_be_read_are_received() -> None:
    wire = joined_by(("gateway-1", "router-1"))

    def torn() -> Iterator[Message]:
        yield DATA
        yield DATA
        raise BadBody("torn")

    header = wire.dialer.header(wire.acceptor.me, 1)
    with pytest.raises(BadBody):
        wire.acceptor.links.receive_accepted(Milliseconds(2), wire.dialer.route, header, torn())
    assert wire.acceptor.links.take() == [Received(wire.dialer.me.name, DATA)] * 2


# ---- the table ---------------------------------------------------------------------------------


MESSAGE_OF: dict[Occurrence, Message] = {
    Occurrence.WELCOME: Welcome("router-1", 2, b"router-1........", 1, b"ring", b""),
    Occurrence.REFUSAL: JoinRefused("no", []),
    Occurrence.QUESTION: WhoAreYou(),
    Occurrence.PING: Ping(False),
    Occurrence.GOODBYE: Goodbye(),
    Occurrence.DATA: DATA,
    Occurrence.HELLO: hello_of(End("gateway-1")),
}


def test_the_table_is_complete() -> None:
    assert {state: set(row) for state, row in TRANSITIONS.items()} == {
        state: set(Occurrence) for state in State
    }


@pytest.mark.parametrize("occurrence", MESSAGE_OF)
@pytest.mark.parametrize("state", State)
def test_every_message_in_every_state_is_legal_or_a_wire_error(
    state: State, occurrence: Occurrence
) -> None:
    stands = state in (State.UP, State.ADMITTED)
    wire = linked() if stands else Wire(End("gateway-1"), End("router-1"))
    message = MESSAGE_OF[occurrence]
    at, name, route = Milliseconds(1), NodeName("router-1"), wire.dialer.route
    fault = ""
    try:
        if state in (State.CONNECTING, State.UP):
            header = wire.acceptor.header(wire.dialer.me, 1)
            wire.dialer.links.receive_dialed(at, name, header, iter([message]))
        else:
            header = wire.dialer.header(wire.acceptor.me, 1)
            wire.acceptor.links.receive_accepted(at, route, header, iter([message]))
    except LinkFault as caught:
        fault = caught.kind
    assert fault in ("", "out_of_order", "stale_frame")
    for now in range(100, 2 * LINK_SILENCE_MS_MAX, 100):
        wire.run(now)
    assert wire.dialer.links.link_to(name) is not None
    assert wire.acceptor.links.link_to(NodeName("gateway-1")) is not None


def test_a_lost_connection_of_which_nothing_is_known_is_nothing() -> None:
    end = End("router-1")
    end.links.take()
    end.links.disconnected_route(Milliseconds(1), b"unknown")
    end.links.disconnected(Milliseconds(1), NodeName("gateway-1"))
    end.links.disconnected(Milliseconds(1), NodeName("storage-1"))
    assert end.links.take() == []
