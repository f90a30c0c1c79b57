"""Delivery against a naive model, whatever is lost, repeated, slow or acknowledged late (P4).

The model is the channel's log and, per session, what its client has seen. Laws: without DUP a
client sees each sequence once and in order; nothing comes again after its RECVACK; a repeat carries
DUP; windows keep their bound; and once all is quiet, everything up to the last delivery was seen.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gateway_rig import HLC, ORIGIN, Rig, delivery, group_message, recvs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from zmqim.bus.effects import Send
from zmqim.bus.messages import Deliver, Dirty, DirtyChannel, Item, ItemKind, Submit
from zmqim.chat.codes import MessageFlag
from zmqim.chat.queries import MessagesQuery, decode_query
from zmqim.chat.results import MessageRow, MessagesPage
from zmqim.gateway import pushing
from zmqim.gateway.effects import Effect
from zmqim.wkproto.packets import Ping, Recv

WINDOW = 6
SESSIONS = (1, 2, 3)
OWN = 2
"""Session 2 sends every fifth message itself."""


@pytest.fixture(autouse=True)
def _small_window() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pushing, "_WINDOW_MAX", WINDOW)
        yield


def origin_of(sequence: int) -> int:
    return ORIGIN | OWN if sequence % 5 == 0 else 0


class Client:
    """What one client has seen."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.unacknowledged: dict[int, Recv] = {}
        self.acknowledged: set[int] = set()
        self.writable = True
        self.meant = 0
        """The last sequence that a frame named for it."""


class Delivering(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.rig = Rig(partitions=1)
        self.rig.up()
        for session in SESSIONS:
            self.rig.open_session(session, f"user-{session}")
        self.clients = {session: Client() for session in SESSIONS}
        self.committed = 0
        self.pulls: list[Item] = []

    # ---- what happens ------------------------------------------------------------------------

    @rule(count=st.integers(1, 5))
    def commit_and_deliver(self, count: int) -> None:
        """The usual way."""
        for _ in range(count):
            self.committed += 1
            self._deliver(self.committed, SESSIONS)

    @rule(count=st.integers(1, 4), some=st.sets(st.sampled_from(SESSIONS)))
    def commit_and_deliver_to_some(self, count: int, some: set[int]) -> None:
        """A frame was lost for the others."""
        for _ in range(count):
            self.committed += 1
            self._deliver(self.committed, sorted(some))

    @precondition(lambda self: self.committed)
    @rule(back=st.integers(0, 10))
    def repeat(self, back: int) -> None:
        """Notices are delivered at least once."""
        sequence = max(1, self.committed - back)
        told = [s for s in SESSIONS if self.clients[s].meant >= sequence]
        self._deliver(sequence, told)

    @precondition(lambda self: self.committed)
    @rule(count=st.integers(1, 5), some=st.sets(st.sampled_from(SESSIONS), min_size=1))
    def leave_out(self, count: int, some: set[int]) -> None:
        """No credit: a dirty mark instead of payloads."""
        first = self.committed + 1
        self.committed += count
        self.rig.frame += 1
        mark = DirtyChannel(2, "g", False, first, self.committed, sorted(some))
        for session in some:
            self.clients[session].meant = self.committed
        self.rig.receive(Dirty(self.rig.frame, [mark]))

    @rule()
    def repeat_the_last_frame(self) -> None:
        if self.rig.frame:
            self.rig.receive(Deliver(self.rig.frame, []))

    @rule(session=st.sampled_from(SESSIONS), count=st.integers(1, 8))
    def acknowledge(self, session: int, count: int) -> None:
        client = self.clients[session]
        for sequence in list(client.unacknowledged)[:count]:
            self.rig.acknowledge(session, client.unacknowledged.pop(sequence))
            client.acknowledged.add(sequence)

    @rule(session=st.sampled_from(SESSIONS), on=st.booleans())
    def block(self, session: int, on: bool) -> None:
        self.clients[session].writable = on
        self.rig.core.writable(self.rig.now, session, on)

    @rule(size=st.integers(0, 6))
    def answer_pulls(self, size: int) -> None:
        """Pages may be shorter than asked for."""
        pulls, self.pulls = self.pulls, []
        for item in pulls:
            self._answer(item, size)

    @rule(milliseconds=st.integers(1, 6_000))
    def wait(self, milliseconds: int) -> None:
        for session in SESSIONS:
            self.rig.packets(session, Ping())
        self._see(self.rig.advance(milliseconds))

    @rule()
    def end_the_turn(self) -> None:
        self._see(self.rig.turn())

    # ---- laws --------------------------------------------------------------------------------

    @invariant()
    def windows_keep_their_bound(self) -> None:
        for session in self.rig.core._sessions.by_number.values():
            assert len(session.window) <= WINDOW
            assert session.window_bytes == sum(one.size for one in session.window.values())
            behind = sum(b.last - session.cursors[key] for key, b in session.behind.items())
            assert session.behind_count == behind

    def teardown(self) -> None:
        """Everybody reads and acknowledges: then all that was meant was seen."""
        for session in SESSIONS:
            self.block(session, True)
        for _ in range(300):
            self._see(self.rig.turn())
            for session in SESSIONS:
                self.acknowledge(session, 100)
            self.answer_pulls(6)
            self.wait(100)
        for session, client in self.clients.items():
            if client.meant:
                first = client.seen[0] if client.seen else client.meant + 1
                meant = [
                    sequence
                    for sequence in range(first, client.meant + 1)
                    if session != OWN or sequence % 5
                ]
                assert client.seen == meant

    # ---- how ---------------------------------------------------------------------------------

    def _deliver(self, sequence: int, sessions: tuple[int, ...] | list[int]) -> None:
        for session in sessions:
            client = self.clients[session]
            client.meant = max(client.meant, sequence)
        self.rig.deliver(delivery(sequence, list(sessions), origin=origin_of(sequence)))

    def _see(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Submit):
                self.pulls += [i for i in effect.message.items if i.kind == ItemKind.READ]
        for session, client in self.clients.items():
            for recv in recvs(effects, session):
                sequence = recv.message_seq
                assert sequence not in client.acknowledged
                assert sequence <= client.meant
                assert session != OWN or sequence % 5
                if recv.flags & MessageFlag.DUP:
                    assert sequence in client.unacknowledged
                else:
                    assert not client.seen or sequence > client.seen[-1]
                    client.seen.append(sequence)
                client.unacknowledged[sequence] = recv

    def _answer(self, item: Item, size: int) -> None:
        query = decode_query(item.body)
        assert isinstance(query, MessagesQuery)
        end = min(query.end - 1, self.committed)
        wanted = list(range(query.start, end + 1))
        rows = [
            MessageRow(seq, 5_000 + seq, HLC, 0, group_message(origin=origin_of(seq)))
            for seq in wanted[: max(size, 1)]
        ]
        self.rig.answer(item, MessagesPage(rows, len(rows) < len(wanted), self.committed))


@pytest.mark.promise("P4")
class TestDelivering(Delivering.TestCase):  # type: ignore[name-defined,misc]
    settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
