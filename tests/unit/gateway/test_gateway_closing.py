"""What listeners are told of the end of a connection."""

from __future__ import annotations

import pytest

from zmqim.gateway.plugin import CloseReason

TEMPORARY = ["removed", "unavailable", "unknown_outcome", "too_far_behind", "draining"]


@pytest.mark.promise("P6")
def test_clients_are_invited_back_after_trouble_that_passes_and_after_nothing_else() -> None:
    assert [str(one.value) for one in CloseReason if one.temporary] == TEMPORARY
