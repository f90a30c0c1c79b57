"""A gateway's core under test: the tests are its bus, its clients and its clock.

rig = Rig(); rig.up("router-1")
rig.open_session(1, "ada")          through CONNECT, token, login to CONNACK
rig.send(1, "bob", b"hi")           a SEND; `rig.turn()` gives the effects
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from zmqim.bus.effects import Peer, Send, View
from zmqim.bus.messages import (
    Answer,
    Answers,
    Deliver,
    Delivery,
    Item,
    Login,
    LoginAck,
    Message,
    OutcomeCode,
    Role,
    Submit,
)
from zmqim.chat.channels import SYSTEM_UIDS
from zmqim.chat.encoding import encode
from zmqim.chat.operations import SendMessage, decode_operation
from zmqim.chat.queries import MembersQuery, Probe, decode_query
from zmqim.chat.results import Done, MembersPage, Sent, UserRow
from zmqim.gateway.core import GatewayCore
from zmqim.gateway.effects import CloseClient, Effect, ToClient
from zmqim.gateway.plugin import CloseReason
from zmqim.gateway.tokens import token_hash
from zmqim.ring.document import RingDocument
from zmqim.topology_values import Limits
from zmqim.wkproto.packets import Connect, FromServer, Recv, Recvack
from zmqim.wkproto.packets import Send as SendPacket

NODE_UUID = bytes([0, 0, 0, 7]) + bytes(12)
ORIGIN = 7 << 32
SALT = b"0123456789abcdef"
PARTITIONS = 4
SYSTEM_UIDS_QUERY = encode(MembersQuery(*SYSTEM_UIDS))
HLC = 1_700_000_000_000 << 16
SECONDS = 1_700_000_000


def connect_packet(uid: str, token: str = "secret", **fields: object) -> Connect:
    """A CONNECT of protocol version 5."""
    values: dict[str, object] = {
        "version": 5,
        "device_flag": 0,
        "device_id": "phone",
        "uid": uid,
        "token": token,
        "client_timestamp": 0,
        "client_key": "key",
    }
    return Connect(**(values | fields))  # type: ignore[arg-type]


def user_row(uid: str, **fields: object) -> UserRow:
    """A user whose token is "secret"."""
    values: dict[str, object] = {"salt": SALT, "token_hash": token_hash(SALT, "secret")}
    return UserRow(uid, True, **(values | fields))  # type: ignore[arg-type]


def send_packet(channel: str, payload: bytes = b"hi", seq: int = 1, **fields: object) -> SendPacket:
    """A SEND to a person, or to a group with `channel_type=2`."""
    values: dict[str, object] = {"client_msg_no": f"no-{seq}", "channel_type": 1}
    values |= fields
    return SendPacket(client_seq=seq, channel_id=channel, payload=payload, **values)  # type: ignore[arg-type]


def group_message(from_uid: str = "ada", payload: bytes = b"hi", **fields: object) -> bytes:
    """An encoded message of group "g"."""
    values: dict[str, object] = {"channel_type": 2, "channel_id": "g", "client_msg_no": "n"}
    return encode(SendMessage(from_uid=from_uid, payload=payload, **(values | fields)))  # type: ignore[arg-type]


class Rig:
    """One core, its clock, and what it has asked so far."""

    def __init__(self, partitions: int = PARTITIONS, **bounds: int) -> None:
        self.now = 1_000
        ring = RingDocument(1, partitions, 1, 1, (("storage-1",),) * partitions)
        self.core = GatewayCore("gateway-1", NODE_UUID, ring, Limits(**bounds), Random(1), self.now)
        self.frame = 0
        self.system_uids: list[str] | None = []
        self.asked: list[Item] = []
        """Items of Submits that nobody has answered."""

    # ---- the bus -----------------------------------------------------------------------------

    def up(self, name: str = "router-1", answer_probes: bool = True) -> list[Effect]:
        """A router is linked, and by default answers the probes of all partitions."""
        self.core.peer_up(self.now, Peer(name, Role.ROUTER, name.encode().ljust(16), 1))
        self.frame = 0
        effects = self.advance(1_000)
        if answer_probes:
            for item in list(self.asked):
                if item.kind == 1 and decode_query(item.body) == Probe():
                    self.answer(item, Done())
        return effects

    def down(self, name: str) -> None:
        self.core.peer_down(self.now, name)

    def view(self, *routers: str, suspected: tuple[str, ...] = ()) -> None:
        self.core.view_changed(self.now, View((), routers, (), suspected))

    def receive(self, message: Message, source: str = "router-1") -> None:
        self.core.receive(self.now, source, message)

    def answer(
        self, item: Item, result: object, code: int = OutcomeCode.DONE, source: str = "router-1"
    ) -> None:
        """Answer one item; with another code than DONE `result` is what travels."""
        body = encode(result) if code == OutcomeCode.DONE else b""
        if item in self.asked:
            self.asked.remove(item)
        self.receive(Answers([Answer(item.request, code, body)]), source)

    def sent(self, item: Item, sequence: int, message_id: int = 0) -> None:
        """The SEND is committed."""
        self.answer(item, Sent(sequence, message_id or 1_000 + sequence, HLC))

    def deliver(self, *items: Delivery, source: str = "router-1") -> None:
        """The next frame of the link."""
        self.frame += 1
        self.receive(Deliver(self.frame, list(items)), source)

    def push(self, sequence: int, sessions: Sequence[int], **fields: object) -> None:
        """One message of group "g" in a frame of its own."""
        self.deliver(delivery(sequence, sessions, **fields))

    # ---- time --------------------------------------------------------------------------------

    def turn(self) -> list[Effect]:
        """End the turn; remembers what was asked."""
        effects = self.core.turn(self.now)
        shown: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Submit):
                items = [item for item in effect.message.items if not self._is_own(item)]
                self.asked += items
                if items:
                    shown.append(Send(effect.to, Submit(items)))
            else:
                shown.append(effect)
        return shown

    def _is_own(self, item: Item) -> bool:
        """The gateway reads the system uids for itself: answered here, unless a test does it."""
        if item.body != SYSTEM_UIDS_QUERY or self.system_uids is None:
            return False
        page = MembersPage(0, len(self.system_uids), self.system_uids, False)
        self.receive(Answers([Answer(item.request, OutcomeCode.DONE, encode(page))]))
        return True

    def advance(self, milliseconds: int) -> list[Effect]:
        """Let time pass as a shell would, with every wake on time."""
        effects: list[Effect] = []
        end = self.now + milliseconds
        while (wake := self.core.next_wake()) is not None and wake <= end:
            self.now = max(self.now, wake)
            self.core.wake(self.now)
            effects += self.turn()
        self.now = end
        self.core.wake(self.now)
        return effects + self.turn()

    # ---- clients -----------------------------------------------------------------------------

    def accept(self, session: int) -> None:
        self.core.session_opened(self.now, session, "10.0.0.9:1234")

    def packets(self, session: int, *packets: object) -> None:
        self.core.packets(self.now, session, packets)  # type: ignore[arg-type]

    def open_session(self, session: int, uid: str, *, version: int = 5, **fields: object) -> None:
        """CONNECT up to CONNACK 1; `fields` are of the user's row."""
        self.accept(session)
        self.packets(session, connect_packet(uid, version=version))
        self.turn()
        self.answer(self.asked[-1], user_row(uid, **fields))
        self.admit(self.turn())
        told = to_client(self.turn(), session)
        assert [packet.reason for packet in told] == [1]  # type: ignore[union-attr]
        self.answer(self.asked[-1], user_row(uid, **fields))
        assert self.turn() == []

    def admit(self, effects: list[Effect], login_no: int = 1) -> None:
        """The owner acknowledges the logins among `effects`."""
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Login):
                self.receive(LoginAck(effect.message.request, login_no), effect.to)

    def send(self, session: int, channel: str, payload: bytes = b"hi", seq: int = 1) -> None:
        """A SEND to a person."""
        self.packets(session, send_packet(channel, payload, seq))

    def acknowledge(self, session: int, *recvs: Recv) -> None:
        """RECVACK for each."""
        self.packets(session, *[Recvack(recv.message_id, recv.message_seq) for recv in recvs])


