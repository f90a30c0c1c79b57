"""What was acknowledged, what came to whom, and whether both agree with what the cluster shows.

Every text of a scenario is said once, so a text names its message. `Chat` is a channel as its
members see it, `Ledger` has what the server acknowledged in each, and `Heard` what one device was
given, session by session.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from http_calls import Api
from running_cluster import wait_for

PERSON, GROUP = 1, 2
UNLISTED = (5, 9)
"""Topics and live channels are in no list of conversations by themselves (docs/CHANNELS.md)."""
PAGE = 100


@dataclass(frozen=True)
class Chat:
    """A channel and who belongs to it; a person channel has no id of its own."""

    kind: int
    members: tuple[str, ...]
    channel_id: str = ""

    def name_for(self, uid: str) -> str:
        """The id under which `uid` knows it."""
        if self.kind != PERSON:
            return self.channel_id
        one, two = self.members
        return two if uid == one else one


class Said(NamedTuple):
    """One acknowledged message."""

    sender: str
    text: str
    red: bool
    begun: float
    """When it was given to the client, as time.monotonic()."""


def text_of(payload: bytes | str) -> str:
    """What the payload says: the content of the SDKs' JSON, or all of it."""
    try:
        found = json.loads(payload)
        return str(found["content"])
    except (ValueError, TypeError, KeyError):
        return payload.decode() if isinstance(payload, bytes) else payload


@dataclass
class Ledger:
    """Chat → sequence → what was acknowledged under it."""

    chats: dict[Chat, dict[int, Said]] = field(default_factory=dict)
    read: dict[tuple[str, Chat], int] = field(default_factory=dict)
    ways: set[tuple[str, str]] = field(default_factory=set)
    """By what ways commands have come to whom."""

    def said(
        self, chat: Chat, sequence: int, sender: str, text: str, red: bool = True, begun: float = 0
    ) -> None:
        """An acknowledgement came. A sequence is given once."""
        rows = self.chats.setdefault(chat, {})
        assert sequence not in rows, (chat, sequence, text, rows.get(sequence))
        rows[sequence] = Said(sender, text, red, begun)

    def last(self, chat: Chat) -> int:
        """The highest sequence so far."""
        return max(self.chats.get(chat, {}), default=0)

    def has_read(self, uid: str, chat: Chat, sequence: int) -> None:
        """`uid` told the server that it read so far."""
        self.read[uid, chat] = sequence

    def unread(self, uid: str, chat: Chat) -> int:
        """By the formula of docs/HTTP.md: red dots behind what the person read or sent."""
        rows = self.chats[chat]
        own = max((number for number, row in rows.items() if row.sender == uid), default=0)
        seen = max(own, self.read.get((uid, chat), 0))
        return sum(row.red and row.sender != uid and number > seen for number, row in rows.items())

    def take_command(self, api: Api, uid: str, number: str, of: str) -> dict[str, Any]:
        """The command with that client_msg_no as /message/sync shows it to `uid`: once, and no more
        when all that was shown is acknowledged. It is there as soon as it was acknowledged; only
        the first one that comes to `uid` by the way `of` is there a moment later."""

        def shown() -> list[dict[str, Any]]:
            rows: list[dict[str, Any]] = api.done("/message/sync", uid=uid, limit=500)
            return rows if any(row["client_msg_no"] == number for row in rows) else []

        patience = 0 if (uid, of) in self.ways else 30
        rows = wait_for(shown, patience, f"the command {number} of {uid}")
        self.ways.add((uid, of))
        (found,) = (row for row in rows if row["client_msg_no"] == number)
        api.done("/message/syncack", uid=uid, last_message_seq=rows[-1]["message_seq"])
        assert api.done("/message/sync", uid=uid, limit=500) == []
        return dict(found)

    def check_history(self, api: Api) -> None:
        """Every member is shown exactly what was acknowledged, from 1 on without a gap."""
        for chat, rows in self.chats.items():
            expected = [(number, row.text) for number, row in sorted(rows.items())]
            assert [number for number, _ in expected] == list(range(1, len(rows) + 1)), chat
            for uid in chat.members:
                assert history_of(api, chat, uid) == expected

    def check_conversations(self, api: Api) -> None:
        """Every member has each conversation, with the right last message and unread count."""
        for uid in {uid for chat in self.chats for uid in chat.members}:
            expected = {
                (chat.kind, chat.name_for(uid)): (self.last(chat), self.unread(uid, chat))
                for chat, rows in self.chats.items()
                if uid in chat.members and rows and chat.kind not in UNLISTED
            }
            wait_for(
                lambda u=uid, e=expected: e.keys() <= conversations_of(api, u).keys(),
                30,
                f"the conversations of {uid}",
            )
            found = conversations_of(api, uid)
            assert {key: found[key] for key in expected} == expected, uid


