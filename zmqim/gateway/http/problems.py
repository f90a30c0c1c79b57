"""How a refusal looks over HTTP: one shape, a stable code, a sentence and a hint.

    {"msg": "…", "status": 400, "code": "not_subscriber", "reason": 3, "hint": "…"}

`status` is the HTTP status, `code` never changes between versions (table in docs/HTTP.md), `reason`
stands there when the partition refused with a WKProto reason code.
"""

from __future__ import annotations

from typing import Any, Final

from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException, ValidationException

from zmqim.chat.codes import Reason
from zmqim.chat.refusals import sentence_of
from zmqim.gateway.http.not_built import instead_of
from zmqim.limits import HTTP_BODY_BYTES_MAX

_TOO_LARGE: Final = (
    f"the body is above {HTTP_BODY_BYTES_MAX} bytes",
    "give a long list in several calls",
)


class Problem(Exception):
    """A call that cannot be answered as asked; becomes the JSON above."""

    def __init__(
        self, status: int, code: str, msg: str, *, hint: str = "", reason: int | None = None
    ) -> None:
        super().__init__(msg)
        self.status = status
        self.code = code
        self.msg = msg
        self.hint = hint
        self.reason = reason

    def body(self) -> dict[str, Any]:
        """The JSON object of the answer."""
        answer: dict[str, Any] = {"msg": self.msg, "status": self.status, "code": self.code}
        if self.reason is not None:
            answer["reason"] = self.reason
        answer["hint"] = self.hint
        return answer


REFUSALS: Final[dict[int, tuple[str, str]]] = {
    Reason.NOT_SUBSCRIBER: ("not_subscriber", "add the sender with /channel/subscriber_add"),
    Reason.IN_BLACKLIST: ("in_blacklist", "remove the sender with /channel/blacklist_remove"),
    Reason.CHANNEL_NOT_FOUND: ("channel_not_found", "create it with /channel"),
    Reason.PAYLOAD_DECODE_ERROR: ("bad_payload", ""),
    Reason.NOT_ALLOWED: (
        "not_allowed",
        "it is between two others, or the receiver takes no messages of strangers",
    ),
    Reason.NOT_IN_WHITELIST: ("not_in_whitelist", "add the sender with /channel/whitelist_add"),
    Reason.SYSTEM_ERROR: ("system_error", "try again later"),
    Reason.CHANNEL_ID_ERROR: ("bad_channel_id", "docs/CHANNELS.md lists the ids of each type"),
    Reason.BANNED: ("banned", "/channel/info with ban 0 ends it"),
    Reason.RATE_LIMITED: ("busy", "try again"),
    Reason.CHANNEL_TYPE_NOT_SUPPORTED: (
        "channel_type_not_supported",
        "docs/CHANNELS.md lists the types",
    ),
    Reason.DISBANDED: ("disbanded", "use another channel_id"),
    Reason.SEND_BANNED: (
        "send_banned",
        "/channel/info with send_ban 0 ends it; of a sender with channel_type 1",
    ),
    Reason.IDEMPOTENCY_CONFLICT: (
        "idempotency_conflict",
        "use a new client_msg_no for a new message",
    ),
    Reason.SEQUENCE_EXHAUSTED: ("sequence_exhausted", "use another channel_id"),
}
"""The code and the hint of each reason; the sentence is that of `zmqim.chat.refusals`."""
OTHER: Final = "refused"
"""The code of any other number, which only an application gives ([before_send])."""


def refused(reason: int, text: str = "", hint: str | None = None) -> Problem:
    """The problem for a refusal with that WKProto reason code, by a partition unless `hint` says
    otherwise."""
    code, usual = REFUSALS.get(reason, (OTHER, ""))
    hint = usual if hint is None else hint
    return Problem(400, code, text or sentence_of(reason), hint=hint, reason=reason)


def bad_request(msg: str, hint: str = "") -> Problem:
    """The request itself is wrong; nothing was touched."""
    return Problem(400, "bad_request", msg, hint=hint)


def problem_response(error: Problem) -> Response[dict[str, Any]]:
    """The HTTP answer of a `Problem`."""
    return Response(error.body(), status_code=error.status, media_type=MediaType.JSON)


def framework_response(
    request: Request[Any, Any, Any], error: HTTPException
) -> Response[dict[str, Any]]:
    """Refusals that the framework found (wrong type, unknown path, too large) in the same shape."""
    status = error.status_code
    if isinstance(error, ValidationException):
        sentence = _validation_sentence(error) if _has_body(request) else "the body is missing"
        return problem_response(bad_request(sentence, "see /docs"))
    instead = instead_of(request.scope["path"]) if status == 404 else None
    if instead is not None:
        msg = f"zmqim does not have this call of WuKongIM: {instead}"
        hint = "docs/COMPATIBILITY.md names every call and what there is instead"
        return problem_response(Problem(404, "not_built", msg, hint=hint))
    codes = {401: "no_key", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
    code = codes.get(status, "bad_request" if status < 500 else "internal")
    msg, hint = _TOO_LARGE if status == 413 else (error.detail, "see /docs")
    return problem_response(Problem(status, code, msg, hint=hint))


def unreadable_response(_request: Request[Any, Any, Any], _: Exception) -> Response[dict[str, Any]]:
    """A body that is not UTF-8, or nested too deeply: the decoder raises these as they are."""
    msg = "the body is not JSON that can be read"
    return problem_response(bad_request(msg, "it is not UTF-8, or nested too deeply"))


def _has_body(request: Request[Any, Any, Any]) -> bool:
    """Whether the request has a body, or needs none."""
    headers = request.headers
    return request.method == "GET" or (
        headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    )


def _validation_sentence(error: ValidationException) -> str:
    """`key: what is wrong` for every fault that the framework collected."""
    extra = error.extra if isinstance(error.extra, list) else []
    parts = [f"{item.get('key', 'body')}: {item.get('message', '')}" for item in extra]
    return "; ".join(parts) or error.detail
