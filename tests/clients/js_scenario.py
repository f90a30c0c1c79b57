"""Everything that the JavaScript SDK can, played by Ann and Ben, who stay, and Vic, who comes and
goes; see `places` for where and `ledger` for what must hold."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ledger import GROUP, PERSON, Chat, Heard, Ledger
from places import PatientApi, Place
from raw_client import WEB, fresh, token_for
from sdk_user import CONNECTED, DISCONNECTED, KICKED, REFUSED, SdkUser
from test_streams import Answer, text_of

DATA = 7
AUTH_FAILED, NOT_ALLOWED, KICK = 2, 11, 12
EVENT_SECONDS = 40.0
"""The SDK tries every 3 s to connect again, and a login may have to wait for an election."""
CONNECT_SECONDS = 10.0
"""The SDK may forget to try again: told to disconnect while it waits for its next try, it never
ends that wait (`lockReconnect`), and the next connection that fails is the last. So an application
tells it again."""
TICK_SECONDS = 0.2
WORDS = 6
UNKNOWN, TEXT, IMAGE, CARD, COMMAND = 0, 1, 2, 30, 99
SYSTEM, SIGNAL, STRANGE = 1001, 21_000, 555
"""Types of contents; the last one is known to nobody."""


def plain(name: str) -> str:
    """A fresh uid or id without a dash: the SDK takes its channel keys apart at dashes."""
    return fresh(name).replace("-", "")


class Person:
    """One user of the SDK and all that happened to him."""

    def __init__(self, place: Place, stack: ExitStack, folder: Path, name: str) -> None:
        self.uid = plain(name)
        self.heard = Heard(self.uid)
        self.events: list[dict[str, Any]] = []
        self._api = place.api
        self._kills = place.kills
        self._sdk = stack.enter_context(SdkUser(folder / f"{self.uid}.log"))
        self.do("application", apis=place.api.urls, key=place.api.key, uid=self.uid, token="")

    def do(self, action: str, **more: object) -> None:
        """A command of the driver."""
        self._sdk.do(action, **more)

    def until(
        self,
        found: Callable[[dict[str, Any]], bool],
        what: str,
        since: int,
        seconds: float = EVENT_SECONDS,
    ) -> Any:
        """The first event since number `since` that is `found`."""
        deadline = time.monotonic() + seconds
        looked = since
        while True:
            for event in self.events[looked:]:
                if found(event):
                    return event
            looked = len(self.events)
            if (event := self._sdk.take(TICK_SECONDS)) is not None:
                self._note(event)
            assert time.monotonic() < deadline, f"{self.uid}: no {what}: {self.events[since:]}"

    def next(self, kind: str, since: int, **fields: object) -> Any:
        """The first event of a kind with these fields since number `since`."""

        def fits(event: dict[str, Any]) -> bool:
            return event["event"] == kind and fields.items() <= event.items()

        return self.until(fits, f"{kind} with {fields}", since)

    def answer(self, action: str, kind: str, **more: object) -> Any:
        """The event of a kind that a command brings."""
        since = len(self.events)
        self.do(action, **more)
        return self.next(kind, since)

    def come(self) -> None:
        """Be online, with a fresh token."""
        self.connect(token_for(self._api, self.uid, WEB), CONNECTED, 1)

    def connect(self, token: str, status: int, reason: int) -> int:
        """Connect; the number of the event that tells this (status, reason)."""
        since, deadline = len(self.events), time.monotonic() + EVENT_SECONDS
        while True:
            self.do("reconnect", token=token)
            try:
                told = self.told({(status, reason)}, since, CONNECT_SECONDS)
            except AssertionError:
                if not self._kills or time.monotonic() > deadline:
                    raise
            else:
                return told

    def told(self, states: set[tuple[int, int]], since: int, seconds: float = EVENT_SECONDS) -> int:
        """The number of the first event that tells one of these (status, reason)."""

        def fits(event: dict[str, Any]) -> bool:
            return (event.get("status"), event.get("reason")) in states

        found = self.until(fits, f"{states}", since, seconds)
        return since + self.events[since:].index(found)

    def _note(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        if event["event"] == "status" and event["status"] == CONNECTED:
            self.heard.session_begins()
        if event["event"] == "message":
            named = (event["type"], event["channel"], event["seq"], event["text"])
            self.heard.heard(*named, event["dup"])


class JsScenario:
    """Ann and Ben talk in private and in a group, use what else the SDK has, and go on whatever
    dies; Vic is refused, comes, leaves, and is kicked."""

    def __init__(self, place: Place, stack: ExitStack, folder: Path) -> None:
        self.place = place
        self.api: PatientApi = place.api
        self.ledger = Ledger()
        self.people = [Person(place, stack, folder, name) for name in ("ann", "ben", "vic")]
        self.ann, self.ben, self.vic = self.people
        everybody = tuple(one.uid for one in self.people)
        self.private = Chat(PERSON, (self.ann.uid, self.ben.uid))
        self.group = Chat(GROUP, everybody, plain("group"))
        self.data = Chat(DATA, everybody, plain("data"))
        for chat in (self.group, self.data):
            named = {"channel_id": chat.channel_id, "channel_type": chat.kind}
            self.api.done("/channel", **named, subscribers=list(everybody))
        for person in self.people:
            person.come()

    def round(self) -> None:
        """Everything once."""
        self.talk()
        self.contents()
        self.commands_and_receipts()
        self.conversations()
        self.history_and_stream()
        self.subscription()
        self.refused_left_and_kicked()

    def say(
        self, person: Person, chat: Chat, kind: str | int = "text", **more: object
    ) -> dict[str, Any]:
        """Say something that was never said; the SENDACK."""
        text = more.setdefault("text", plain("text"))
        since, begun = len(person.events), time.monotonic()
        person.do("say", to=chat.name_for(person.uid), type=chat.kind, kind=kind, **more)
        number = person.next("said", since)["seq"]
        ack: dict[str, Any] = person.next("sendack", since, seq=number)
        assert ack["reason"] == 1, ack
        self.ledger.said(chat, ack["message_seq"], person.uid, str(text), begun=begun)
        return {**ack, "text": text}

    def hear(self, person: Person, chat: Chat, text: str, since: int) -> dict[str, Any]:
        """The message with that text: as it came, or, of the time between two connections, out of
        the history, as an application reads it when it is back."""
        name = chat.name_for(person.uid)
        if not self.place.kills:
            return dict(person.next("message", since, text=text, channel=name))
        deadline = time.monotonic() + EVENT_SECONDS
        while time.monotonic() < deadline:
            for event in person.events[since:]:
                if event["event"] == "message" and event["text"] == text:
                    return event
            page = self.pages(person, chat, 0, 0, 10)
            if found := [message for message in page if message["text"] == text]:
                return dict(found[0])
        raise AssertionError(f"{person.uid} never got {text}")

    def pages(
        self, person: Person, chat: Chat, start: int, end: int, limit: int, up: bool = False
    ) -> list[dict[str, Any]]:
        """A page of history through the SDK."""
        named = {"channel": chat.name_for(person.uid), "type": chat.kind}
        asked = {"start": start, "end": end, "limit": limit, "up": up}
        messages: list[dict[str, Any]] = person.answer("pages", "pages", **named, **asked)[
            "messages"
        ]
        return messages

    def talk(self) -> None:
        """Texts to and fro, in private and in the group; the SDK is alive meanwhile."""
        marks = [len(one.events) for one in self.people]
        for turn in range(WORDS):
            speaker, other = self.people[turn % 2], self.people[1 - turn % 2]
            private = self.say(speaker, self.private)["text"]
            group = self.say(speaker, self.group)["text"]
            for chat, text in ((self.private, private), (self.group, group)):
                came = self.hear(other, chat, text, marks[1 - turn % 2])
                assert (came["from"], came["kind"], came["red_dot"]) == (speaker.uid, TEXT, True)
                assert (came["channel"], came["type"]) == (chat.name_for(other.uid), chat.kind)
                assert abs(came["timestamp"] - time.time()) < 60
            self.hear(self.vic, self.group, group, marks[2])
        self.ann.answer("ping", "pong")

    def contents(self) -> None:
        """Mentions, replies, receipts, topics, an upload, contents of the SDK, of the application
        and of nobody. The stream number of this old SDK is taken, and does nothing."""
        ann, ben, since = self.ann, self.ben, len(self.ben.events)
        first = self.say(ann, self.private, receipt=True)
        came = self.hear(ben, self.private, first["text"], since)
        assert came["receipt"] is True
        reply = self.say(ann, self.private, mention=[ben.uid], reply=first["id"], topic=True)
        came = self.hear(ben, self.private, reply["text"], since)
        assert (came["mention"], came["reply"], came["topic"]) == ([ben.uid], first["id"], True)
        numbered = self.say(ann, self.private, stream="s1")
        self.hear(ben, self.private, numbered["text"], since)
        card = self.say(ann, self.private, "card")
        assert self.hear(ben, self.private, card["text"], since)["kind"] == CARD
        for kind, shown in ((SYSTEM, SYSTEM), (SIGNAL, SIGNAL), (STRANGE, UNKNOWN)):
            other = self.say(ann, self.private, kind)
            assert self.hear(ben, self.private, other["text"], since)["kind"] == shown
        image = self.say(ann, self.private, "image")
        came = self.hear(ben, self.private, image["text"], since)
        assert (came["kind"], came["url"]) == (IMAGE, f"https://files.example/{came['number']}")

    def commands_and_receipts(self) -> None:
        """A backend's command reaches the SDK's command listener, or is found afterwards; receipts
        are told by such commands."""
        ann, ben = self.ann, self.ben
        since = len(ann.events)
        number = self.api_command(ann.uid, {"from": "outside"})
        came = self.command(ann, since, number, "____system")
        assert came == {"type": COMMAND, "cmd": "do", "param": {"from": "outside"}}
        since = len(ann.events)
        told = len(ben.events)
        text = self.say(ann, self.private)["text"]
        heard = self.hear(ben, self.private, text, told)
        ben.do("read", channel=ann.uid, type=PERSON)
        if ben.heard.has(PERSON, ann.uid, text):
            ben.until(
                lambda event: event["event"] == "receipts" and heard["id"] in event["ids"],
                "receipts",
                told,
            )
            came = self.command(ann, since, f"read-{heard['id']}", ben.uid)
            assert (came["cmd"], came["param"]) == ("read", {"id": heard["id"]})

    def api_command(self, uid: str, param: object) -> str:
        """A command of the system to `uid`; its number."""
        number = fresh("command")
        said = json.dumps({"type": COMMAND, "cmd": "do", "param": param}).encode()
        self.api.done(
            "/message/send",
            header={"sync_once": 1},
            channel_id=uid,
            channel_type=PERSON,
            from_uid="____system",
            client_msg_no=number,
            payload=base64.b64encode(said).decode(),
        )
        return number

    def command(self, person: Person, since: int, number: str, of: str) -> dict[str, Any]:
        """The command with this number: pushed, or read by /message/sync and acknowledged."""
        if not self.place.kills:
            person.next("command", since, number=number)
        row = self.ledger.take_command(self.api, person.uid, number, of)
        for event in person.events[since:]:
            if event["event"] == "command" and event["number"] == number:
                assert event["id"] == row["message_idstr"]
        payload: dict[str, Any] = json.loads(base64.b64decode(row["payload"]))
        return payload

    def conversations(self) -> None:
        """The SDK's list has the server's unread counts, and its own after that."""
        ann, ben = self.ann, self.ben
        since = len(ben.events)
        text = self.say(ann, self.private, mention=[ben.uid])["text"]
        self.hear(ben, self.private, text, since)
        found = self.listed(ben)
        private = found[PERSON, ann.uid]
        assert private["last"]["text"] == text
        assert (private["unread"], private["mentioned"]) == (
            self.ledger.unread(ben.uid, self.private),
            True,
        )
        last = self.ledger.last(self.private)
        named = {"channel_id": ann.uid, "channel_type": PERSON}
        self.api.done("/conversations/clearUnread", uid=ben.uid, **named, message_seq=last)
        self.ledger.has_read(ben.uid, self.private, last)
        assert self.listed(ben)[PERSON, ann.uid]["unread"] == 0
        opened = ben.answer("remind", "reminders", channel=ann.uid, type=PERSON)
        assert (opened["open"], opened["left"]) == (1, 0)
        ben.do("open", channel=ann.uid, type=PERSON)
        for action, expected in (("begin", 1), ("remove", 2)):
            changed = ben.answer(action, "conversation", channel=ann.uid, type=PERSON)
            assert (changed["channel"], changed["action"]) == (ann.uid, expected)
        ben.do("close")
        assert ann.answer("person", "person", channel=plain("nobody"))["online"] is False
        members = list(self.group.members)
        named = {"channel": self.group.channel_id, "type": GROUP}
        told = ann.answer("members", "members", **named, uids=members)
        assert (sorted(told["uids"]), told["me"]) == (sorted(members), ann.uid)

    def listed(self, person: Person) -> dict[tuple[int, str], dict[str, Any]]:
        """The SDK's conversations after a synchronisation, once those of this scenario are there:
        who belongs to a channel has its conversation a moment later."""
        deadline = time.monotonic() + EVENT_SECONDS
        while True:
            told = person.answer("conversations", "conversations")
            found = {(one["type"], one["channel"]): one for one in told["all"]}
            assert told["unread"] == sum(one["unread"] for one in found.values())
            if {(PERSON, self.private.name_for(person.uid)), (GROUP, self.group.channel_id)} <= (
                found.keys()
            ):
                return found
            assert time.monotonic() < deadline, found

    def history_and_stream(self) -> None:
        """Pages in both directions; an answer that was streamed is one message with its text. (A
        client of version 2 is sent no events.)"""
        last = self.ledger.last(self.private)
        down = self.pages(self.ben, self.private, last, 0, 3)
        up = self.pages(self.ben, self.private, last - 2, 0, 3, up=True)
        texts = [row.text for number, row in sorted(self.ledger.chats[self.private].items())][-3:]
        assert [message["text"] for message in down] == texts
        assert [message["text"] for message in up] == texts
        answer = Answer(self.api, [self.ann.uid], plain("bot"))
        answer.begin('{"type":1,"content":""}')
        numbers = [answer.word(number)["msg_event_seq"] for number in range(WORDS)]
        assert numbers == list(range(1, WORDS + 1))
        answer.added("close", {"end_reason": 0})
        chat = Chat(GROUP, (self.ann.uid,), answer.group)
        (message,) = self.pages(self.ann, chat, 0, 0, 10)
        assert message["stream"] == text_of(WORDS)

    def subscription(self) -> None:
        """A subscription over the wire is refused with a reason, as the SDK is told; its listener
        gets the channel's messages all the same. A listener that was removed gets nothing."""
        ann, ben = self.ann, self.ben
        named = {"channel": self.data.channel_id, "type": DATA}
        assert ben.answer("subscribe", "suback", **named)["reason"] == NOT_ALLOWED
        ben.answer("listen", "listening", on=True)
        since = len(ben.events)
        text = self.say(ann, self.data)["text"]
        self.hear(ben, self.data, text, since)
        if ben.heard.has(DATA, self.data.channel_id, text):
            ben.next("subscribed", since, text=text)
            ben.next("also", since, text=text)
        ben.answer("listen", "listening", on=False)
        assert ben.answer("unsubscribe", "suback", **named)["reason"] == NOT_ALLOWED
        since = len(ben.events)
        text = self.say(ann, self.data)["text"]
        self.hear(ben, self.data, text, since)
        told = {event["event"] for event in ben.events[since:]}
        assert not told & {"also", "subscribed"}

    def refused_left_and_kicked(self) -> None:
        """Vic leaves; a wrong token is refused for good; he comes back and reads what he missed; he
        is kicked, and stays away until he is let in again."""
        vic = self.vic
        vic.do("disconnect")
        missed = self.say(self.ann, self.group)["text"]
        refused = vic.connect("wrong", REFUSED, AUTH_FAILED)
        vic.next("status", refused, status=DISCONNECTED)
        vic.come()
        assert self.pages(vic, self.group, 0, 0, 1)[0]["text"] == missed
        since = len(vic.events)
        self.api.done("/user/device_quit", uid=vic.uid, device_flag=WEB)
        # If his gateway died just now he was away, and is refused when he comes back.
        ends = {(KICKED, KICK), *([(REFUSED, AUTH_FAILED)] if self.place.kills else [])}
        vic.next("status", vic.told(ends, since), status=DISCONNECTED)
        vic.come()

    def check(self) -> None:
        """With everybody there: the last word reaches everybody at once, and all is as it was
        acknowledged."""
        for person in self.people:
            person.answer("ping", "pong")
        marks = {person.uid: len(person.events) for person in self.people}
        for chat in (self.private, self.group, self.data):
            speakers = [person for person in self.people if person.uid in chat.members]
            for speaker in speakers:
                text = self.say(speaker, chat)["text"]
                for other in speakers:
                    if other is not speaker:
                        other.next("message", marks[other.uid], text=text)
        self.ledger.check_history(self.api)
        self.ledger.check_conversations(self.api)
        for person in self.people:
            person.heard.check(self.ledger)
            assert not [event for event in person.events if event["event"] == "error"] or (
                self.place.kills
            )
