"""Presence against a naive model: whatever gateways say, the table is what they said last."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec import structs

from zmqim.bus.messages import PresenceEntry, ShardDigest
from zmqim.bus.presence import entry_hash
from zmqim.ids import Milliseconds, NodeName
from zmqim.limits import PRESENCE_DIGEST_MS
from zmqim.router.plans import Plans
from zmqim.router.presence import Presence

PARTITIONS = 3
GATEWAYS = [NodeName("g1"), NodeName("g2")]
UIDS = ["ann", "bob", "cid", "dan"]

gateways = st.sampled_from(GATEWAYS)
sessions = st.integers(1, 5)
entries = st.builds(
    PresenceEntry,
    session=sessions,
    uid=st.sampled_from(UIDS),
    device_flag=st.integers(0, 1),
    device_level=st.integers(0, 1),
    device_id=st.sampled_from(["x", "y"]),
    login_no=st.integers(1, 4),
)


def shard_of(uid: str) -> int:
    return len(uid.encode()) * ord(uid[0]) % PARTITIONS


def digest_of(held: dict[int, PresenceEntry]) -> list[ShardDigest]:
    digests: dict[int, tuple[int, int]] = {}
    for one in held.values():
        count, digest = digests.get(shard_of(one.uid), (0, 0))
        digests[shard_of(one.uid)] = (count + 1, digest ^ entry_hash(one))
    return [ShardDigest(partition, *both) for partition, both in digests.items()]


def _who(one: PresenceEntry) -> PresenceEntry:
    return structs.replace(one, login_no=0)


class PresenceModel(RuleBasedStateMachine):
    """`truth` is what each gateway has told; some of it may be lost and is repaired."""

    def __init__(self) -> None:
        super().__init__()
        self.now = Milliseconds(0)
        self.plans = Plans(0)
        self.presence = Presence(shard_of, self.plans)
        everyone = dict.fromkeys(UIDS[:2])
        self.large = self.plans.build((2, "group"), everyone, self.presence.places)
        self.held: dict[NodeName, dict[int, PresenceEntry]] = {name: {} for name in GATEWAYS}

    @rule(gateway=gateways, told=st.lists(entries, max_size=3))
    def announce(self, gateway: NodeName, told: list[PresenceEntry]) -> None:
        self.presence.announce(self.now, gateway, told)
        self.held[gateway].update({one.session: one for one in told})

    @rule(gateway=gateways, one=entries)
    def login(self, gateway: NodeName, one: PresenceEntry) -> None:
        numbers = [
            other.login_no
            for name in GATEWAYS
            for other in self.held[name].values()
            if (other.uid, other.device_flag) == (one.uid, one.device_flag)
        ]
        same = self.held[gateway].get(one.session)
        number, displaced = self.presence.login(self.now, gateway, one)
        if same is not None and _who(same) == _who(one):
            assert (number, displaced) == (same.login_no, [])
            return
        assert number == max(numbers, default=0) + 1
        assert (gateway, one.session) not in [(who[0], who[1]) for who in displaced]
        self.held[gateway][one.session] = structs.replace(one, login_no=number)

    @rule(gateway=gateways, session=sessions)
    def withdraw(self, gateway: NodeName, session: int) -> None:
        self.presence.withdraw(gateway, [session])
        self.held[gateway].pop(session, None)

    @rule(gateway=gateways)
    def die(self, gateway: NodeName) -> None:
        self.presence.forget(gateway)
        self.held[gateway] = {}

    @rule(gateway=gateways, truth=st.lists(entries, max_size=4, unique_by=lambda one: one.session))
    def repair(self, gateway: NodeName, truth: list[PresenceEntry]) -> None:
        """The gateway's truth has become something else and nobody told us: digests find it."""
        self.now = Milliseconds(self.now + PRESENCE_DIGEST_MS)
        held = {one.session: one for one in truth}
        differing = self.presence.differing(self.now, gateway, digest_of(held))
        for partition in differing:
            told = [one for one in truth if shard_of(one.uid) == partition]
            self.presence.replace_shard(self.now, gateway, partition, told)
        assert self.presence.differing(self.now, gateway, digest_of(held)) == []
        assert self.presence.is_settled(gateway)
        self.held[gateway] = held

    @rule(milliseconds=st.integers(0, 12_000))
    def time_passes(self, milliseconds: int) -> None:
        self.now = Milliseconds(self.now + milliseconds)
        for name in GATEWAYS:
            self.presence.differing(self.now, name, digest_of(self.held[name]))
        self.presence.due(self.now)
        due = self.presence.next_due()
        assert due is None or due > self.now

    @invariant()
    def the_table_is_what_was_told(self) -> None:
        expected: dict[str, set[tuple[NodeName, int]]] = {}
        for name in GATEWAYS:
            for one in self.held[name].values():
                expected.setdefault(one.uid, set()).add((name, one.session))
                assert self.presence.entry((name, one.session)) == one
        assert {uid: set(places) for uid, places in self.presence.places.items()} == expected
        assert self.presence.session_count() == sum(map(len, expected.values()))

    @invariant()
    def fan_out_lists_hold_the_members_online(self) -> None:
        for name in GATEWAYS:
            expected = {one.session for one in self.held[name].values() if one.uid in UIDS[:2]}
            assert set(self.large.list_of(name).sessions) == expected


TestPresenceModel = PresenceModel.TestCase
TestPresenceModel.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
