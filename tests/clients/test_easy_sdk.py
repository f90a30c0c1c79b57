"""The unmodified Python Easy SDK (JSON-RPC over WebSocket) against a real cluster."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Self

import pytest
from http_calls import Api
from raw_client import APP, RawClient, fresh, token_for
from wukong_easy_sdk import (
    WKIM,
    AuthOptions,
    WKIMChannelType,
    WKIMDeviceFlag,
    WKIMError,
    WKIMEvent,
    WKIMOptions,
)

DEADLINE_SECONDS = 60
PC = int(WKIMDeviceFlag.DESKTOP)
PERSON, GROUP = WKIMChannelType.PERSON, WKIMChannelType.GROUP


@pytest.fixture(scope="module")
def api(cluster: Any) -> Api:
    return Api(cluster.http, cluster.api_key)


def run(body: Callable[[AsyncExitStack], Awaitable[None]]) -> None:
    """Run `body` within a deadline; what it enters is closed behind it."""

    async def within_deadline() -> None:
        async with asyncio.timeout(DEADLINE_SECONDS), AsyncExitStack() as stack:
            await body(stack)

    asyncio.run(within_deadline())


class User:
    """A user of the SDK who notes everything that happens to him."""

    def __init__(self, url: str, uid: str, token: str, device_id: str = "") -> None:
        auth = AuthOptions(uid, token, device_id)
        self.uid = uid
        self.sdk = WKIM(url, auth, WKIMOptions(reconnect_delay=0.5))
        self._happened: dict[str, asyncio.Queue[Any]] = {}
        for event in WKIMEvent:
            queue = self._happened[event] = asyncio.Queue()
            self.sdk.on(event, queue.put_nowait)

    @classmethod
    async def online(cls, stack: AsyncExitStack, cluster: Any, api: Api, uid: str) -> Self:
        """A user who is connected, until the stack ends."""
        user = cls(cluster.ws, uid, token_for(api, uid, PC))
        stack.push_async_callback(user.sdk.destroy)
        assert (await user.sdk.connect())["reasonCode"] == 1
        return user

    async def next(self, event: WKIMEvent) -> Any:
        """The next event of a kind."""
        return await self._happened[event].get()

    async def messages(self, count: int) -> list[Any]:
        """The next messages."""
        return [await self.next(WKIMEvent.MESSAGE) for _ in range(count)]

    def nothing_of(self, event: WKIMEvent) -> bool:
        """Whether no event of a kind waits."""
        return self._happened[event].empty()


def text(words: object) -> dict[str, object]:
    """A text message as the SDKs write it."""
    return {"type": 1, "content": f"{words}"}


def test_a_login_is_answered_with_everything_and_never_with_keys(cluster: Any, api: Api) -> None:
    async def body(stack: AsyncExitStack) -> None:
        user = await User.online(stack, cluster, api, fresh("user"))
        answer = await user.next(WKIMEvent.CONNECT)
        assert (answer["serverKey"], answer["salt"]) == ("", "")
        assert abs(answer["timeDiff"]) < 60_000
        await user.sdk.ping()

    run(body)


@pytest.mark.promise("P10")
def test_a_wrong_token_is_refused_with_reason_2_and_not_tried_again(cluster: Any, api: Api) -> None:
    async def body(stack: AsyncExitStack) -> None:
        uid = fresh("user")
        token_for(api, uid, PC)
        user = User(cluster.ws, uid, "wrong")
        stack.push_async_callback(user.sdk.destroy)
        with pytest.raises(WKIMError) as refused:
            await user.sdk.connect()
        assert refused.value.code == 2
        assert user.nothing_of(WKIMEvent.RECONNECTING)

    run(body)


@pytest.mark.promise("P4")
def test_two_people_chat_in_order(cluster: Any, api: Api) -> None:
    async def body(stack: AsyncExitStack) -> None:
        alice = await User.online(stack, cluster, api, fresh("alice"))
        bob = await User.online(stack, cluster, api, fresh("bob"))
        sends = [alice.sdk.send(bob.uid, PERSON, text(number)) for number in range(1, 301)]
        acks = await asyncio.gather(*sends)
        assert [ack["messageSeq"] for ack in acks] == list(range(1, 301))
        received = await bob.messages(300)  # more than may wait for a RECVACK
        assert [one["payload"] for one in received] == [text(number) for number in range(1, 301)]
        assert [one["messageId"] for one in received] == [ack["messageId"] for ack in acks]
        assert {(one["fromUid"], one["channelId"], one["channelType"]) for one in received} == {
            (alice.uid, alice.uid, PERSON)
        }
        assert all(one["header"]["redDot"] for one in received)
        await bob.sdk.send(alice.uid, PERSON, ["a", "list"], header={"redDot": False})
        [answer] = await alice.messages(1)
        assert (answer["messageSeq"], answer["payload"]) == (301, ["a", "list"])
        assert not answer["header"]["redDot"]

    run(body)


@pytest.mark.promise("P9")
def test_a_refused_message_is_an_error_with_its_reason_and_the_session_goes_on(
    cluster: Any, api: Api
) -> None:
    async def body(stack: AsyncExitStack) -> None:
        group = fresh("group")
        api.done("/channel", channel_id=group, channel_type=GROUP, subscribers=[fresh("member")])
        user = await User.online(stack, cluster, api, fresh("stranger"))
        with pytest.raises(WKIMError) as refused:
            await user.sdk.send(group, GROUP, text("let me in"))
        assert refused.value.code == 3
        assert (await user.sdk.send(fresh("friend"), PERSON, text("hello")))["messageSeq"] == 1

    run(body)


@pytest.mark.promise("P3")
def test_a_repeated_message_gets_the_first_answer(cluster: Any, api: Api) -> None:
    async def body(stack: AsyncExitStack) -> None:
        user = await User.online(stack, cluster, api, fresh("alice"))
        friend = fresh("bob")
        first = await user.sdk.send(friend, PERSON, text("hello"), client_msg_no="n1")
        again = await user.sdk.send(friend, PERSON, text("hello"), client_msg_no="n1")
        assert again == first
        with pytest.raises(WKIMError) as conflict:
            await user.sdk.send(friend, PERSON, text("other"), client_msg_no="n1")
        assert conflict.value.code == 28

    run(body)


@pytest.mark.promise("P2")
def test_a_group_of_both_protocols_hears_every_message_in_one_order(cluster: Any, api: Api) -> None:
    async def body(stack: AsyncExitStack) -> None:
        group, names = fresh("group"), [fresh("user") for _ in range(4)]
        api.done("/channel", channel_id=group, channel_type=GROUP, subscribers=names)
        one, two = [await User.online(stack, cluster, api, name) for name in names[:2]]
        with (
            RawClient.login(cluster, api, names[2]) as three,
            RawClient.login(cluster, api, names[3], version=4) as four,
        ):
            for number in range(0, 12, 3):
                await one.sdk.send(group, GROUP, text(number))
                await two.sdk.send(group, GROUP, text(number + 1))
                words = json.dumps(text(number + 2)).encode()
                await asyncio.to_thread(three.send, group, words, 2)
            expected = [text(number) for number in range(12)]
            heard = await asyncio.to_thread(four.receive, 12)
            assert [json.loads(message.payload) for message in heard] == expected
            assert [message.message_seq for message in heard] == list(range(1, 13))
            of_others = [payload for index, payload in enumerate(expected) if index % 3]
            received = await one.messages(8)
            assert [message["payload"] for message in received] == of_others
            assert {message["fromUid"] for message in received} == set(names[1:3])
            assert {message["channelId"] for message in received} == {group}

    run(body)


def test_devices_of_either_protocol_see_what_the_other_one_sent(cluster: Any, api: Api) -> None:
    async def body(stack: AsyncExitStack) -> None:
        uid, friend = fresh("alice"), fresh("bob")
        easy = await User.online(stack, cluster, api, uid)
        with RawClient.login(cluster, api, uid, flag=APP) as phone:
            await easy.sdk.send(friend, PERSON, text("from the desk"))
            [message] = await asyncio.to_thread(phone.receive)
            assert (message.from_uid, message.channel_id) == (uid, friend)
            assert json.loads(message.payload) == text("from the desk")
            await asyncio.to_thread(phone.send, friend, json.dumps(text("by phone")).encode())
            [copy] = await easy.messages(1)
            assert (copy["fromUid"], copy["channelId"]) == (uid, friend)
            assert (copy["payload"], copy["messageSeq"]) == (text("by phone"), 2)

    run(body)


def test_no_payload_of_another_client_ends_the_session(cluster: Any, api: Api) -> None:
    payloads = [
        b"plain words",
        b"\x00\xff",
        b"",
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":' + b"1" * 6_000 + b"}",
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        *[b'{"a":' * depth + b"1" + b"}" * depth for depth in range(900, 1_000, 4)],
        b'{"a":"\xff"}',
        b'{"a":"\\ud800"}',
        b'{"a":1} {"b":2}',
        json.dumps(text("the last")).encode(),
    ]

    async def body(stack: AsyncExitStack) -> None:
        user = await User.online(stack, cluster, api, fresh("bob"))
        with RawClient.login(cluster, api, fresh("alice")) as other:
            for payload in payloads:
                ack = await asyncio.to_thread(other.send, user.uid, payload)
                assert ack.reason == 1
        received = await user.messages(len(payloads))
        sequences = [message["messageSeq"] for message in received]
        assert sequences == list(range(1, len(payloads) + 1))
        assert received[-1]["payload"] == text("the last")
        assert user.nothing_of(WKIMEvent.DISCONNECT)

    run(body)


def test_a_second_master_login_kicks_the_first_which_stays_away(cluster: Any, api: Api) -> None:
    async def body(stack: AsyncExitStack) -> None:
        uid = fresh("user")
        token = token_for(api, uid, PC, level=1)
        one, two = (User(cluster.ws, uid, token) for _ in range(2))
        for user in (one, two):
            stack.push_async_callback(user.sdk.destroy)
            await user.sdk.connect()
        assert await one.next(WKIMEvent.DISCONNECT) == {"reasonCode": 12}
        assert (await one.next(WKIMEvent.ERROR)).code == 12
        assert one.nothing_of(WKIMEvent.RECONNECTING)
        assert (await two.sdk.send(fresh("friend"), PERSON, text("here")))["messageSeq"] == 1

    run(body)


@pytest.mark.promise("P6")
def test_it_reconnects_when_the_gateway_dies(cluster: Any, api: Api) -> None:
    async def body(stack: AsyncExitStack) -> None:
        user = await User.online(stack, cluster, api, fresh("alice"))
        friend = fresh("bob")
        await user.next(WKIMEvent.CONNECT)
        await user.sdk.send(friend, PERSON, text("before"), client_msg_no="n1")
        await asyncio.to_thread(cluster.kill, "gateway-1")
        await user.next(WKIMEvent.RECONNECTING)
        await user.next(WKIMEvent.CONNECT)
        again = await user.sdk.send(friend, PERSON, text("before"), client_msg_no="n1")
        after = await user.sdk.send(friend, PERSON, text("after"))
        assert (again["messageSeq"], after["messageSeq"]) == (1, 2)

    run(body)
    cluster.wait_alive()


def test_an_answer_is_streamed_to_the_sdk(cluster: Any, api: Api) -> None:
    async def body(stack: AsyncExitStack) -> None:
        one = await User.online(stack, cluster, api, fresh("ann"))
        named = {"channel_id": one.uid, "channel_type": 1, "from_uid": fresh("bot")}
        named["client_msg_no"] = fresh("answer")
        await asyncio.to_thread(api.done, "/message/send", **named, payload="e30=", setting=2)
        (message,) = await one.messages(1)
        assert message["clientMsgNo"] == named["client_msg_no"]
        words = ["grows ", "word ", "by word"]
        for number, word in enumerate(words):
            payload = {"kind": "text", "delta": word}
            said = {"event_id": f"{number}", "event_type": "stream.delta", "payload": payload}
            await asyncio.to_thread(api.done, "/message/event", **named, **said)
        events = [await one.next(WKIMEvent.CUSTOM_EVENT) for _ in words]
        assert [event["id"] for event in events] == ["0", "1", "2"]
        assert {event["type"] for event in events} == {"stream.delta"}
        data = [event["data"] for event in events]
        assert [one["msg_event_seq"] for one in data] == [1, 2, 3]
        assert [one["payload"]["delta"] for one in data] == words
        assert {(one["client_msg_no"], one["channel_id"]) for one in data} == {
            (named["client_msg_no"], named["from_uid"])
        }

    run(body)