def delivery(sequence: int, sessions: Sequence[int], **fields: object) -> Delivery:
    """A message of group "g" for `sessions`; `fields` are of Delivery or of the message."""
    plans = {name: fields.pop(name) for name in ("plan", "plan_version") if name in fields}
    body = group_message(**fields)  # type: ignore[arg-type]
    return Delivery(2, "g", sequence, 5_000 + sequence, HLC, body, list(sessions), **plans)  # type: ignore[arg-type]


def to_client(effects: list[Effect], session: int) -> list[FromServer]:
    """Everything that `effects` write to that session."""
    return [
        packet
        for effect in effects
        if isinstance(effect, ToClient) and effect.session == session
        for packet in effect.packets
    ]


def recvs(effects: list[Effect], session: int) -> list[Recv]:
    """The RECVs among it."""
    return [packet for packet in to_client(effects, session) if isinstance(packet, Recv)]


def sequences(effects: list[Effect], session: int) -> list[int]:
    """Their sequences."""
    return [recv.message_seq for recv in recvs(effects, session)]


def closed(effects: list[Effect]) -> dict[int, CloseReason]:
    """Sessions that `effects` close, and why."""
    return {effect.session: effect.reason for effect in effects if isinstance(effect, CloseClient)}


def messages(effects: list[Effect], to: str = "router-1") -> list[Message]:
    """What goes to a router, without Submits."""
    return [
        effect.message
        for effect in effects
        if isinstance(effect, Send) and effect.to == to and not isinstance(effect.message, Submit)
    ]


def submitted(effects: list[Effect]) -> list[SendMessage]:
    """The messages in the Submits among `effects`."""
    return [
        operation
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, Submit)
        for item in effect.message.items
        if item.kind != 1 and isinstance(operation := decode_operation(item.body), SendMessage)
    ]


def queries(effects: list[Effect]) -> list[object]:
    """The queries in the Submits among `effects`."""
    return [
        decode_query(item.body)
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, Submit)
        for item in effect.message.items
        if item.kind == 1
    ]
