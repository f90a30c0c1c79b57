"""The three sets of uids that a channel keeps: members, deny list, allow list.

A row is never deleted: who was removed leaves a tombstone with the channel's last sequences, so
that history ends for them there (promise P5), and so that a person's allow list knows whom it
once named.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from zmqim.chat.heads import Channel
from zmqim.chat.keys import Keys
from zmqim.chat.view import RowView

_MEMBERSHIP: Final = struct.Struct(">?QQQ")


class Membership(NamedTuple):
    """Body of a `U`, `B` or `W` row: `version` is the log index of its last change; the sequences
    are those of the channel and its command channel when the uid was removed."""

    present: bool
    version: int
    last_sequence: int = 0
    last_command: int = 0


class MemberSets:
    """Reads and changes the sets of one partition's channels."""

    def __init__(self, keys: Keys, view: RowView) -> None:
        self._keys = keys
        self._view = view

    def get(self, tag: bytes, channel: Channel, uid: str) -> Membership | None:
        """What is known of `uid` in that set."""
        if not channel.exists:
            return None
        body = self._view.get(self._keys.member(tag, channel.chan16, uid))
        return None if body is None else Membership(*_MEMBERSHIP.unpack(body))

    def holds(self, tag: bytes, channel: Channel, uid: str) -> bool:
        """Is `uid` in that set now?"""
        found = self.get(tag, channel, uid)
        return found is not None and found.present

    def add(self, tag: bytes, channel: Channel, uids: Iterable[str], version: int) -> list[str]:
        """Add `uids`; those that were not in the set before."""
        return self._change(tag, channel, uids, Membership(True, version))

    def remove(
        self, tag: bytes, channel: Channel, uids: Iterable[str], tombstone: Membership
    ) -> list[str]:
        """Leave `tombstone` in the place of `uids`; those that were in the set before."""
        return self._change(tag, channel, uids, tombstone)

    def page(self, tag: bytes, channel: Channel, after: str, limit: int) -> tuple[list[str], bool]:
        """Up to `limit` uids in byte order after `after`, and whether there are more."""
        uids: list[str] = []
        while channel.exists:
            rows = self._scan(tag, channel, after, limit + 1)
            for key, body in rows:
                if not _MEMBERSHIP.unpack(body)[0]:
                    continue
                if len(uids) == limit:
                    return uids, True
                uids.append(self._keys.uid_of_member(key))
            if len(rows) <= limit:
                break
            after = self._keys.uid_of_member(rows[-1][0])
        return uids, False

    def everyone(self, tag: bytes, channel: Channel) -> list[str]:
        """All uids in the set."""
        return [uid for uid, present in self.ever(tag, channel) if present]

    def ever(self, tag: bytes, channel: Channel) -> list[tuple[str, bool]]:
        """All uids that are or once were in the set, with whether they are."""
        if not channel.exists:
            return []
        uid_of = self._keys.uid_of_member
        return [
            (uid_of(key), _MEMBERSHIP.unpack(body)[0])
            for key, body in self._scan(tag, channel, "", None)
        ]

    def _scan(
        self, tag: bytes, channel: Channel, after: str, limit: int | None
    ) -> list[tuple[bytes, bytes]]:
        start, stop = self._keys.members_after(tag, channel.chan16, after)
        return self._view.scan(start, stop, limit=limit)

    def _change(
        self, tag: bytes, channel: Channel, uids: Iterable[str], now: Membership
    ) -> list[str]:
        changed = []
        body = _MEMBERSHIP.pack(*now)
        for uid in uids:
            if self.holds(tag, channel, uid) != now.present:
                self._view.put(self._keys.member(tag, channel.chan16, uid), body)
                changed.append(uid)
        return changed
