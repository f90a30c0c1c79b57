"""What a link does about what happens to it: the table that `zmqim.bus.links` runs by."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

from zmqim.bus.messages import Body, Goodbye, Hello, JoinRefused, Ping, Welcome, WhoAreYou


class _Key(Enum):
    """Members look up the table for each frame: by identity, since Enum's own hash is a call in
    Python."""

    __hash__ = object.__hash__


class State(_Key):
    """Of a link: the first two where we dial, the others where we are dialled."""

    CONNECTING = auto()
    UP = auto()
    VACANT = auto()
    ADMITTED = auto()


class Occurrence(_Key):
    """What can happen to a link."""

    HELLO = auto()
    WELCOME = auto()
    REFUSAL = auto()
    QUESTION = auto()
    PING = auto()
    GOODBYE = auto()
    DATA = auto()
    SILENCE = auto()
    DISCONNECT = auto()


class Action(_Key):
    """What a link does about it; see the methods of `Links` of the same name."""

    IGNORE = auto()
    FAULT = auto()
    STALE = auto()
    COME_UP = auto()
    NOTE_REFUSAL = auto()
    GO_DOWN = auto()
    ADMIT = auto()
    READMIT = auto()
    ASK = auto()
    TAKE_PING = auto()
    TAKE_DATA = auto()
    TAKE_GOODBYE = auto()
    ANSWER_QUESTION = auto()


_S, _O, _A = State, Occurrence, Action
TRANSITIONS: Final[dict[State, dict[Occurrence, Action]]] = {
    _S.CONNECTING: {
        _O.HELLO: _A.FAULT,
        _O.WELCOME: _A.COME_UP,
        _O.REFUSAL: _A.NOTE_REFUSAL,
        _O.QUESTION: _A.IGNORE,
        _O.PING: _A.STALE,
        _O.GOODBYE: _A.IGNORE,
        _O.DATA: _A.STALE,
        _O.SILENCE: _A.IGNORE,
        _O.DISCONNECT: _A.IGNORE,
    },
    _S.UP: {
        _O.HELLO: _A.FAULT,
        _O.WELCOME: _A.IGNORE,
        _O.REFUSAL: _A.STALE,
        _O.QUESTION: _A.ANSWER_QUESTION,
        _O.PING: _A.TAKE_PING,
        _O.GOODBYE: _A.TAKE_GOODBYE,
        _O.DATA: _A.TAKE_DATA,
        _O.SILENCE: _A.GO_DOWN,
        _O.DISCONNECT: _A.GO_DOWN,
    },
    _S.VACANT: {
        _O.HELLO: _A.ADMIT,
        _O.WELCOME: _A.FAULT,
        _O.REFUSAL: _A.FAULT,
        _O.QUESTION: _A.FAULT,
        _O.PING: _A.ASK,
        _O.GOODBYE: _A.IGNORE,
        _O.DATA: _A.ASK,
        _O.SILENCE: _A.IGNORE,
        _O.DISCONNECT: _A.IGNORE,
    },
    _S.ADMITTED: {
        _O.HELLO: _A.READMIT,
        _O.WELCOME: _A.FAULT,
        _O.REFUSAL: _A.FAULT,
        _O.QUESTION: _A.FAULT,
        _O.PING: _A.TAKE_PING,
        _O.GOODBYE: _A.TAKE_GOODBYE,
        _O.DATA: _A.TAKE_DATA,
        _O.SILENCE: _A.GO_DOWN,
        _O.DISCONNECT: _A.GO_DOWN,
    },
}
"""STALE and FAULT are counted and dropped: the first is what a past link left behind."""

OCCURRENCES: Final[dict[type[Body], Occurrence]] = {
    Hello: Occurrence.HELLO,
    Welcome: Occurrence.WELCOME,
    JoinRefused: Occurrence.REFUSAL,
    WhoAreYou: Occurrence.QUESTION,
    Ping: Occurrence.PING,
    Goodbye: Occurrence.GOODBYE,
}
"""Every other message is DATA."""
