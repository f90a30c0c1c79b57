"""Examples of the calls about conversations and commands, for `zmqim.gateway.http.examples`."""

from __future__ import annotations

from typing import Any, Final

_DONE: Final = {"status": 200}
_ADA: Final = {"uid": "ada"}
_TEAM: Final = {"channel_id": "team", "channel_type": 2}
_IN_TEAM: Final = {**_ADA, **_TEAM}


Parts = tuple[object, object, str]
"""(request, answer, what the answer says)."""


_CURSORS: Final[dict[str, Parts]] = {
    "POST /conversations/clearUnread": (_IN_TEAM, _DONE, "Everything is read."),
    "POST /conversations/setUnread": (
        {**_IN_TEAM, "unread": 1},
        _DONE,
        "So many are unread, or marked so.",
    ),
    "POST /conversations/delete": (_IN_TEAM, _DONE, "It is hidden until a message comes."),
}


def conversation_examples(message: dict[str, Any]) -> dict[str, Parts]:
    """By method and path; `message` is one in `_TEAM`."""
    conversation = {
        **_TEAM,
        "unread": 1,
        "timestamp": 1767225600,
        "last_msg_seq": 1,
        "last_client_msg_no": "n-1",
        "offset_msg_seq": 0,
        "readed_to_msg_seq": 0,
        "version": 115816902819840000,
        "recents": [message],
    }
    listed = {
        **_TEAM,
        "active_at": 1767225600123,
        "read_seq": 0,
        "deleted_to_seq": 0,
        "unread": 1,
        "last_message": {
            "message_id": message["message_id"],
            "message_idstr": message["message_idstr"],
            "message_seq": 1,
            "from_uid": "bob",
            "client_msg_no": "n-1",
            "server_timestamp_ms": 1767225600123,
            "payload": message["payload"],
        },
    }
    page = {
        "conversations": [listed],
        "deletes": [],
        "unresolved": [],
        "next_cursor": "",
        "done": True,
        "coverage": "115816902819840000",
        "tombstones_retained_since": 0,
        "reset_required": False,
    }
    channels = {**_ADA, "channels": [_TEAM]}
    return {
        **_CURSORS,
        "POST /conversation/sync": (
            {**_ADA, "version": 0, "msg_count": 1},
            [conversation],
            "What changed since the version.",
        ),
        "POST /conversation/syncByChannels": (
            {**channels, "msg_count": 1},
            [conversation],
            "Those that are among the person's conversations.",
        ),
        "POST /conversation/syncMessages": (
            {**_ADA, "channels": [{**_TEAM, "last_msg_seq": 0}], "msg_count": 15},
            [{**_TEAM, "messages": [message], "user_last_msg_seq": 0}],
            "The newest messages of each.",
        ),
        "POST /conversation/channels": (_ADA, [_TEAM], "The channels of all conversations."),
        "POST /conversation/list": (
            {**_ADA, "limit": 100},
            page,
            "A page; done: there is no other one.",
        ),
        "POST /conversation/retry": (channels, {**page, "coverage": ""}, "What they are by now."),
        "POST /conversations/activate": (channels, _DONE, "They are among the conversations."),
    }


def command_examples(message: dict[str, Any]) -> dict[str, Parts]:
    """The same for commands."""
    return {
        "POST /message/sync": (
            {**_ADA, "limit": 100},
            [{**message, "header": {"no_persist": 0, "red_dot": 0, "sync_once": 1}}],
            "The oldest commands that are not acknowledged.",
        ),
        "POST /message/syncack": ({**_ADA, "last_message_seq": 1}, _DONE, "They are taken."),
        "POST /message/cmd/bind": (_IN_TEAM, _DONE, "Its commands are shown from now on."),
        "POST /message/cmd/unbind": (_IN_TEAM, _DONE, "Its commands are shown no more."),
    }
