"""The judges of the scenarios find what they are there to find."""

from __future__ import annotations

from typing import Any

import pytest
from http_calls import Api
from ledger import GROUP, PERSON, Chat, Heard, Ledger, text_of

CHAT = Chat(GROUP, ("ann", "ben"), "g")
TEXTS = {1: "a", 2: "b", 3: "c", 4: "d"}


def ledger() -> Ledger:
    """Ann said three messages, Ben one without a red dot between them."""
    made = Ledger()
    for number, text in TEXTS.items():
        own = number == 3
        made.said(CHAT, number, "ben" if own else "ann", text, red=not own)
    return made


def heard(*messages: tuple[int, bool]) -> Heard:
    """Ben heard these (sequence, marked as sent before) in one session."""
    made = Heard("ben")
    made.session_begins()
    for number, again in messages:
        made.heard(GROUP, "g", number, TEXTS[number], again)
    return made


class Shown(Api):
    """What a cluster shows, as the test wants it."""

    def __init__(self, history: list[tuple[int, str]]) -> None:
        self.shown = history

    def history(self, uid: str, channel_id: str, **more: Any) -> list[tuple[int, str]]:
        return [row for row in self.shown if row[0] >= more["start_message_seq"]]


def test_what_came_in_order_and_whole_is_right() -> None:
    heard((1, False), (2, False), (4, False)).check(ledger())
    heard((2, False), (1 + 1, True), (4, False)).check(ledger())


@pytest.mark.parametrize(
    "messages",
    [
        [(2, False), (1, False)],
        [(1, False), (1, False)],
        [(1, False), (4, False)],
    ],
    ids=["out of order", "twice", "one left out"],
)
def test_what_came_otherwise_is_found(messages: list[tuple[int, bool]]) -> None:
    with pytest.raises(AssertionError):
        heard(*messages).check(ledger())


def test_a_changed_message_is_found() -> None:
    wrong = heard()
    wrong.heard(GROUP, "g", 1, "changed", False)
    with pytest.raises(AssertionError):
        wrong.check(ledger())


def test_what_was_said_after_the_session_stood_is_owed_to_it() -> None:
    ben = heard()
    made = Ledger()
    for number, text in TEXTS.items():
        made.said(CHAT, number, "ann", text, begun=ben.begun[0] + (1 if number > 2 else -1))
    ben.heard(GROUP, "g", 4, "d", False)
    with pytest.raises(AssertionError):
        ben.check(made)
    ben.sessions[0].insert(0, (GROUP, "g", 3, "c", False))
    ben.check(made)


def test_another_session_may_begin_anywhere() -> None:
    two = heard((1, False))
    two.session_begins()
    two.heard(GROUP, "g", 4, "d", False)
    two.check(ledger())
    assert (two.session_of("a"), two.session_of("d")) == (0, 1)


@pytest.mark.parametrize(
    "shown",
    [
        [(1, "a"), (2, "b"), (3, "c")],
        [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "d")],
        [(1, "a"), (2, "c"), (3, "b"), (4, "d")],
    ],
    ids=["lost", "doubled", "reordered"],
)
def test_a_history_that_is_not_what_was_acknowledged_is_found(shown: list[tuple[int, str]]) -> None:
    ledger().check_history(Shown(sorted(TEXTS.items())))
    with pytest.raises(AssertionError):
        ledger().check_history(Shown(shown))


def test_a_sequence_that_is_given_twice_or_left_out_is_found() -> None:
    made = ledger()
    with pytest.raises(AssertionError):
        made.said(CHAT, 4, "ann", "e")
    made.said(CHAT, 6, "ann", "f")
    with pytest.raises(AssertionError):
        made.check_history(Shown([*sorted(TEXTS.items()), (6, "f")]))


def test_unread_is_what_has_a_red_dot_behind_what_was_read_or_sent() -> None:
    made = ledger()
    assert (made.unread("ann", CHAT), made.unread("ben", CHAT)) == (0, 1)
    made.has_read("ben", CHAT, 4)
    assert made.unread("ben", CHAT) == 0
    made.said(CHAT, 5, "ann", "e")
    assert made.unread("ben", CHAT) == 1


def test_a_person_channel_is_named_by_the_other() -> None:
    chat = Chat(PERSON, ("ann", "ben"))
    assert (chat.name_for("ann"), chat.name_for("ben")) == ("ben", "ann")


def test_a_text_is_the_content_of_the_sdks_or_all_of_it() -> None:
    assert text_of(b'{"type":1,"content":"hi"}') == "hi"
    assert [text_of(payload) for payload in (b"hi", b"1", b'{"a":1}')] == ["hi", "1", '{"a":1}']
