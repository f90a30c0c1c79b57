"""Those who read, and those who stream answers, of a run that has them.

They come on top of the clients, to the same channels, from their own sources of chance: runs
without them are what they were.
"""

from __future__ import annotations

from collections.abc import Sequence

from zmqim.chat.channels import route_key_of_channel
from zmqim.chat.codes import MessageFlag
from zmqim.chat.operations import decode_send
from zmqim.chat.queries import MessagesQuery
from zmqim.chat.reading import answer
from zmqim.chat.results import MessagesPage
from zmqim.ring.partitions import partition_of
from zmqim.sim.backend import Backend
from zmqim.sim.calls import Calls
from zmqim.sim.channels import FICKLE, TOPIC, Channels
from zmqim.sim.history import ChannelKey, History
from zmqim.sim.nodes import GatewayNode, StorageNode
from zmqim.sim.readers import Reader
from zmqim.sim.tellers import Teller, told_in, told_query
from zmqim.sim.world import World
from zmqim.storage.group import Group

READERS = 2
ROWS_READ = 10_000


class Audience:
    """The readers and tellers of one run."""

    def __init__(
        self,
        world: World,
        history: History,
        gateways: Sequence[GatewayNode],
        backend: Backend,
        channels: Channels,
        people: Sequence[str],
    ) -> None:
        """Nobody reads who comes and goes somewhere: where he stands there is not known."""
        self._world = world
        self._history = history
        self._calls = Calls(world, gateways)
        self._partitions = gateways[0].cluster.ring.partitions
        self._channels = list(channels)
        groups = [channel for channel in channels if channel[0] != TOPIC and channel[1] != FICKLE]
        self._readers = [
            Reader(
                world,
                history,
                backend,
                self._calls,
                uid,
                [channel for channel in groups if uid in channels[channel]],
            )
            for uid in people[:READERS]
        ]
        self._tellers = [
            Teller(world, history, backend, self._calls, channels[channel][0], channel)
            for channel in groups[:2]
        ]

    @property
    def waiting(self) -> list[str]:
        """What somebody still waits for."""
        return self._calls.waiting

    def live(self) -> None:
        """Begin."""
        for reader in self._readers:
            reader.live()
        for teller in self._tellers:
            teller.live()

    def quiet(self) -> None:
        """Begin nothing new."""
        for reader in self._readers:
            reader.is_quiet = True
        for teller in self._tellers:
            teller.is_quiet = True

    def end(self) -> None:
        """A last look, when everything is well again."""
        for reader in self._readers:
            reader.end()

    # ---- the end -----------------------------------------------------------------------------

    def _groups(self, channel: ChannelKey, storages: Sequence[StorageNode]) -> dict[str, Group]:
        key = route_key_of_channel(*channel[:2])
        partition = partition_of(key, self._partitions)
        return {
            storage.name: storage.core.groups[partition]
            for storage in storages
            if partition in storage.core.groups
        }

    def replicas_are_alike(self, storages: Sequence[StorageNode]) -> bool:
        """Has every replica of the channels applied the same entries?"""
        return all(
            len({one.state.applied.index for one in self._groups(channel, storages).values()}) == 1
            for channel in self._channels
        )

    def look_at(self, storages: Sequence[StorageNode]) -> None:
        """What each replica holds of the streams, and which messages have a red dot."""
        now, history = self._world.now, self._history
        for channel, sequence in {(one.channel, one.sequence): None for one in history.added}:
            query = told_query(channel, sequence)
            for name, group in self._groups(channel, storages).items():
                page = answer(group.state, query)
                assert isinstance(page, MessagesPage)
                history.told += told_in(channel, page, now, now, name)
        for channel in self._channels:
            query = MessagesQuery(*channel[:2], "", 1, 0, ROWS_READ, 1)
            for group in self._groups(channel, storages).values():
                page = answer(group.state, query)
                assert isinstance(page, MessagesPage)
                history.red[channel] = [
                    row.sequence
                    for row in page.messages
                    if decode_send(row.operation).flags & MessageFlag.RED_DOT
                ]
