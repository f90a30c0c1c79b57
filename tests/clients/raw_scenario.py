"""What the SDKs cannot do, over the raw protocol: every version, RECVACKs that do not come, several
devices, what is not encrypted, not stored, or goes to a list of uids; see `places` for where and
`ledger` for what must hold."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import cycle
from typing import Any, TypeVar

from ledger import GROUP, PERSON, Chat, Heard, Ledger
from places import PatientApi, Place
from raw_client import APP, WEB, RawClient, fresh, token_for
from test_streams import Answer, text_of

from zmqim.chat.channels import uid_list_id
from zmqim.chat.codes import MessageFlag
from zmqim.wkproto.codec import LATEST_VERSION
from zmqim.wkproto.packets import (
    Disconnect,
    Event,
    FromServer,
    Recv,
    Recvack,
    Send,
    Sendack,
    Setting,
)

TEMPORARY = 8
PC = 2
NOT_SUBSCRIBED, KICK, CONFLICT = 3, 12, 28
SECONDS = 40.0
TICK_SECONDS = 0.1
WORDS = 6
RED = MessageFlag.RED_DOT
_Found = TypeVar("_Found")


class Device:
    """One device of a user: when its connection breaks and that is to be expected, it goes on at
    the next gateway and sends again what was not answered, under the same number."""

    def __init__(
        self, place: Place, stack: ExitStack, uid: str, flag: int = APP, token: str = ""
    ) -> None:
        self.uid = uid
        self.heard = Heard(uid)
        self.received: list[Recv] = []
        self.events: list[Event] = []
        self.version = LATEST_VERSION
        self.acknowledges = True
        self.ended: Disconnect | None = None
        self._place = place
        self._flag = flag
        self.token = token or token_for(place.api, uid, flag)
        self._addresses = cycle(place.gateways)
        self._acks: dict[int, Sendack] = {}
        self._client: RawClient | None = None
        stack.callback(self.leave)
        self.come()

    def come(self, version: int = 0) -> None:
        """A new connection, with another version if it is given."""
        self.version = version or self.version
        deadline = time.monotonic() + SECONDS
        while not self._connected():
            assert self._place.kills
            assert time.monotonic() < deadline, f"{self.uid} cannot come back"
            time.sleep(TICK_SECONDS)

    def leave(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.socket.close()
            self._client = None

    def _connected(self) -> bool:
        self.leave()
        host, _, port = next(self._addresses)["tcp"].rpartition(":")
        try:
            self._client = RawClient((host, int(port)), self.version)
            answer = self._client.connect(self.uid, self.token, self._flag)
        except (OSError, EOFError, AssertionError):
            if not self._place.kills:
                raise
            return False
        assert answer.reason == 1, answer
        self.heard.session_begins()
        return True

    def take(self, seconds: float = TICK_SECONDS) -> bool:
        """Note what came; False if the connection broke, and another one stands now."""
        try:
            assert self._client is not None
            for packet in self._client.take(seconds):
                self._note(packet)
        except (OSError, EOFError):
            if self.ended or not self._place.kills:
                raise
            self.come()
            return False
        return True

    def _note(self, packet: FromServer) -> None:
        match packet:
            case Recv():
                self.received.append(packet)
                command = packet.flags & MessageFlag.SYNC_ONCE
                number = 0 if command else packet.message_seq
                named = (packet.channel_type, packet.channel_id, number, packet.payload.decode())
                self.heard.heard(*named, bool(packet.flags & MessageFlag.DUP))
                if self.acknowledges:
                    self._acknowledge(packet)
            case Sendack():
                self._acks[packet.client_seq] = packet
            case Event():
                self.events.append(packet)
            case Disconnect():
                self.ended = packet

    def acknowledge(self, messages: list[Recv]) -> None:
        """RECVACK for messages that came before."""
        try:
            for message in messages:
                self._acknowledge(message)
        except OSError:
            assert self._place.kills

    def _acknowledge(self, message: Recv) -> None:
        assert self._client is not None
        self._client.put(Recvack(message.message_id, message.message_seq, message.flags & 7))

    def send(self, name: str, kind: int, text: str, **more: Any) -> Sendack:
        """SEND, again under the same number after a break, and its answer."""
        number = more.pop("client_msg_no", "") or fresh("n")
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            client = self._client
            assert client is not None
            client.seq += 1
            self._acks.clear()
            try:
                client.put(Send(client.seq, number, name, kind, text.encode(), **more))
            except OSError:
                assert self._place.kills
            while self.take() and time.monotonic() < deadline:
                if (ack := self._acks.get(client.seq)) is not None:
                    return ack
        raise AssertionError(f"{self.uid}: no answer to {text}")

    def until(self, found: Callable[[], _Found], what: str) -> _Found:
        """Take in what comes until something is `found`."""
        deadline = time.monotonic() + SECONDS
        while not (value := found()):
            assert time.monotonic() < deadline, f"{self.uid}: no {what}: {self.received[-20:]}"
            self.take()
        return value

    def came(self, text: str) -> list[Recv]:
        """The message with that text, each time that it came."""
        return [one for one in self.received if one.payload == text.encode()]


class RawScenario:
    """Ann with a phone and a browser, Ben with another version in every round, and Vic, whose
    second login ends the first."""

    def __init__(self, place: Place, stack: ExitStack) -> None:
        self.place = place
        self.api: PatientApi = place.api
        self.ledger = Ledger()
        self.uids = tuple(fresh(name) for name in ("ann", "ben", "vic"))
        ann, ben, vic = self.uids
        self.phone = Device(place, stack, ann)
        self.browser = Device(place, stack, ann, WEB)
        self.ben = Device(place, stack, ben)
        self.vic = Device(place, stack, vic)
        self.devices = [self.phone, self.browser, self.ben, self.vic]
        self.private = Chat(PERSON, (ann, ben))
        self.group = Chat(GROUP, self.uids, fresh("group"))
        self.temporary = Chat(TEMPORARY, (ann, ben), fresh("temporary"))
        self._versions = cycle(range(1, LATEST_VERSION + 1))
        self._list_count = 0
        named = {"channel_id": self.group.channel_id, "channel_type": GROUP}
        self.api.done("/channel", **named, subscribers=list(self.uids))
        self._stack = stack

    def round(self) -> None:
        """Everything once."""
        self.ben.come(next(self._versions))
        owed = self.unacknowledged()
        self.talk()
        self.repeat()
        self.not_stored()
        self.uid_list()
        self.temporary_channel()
        self.stream()
        self.second_login()
        self.comes_again(owed)

    def say(self, device: Device, chat: Chat, **more: Any) -> tuple[Sendack, str]:
        """Say something that was never said; the SENDACK and the text."""
        text, begun = fresh("text"), time.monotonic()
        more.setdefault("flags", RED)
        ack = device.send(chat.name_for(device.uid), chat.kind, text, **more)
        assert ack.reason == 1, ack
        red = bool(more["flags"] & RED)
        self.ledger.said(chat, ack.message_seq, device.uid, text, red, begun)
        return ack, text

    def hear(self, device: Device, text: str) -> Recv | None:
        """The message, pushed; None when it may have come between two connections."""
        if not self.place.kills:
            return device.until(lambda: device.came(text), text)[0]
        device.take()
        return next(iter(device.came(text)), None)

    def talk(self) -> None:
        """With and without encryption, topic, receipt and expiry, to and fro; Ann's other device
        hears what she says, without a red dot."""
        settings = (0, Setting.NO_ENCRYPT, Setting.TOPIC | Setting.RECEIPT, Setting.SIGNAL)
        for turn in range(WORDS):
            speaker, hearer = (self.phone, self.ben) if turn % 2 else (self.ben, self.phone)
            setting = settings[turn % len(settings)]
            more = {"topic": "news"} if setting & Setting.TOPIC else {}
            expire = 3_600 if speaker.version >= 3 else 0
            ack, text = self.say(speaker, self.private, setting=setting, expire=expire, **more)
            came = self.hear(hearer, text)
            if came is not None:
                assert (came.message_id, came.message_seq) == (ack.message_id, ack.message_seq)
                assert (came.from_uid, came.channel_id) == (speaker.uid, speaker.uid)
                assert (came.topic, came.flags & RED) == (more.get("topic", ""), RED)
                assert came.setting == setting & ~Setting.NO_ENCRYPT
                assert came.expire == (expire if hearer.version >= 3 else 0)
            own = self.hear(self.browser, text)
            if own is not None and speaker is self.phone:
                assert (own.from_uid, own.channel_id, own.flags & RED) == (
                    speaker.uid,
                    self.ben.uid,
                    0,
                )
            _, text = self.say(speaker, self.group, flags=0)
            for device in self.devices:
                if device is not speaker:
                    self.hear(device, text)

    def unacknowledged(self) -> str:
        """A message to Vic, who acknowledges nothing for a while."""
        self.vic.acknowledges = False
        return self.say(self.phone, self.group)[1]

    def comes_again(self, text: str) -> None:
        """What was not acknowledged on this connection comes again, marked, until it is."""
        vic = self.vic
        if not self.place.kills:
            self.hear(vic, text)
        if vic.came(text):
            came_in = vic.heard.session_of(text)
            vic.until(
                lambda: len(vic.came(text)) > 1 or len(vic.heard.sessions) > came_in + 1,
                f"{text} again",
            )
            first, *again = vic.came(text)
            assert again or self.place.kills
            assert {one.message_id for one in again} <= {first.message_id}
            assert all(one.flags & MessageFlag.DUP for one in again)
        vic.acknowledges = True
        vic.acknowledge(vic.received)
        vic.received.clear()

    def repeat(self) -> None:
        """The same number gets the same answer also on another connection, and never another
        payload."""
        number = fresh("n")
        ack, text = self.say(self.phone, self.private, client_msg_no=number)
        self.phone.come()
        again = self.phone.send(self.ben.uid, PERSON, text, client_msg_no=number, flags=RED)
        assert (again.message_id, again.message_seq) == (ack.message_id, ack.message_seq)
        other = self.phone.send(self.ben.uid, PERSON, "other", client_msg_no=number)
        assert (other.reason, other.message_seq) == (CONFLICT, 0)

    def not_stored(self) -> None:
        """NO_PERSIST is only heard; a command is heard and waits in /message/sync."""
        text = fresh("typing")
        ack = self.phone.send(self.ben.uid, PERSON, text, flags=MessageFlag.NO_PERSIST)
        assert (ack.reason, ack.message_seq) == (1, 0)
        came = self.hear(self.ben, text)
        assert came is None or (came.message_seq == 0 and came.flags & MessageFlag.NO_PERSIST)
        text, number = fresh("command"), fresh("n")
        more = {"flags": MessageFlag.SYNC_ONCE, "client_msg_no": number}
        assert self.phone.send(self.ben.uid, PERSON, text, **more).reason == 1
        came = self.hear(self.ben, text)
        assert came is None or came.flags & MessageFlag.SYNC_ONCE
        self.take_command(self.ben.uid, number, text, self.phone.uid)

    def take_command(self, uid: str, number: str, text: str, of: str) -> None:
        """The command waits once, as it was said, until it is acknowledged."""
        payload = self.ledger.take_command(self.api, uid, number, of)["payload"]
        assert base64.b64decode(payload).decode() == text

    def uid_list(self) -> None:
        """A command to a list of uids is heard by them, numbered in the list's own channel."""
        uids = [self.uids[1], self.uids[2]]
        self._list_count += 1
        text, number = fresh("command"), fresh("n")
        payload = base64.b64encode(text.encode()).decode()
        body = {"payload": payload, "subscribers": uids, "header": {"sync_once": 1}}
        for _ in range(2):
            answer = self.api.done("/message/send", **body, client_msg_no=number)
            assert answer["data"]["message_seq"] == self._list_count
        for device in (self.ben, self.vic):
            came = self.hear(device, text)
            assert came is None or came.channel_id == uid_list_id(uids)
            self.take_command(device.uid, number, text, uid_list_id(uids))

    def temporary_channel(self) -> None:
        """The members are who was set last."""
        channel = self.temporary.channel_id
        for uids in ([self.uids[0], self.uids[2]], [self.uids[0], self.uids[1]]):
            self.api.done("/tmpchannel/subscriber_set", channel_id=channel, uids=uids)
        _, text = self.say(self.phone, self.temporary)
        self.hear(self.ben, text)
        assert self.vic.send(channel, TEMPORARY, "let me in").reason == NOT_SUBSCRIBED
        assert not self.vic.came(text)

    def stream(self) -> None:
        """EVENT frames come in order; who was away meanwhile reads the rest of them."""
        answer = Answer(self.api, [self.phone.uid])
        answer.begin()
        for number in range(WORDS):
            answer.word(number)
            self.phone.take(0)
        answer.added("finish" if self._list_count % 2 else "close", None)
        lane = answer.history(self.phone.uid)["event_meta"]["events"][0]
        assert (lane["status"], lane["snapshot"]["text"]) == ("closed", text_of(WORDS))

        def told() -> list[dict[str, Any]]:
            data = [json.loads(event.data) for event in self.phone.events]
            return [one for one in data if one["client_msg_no"] == answer.number]

        if not self.place.kills:
            self.phone.until(lambda: len(told()) > WORDS, "all events")
        numbers = [one["msg_event_seq"] for one in told()]
        assert numbers == sorted(set(numbers))
        for one in told():
            if (at := one["msg_event_seq"]) <= WORDS:
                assert one["payload"]["delta"] == f"w{at - 1} "

    def second_login(self) -> None:
        """A master's second login ends the first with reason 12. (If the first one's gateway died
        just now it may come back as the second of the two.)"""
        with ExitStack() as stack:
            uid = fresh("master")
            one = Device(self.place, stack, uid, PC, token_for(self.api, uid, PC, level=1))
            two = Device(self.place, stack, uid, PC, one.token)
            one.until(lambda: one.ended or (two.take(0) and two.ended), "kick")
            gone, stays = (one, two) if one.ended else (two, one)
            assert gone.ended
            assert gone.ended.reason == KICK
            assert gone is one or self.place.kills
            assert stays.send(fresh("friend"), PERSON, "still here").reason == 1

    def check(self) -> None:
        """With everybody there: the last word reaches everybody at once, and all is as it was
        acknowledged."""
        for device in self.devices:
            device.take()
        for chat in (self.private, self.group, self.temporary):
            for speaker in (self.phone, self.ben):
                _, text = self.say(speaker, chat)
                for device in self.devices:
                    if device is not speaker and device.uid in chat.members:
                        device.until(lambda d=device, t=text: d.came(t), text)
        self.ledger.check_history(self.api)
        self.ledger.check_conversations(self.api)
        for device in self.devices:
            device.heard.check(self.ledger)
