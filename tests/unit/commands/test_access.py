"""How chat, send and tail are told of a cluster that is elsewhere."""

from __future__ import annotations

import pytest

from zmqim.commands.access import Access, access_of
from zmqim.errors import UsageError

ELSEWHERE = {"--server": "tcp://a:1", "--api": "http://a:2", "--key": "k", "--data": "nowhere"}


def test_several_gateways_are_given_between_commas() -> None:
    arguments = ELSEWHERE | {"--server": "tcp://a:1,tcp://b:1", "--api": "http://a:2, http://b:2"}
    servers, apis = ("tcp://a:1", "tcp://b:1"), ("http://a:2", "http://b:2")
    assert access_of(arguments) == Access(servers, apis, "k")


def test_send_needs_no_server() -> None:
    arguments = {"--api": "http://a:2", "--key": "k", "--data": "nowhere"}
    assert access_of(arguments) == Access((), ("http://a:2",), "k")


@pytest.mark.parametrize("missing", ["--server", "--api", "--key"])
def test_half_of_what_is_needed_is_a_mistake(missing: str) -> None:
    with pytest.raises(UsageError, match="all of its addresses"):
        access_of(ELSEWHERE | {missing: None})
