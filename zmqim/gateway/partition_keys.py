"""A route key for each partition, for who asks partitions instead of channels."""

from __future__ import annotations

from zmqim.chat.channels import route_key_of_user
from zmqim.ring.partitions import partition_of


def keys_of_partitions(partitions: int) -> dict[int, bytes]:
    """A route key that leads to each partition: found by trying, some 10 tries a partition."""
    keys: dict[int, bytes] = {}
    number = 0
    while len(keys) < partitions:
        key = route_key_of_user(str(number))
        keys.setdefault(partition_of(key, partitions), key)
        number += 1
    return keys
