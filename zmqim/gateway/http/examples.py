"""An example of each call: what is asked and what is answered, for the OpenAPI document.

For GET the request is the query. `tests/clients/test_http_document.py` runs each of them against a
cluster.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from zmqim.gateway.http.bench_examples import BENCH_EXAMPLES
from zmqim.gateway.http.conversation_examples import command_examples, conversation_examples
from zmqim.gateway.http.event_examples import EVENT_EXAMPLES

_DONE: Final = {"status": 200}
_PAYLOAD: Final = "eyJ0eXBlIjoxLCJjb250ZW50IjoiaGkifQ=="
_MESSAGE: Final = {
    "header": {"no_persist": 0, "red_dot": 1, "sync_once": 0},
    "setting": 0,
    "message_id": 268435456000001024,
    "message_idstr": "268435456000001024",
    "client_msg_no": "n-1",
    "message_seq": 1,
    "from_uid": "ada",
    "channel_id": "team",
    "channel_type": 2,
    "topic": "",
    "expire": 0,
    "timestamp": 1767225600,
    "payload": _PAYLOAD,
}
_TEAM: Final = {"channel_id": "team", "channel_type": 2}
_SEEN_BY_ADA: Final = {**_TEAM, "login_uid": "ada"}
_LISTED: Final = {**_TEAM, "uids": ["bob"]}
_CONNECTION: Final = {
    "id": 7,
    "uid": "ada",
    "ip": "203.0.113.9",
    "port": 40312,
    "last_activity": "2026-01-01T00:00:00Z",
    "uptime": "2h0m5s",
    "idle": "12s",
    "pending_bytes": 0,
    "in_msgs": 3,
    "out_msgs": 5,
    "in_msg_bytes": 412,
    "out_msg_bytes": 690,
    "in_packets": 12,
    "out_packets": 13,
    "device": "App(master)",
    "device_id": "phone",
    "version": 5,
    "node_id": 1,
}
_ROUTE: Final = {
    "tcp_addr": "chat.example.com:5100",
    "ws_addr": "ws://chat.example.com:5200",
    "wss_addr": "",
    "node_id": 1,
}


class Example(NamedTuple):
    """One call."""

    request: object
    """The body, or of a GET the query; None: there is none."""
    answer: object
    says: str
    """What an answer with status 200 means."""


EXAMPLES: Final = {
    "POST /user/token": Example(
        {"uid": "ada", "token": "a long random text", "device_flag": 0, "device_level": 1},
        _DONE,
        "The token is stored; status 19: the user is banned, and it is not.",
    ),
    "POST /user/device_quit": Example(
        {"uid": "ada", "device_flag": -1}, _DONE, "The tokens are gone and the sessions end."
    ),
    "POST /user/onlinestatus": Example(
        ["ada", "bob"],
        [{"uid": "ada", "device_flag": 0, "online": 1}],
        "The devices that are online; a status: there is none.",
    ),
    "POST /user/systemuids_add": Example({"uids": ["robot"]}, _DONE, "No list stops them."),
    "POST /user/systemuids_remove": Example(
        {"uids": ["old-robot"]}, _DONE, "They are users like others."
    ),
    "GET /user/systemuids": Example(None, ["____system", "robot"], "Who they are."),
    "POST /tmpchannel/subscriber_set": Example(
        {"channel_id": "today", "uids": ["ada", "bob"]}, _DONE, "They alone are its members."
    ),
    "POST /channel": Example(
        {**_TEAM, "subscribers": ["ada", "bob"]}, _DONE, "The channel is as asked."
    ),
    "POST /channel/info": Example({**_TEAM, "send_ban": 0}, _DONE, "The flags are as asked."),
    "POST /channel/delete": Example(
        {"channel_id": "closed-team", "channel_type": 2}, _DONE, "The channel is disbanded."
    ),
    "POST /channel/subscriber_add": Example(
        {**_TEAM, "subscribers": ["cid"]}, _DONE, "They are members."
    ),
    "POST /channel/subscriber_remove": Example(
        {**_TEAM, "subscribers": ["cid"]}, _DONE, "They are no members."
    ),
    "POST /channel/subscriber_remove_all": Example(
        {"channel_id": "old-team", "channel_type": 2}, _DONE, "The channel has no members."
    ),
    "POST /channel/blacklist_add": Example(_LISTED, _DONE, "They are on it."),
    "POST /channel/blacklist_set": Example(_LISTED, _DONE, "They alone are on it."),
    "POST /channel/blacklist_remove": Example(_LISTED, _DONE, "They are not on it."),
    "POST /channel/blacklist_remove_all": Example(_TEAM, _DONE, "It is empty."),
    "POST /channel/whitelist_add": Example(_LISTED, _DONE, "They are on it."),
    "POST /channel/whitelist_set": Example(_LISTED, _DONE, "They alone are on it."),
    "POST /channel/whitelist_remove": Example(_LISTED, _DONE, "They are not on it."),
    "POST /channel/whitelist_remove_all": Example(_TEAM, _DONE, "It is empty."),
    "GET /channel/whitelist": Example(
        _TEAM, [{"id": 1, "uid": "bob"}], "Who is on it, in byte order."
    ),
    "POST /message/send": Example(
        {
            "from_uid": "ada",
            "channel_id": "bob",
            "channel_type": 1,
            "client_msg_no": "n-1",
            "header": {"red_dot": 1},
            "payload": _PAYLOAD,
        },
        {
            "data": {
                "message_id": 268435456000001024,
                "message_idstr": "268435456000001024",
                "client_msg_no": "n-1",
                "message_seq": 1,
                "reason": 1,
            },
            "status": 200,
        },
        "The message is committed.",
    ),
    "POST /message/sendbatch": Example(
        {"from_uid": "ada", "subscribers": ["bob", "cid"], "payload": _PAYLOAD},
        {"fail_uids": ["cid"], "reason": ["the sender is on the blacklist"]},
        "All but fail_uids have the message.",
    ),
    "POST /channel/messagesync": Example(
        {**_SEEN_BY_ADA, "limit": 20},
        {"start_message_seq": 0, "end_message_seq": 0, "more": 0, "messages": [_MESSAGE]},
        "A page, ascending.",
    ),
    "POST /channel/messagesyncbatch": Example(
        {"login_uid": "ada", "items": [{**_TEAM, "limit": 20}]},
        {
            "items": [
                {
                    **_TEAM,
                    "start_message_seq": 0,
                    "end_message_seq": 0,
                    "more": 0,
                    "messages": [_MESSAGE],
                    "error": "",
                }
            ]
        },
        "A page, or an error, for each channel.",
    ),
    "GET /channel/max_message_seq": Example(
        _SEEN_BY_ADA, {"message_seq": 1}, "The last sequence; 0: nothing is there."
    ),
    "GET /channel/last_message": Example(
        _SEEN_BY_ADA, _MESSAGE, "The message; status 404: there is none."
    ),
    "POST /messages": Example(
        {**_SEEN_BY_ADA, "message_seqs": [1], "client_msg_nos": ["n-1"]},
        {"start_message_seq": 0, "end_message_seq": 0, "more": 0, "messages": [_MESSAGE]},
        "Those that are there, ascending.",
    ),
    "POST /message": Example(
        {**_SEEN_BY_ADA, "client_msg_no": "n-1"},
        _MESSAGE,
        "The message; status 404: it is not there.",
    ),
    "GET /message/byclientmsgno": Example(
        {**_TEAM, "client_msg_no": "n-1"}, _MESSAGE, "The message; status 404: it is not there."
    ),
    "POST /webhook/forget": Example({"name": "old-app"}, _DONE, "Nothing is kept for it."),
    "GET /route": Example({"uid": "ada"}, _ROUTE, "Where to connect."),
    "POST /route/batch": Example(
        ["ada", "bob"], [{**_ROUTE, "uids": ["ada", "bob"]}], "Where to connect, one row a gateway."
    ),
    "GET /health": Example(None, {"status": "ok"}, "It serves."),
    "GET /healthz": Example(None, _DONE, "The process turns its loop."),
    "GET /readyz": Example(None, _DONE, "It serves."),
    "GET /metrics": Example(
        None,
        "# TYPE gateway_sends_total counter\ngateway_sends_total 3.0\n",
        "All metrics of the gateway.",
    ),
    "GET /connz": Example(
        {"sort": "inMsgDesc", "limit": 10},
        {
            "connections": [_CONNECTION],
            "now": "2026-01-01T00:00:12Z",
            "total": 1,
            "offset": 0,
            "limit": 10,
        },
        "The connections of this gateway.",
    ),
    "POST /conn/kick": Example(
        {"uid": "ada", "conn_id": 7}, _DONE, "The client is told, and the connection ends."
    ),
    "POST /conn/remove": Example({"uid": "ada", "conn_id": 7}, _DONE, "The connection ends."),
    "GET /varz": Example(
        {"show": "conn", "conn_limit": 1},
        {
            "server_id": "1",
            "server_name": "gateway-1",
            "version": "0.1.0",
            "connections": 1,
            "uptime": "1d0h3m7s",
            "mem": 91226112,
            "cpu": 1.7,
            "in_msgs": 3,
            "out_msgs": 5,
            "in_bytes": 412,
            "out_bytes": 690,
            "slow_clients": 0,
            "retry_queue": 0,
            "tcp_addr": "chat.example.com:5100",
            "ws_addr": "ws://chat.example.com:5200",
            "wss_addr": "",
            "api_url": "http://127.0.0.1:5001",
            "conns": [_CONNECTION],
        },
        "What the gateway is and did.",
    ),
    "GET /varz/setting": Example(
        None,
        {"logger": {"trace_on": 0, "loki_on": 0}, "prometheus_on": 1, "stress_on": 0},
        "What is there and what is not.",
    ),
    **{name: Example(*parts) for name, parts in conversation_examples(_MESSAGE).items()},
    **{name: Example(*parts) for name, parts in command_examples(_MESSAGE).items()},
    **{name: Example(*parts) for name, parts in EVENT_EXAMPLES.items()},
    **{name: Example(*parts) for name, parts in BENCH_EXAMPLES.items()},
}
"""By method and path."""
