"""Why a message of a client is not done as asked: what becomes a response with `error`."""

from __future__ import annotations

from typing import Final

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
"""Codes of JSON-RPC 2.0, section 5.1. Codes above 0 are reasons (`zmqim.chat.codes.Reason`)."""
SENTENCE_CHARACTERS_MAX: Final = 200
"""A sentence may quote the client. Above: cut."""


class Refusal(Exception):
    """A code and a sentence for the client."""

    def __init__(
        self, code: int, sentence: str, *, request_id: str = "", is_final: bool = False
    ) -> None:
        """`request_id`: of a message that is no request but has one; `is_final`: the connection
        ends, whatever its state."""
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence[:SENTENCE_CHARACTERS_MAX]
        self.request_id = request_id
        self.is_final = is_final
