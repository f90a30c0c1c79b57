"""Links: which life of which process is at the other end of a connection, and whether it still is.

ZeroMQ reconnects silently, keeps queues of the dead and tells nobody what it lost (pitfalls Z4,
Z5, Z13). So each pair of processes agrees on a *link* by Hello and Welcome, numbered by the side
that dials; every later frame carries the lives of both ends and that number, and whatever does
not match is dropped. A link ends with silence, Goodbye, a lost connection or a question
(WhoAreYou) from a peer that knows nothing of it; the dialling side then says Hello again under
the next number. In between the core is told PeerDown and PeerUp.

Pure: the whole machine is the table in `zmqim.bus.link_table`; what it wants done gathers in
`take()`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from zmqim.bus.admission import Terms, is_name, refusal_of, routing_id
from zmqim.bus.effects import Peer
from zmqim.bus.envelope import Header
from zmqim.bus.link import Link
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
from zmqim.bus.link_table import OCCURRENCES, TRANSITIONS, Action, Occurrence, State
from zmqim.bus.messages import (
    Goodbye,
    Hello,
    JoinRefused,
    Member,
    MemberState,
    Message,
    Ping,
    Role,
    Welcome,
    WhoAreYou,
)
from zmqim.ids import Milliseconds, NodeName
from zmqim.limits import (
    HELLO_RETRY_MS,
    JOIN_GRACE_MS,
    JOIN_SETTLED_MS,
    LINK_PING_MS,
    LINK_SILENCE_MS_MAX,
    MEMBERS_MAX,
)


class _Arrival:
    """A frame on its way through the table. A plain class for the reason of `Send`."""

    __slots__ = ("header", "link", "message", "now", "route")

    def __init__(
        self, now: Milliseconds, link: Link, route: bytes, header: Header, message: Message
    ) -> None:
        self.now = now
        self.link = link
        self.route = route
        self.header = header
        self.message = message


class _Rejected(NamedTuple):
    """A process of the topology whose Hello was refused: since when, when last, and why."""

    since: int
    last: int
    sentence: str


def dials(me: Peer, place: Place) -> bool:
    """Who connects to whom: gateways to routers, routers to storages and to later routers, storages
    to later storages."""
    if me.role == Role.GATEWAY:
        return place.role == Role.ROUTER
    if me.role == Role.ROUTER and place.role == Role.STORAGE:
        return True
    return place.role == me.role and place.name > me.name


class Links:
    """All links of one process. Feed it frames, connection events and time; then `take()`."""

    def __init__(
        self, me: Peer, home: Place, places: Iterable[Place], terms: Terms, now: Milliseconds
    ) -> None:
        """`home` is where `me` lives, `places` the other processes of the topology."""
        self._me = me
        self._terms = terms
        self._started = now
        self._places = {place.name: place for place in places}
        self._links = {
            place.name: Link(place, State.CONNECTING, now)
            for place in self._places.values()
            if dials(me, place)
        }
        self._hello = Hello(
            me.name,
            me.role,
            home.host,
            me.node_uuid,
            me.incarnation,
            home.pub_address,
            terms.ring_hash,
            dict(terms.key_digests),
        )
        self._welcome = Welcome(
            me.name, me.role, me.node_uuid, me.incarnation, terms.ring_hash, terms.ring_document
        )
        self._names: dict[bytes, NodeName] = {}
        """Whose link a routing id carries."""
        self._rejected: dict[NodeName, _Rejected] = {}
        self._taken: dict[NodeName, int] = {}
        """Names under which a second process knocked, and when last."""
        self._settled = False
        self._leaving = False
        self._due = now
        self._events: list[LinkEvent] = []
        self._actions = {
            Action.IGNORE: self._ignore,
            Action.FAULT: self._fault,
            Action.STALE: self._stale,
            Action.COME_UP: self._come_up,
            Action.NOTE_REFUSAL: self._note_refusal,
            Action.ADMIT: self._admit,
            Action.READMIT: self._readmit,
            Action.ASK: self._ask,
            Action.TAKE_PING: self._take_ping,
            Action.TAKE_DATA: self._take_data,
            Action.TAKE_GOODBYE: self._take_goodbye,
            Action.ANSWER_QUESTION: self._answer_question,
        }

    # ---- what happens ----------------------------------------------------------------------

    def receive_dialed(
        self, now: Milliseconds, name: NodeName, header: Header, messages: Iterator[Message]
    ) -> None:
        """A frame from the connection that we dialled to `name`. Raises `LinkFault`, and what
        `messages` raises: the messages before the bad one are received, it and the rest are not."""
        self._receive(now, self._links[name], b"", header, next(messages), messages)

    def receive_accepted(
        self, now: Milliseconds, route: bytes, header: Header, messages: Iterator[Message]
    ) -> None:
        """A frame from a connection that was dialled to us. Raises as `receive_dialed`."""
        first = next(messages)
        if isinstance(first, Hello):
            name = self._name_in(first, route, header)
        else:
            name = self._names.get(route, NodeName(""))
        link = self._links.get(name)
        if link is None:
            role = self._terms.roles.get(name, Role.GATEWAY)
            link = Link(Place(name, role, "", "", ""), State.VACANT, now)
        self._receive(now, link, route, header, first, messages)

    def _receive(
        self,
        now: Milliseconds,
        link: Link,
        route: bytes,
        header: Header,
        first: Message,
        rest: Iterator[Message],
    ) -> None:
        """The header is checked with the first message of data, and good for those behind it."""
        action = self._act(_Arrival(now, link, route, header, first))
        name = link.place.name
        for message in rest:
            if action is Action.TAKE_DATA and type(message) not in OCCURRENCES:
                self._events.append(Received(name, message))
                continue
            if not link.stands:
                return
            if isinstance(message, Hello):
                raise LinkFault("out_of_order", "a Hello that is not the first of its frame")
            action = self._act(_Arrival(now, link, route, header, message))

    def _act(self, arrival: _Arrival) -> Action:
        occurrence = OCCURRENCES.get(type(arrival.message), Occurrence.DATA)
        action = TRANSITIONS[arrival.link.state][occurrence]
        self._actions[action](arrival)
        return action

    def connected(self, now: Milliseconds, name: NodeName) -> None:
        """The dialled connection to `name` stands: say Hello at once."""
        link = self._links[name]
        if link.state is State.CONNECTING and not link.refused_since:
            link.hello_due = self._due = now

    def disconnected(self, now: Milliseconds, name: NodeName) -> None:
        """The connection to `name` is lost, or cannot be written to."""
        self._apply(now, self._links.get(name), Occurrence.DISCONNECT)

    def disconnected_route(self, now: Milliseconds, route: bytes) -> None:
        """The connection with that routing id is lost."""
        name = self._names.get(route)
        if name is not None:
            self.disconnected(now, name)

    def tick(self, now: Milliseconds) -> None:
        """Do what is due: Hellos, Pings, silence. Cheap when nothing is."""
        if now < self._due:
            return
        self._due = Milliseconds(now + LINK_PING_MS)
        for link in list(self._links.values()):
            self._watch(now, link)
        self._judge_ourselves(now)

    def leave(self, now: Milliseconds) -> None:
        """Say Goodbye to everyone; nobody is admitted any more."""
        self._leaving = True
        for name, link in self._links.items():
            if link.stands:
                self._events.append(Transmit(name, Goodbye()))

    def take(self) -> list[LinkEvent]:
        """What gathered since the last call, in order."""
        events, self._events = self._events, []
        return events

    # ---- what is known ---------------------------------------------------------------------

    def next_wake(self) -> Milliseconds:
        """When `tick` must be called at the latest."""
        return self._due

    def link_to(self, name: NodeName) -> Link | None:
        """The standing link to `name`."""
        link = self._links.get(name)
        return link if link is not None and link.stands else None

    def member_of(self, name: NodeName) -> Member:
        """The process at the other end of a standing link, as gossip takes it."""
        link = self._links[name]
        peer, place = link.peer, link.place
        assert peer is not None
        return Member(
            name=peer.name,
            role=peer.role,
            host=place.host,
            node_uuid=peer.node_uuid,
            incarnation=peer.incarnation,
            refute=0,
            state=MemberState.ALIVE,
            counter=0,
            address=place.address,
            pub_address=place.pub_address,
        )

    def problems(self, now: Milliseconds) -> list[str]:
        """Links that should stand and do not, with the reason if there is one, as sentences."""
        found = []
        for name, link in sorted(self._links.items()):
            if not link.stands and now - link.since >= LINK_SILENCE_MS_MAX:
                reason = link.complaint or "no answer"
                seconds = (now - link.since) // 1000
                found.append(f"{self._me.name} has no link to {name} for {seconds} s: {reason}")
        found += [one.sentence for _, one in sorted(self._rejected.items())]
        found += [
            f"a second process that calls itself {name} asks {self._me.name} for a link"
            for name in sorted(self._taken)
        ]
        return found

    # ---- time ------------------------------------------------------------------------------

    def _watch(self, now: Milliseconds, link: Link) -> None:
        if link.state is State.CONNECTING:
            if now >= link.hello_due and not self._leaving:
                pause = LINK_PING_MS if link.refused_since else HELLO_RETRY_MS
                link.hello_due = now + pause
                self._events.append(SayHello(link.place.name, self._hello, link.number))
            self._wake_by(link.hello_due)
            return
        silence = now - link.heard
        if silence >= LINK_SILENCE_MS_MAX:
            self._apply(now, link, Occurrence.SILENCE)
            return
        if silence >= LINK_PING_MS and now - link.pinged >= LINK_PING_MS:
            link.pinged = now
            self._events.append(Transmit(link.place.name, Ping(False)))
        self._wake_by(max(link.heard, link.pinged) + LINK_PING_MS)
        self._wake_by(link.heard + LINK_SILENCE_MS_MAX)

    def _wake_by(self, when: int) -> None:
        self._due = Milliseconds(min(self._due, when))

    def _judge_ourselves(self, now: Milliseconds) -> None:
        """Stop if more peers differ from us than agree, unless we ran in agreement for long."""
        stale = [n for n, one in self._rejected.items() if now - one.last >= LINK_SILENCE_MS_MAX]
        for name in stale:
            del self._rejected[name]
        silent = [n for n, when in self._taken.items() if now - when >= LINK_SILENCE_MS_MAX]
        for name in silent:
            del self._taken[name]
        agreeing = sum(link.stands and link.agrees for link in self._links.values())
        if agreeing and now - self._started >= JOIN_SETTLED_MS:
            self._settled = True
        differing = [(one.since, one.sentence) for one in self._rejected.values()]
        differing += [
            (link.refused_since, link.complaint)
            for link in self._links.values()
            if link.refused_since is not None
        ]
        if self._settled or not differing:
            return
        self._wake_by(now + HELLO_RETRY_MS)
        since, sentence = min(differing)
        if len(differing) > agreeing and now - since >= JOIN_GRACE_MS:
            self._events.append(Refused(sentence))

    # ---- the actions of the table ------------------------------------------------------------

    def _ignore(self, arrival: _Arrival) -> None:
        """Nothing to do: a repeated Welcome, a Goodbye nobody waits for."""

    def _fault(self, arrival: _Arrival) -> None:
        what = type(arrival.message).__name__
        raise LinkFault("out_of_order", f"{what} on a link that is {arrival.link.state.name}")

    def _stale(self, arrival: _Arrival) -> None:
        raise LinkFault("stale_frame", f"{type(arrival.message).__name__} of a link that is gone")

    def _take_data(self, arrival: _Arrival) -> None:
        self._check_life(arrival)
        arrival.link.heard = arrival.now
        self._events.append(Received(arrival.link.place.name, arrival.message))

    def _take_ping(self, arrival: _Arrival) -> None:
        self._check_life(arrival)
        arrival.link.heard = arrival.now
        assert isinstance(arrival.message, Ping)
        if not arrival.message.answer:
            self._events.append(Transmit(arrival.link.place.name, Ping(True)))

    def _take_goodbye(self, arrival: _Arrival) -> None:
        self._check_life(arrival)
        self._events.append(Left(arrival.link.place.name))
        self._lose(arrival.now, arrival.link)

    def _answer_question(self, arrival: _Arrival) -> None:
        """The peer does not know our link: it restarted, or dropped us while we were silent."""
        header, link = arrival.header, arrival.link
        if header.link != link.number or not self._is_for_us(header):
            self._stale(arrival)
        self._lose(arrival.now, link)

    def _ask(self, arrival: _Arrival) -> None:
        self._events.append(Reply(arrival.route, WhoAreYou(), arrival.header))

    def _come_up(self, arrival: _Arrival) -> None:
        link, header, welcome = arrival.link, arrival.header, arrival.message
        assert isinstance(welcome, Welcome)
        if header.link != link.number or not self._is_for_us(header):
            self._stale(arrival)
        if welcome.name != link.place.name or welcome.role != link.place.role:
            link.complaint = f"{welcome.name} answers at {link.place.address}"
            raise LinkFault("wrong_name", link.complaint)
        if (welcome.node_uuid, welcome.incarnation) != header[:2]:
            raise LinkFault("bad_welcome", f"the Welcome of {welcome.name} names another life")
        self._stand(arrival.now, link, State.UP, header)

    def _note_refusal(self, arrival: _Arrival) -> None:
        now, link, header, refusal = arrival.now, arrival.link, arrival.header, arrival.message
        assert isinstance(refusal, JoinRefused)
        if header.link != link.number or not self._is_for_us(header):
            self._stale(arrival)
        link.complaint = refusal.sentence
        if link.refused_since is None:
            link.refused_since = now
        link.hello_due = now + LINK_PING_MS
        self._wake_by(now)

    def _admit(self, arrival: _Arrival) -> None:
        now, link, route = arrival.now, arrival.link, arrival.route
        header, hello = arrival.header, arrival.message
        assert isinstance(hello, Hello)
        name = NodeName(hello.name)
        if self._leaving:
            raise LinkFault("leaving", f"{name} says Hello while we leave")
        refusal = refusal_of(hello, self._me, self._terms)
        if refusal is None and name not in self._terms.roles and self._followers() >= MEMBERS_MAX:
            refusal = JoinRefused(f"{self._me.name} has {MEMBERS_MAX} followers already", [])
        if refusal is not None:
            if name in self._terms.roles and name != self._me.name:
                since = self._rejected[name].since if name in self._rejected else now
                self._rejected[name] = _Rejected(since, now, refusal.sentence)
                self._wake_by(now)
            self._events.append(Reply(route, refusal, header))
            return
        self._rejected.pop(name, None)
        self._taken.pop(name, None)
        link.place = self._places.get(name) or Place(
            name, hello.role, hello.host, "", hello.pub_address
        )
        link.route, link.number = route, header.link
        link.agrees = bool(hello.ring_hash)
        self._links[name] = link
        self._names[route] = name
        self._stand(now, link, State.ADMITTED, header)
        self._events.append(Transmit(name, self._welcome))

    def _readmit(self, arrival: _Arrival) -> None:
        """A Hello while the name has a link: repeated, the next link, or another life."""
        now, link, header = arrival.now, arrival.link, arrival.header
        peer = link.peer
        assert peer is not None
        if header.from_node != peer.node_uuid:
            if now - link.heard < LINK_SILENCE_MS_MAX:
                self._taken[peer.name] = now
                raise LinkFault("name_taken", f"another life of {peer.name} still speaks")
        elif header.from_incarnation < peer.incarnation:
            self._stale(arrival)
        elif header.from_incarnation == peer.incarnation:
            if header.link < link.number:
                self._stale(arrival)
            if header.link == link.number:
                link.heard = now
                self._events.append(Transmit(peer.name, self._welcome))
                return
        self._lose(now, link)
        self._admit(arrival)

    # ---- changes ---------------------------------------------------------------------------

    def _apply(self, now: Milliseconds, link: Link | None, occurrence: Occurrence) -> None:
        if link is not None and TRANSITIONS[link.state][occurrence] is Action.GO_DOWN:
            self._lose(now, link)

    def _stand(self, now: Milliseconds, link: Link, state: State, header: Header) -> None:
        place = link.place
        link.state = state
        link.since = link.heard = link.pinged = now
        link.complaint = ""
        link.refused_since = None
        link.peer = Peer(place.name, place.role, header.from_node, header.from_incarnation)
        life = (header.from_node, header.from_incarnation)
        link.header = Header(*life, self._me.node_uuid, self._me.incarnation, link.number)
        self._wake_by(now + LINK_PING_MS)
        self._events.append(PeerUp(link.peer))

    def _lose(self, now: Milliseconds, link: Link) -> None:
        name = link.place.name
        self._events.append(PeerDown(name))
        if link.state is State.UP:
            link.state = State.CONNECTING
            link.number += 1
            link.hello_due = link.since = now
            link.peer = link.header = None
            self._wake_by(now)
        else:
            link.state = State.VACANT
            del self._names[link.route]
            del self._links[name]

    def _followers(self) -> int:
        return sum(name not in self._terms.roles for name in self._links)

    def _name_in(self, hello: Hello, route: bytes, header: Header) -> NodeName:
        life = (hello.node_uuid, hello.incarnation)
        if life != header[:2] or route != routing_id(hello.name, *life) or not is_name(hello.name):
            raise LinkFault("bad_hello", "name, life and routing id of the Hello do not agree")
        return NodeName(hello.name)

    def _is_for_us(self, header: Header) -> bool:
        return (header.to_node, header.to_incarnation) == (self._me.node_uuid, self._me.incarnation)

    def _check_life(self, arrival: _Arrival) -> None:
        """Only what this life of the peer says on this link to this life of ours."""
        expected = arrival.link.header
        assert expected is not None
        if arrival.header != expected:
            self._stale(arrival)
