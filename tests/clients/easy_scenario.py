"""Everything that the Python Easy SDK can, played by Ann at her desk and in her browser, Ben on his
phone, and Vic, who comes and goes; see `places` for where and `ledger` for what must hold."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest
from ledger import GROUP, PERSON, Chat, Heard, Ledger
from places import PatientApi, Place
from raw_client import fresh, token_for
from test_streams import Answer, text_of
from wukong_easy_sdk import (
    WKIM,
    AuthOptions,
    ErrorCode,
    WKIMChannelType,
    WKIMDeviceFlag,
    WKIMError,
    WKIMEvent,
    WKIMOptions,
)

SECONDS = 40.0
TICK_SECONDS = 0.05
WORDS = 6
AT_ONCE = 20
OPTIONS = WKIMOptions(reconnect_delay=0.5, max_reconnect_delay=1, max_reconnect_attempts=100,
                      ping_interval=0.5)  # fmt: skip
DESKTOP, BROWSER, APP = WKIMDeviceFlag.DESKTOP, WKIMDeviceFlag.WEB, WKIMDeviceFlag.APP
COMMUNITY, TOPIC = WKIMChannelType.COMMUNITY, WKIMChannelType.COMMUNITY_TOPIC
SERVICE, VISITORS = WKIMChannelType.CUSTOMER_SERVICE, WKIMChannelType.VISITORS
AUTH_FAILED, KICK = 2, 12
CURED = {ErrorCode.NOT_CONNECTED, ErrorCode.CONNECTION_LOST, ErrorCode.TIMEOUT, ErrorCode.CLOSED}
"""What a send may end with when its gateway dies: it is sent again under the same number."""


class Device:
    """One device of a user, at one gateway, and all that happened to it."""

    def __init__(self, place: Place, uid: str, flag: WKIMDeviceFlag, gateway: int) -> None:
        self.uid = uid
        self.flag = flag
        self.heard = Heard(uid)
        self.happened: list[tuple[WKIMEvent, Any]] = []
        self._api = place.api
        self._kills = place.kills
        gateways = place.gateways
        self._url = gateways[gateway % len(gateways)]["ws"]
        self.sdk = self._client(token_for(self._api, uid, flag))

    def _client(self, token: str) -> WKIM:
        sdk = WKIM.init(self._url, AuthOptions(self.uid, token, device_flag=self.flag), OPTIONS)
        for event in WKIMEvent:
            sdk.on(event, lambda value, event=event: self._note(event, value))
        return sdk

    def _note(self, event: WKIMEvent, value: Any) -> None:
        self.happened.append((event, value))
        if event is WKIMEvent.CONNECT:
            self.heard.session_begins()
        if event is WKIMEvent.MESSAGE:
            header = value["header"]
            number = 0 if header.get("syncOnce", False) else value["messageSeq"]
            text = str(value["payload"].get("content"))
            named = (value["channelType"], value["channelId"], number, text)
            self.heard.heard(*named, header.get("dup", False))

    async def come(self) -> dict[str, Any]:
        """Be online. The first connect of an SDK is not repeated by itself."""
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    return dict(await self.sdk.connect())
                except WKIMError as error:
                    if not (self._kills and error.code in CURED):
                        raise
                    await asyncio.sleep(TICK_SECONDS)

    async def login(self, token: str = "") -> None:
        """Another SDK for the user, who has a fresh token, and says it or another one."""
        await self.sdk.destroy()
        right = await asyncio.to_thread(token_for, self._api, self.uid, self.flag)
        self.sdk = self._client(token or right)

    async def send(self, name: str, kind: int, text: str, **more: Any) -> dict[str, Any]:
        """A text under a number of its own, again under the same one until it is answered."""
        more.setdefault("client_msg_no", fresh("n"))
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    payload = {"type": 1, "content": text}
                    return dict(await self.sdk.send(name, kind, payload, **more))
                except WKIMError as error:
                    if not (self._kills and error.code in CURED):
                        raise
                    await asyncio.sleep(TICK_SECONDS)

    async def until(self, event: WKIMEvent, fits: Any, since: int = 0) -> Any:
        """The first event of a kind that `fits`, since number `since`."""
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    for kind, value in self.happened[since:]:
                        if kind is event and fits(value):
                            return value
                    await asyncio.sleep(TICK_SECONDS)
        except TimeoutError:
            raise AssertionError((self.uid, event, self.happened[since:])) from None

    async def hear(self, text: str, since: int) -> dict[str, Any]:
        """The message with that text, pushed."""
        found: dict[str, Any] = await self.until(
            WKIMEvent.MESSAGE, lambda value: value["payload"].get("content") == text, since
        )
        return found


class EasyScenario:
    """Two people and a third talk in channels of every type, with every flag and setting; Vic is
    refused, comes, leaves, and is kicked. Whatever dies, it goes on."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.api: PatientApi = place.api
        self.ledger = Ledger()
        self.uids = tuple(fresh(name) for name in ("ann", "ben", "vic"))
        ann, ben, vic = self.uids
        self.desk = Device(place, ann, DESKTOP, 0)
        self.browser = Device(place, ann, BROWSER, 1)
        self.phone = Device(place, ben, APP, 1)
        self.vic = Device(place, vic, DESKTOP, 0)
        self.private = Chat(PERSON, (ann, ben))
        self.chats = {kind: self._channel(kind) for kind in WKIMChannelType if kind != PERSON}
        self.chats[WKIMChannelType.PERSON] = self.private
        self.group = self.chats[WKIMChannelType.GROUP]

    def _channel(self, kind: WKIMChannelType) -> Chat:
        """A channel of every type that Ann, Ben and Vic hear."""
        ann, ben, vic = self.uids
        name = {SERVICE: f"{ann}|desk", VISITORS: ann}.get(kind, fresh("c"))
        members = [ben, vic] if kind in (SERVICE, VISITORS) else [ann, ben, vic]
        if kind is TOPIC:
            community = fresh("c")
            named = {"channel_id": community, "channel_type": COMMUNITY}
            self.api.done("/channel", **named, subscribers=members)
            return Chat(kind, self.uids, f"{community}@topic")
        named = {"channel_id": name, "channel_type": int(kind)}
        self.api.done("/channel", **named, subscribers=members)
        return Chat(int(kind), self.uids, name)

    async def begin(self, stack: AsyncExitStack) -> None:
        """Everybody comes."""
        for device in self.devices:
            stack.push_async_callback(lambda device=device: device.sdk.destroy())
            answer = await device.come()
            assert answer["reasonCode"] == 1
            assert (answer["serverKey"], answer["salt"]) == ("", "")
            assert abs(answer["timeDiff"]) < 60_000
            assert device.sdk.is_connected

    @property
    def devices(self) -> list[Device]:
        return [self.desk, self.browser, self.phone, self.vic]

    async def round(self) -> None:
        """Everything once."""
        await self.talk()
        await self.flags_and_settings()
        await self.every_type()
        await self.repeats()
        await self.stream()
        await self.listeners()
        await self.refused_left_and_kicked()

    async def say(self, device: Device, chat: Chat, **more: Any) -> dict[str, Any]:
        """Say something that was never said; the answer."""
        text = fresh("text")
        since, begun = len(device.happened), time.monotonic()
        ack = await device.send(chat.name_for(device.uid), chat.kind, text, **more)
        assert ack["reasonCode"] == 1
        await device.until(WKIMEvent.SEND_ACK, lambda told: told == ack, since)
        red = more.get("header", {}).get("redDot", True)
        self.ledger.said(chat, ack["messageSeq"], device.uid, text, red, begun)
        return {**ack, "text": text}

    async def hear(self, device: Device, chat: Chat, said: dict[str, Any], since: int) -> Any:
        """The message as it came; None when it came between two connections."""
        if self.place.kills:
            text = said["text"]
            came = [value for kind, value in device.happened[since:] if kind is WKIMEvent.MESSAGE]
            found = [value for value in came if value["payload"].get("content") == text]
            return found[0] if found else None
        came = await device.hear(said["text"], since)
        assert (came["channelId"], came["channelType"]) == (
            chat.name_for(device.uid),
            chat.kind,
        )
        assert (came["messageId"], came["messageSeq"]) == (said["messageId"], said["messageSeq"])
        return came

    async def talk(self) -> None:
        """To and fro, and many at once, in order; the other device of the sender hears it too."""
        marks = [len(device.happened) for device in self.devices]
        for turn in range(WORDS):
            speaker = (self.desk, self.phone)[turn % 2]
            private = await self.say(speaker, self.private)
            group = await self.say(speaker, self.group)
            for at, device in enumerate(self.devices):
                if device is speaker:
                    continue
                came = await self.hear(device, self.group, group, marks[at])
                assert came is None or came["fromUid"] == speaker.uid
                if device is not self.vic:
                    came = await self.hear(device, self.private, private, marks[at])
                    own = device.uid == speaker.uid
                    assert came is None or came["header"].get("redDot", False) is not own
        if not self.place.kills:  # What is repeated after a death may come behind what is not.
            said = await asyncio.gather(
                *(self.say(self.desk, self.private) for _ in range(AT_ONCE))
            )
            numbers = [one["messageSeq"] for one in said]
            assert numbers == list(range(numbers[0], numbers[0] + AT_ONCE))
            await self.desk.sdk.ping()

    async def flags_and_settings(self) -> None:
        """Every header flag and setting reaches the receiver, or the store, as it should."""
        desk, phone, since = self.desk, self.phone, len(self.phone.happened)
        named = {"setting": {"receipt": True, "signal": True, "topic": True}, "topic": "news"}
        said = await self.say(desk, self.private, **named)
        came = await self.hear(phone, self.private, said, since)
        if came is not None:
            assert {name for name, on in came["setting"].items() if on} >= {"receipt", "signal"}
            assert came["topic"] == "news"
        streamed = await self.say(desk, self.private, setting={"stream": True})
        came = await self.hear(phone, self.private, streamed, since)
        assert came is None or came["setting"]["stream"] is True
        quiet = await self.say(desk, self.private, header={"redDot": False, "dup": False})
        came = await self.hear(phone, self.private, quiet, since)
        assert came is None or not came["header"].get("redDot", False)
        await self.not_stored(since)

    async def not_stored(self, since: int) -> None:
        """What is not to be stored is only heard; a command waits until it is taken."""
        desk, phone = self.desk, self.phone
        text = fresh("typing")
        ack = await desk.send(phone.uid, PERSON, text, header={"noPersist": True})
        assert ack["messageSeq"] == 0
        if not self.place.kills:
            assert (await phone.hear(text, since))["header"]["noPersist"] is True
        number, text = fresh("command"), fresh("command")
        await desk.send(phone.uid, PERSON, text, header={"syncOnce": True}, client_msg_no=number)
        if not self.place.kills:
            assert (await phone.hear(text, since))["header"]["syncOnce"] is True
        await asyncio.to_thread(self.ledger.take_command, self.api, phone.uid, number, desk.uid)

    async def every_type(self) -> None:
        """A channel of every type that the SDK names is heard by those who belong to it."""
        marks = [len(device.happened) for device in self.devices]
        said = {kind: await self.say(self.desk, chat) for kind, chat in self.chats.items()}
        for kind, chat in self.chats.items():
            for at, device in enumerate(self.devices):
                if device is not self.desk and device.uid in chat.members:
                    came = await self.hear(device, chat, said[kind], marks[at])
                    assert came is None or came["fromUid"] == self.desk.uid

    async def repeats(self) -> None:
        """The same number gets the same answer, and never another payload; a refusal has its
        reason, and what the SDK itself refuses does not reach the server."""
        number = fresh("n")
        said = await self.say(self.desk, self.private, client_msg_no=number)
        again = await self.desk.send(self.phone.uid, PERSON, said["text"], client_msg_no=number)
        assert (again["messageId"], again["messageSeq"]) == (said["messageId"], said["messageSeq"])
        for name, kind, more, reason in (
            (self.phone.uid, PERSON, {"client_msg_no": number}, 28),
            (fresh("nowhere"), GROUP, {}, 5),
            ("", PERSON, {}, ErrorCode.INVALID_ARGUMENT),
        ):
            with pytest.raises(WKIMError) as refused:
                await self.send_once_online(name, kind, **more)
            assert refused.value.code == reason

    async def send_once_online(self, name: str, kind: int, **more: Any) -> None:
        """A send that the SDK or the server refuses, whatever died before."""
        async with asyncio.timeout(SECONDS):
            while True:
                try:
                    await self.desk.sdk.send(name, kind, {"content": "other"}, **more)
                except WKIMError as error:
                    if not (self.place.kills and error.code in CURED):
                        raise
                await asyncio.sleep(TICK_SECONDS)

    async def stream(self) -> None:
        """An answer grows word by word; what came while nobody was connected is read afterwards."""
        since = len(self.phone.happened)
        answer = Answer(self.api, [self.phone.uid], fresh("bot"))
        await asyncio.to_thread(answer.begin, json.dumps({"type": 1, "content": ""}))
        for number in range(WORDS):
            await asyncio.to_thread(answer.word, number)
        await asyncio.to_thread(answer.added, "close", {"end_reason": 0})
        (synced, history) = await asyncio.gather(
            asyncio.to_thread(answer.synced, self.phone.uid, 0),
            asyncio.to_thread(answer.history, self.phone.uid),
        )
        assert history["event_meta"]["events"][0]["snapshot"]["text"] == text_of(WORDS)
        assert history["event_meta"]["completed"] is True
        if not self.place.kills:
            await self.phone.until(
                WKIMEvent.CUSTOM_EVENT, lambda told: told["type"] == "stream.close", since
            )
        told = [
            value["data"]
            for kind, value in self.phone.happened[since:]
            if kind is WKIMEvent.CUSTOM_EVENT and value["data"]["client_msg_no"] == answer.number
        ]
        numbers = [one["msg_event_seq"] for one in told]
        assert numbers == sorted(set(numbers))
        words = {one["msg_event_seq"]: one["payload"].get("delta") for one in told}
        assert all(word == f"w{at - 1} " for at, word in words.items() if at <= WORDS)
        if not self.place.kills:
            assert numbers == list(range(1, WORDS + 2))
        assert [one["event_type"] for one in synced["events"]][-1] == "stream.close"

    async def listeners(self) -> None:
        """A listener hears until it is taken off."""
        heard: list[Any] = []
        listener = self.phone.sdk.on(WKIMEvent.MESSAGE, heard.append)
        since = len(self.phone.happened)
        said = await self.say(self.desk, self.private)
        if await self.hear(self.phone, self.private, said, since) is not None:
            assert said["text"] in [one["payload"].get("content") for one in heard]
        self.phone.sdk.off(WKIMEvent.MESSAGE, listener)
        count = len(heard)
        said = await self.say(self.desk, self.private)
        await self.hear(self.phone, self.private, said, since)
        assert len(heard) == count

    async def refused_left_and_kicked(self) -> None:
        """Vic leaves and comes back with the same SDK; a wrong token is refused; he is kicked, and
        stays away until he logs in again."""
        vic = self.vic
        await vic.sdk.disconnect()
        assert not vic.sdk.is_connected
        with pytest.raises(WKIMError) as closed:
            await vic.sdk.send(self.phone.uid, PERSON, {"content": "nobody hears this"})
        assert closed.value.code == ErrorCode.NOT_CONNECTED
        await vic.come()
        await vic.login("wrong")
        with pytest.raises(WKIMError) as refused:
            await vic.come()
        assert refused.value.code == AUTH_FAILED
        await vic.login()
        one, two = await asyncio.gather(vic.come(), vic.come())
        assert one == two
        since = len(vic.happened)
        named = {"uid": vic.uid, "device_flag": int(vic.flag)}
        await asyncio.to_thread(self.api.done, "/user/device_quit", **named)
        # If his gateway died just now he was away, and is refused when he comes back.
        ends = (KICK, AUTH_FAILED) if self.place.kills else (KICK,)
        await vic.until(WKIMEvent.ERROR, lambda error: error.code in ends, since)
        await vic.login()
        await vic.come()

    async def check(self) -> None:
        """With everybody there: the last word reaches everybody at once, and all is as it was
        acknowledged."""
        for device in self.devices:
            await device.come()
        marks = [len(device.happened) for device in self.devices]
        for chat in self.chats.values():
            for speaker in (self.desk, self.phone):
                said = await self.say(speaker, chat)
                for at, device in enumerate(self.devices):
                    if device is not speaker and device.uid in chat.members:
                        await device.hear(said["text"], marks[at])
        await asyncio.to_thread(self.ledger.check_history, self.api)
        await asyncio.to_thread(self.ledger.check_conversations, self.api)
        for device in self.devices:
            device.heard.check(self.ledger)
            await device.sdk.destroy()
            assert not device.sdk.is_connected
