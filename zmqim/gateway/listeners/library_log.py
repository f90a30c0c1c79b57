"""What a library logs of a client is counted instead: else a stranger with random bytes could fill
the log with errors and push out what an operator must see.

picows and uvicorn log each message that they cannot read. A `library_log` is the logger that they
get from their listener: it knows by their beginnings the records that are about a client, and hands
on all others, such as a fault of ours with its traceback.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from zmqim.gateway.plugin import GatewayPort


def library_log(name: str, port: GatewayPort, counters: Mapping[str, str]) -> logging.Logger:
    """A logger in place of the library's own, `name`. `counters`: how a record begins that is about
    a client, and what to count then; an empty name counts nothing."""
    logger = logging.Logger(name, logging.WARNING)
    logger.addHandler(_Counting(name, port, counters))
    return logger


class _Counting(logging.Handler):
    def __init__(self, name: str, port: GatewayPort, counters: Mapping[str, str]) -> None:
        super().__init__()
        self._library = name
        self._port = port
        self._counters = counters

    def emit(self, record: logging.LogRecord) -> None:
        said = str(record.msg)
        for beginning, counter in self._counters.items():
            if said.startswith(beginning):
                if counter:
                    self._port.count(counter)
                return
        logging.getLogger(self._library).handle(record)
