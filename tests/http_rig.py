"""The HTTP API over one real partition in memory: whatever is asked goes to its state machine.

    rig = HttpRig()
    rig.done("/channel", channel_id="g", channel_type=2, subscribers=["ada"])
    rig.get("/channel/max_message_seq", channel_id="g", channel_type=2)   (status, JSON)

The gateway's core beside it (`rig.gateway`, a `gateway_rig.Rig`) has the sessions that tests open.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from types import SimpleNamespace, TracebackType
from typing import Any, cast

import structlog
from chat_partition import HLC, Partition
from gateway_rig import Rig
from httpx import Response
from litestar.testing import TestClient

from zmqim.bus.effects import View
from zmqim.bus.messages import ItemKind, OutcomeCode
from zmqim.chat.channels import SYSTEM_UID
from zmqim.chat.codes import Reason
from zmqim.chat.encoding import encode
from zmqim.chat.operations import OutboxDone, SendMessage, decode_operation
from zmqim.chat.queries import Together, decode_query
from zmqim.chat.results import Answers, Result, Sent, decode_result
from zmqim.errors import DeadlinePassed, WireError
from zmqim.gateway.http.app import make_app
from zmqim.gateway.plugin import (
    Answer,
    Draft,
    GatewayPort,
    HookVerdict,
    SessionsPage,
    SessionTotals,
)
from zmqim.storage.items import check_change
from zmqim.telemetry.metrics import Metrics
from zmqim.topology import parse

KEY = "k" * 32
TOPOLOGY = """
cluster = "http"
[[gateway]]
name = "gateway-1"
listeners = [
    "wkproto://127.0.0.1:5100",
    { url = "ws://127.0.0.1:5200", advertise = "wss://one.example" },
    "http://127.0.0.1:5001",
]
[[gateway]]
name = "gateway-2"
listeners = ["wkproto://127.0.0.1:5110", "ws://127.0.0.1:5210", "http://127.0.0.1:5011"]
[[router]]
name = "router-1"
[[storage]]
name = "storage-1"
"""


class HttpPort:
    """A gateway whose every partition is the same one; `code` may stand for what went wrong."""

    def __init__(self, gateway: Rig) -> None:
        self.partition = Partition()
        self.code = OutcomeCode.DONE
        self.asked: list[int] = []
        self.missing = ""
        self.verdict = HookVerdict(Reason.SUCCESS)
        self.drafts: list[Draft] = []
        self.alive = ("gateway-1", "gateway-2")
        self.name = "gateway-1"
        self.system_uids = frozenset({SYSTEM_UID})
        topology = parse(TOPOLOGY, "http.toml", api_key_given=True)
        self.context = SimpleNamespace(
            topology=topology,
            me=topology.process(self.name),
            api_key=KEY,
            metrics=Metrics(),
            logger=structlog.get_logger(),
        )
        self._gateway = gateway

    @property
    def ready(self) -> bool:
        return not self.missing

    def not_ready(self) -> str:
        return self.missing

    def view(self) -> View:
        return View(self.alive, (), ())

    async def ask(self, kind: int, key: bytes, body: bytes, deadline_ms: int) -> Answer:
        self.asked.append(kind)
        if self.code is not OutcomeCode.DONE:
            return Answer(self.code, b"")
        try:
            result = self._result(kind, body)
        except WireError as error:
            return Answer(OutcomeCode.BAD_REQUEST, str(error).encode())
        return Answer(OutcomeCode.DONE, encode(result))

    def _result(self, kind: int, body: bytes) -> Result:
        if kind == ItemKind.READ:
            query = decode_query(body)
            if isinstance(query, Together):
                parts = [self.partition.query(part.query) for part in query.parts]
                return Answers([encode(part) for part in parts])
            return self.partition.query(query)
        operation = decode_operation(body)
        check_change(operation)
        if kind == ItemKind.TRANSIENT:
            assert isinstance(operation, SendMessage)
            refusal = self.partition.state.refusal(operation)
            return Sent(0, 1, HLC) if refusal is None else decode_result(refusal)
        result = self.partition.apply(operation)
        self.settle()
        return result

    def settle(self) -> None:
        """What the partition owes others is applied: it is all of them."""
        for number, row in self.partition.state.outbox_after(0, 1_000):
            owed = decode_operation(row.operation)
            check_change(owed)
            self.partition.apply(owed)
            self.partition.apply(OutboxDone(number))

    async def before_send(self, draft: Draft) -> HookVerdict:
        self.drafts.append(draft)
        return self.verdict

    async def online(self, uids: Sequence[str]) -> list[tuple[str, int]]:
        if self.missing:
            raise DeadlinePassed("No router answered who is online.", hint="Try again.")
        return [(uid, 0) for uid in uids if uid == "ada"]

    uptime_ms = 90_061_000

    def sessions(
        self, uid: str, order: str, descending: bool, offset: int, limit: int
    ) -> SessionsPage:
        rig = self._gateway
        return rig.core.sessions(rig.now, uid, order, descending, offset, limit)

    def session_totals(self) -> SessionTotals:
        return self._gateway.core.session_totals()

    def dismiss_session(self, session: int, uid: str, kick: bool) -> bool:
        return self._gateway.core.dismiss_session(self._gateway.now, session, uid, kick)

    def counters(self) -> Mapping[str, int]:
        core = self._gateway.core
        return {**core.counters.read(), **core.gauges()}


class HttpRig:
    """Calls with the API key; `bench_is_on` switches /bench/v1 on."""

    def __init__(self, *, bench_is_on: bool = False) -> None:
        self.gateway = Rig()
        self.gateway.up()
        self.port = HttpPort(self.gateway)
        self.gateway_port = cast(GatewayPort, self.port)
        self.client = TestClient(make_app(self.gateway_port, bench_is_on=bench_is_on))

    def __enter__(self) -> HttpRig:
        self.client.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.__exit__(kind, error, trace)

    def get(self, path: str, **query: object) -> tuple[int, Any]:
        """(status, JSON) of a GET."""
        answer = self._get(path, query)
        return answer.status_code, answer.json()

    def status_of(self, path: str, **query: object) -> int:
        """The status of a GET whose answer need not be JSON."""
        return self._get(path, query).status_code

    def _get(self, path: str, query: dict[str, object]) -> Response:
        return self.client.get(path, params=cast(Any, query), headers={"token": KEY})

    def post(self, path: str, body: object = None, **fields: object) -> tuple[int, Any]:
        """(status, JSON) of a POST of `body` or of an object of `fields`."""
        content = fields if body is None else body
        answer = self.client.post(path, json=content, headers={"token": KEY})
        return answer.status_code, answer.json()

    def done(self, path: str, body: object = None, **fields: object) -> Any:
        """A POST that must answer 200."""
        status, answer = self.post(path, body, **fields)
        assert status == 200, answer
        return answer

    def sent(
        self, sender: str, channel_id: str, text: str, number: str = "", channel_type: int = 2
    ) -> Any:
        """The `data` of a message that must be committed."""
        answer = self.done(
            "/message/send",
            from_uid=sender,
            channel_id=channel_id,
            channel_type=channel_type,
            client_msg_no=number,
            payload=base64.b64encode(text.encode()).decode(),
        )
        return answer["data"]

    @property
    def document(self) -> dict[str, Any]:
        """The OpenAPI document as it is served."""
        answer: dict[str, Any] = self.get("/docs/openapi.json")[1]
        return answer
