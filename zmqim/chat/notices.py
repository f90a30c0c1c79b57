"""What a partition tells the fan-out of what it applied."""

from __future__ import annotations

from zmqim.chat.encoding import Value


class MessageNotice(Value, tag=1, frozen=True):
    """A committed message, to be pushed. `sequence` 0: a NO_PERSIST message.

    `member_version` is the version that its audience must have been read at, or later.
    """

    channel_type: int
    channel_id: str
    sequence: int
    message_id: int
    hlc: int
    member_version: int
    operation: bytes


class MembersNotice(Value, tag=2, frozen=True):
    """Members changed at `version`; applied before any later sequence is fanned out.

    `reset`: everyone who is not in `added` is gone. `count` is the number of members afterwards.
    `previous` is the member version before this change (-1: not told): a router that holds another
    one has missed a change and reads the members anew.
    """

    channel_type: int
    channel_id: str
    version: int
    added: list[str]
    removed: list[str]
    reset: bool
    count: int
    previous: int = -1


class UserNotice(Value, tag=3, frozen=True):
    """A person's bans changed, or (`kick_flag` not None, -1 = every flag) sessions must end.

    `version` is the log index of the change: a session that was admitted by a `UserRow` of that
    version or a later one is not concerned.
    """

    uid: str
    ban: bool
    send_ban: bool
    kick_flag: int | None = None
    kick_reason: int = 12
    version: int = 0


Notice = MessageNotice | MembersNotice | UserNotice
