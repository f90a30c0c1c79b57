"""SEND, SENDACK, RECV and RECVACK: the packets that each message costs (`zmqim.wkproto.packets`).

Plain classes, and for that in a module of their own: in compiled code they are made and read at a
fraction of a Struct's cost (docs/adr/0008). Never changed.
"""

from __future__ import annotations

from typing import ClassVar


class _Frequent:
    """What a Struct would bring along; `__match_args__` are the fields, in order."""

    __slots__ = ()
    __match_args__: ClassVar[tuple[str, ...]] = ()

    def _values(self) -> list[object]:
        return [getattr(self, name) for name in self.__match_args__]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Frequent)
            and type(self) is type(other)
            and self._values() == other._values()
        )

    def __hash__(self) -> int:
        return hash(tuple(self._values()))

    def __repr__(self) -> str:
        fields = [f"{name}={getattr(self, name)!r}" for name in self.__match_args__]
        return f"{type(self).__name__}({', '.join(fields)})"


class Send(_Frequent):
    """C→S: one message. `channel_id` is the peer's uid in a person channel."""

    __match_args__: ClassVar = (
        "client_seq",
        "client_msg_no",
        "channel_id",
        "channel_type",
        "payload",
        "setting",
        "flags",
        "expire",
        "topic",
        "stream_no",
    )
    __slots__ = __match_args__

    def __init__(
        self,
        client_seq: int,
        client_msg_no: str,
        channel_id: str,
        channel_type: int,
        payload: bytes,
        setting: int = 0,
        flags: int = 0,
        expire: int = 0,
        topic: str = "",
        stream_no: str = "",
    ) -> None:
        self.client_seq = client_seq
        self.client_msg_no = client_msg_no
        self.channel_id = channel_id
        self.channel_type = channel_type
        self.payload = payload
        self.setting = setting
        self.flags = flags
        self.expire = expire
        self.topic = topic
        self.stream_no = stream_no
        """Only of versions 2 to 4 with `Setting.STREAM`; nothing is done with it."""


class Sendack(_Frequent):
    """S→C: the answer to one SEND. `client_msg_no` is written to clients of version 6 only."""

    __match_args__: ClassVar = (
        "message_id",
        "client_seq",
        "message_seq",
        "reason",
        "client_msg_no",
        "flags",
    )
    __slots__ = __match_args__

    def __init__(
        self,
        message_id: int,
        client_seq: int,
        message_seq: int,
        reason: int,
        client_msg_no: str = "",
        flags: int = 0,
    ) -> None:
        self.message_id = message_id
        self.client_seq = client_seq
        self.message_seq = message_seq
        self.reason = reason
        self.client_msg_no = client_msg_no
        self.flags = flags


class Recv(_Frequent):
    """S→C: one message as its receiver sees it (a person channel is named by the peer)."""

    __match_args__: ClassVar = (
        "message_id",
        "message_seq",
        "timestamp",
        "from_uid",
        "channel_id",
        "channel_type",
        "client_msg_no",
        "payload",
        "setting",
        "flags",
        "expire",
        "topic",
    )
    __slots__ = __match_args__

    def __init__(
        self,
        message_id: int,
        message_seq: int,
        timestamp: int,
        from_uid: str,
        channel_id: str,
        channel_type: int,
        client_msg_no: str,
        payload: bytes,
        setting: int = 0,
        flags: int = 0,
        expire: int = 0,
        topic: str = "",
    ) -> None:
        self.message_id = message_id
        self.message_seq = message_seq
        self.timestamp = timestamp
        """Unix seconds."""
        self.from_uid = from_uid
        self.channel_id = channel_id
        self.channel_type = channel_type
        self.client_msg_no = client_msg_no
        self.payload = payload
        self.setting = setting
        self.flags = flags
        self.expire = expire
        self.topic = topic


class Recvack(_Frequent):
    """C→S: the message arrived. `flags` repeats the RECV's."""

    __match_args__: ClassVar = ("message_id", "message_seq", "flags")
    __slots__ = __match_args__

    def __init__(self, message_id: int, message_seq: int, flags: int = 0) -> None:
        self.message_id = message_id
        self.message_seq = message_seq
        self.flags = flags
