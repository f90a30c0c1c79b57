"""The beginning of a life: a storage asks the meta group for its name and its incarnation.

`Boot` runs in every storage at each start. Its answer decides when replicas of partitions vote:
after the grant, or after VOTE_WITHOUT_GRANT_MS on the memory of peers, who refuse lives below the
highest they saw. Replicas of the meta group itself wait for nothing, or it could never begin
(docs/REPLICATION.md 2, cold start). A refusal ends the process.

`requested` and `answered` are the other side: what the meta group's leader proposes for a request
and what it says when that is applied. Neither keeps anything: a request that is lost, or whose
leader died, is simply asked again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from zmqim.bus.effects import Send
from zmqim.bus.replication import BootCode, BootRequest, BootResult
from zmqim.ids import NodeName
from zmqim.limits import BOOT_REPEAT_MS, VOTE_WITHOUT_GRANT_MS
from zmqim.meta.operations import (
    Accepted,
    BootGrant,
    Found,
    FoundingNode,
    MetaOperation,
    MetaReason,
    MetaResult,
    Refused,
    RegisterNode,
)
from zmqim.meta.record import BirthRecord
from zmqim.meta.state import MetaState
from zmqim.ring.document import RingDocument, StorageLike

_PASSING = (MetaReason.NOT_FOUNDED, MetaReason.NAME_TAKEN, MetaReason.NOT_REGISTERED)
"""Refusals that may turn into a grant: asked again."""


class Boot:
    """One storage's question, until it is answered for good.

    A `Send` to the storage itself is meant for its own replica of the meta group.
    """

    def __init__(self, request: BootRequest, storages: Sequence[NodeName], now: int) -> None:
        self.granted = False
        self.refusal = ""
        """Why the process must end; empty while it need not."""
        self._request = request
        self._storages = sorted(storages)
        self._next = 0
        self._leader: NodeName | None = None
        self._followed_hint = False
        """The last question went to whom an answer named: two that name each other are not
        followed in circles."""
        self._ask_at = now
        self._vote_at = now + VOTE_WITHOUT_GRANT_MS
        self._waits_for = ""

    def receive(self, now: int, source: NodeName, result: BootResult) -> None:
        """An answer; one to an earlier life is none."""
        if result.start != self._request.start or self.granted:
            return
        self._waits_for = ""
        match result.code:
            case BootCode.GRANTED:
                self.granted = True
            case BootCode.REFUSED:
                self.refusal = result.text
            case BootCode.WAIT:
                self._leader = source
                self._waits_for = result.text
            case _:
                known = result.text in self._storages and result.text != source
                self._leader = NodeName(result.text) if known else None
                if known and not self._followed_hint:
                    self._ask_at = now

    def turn(self, now: int) -> list[Send]:
        """The question, if it is due: to the leader if known, else to one after the other."""
        if self.granted or self.refusal or now < self._ask_at:
            return []
        self._ask_at = now + BOOT_REPEAT_MS
        target, self._leader = self._leader, None
        self._followed_hint = target is not None
        if target is None:
            target = self._storages[self._next % len(self._storages)]
            self._next += 1
        return [Send(target, self._request)]

    def next_wake(self) -> int | None:
        """When `turn` must be called at the latest."""
        return None if self.granted or self.refusal else self._ask_at

    def partitions_vote(self, now: int) -> bool:
        """May this storage's replicas of partitions vote and stand for leader?"""
        return not self.refusal and (self.granted or now >= self._vote_at)

    @property
    def sentence(self) -> str:
        """What the storage waits for, in words; empty if for nothing."""
        if self.granted:
            return ""
        return self.refusal or self._waits_for or "waits for the meta group to grant this start"


def founding(record: BirthRecord, ring: RingDocument, storages: Sequence[StorageLike]) -> Found:
    """What a leader of the meta group proposes first, as long as `MetaState.cluster` is None."""
    nodes = tuple(
        FoundingNode(one.name, record.node_uuids[one.name], one.zone, one.weight)
        for one in sorted(storages, key=lambda one: one.name)
    )
    return Found(record.cluster_id, nodes, ring.to_json(), record.genesis)


def requested(
    state: MetaState, request: BootRequest, down: Collection[bytes]
) -> list[MetaOperation] | BootResult:
    """What the leader proposes for `request`, in order, or answers at once.

    `down` holds the node uuids that are known to be away: gossip has them DOWN or LEFT, or has not
    heard of them since this process runs, and that is long enough to have heard everyone.
    """
    if state.cluster is None:
        return BootResult(request.start, BootCode.WAIT, "waits for the meta group to be founded")
    grant = BootGrant(request.node_uuid, request.incarnation, request.start)
    holder = state.holder(request.name)
    known = state.nodes.get(request.node_uuid)
    if known is None and holder is not None and holder.node_uuid not in down:
        text = f"waits until the former disk of {request.name} is known to be down"
        return BootResult(request.start, BootCode.WAIT, text)
    register = RegisterNode(request.name, request.node_uuid, request.zone, request.weight)
    if known is None and holder is not None:
        register = RegisterNode(
            request.name,
            request.node_uuid,
            request.zone,
            request.weight,
            holder.node_uuid,
            holder.incarnation,
        )
    return [register, grant]


def answered(request: BootRequest, results: Sequence[MetaResult]) -> BootResult:
    """The answer once what `requested` gave is applied; `results` are in its order."""
    for result in results:
        if isinstance(result, Refused):
            code = BootCode.WAIT if result.reason in _PASSING else BootCode.REFUSED
            return BootResult(request.start, code, result.text)
        assert isinstance(result, Accepted)
    return BootResult(request.start, BootCode.GRANTED, "")
