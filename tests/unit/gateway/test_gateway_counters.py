"""Counters: what is counted by name and what has a field of its own is one number."""

from __future__ import annotations

from zmqim.gateway.counters import Counters


def test_a_counter_with_a_field_is_the_sum_of_both_ways_to_count() -> None:
    counters = Counters()
    counters.wire_errors += 2
    counters.count("wire_errors", 3)
    counters.count("text_messages")
    counters.sends += 1
    found = {name: value for name, value in counters.read().items() if value}
    assert found == {"wire_errors": 5, "text_messages": 1, "sends": 1}
