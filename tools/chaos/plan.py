"""What the clients of a run are to do: users, channels, rate. Travels to their process as JSON."""

from __future__ import annotations

import secrets
from random import Random

from msgspec import Struct

from zmqim.chat.channels import person_channel_id, route_key_of_channel
from zmqim.ring.partitions import partition_of

PERSON, GROUP = 1, 2
GUESTS_FROM = 64
"""Users with this number and above only listen; each is a guest in GUEST_GROUPS groups."""
USERS = 68
GROUP_SIZE = 4
GUEST_GROUPS = 4


class GatewayAddress(Struct, frozen=True):
    """Where clients reach a gateway."""

    name: str
    host: str
    port: int
    api: str


class ChannelPlan(Struct, frozen=True):
    """A channel by its canonical id, and the numbers of its members."""

    channel_type: int
    channel_id: str
    members: tuple[int, ...]
    """Of a group with a guest he is the last."""

    @property
    def speakers(self) -> tuple[int, ...]:
        """Those who write."""
        return tuple(member for member in self.members if member < GUESTS_FROM)


class Plan(Struct, frozen=True):
    """One run of the clients."""

    seed: int
    rate: float
    """Messages that become due in a second, over all users."""
    payload: int
    """Bytes."""
    gateways: tuple[GatewayAddress, ...]
    api_key: str
    users: tuple[str, ...]
    channels: tuple[ChannelPlan, ...]
    history: str
    """File to write the history to."""


def uid_of(run: str, number: int) -> str:
    """The user with that number."""
    return f"{run}-u{number}"


def channels_of(run: str, partitions: int, random: Random) -> tuple[ChannelPlan, ...]:
    """A group in every partition, and every user but the guests in a private chat.

    So each partition is written to all the time, by users on both gateways: user n begins on
    gateway n mod 2, and a chat joins two neighbours.
    """
    found: list[ChannelPlan] = []
    for partition in range(partitions):
        number = 0
        while partition_of(_key(GROUP, f"{run}-g{number}"), partitions) != partition or any(
            one.channel_id == f"{run}-g{number}" for one in found
        ):
            number += 1
        guest = GUESTS_FROM + partition // GUEST_GROUPS
        guests = (guest,) if guest < USERS else ()
        members = (*sorted(random.sample(range(GUESTS_FROM), GROUP_SIZE)), *guests)
        found.append(ChannelPlan(GROUP, f"{run}-g{number}", members))
    for number in range(0, GUESTS_FROM, 2):
        pair = person_channel_id(uid_of(run, number), uid_of(run, number + 1))
        found.append(ChannelPlan(PERSON, pair, (number, number + 1)))
    return tuple(found)


def plan_of(
    seed: int,
    rate: float,
    payload: int,
    gateways: tuple[GatewayAddress, ...],
    api_key: str,
    partitions: int,
    history: str,
) -> Plan:
    """The plan that a seed draws; its users and channels are new in every run."""
    run = secrets.token_hex(4)
    users = tuple(uid_of(run, number) for number in range(USERS))
    channels = channels_of(run, partitions, Random(seed))
    return Plan(seed, rate, payload, gateways, api_key, users, channels, history)


def partition_of_channel(channel_type: int, channel_id: str, partitions: int) -> int:
    """Where a channel lives."""
    return partition_of(_key(channel_type, channel_id), partitions)


def _key(channel_type: int, channel_id: str) -> bytes:
    return route_key_of_channel(channel_type, channel_id)
