"""What libraries log of clients is counted, and what they log of us is logged."""

from __future__ import annotations

import logging
from collections import Counter
from typing import cast

import pytest

from zmqim.gateway.listeners.library_log import library_log
from zmqim.gateway.plugin import GatewayPort


class Counting:
    """Of a gateway's port, what the log needs."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()

    def count(self, counter: str, by: int = 1) -> None:
        self.counted[counter] += by


def test_records_of_clients_are_counted_and_all_others_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port = Counting()
    log = library_log("a-library", cast(GatewayPort, port), {"bad bytes": "bad", "slow": ""})
    child = logging.Logger("a-library.7")
    child.parent = log
    child.error("bad bytes %s", b"\xff")
    child.warning("slow reader")
    child.info("connected")
    child.error("a fault: bad bytes")
    try:
        raise ValueError("ours")
    except ValueError:
        log.exception("a fault of ours")
    assert port.counted == {"bad": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "a fault: bad bytes",
        "a fault of ours",
    ]
    assert caplog.records[1].exc_info is not None