def conversations_of(api: Api, uid: str) -> dict[tuple[int, str], tuple[int, int]]:
    """(type, channel id) → (last sequence, unread)."""
    rows = api.done("/conversation/sync", uid=uid, version=0, msg_count=1)
    return {
        (row["channel_type"], row["channel_id"]): (row["last_msg_seq"], row["unread"])
        for row in rows
    }


def history_of(api: Api, chat: Chat, uid: str) -> list[tuple[int, str]]:
    """All of the history as `uid` is shown it, page by page."""
    found: list[tuple[int, str]] = []
    while True:
        named = {"channel_type": chat.kind, "pull_mode": 1, "limit": PAGE}
        start = found[-1][0] + 1 if found else 1
        page = api.history(uid, chat.name_for(uid), start_message_seq=start, **named)
        found += [(number, text_of(payload)) for number, payload in page]
        if len(page) < PAGE:
            return found


@dataclass
class Heard:
    """What one device of `uid` was given."""

    uid: str
    sessions: list[list[tuple[int, str, int, str, bool]]] = field(default_factory=list)
    begun: list[float] = field(default_factory=list)
    """When each session was known to stand."""

    def session_begins(self) -> None:
        """Another connection stands."""
        self.sessions.append([])
        self.begun.append(time.monotonic())

    def heard(self, kind: int, channel_id: str, sequence: int, text: str, again: bool) -> None:
        """A message came; `again`: marked as one that was sent before; commands, which have a
        sequence of their own, and what is not stored come as 0."""
        self.sessions[-1].append((kind, channel_id, sequence, text, again))

    def has(self, kind: int, channel_id: str, text: str) -> bool:
        """Whether it came in any session."""
        return any(
            (one[0], one[1], one[3]) == (kind, channel_id, text)
            for session in self.sessions
            for one in session
        )

    def session_of(self, text: str) -> int:
        """The number of the first session in which a text came."""
        return next(
            number
            for number, session in enumerate(self.sessions)
            if any(one[3] == text for one in session)
        )

    def check(self, ledger: Ledger) -> None:
        """In each session the messages of a channel came in order, none twice unless marked, and
        none was left out between the first and the last one of a session, nor before the first one
        when it was said after the session stood."""
        for chat, rows in ledger.chats.items():
            if self.uid not in chat.members:
                continue
            others = {number for number, row in rows.items() if row.sender != self.uid}
            for session, begun in zip(self.sessions, self.begun, strict=True):
                self._check_session(session, begun, chat, rows, others)

    def _check_session(
        self,
        session: list[Any],
        begun: float,
        chat: Chat,
        rows: dict[int, Said],
        others: set[int],
    ) -> None:
        name = chat.name_for(self.uid)
        order: list[int] = []
        for kind, channel_id, sequence, text, again in session:
            if (kind, channel_id) != (chat.kind, name) or sequence == 0:
                continue
            assert rows[sequence].text == text, (self.uid, chat, sequence, text)
            assert sequence not in order or again, (self.uid, chat, sequence, order)
            if sequence not in order:
                order.append(sequence)
        assert order == sorted(order), (self.uid, chat, order)
        if order:
            owed = {
                number
                for number in others
                if number <= order[-1] and (number >= order[0] or rows[number].begun > begun)
            }
            assert owed <= set(order), (self.uid, chat, owed - set(order))
