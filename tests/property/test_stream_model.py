"""Streams against a naive model, and against the replay of their log."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from chat_partition import Partition, PartitionMachine
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from zmqim.chat.codes import ChannelType, EventType, StreamStatus
from zmqim.chat.notices import EventNotice, PushedEvents, decode_pushed
from zmqim.chat.operations import AddMembers, AppendEvent, SendMessage
from zmqim.chat.queries import EventsQuery, MessagesQuery
from zmqim.chat.results import EventAppended, EventRefused, EventsPage, MessagesPage, Sent
from zmqim.chat.snapshots import ENDING
from zmqim.limits import STREAM_SILENCE_MS_MAX

GROUP = int(ChannelType.GROUP)
STATUS = {
    EventType.CLOSE: StreamStatus.CLOSED,
    EventType.ERROR: StreamStatus.ERROR,
    EventType.CANCEL: StreamStatus.CANCELLED,
}
MESSAGES = ("m1", "m2", "m3")
names = st.sampled_from(MESSAGES)
keys = st.sampled_from(("main", "tool"))


@dataclass
class Lane:
    status: int = StreamStatus.OPEN
    text: str = ""
    written: bool = False
    last: int = 0
    touched_ms: int = 0


@dataclass
class Model:
    lanes: dict[str, Lane] = field(default_factory=dict)
    last: int = 0
    finished: bool = False
    answers: dict[str, tuple[int, int]] = field(default_factory=dict)
    events: list[tuple[int, str, int]] = field(default_factory=list)
    """What eventsync shows: (number, key, type)."""


class StreamMachine(PartitionMachine):
    @initialize()
    def begin(self) -> None:
        self.partition = Partition(heads_max=1)
        self.partition.apply(AddMembers(GROUP, "g", ["bot", "ann"]))
        self.models = {name: Model() for name in MESSAGES}
        self.ids: dict[str, int] = {}
        self.sent: dict[str, tuple[str, str, int, bytes]] = {}
        self.now_ms = 0
        for name in MESSAGES:
            sent = self.partition.apply(SendMessage(GROUP, "g", "bot", name, b"{}"))
            assert isinstance(sent, Sent)
            self.ids[name] = sent.message_id

    def append(
        self, name: str, key: str, event_type: int, payload: bytes, ms: int = 1, event_id: str = ""
    ) -> None:
        self.now_ms += ms
        event_id = event_id or f"e{len(self.sent)}"
        self.sent[event_id] = (name, key, event_type, payload)
        # Every other event names its message by its id: both ways lead to the same stream.
        by_id = len(self.sent) % 2 == 0
        event = AppendEvent(
            GROUP, "g", "bot", "" if by_id else name, self.ids[name] if by_id else 0,
            event_id, event_type, key, payload,
        )  # fmt: skip
        told = len(self.partition.notices)
        result = self.partition.apply(event, ms=ms)
        model = self.models[name]
        pushed = self.pushed_since(told)
        mine = [one.sequence for one in pushed if one.client_msg_no == name]
        if event_id in model.answers:
            number, status = model.answers[event_id]
            assert result == EventAppended(number, status, name, duplicate=True)
            assert not pushed
            return
        before = model.last
        self.end_silent(model)
        lane = model.lanes.get(key)
        is_closed = lane is not None and lane.status != StreamStatus.OPEN
        if model.finished or (is_closed and event_type != EventType.FINISH):
            assert isinstance(result, EventRefused)
            assert result.code == "stream_closed"
            assert mine == list(range(before + 1, model.last + 1))
            return
        if event_type in (EventType.OPEN, EventType.DELTA, EventType.SNAPSHOT) and not any(
            one.status == StreamStatus.OPEN for one in model.lanes.values()
        ):
            for other in self.models.values():
                self.end_silent(other)
        self.act(model, key, event_type, payload)
        status = STATUS.get(EventType(event_type), StreamStatus.OPEN)
        if event_type == EventType.FINISH:
            status = StreamStatus.CLOSED
        assert result == EventAppended(model.last, status, name)
        assert mine == list(range(before + 1, model.last + 1))
        model.answers[event_id] = (model.last, status)

    def pushed_since(self, told: int) -> list[PushedEvents]:
        found = []
        for _, notice in self.partition.notices[told:]:
            assert isinstance(notice, EventNotice)
            events = decode_pushed(notice.body)
            assert isinstance(events, PushedEvents)
            found += events.events
        return found

    def act(self, model: Model, key: str, event_type: int, payload: bytes) -> None:
        said = json.loads(payload) if payload else {}
        if event_type == EventType.FINISH:
            for name, lane in list(model.lanes.items()):
                if lane.status == StreamStatus.OPEN:
                    self.act(model, name, EventType.CLOSE, b"")
            model.finished = True
            model.last += 1
            model.events.append((model.last, key, event_type))
            return
        lane = model.lanes.setdefault(key, Lane())
        model.last += 1
        lane.last = model.last
        lane.touched_ms = self.now_ms
        if event_type == EventType.DELTA:
            lane.text += said["delta"]
            lane.written = True
        elif event_type == EventType.SNAPSHOT:
            lane.text = said["text"]
            lane.written = True
        elif event_type in STATUS:
            lane.status = STATUS[EventType(event_type)]
            if "snapshot" in said:
                lane.text = said["snapshot"]["text"]
                lane.written = True
            model.events = [one for one in model.events if one[1] != key or one[2] in ENDING]
        model.events.append((model.last, key, event_type))

    def end_silent(self, model: Model) -> None:
        for name, lane in list(model.lanes.items()):
            if (
                lane.status == StreamStatus.OPEN
                and self.now_ms - lane.touched_ms > STREAM_SILENCE_MS_MAX
            ):
                self.act(model, name, EventType.ERROR, b"")

    @rule(name=names, key=keys, text=st.text(max_size=5))
    def delta(self, name: str, key: str, text: str) -> None:
        payload = json.dumps({"kind": "text", "delta": text}).encode()
        self.append(name, key, EventType.DELTA, payload)

    @rule(name=names, key=keys, count=st.integers(1, 40))
    def deltas(self, name: str, key: str, count: int) -> None:
        for number in range(count):
            self.append(name, key, EventType.DELTA, b'{"delta":"%d "}' % number)

    @rule(name=names, key=keys)
    def open(self, name: str, key: str) -> None:
        self.append(name, key, EventType.OPEN, b"")

    @rule(name=names, key=keys, text=st.text(max_size=5))
    def snapshot(self, name: str, key: str, text: str) -> None:
        payload = json.dumps({"kind": "text", "text": text}).encode()
        self.append(name, key, EventType.SNAPSHOT, payload)

    @rule(name=names, key=keys, how=st.sampled_from(sorted(STATUS)), whole=st.booleans())
    def end(self, name: str, key: str, how: int, whole: bool) -> None:
        payload = b'{"snapshot":{"kind":"text","text":"all"}}' if whole else b""
        self.append(name, key, how, payload)

    @rule(name=names, key=keys)
    def finish(self, name: str, key: str) -> None:
        self.append(name, key, EventType.FINISH, b"")

    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        if self.sent:
            event_id = data.draw(st.sampled_from(sorted(self.sent)))
            self.append(*self.sent[event_id], event_id=event_id)

    @rule(name=names, key=keys)
    def silence(self, name: str, key: str) -> None:
        self.append(name, key, EventType.OPEN, b"", ms=STREAM_SILENCE_MS_MAX + 1)

    @invariant()
    def late_joiners_read_the_whole_text(self) -> None:
        page = self.partition.query(MessagesQuery(GROUP, "g", "ann", limit=99, streams=2))
        assert isinstance(page, MessagesPage)
        assert [row.sequence for row in page.messages] == [1, 2, 3]
        views = {MESSAGES[view.sequence - 1]: view for view in page.streams}
        for name, model in self.models.items():
            if not model.last:
                assert name not in views
                continue
            view = views[name]
            assert (view.last, view.finished) == (model.last, model.finished)
            for shown in view.lanes:
                lane = model.lanes[shown.event_key]
                text = json.loads(shown.snapshot)["text"] if shown.snapshot else None
                assert text == (lane.text if lane.written else None)
                assert shown.last == lane.last
                if self.now_ms - lane.touched_ms <= STREAM_SILENCE_MS_MAX:
                    assert shown.status == lane.status
            assert len(view.lanes) == len(model.lanes)

    @invariant()
    def what_was_missed_is_read_page_by_page(self) -> None:
        for name, model in self.models.items():
            found: list[tuple[int, str, int]] = []
            more = True
            while more:
                after = found[-1][0] if found else 0
                query = EventsQuery(GROUP, "g", "ann", name, after=after, limit=7)
                page = self.partition.query(query)
                assert isinstance(page, EventsPage)
                assert len(page.events) == 7 or not page.more
                found += [(one.sequence, one.event_key, one.event_type) for one in page.events]
                more = page.more
            assert found == model.events


StreamMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestStreamModel = StreamMachine.TestCase
