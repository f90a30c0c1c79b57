"""A person's rows: bans and login tokens."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from zmqim.chat.codes import MASTER
from zmqim.chat.keys import Keys
from zmqim.chat.notices import UserNotice
from zmqim.chat.operations import ClearToken, SetToken, SetUser
from zmqim.chat.results import UserRow
from zmqim.chat.rows import Token, User
from zmqim.chat.view import RowView

EVERY_FLAG: Final = -1
_KICKED: Final = 12
_BANNED: Final = 19


_encode: Final = msgspec.msgpack.Encoder().encode
_decode_user: Final = msgspec.msgpack.Decoder(User).decode
_decode_token: Final = msgspec.msgpack.Decoder(Token).decode


class Users:
    """The persons of one partition."""

    def __init__(self, keys: Keys, view: RowView) -> None:
        self._keys = keys
        self._view = view

    def find(self, uid: str) -> User | None:
        """The person's bans; None if nothing was ever stored."""
        body = self._view.get(self._keys.user(uid))
        return None if body is None else _decode_user(body)

    def row(self, uid: str, device_flag: int) -> UserRow:
        """What CONNECT needs to know."""
        user = self.find(uid)
        if user is None:
            return UserRow(uid, False)
        body = self._view.get(self._keys.token(uid, device_flag))
        if body is None:
            return UserRow(
                uid,
                True,
                ban=user.ban,
                send_ban=user.send_ban,
                version=user.version,
                allow_stranger=user.allow_stranger,
            )
        token = _decode_token(body)
        return UserRow(
            uid,
            True,
            token.salt,
            token.token_hash,
            token.device_level,
            user.ban,
            user.send_ban,
            user.version,
            user.allow_stranger,
        )

    def set_token(self, index: int, operation: SetToken) -> UserNotice | None:
        """Store a token; a master device's earlier sessions of that flag must end."""
        uid = operation.uid
        user = self._changed(index, uid, self.find(uid) or User())
        token = Token(operation.device_level, operation.salt, operation.token_hash)
        self._view.put(self._keys.token(uid, operation.device_flag), _encode(token))
        if operation.device_level != MASTER:
            return None
        return UserNotice(uid, user.ban, user.send_ban, operation.device_flag, _KICKED, index)

    def clear_token(self, index: int, operation: ClearToken) -> UserNotice:
        """Forget one token or all of them; the sessions that used it must end."""
        uid = operation.uid
        if operation.device_flag == EVERY_FLAG:
            for key, _ in self._view.scan(*self._keys.tokens(uid)):
                self._view.delete(key)
        else:
            self._view.delete(self._keys.token(uid, operation.device_flag))
        user = self.find(uid)
        user = User() if user is None else self._changed(index, uid, user)
        return UserNotice(uid, user.ban, user.send_ban, operation.device_flag, _KICKED, index)

    def set_bans(self, index: int, operation: SetUser) -> UserNotice:
        """Store a person's bans; a ban ends every session."""
        user = User(operation.ban, operation.send_ban, operation.allow_stranger)
        self._changed(index, operation.uid, user)
        if user.ban:
            return UserNotice(operation.uid, True, user.send_ban, EVERY_FLAG, _BANNED, index)
        return UserNotice(operation.uid, False, user.send_ban, version=index)

    def _changed(self, index: int, uid: str, user: User) -> User:
        """Store the person as of the change at log index `index`."""
        user = replace(user, version=index)
        self._view.put(self._keys.user(uid), _encode(user))
        return user
