"""Applications that stream answers: a message, to which words are added one after the other.

Each word is asked for until it has a definite answer, under the same event id but as a new call, as
an application does that does not know what became of the first. Now and then somebody reads how far
the answer is. All of it goes into the history.
"""

from __future__ import annotations

import json

from msgspec.structs import replace

from zmqim.chat.channels import route_key_of_channel
from zmqim.chat.codes import EventType, StreamStatus
from zmqim.chat.operations import STREAM_SETTING, AppendEvent
from zmqim.chat.queries import MessagesQuery
from zmqim.chat.results import EventAppended, EventRefused, MessagesPage, StreamView
from zmqim.chat.stream_views import WITH_SNAPSHOTS
from zmqim.sim.backend import Backend
from zmqim.sim.calls import Calls, Steps, reading, writing
from zmqim.sim.history import Added, ChannelKey, History, Told
from zmqim.sim.world import MS, World

LANES = ("main", "plan")
WORDS_MAX = 15
REPEATED = 0.1
"""Of the events, how many are asked for again although they were answered."""


class Teller:
    """Somebody who writes one streamed answer after the other into a channel."""

    def __init__(
        self,
        world: World,
        history: History,
        backend: Backend,
        calls: Calls,
        uid: str,
        channel: ChannelKey,
    ) -> None:
        self.is_quiet = False
        """No further answer is begun."""
        self._world = world
        self._history = history
        self._backend = backend
        self._calls = calls
        self._uid = uid
        self._channel = channel
        self._random = world.fork()
        self._key = route_key_of_channel(*channel[:2])

    def live(self) -> None:
        """Tell, until it is time to be quiet; the last answer is ended."""
        self._calls.run(self._tell())

    def _tell(self) -> Steps:
        while not self.is_quiet:
            sending = self._backend.post(self._uid, self._channel, "…", setting=STREAM_SETTING)
            while (answer := sending.first_acknowledged) is None:
                yield 20 * MS
            yield from self._stream(sending.client_msg_no, answer.sequence)
            yield self._random.randint(10, 500) * MS

    def _stream(self, number: str, sequence: int) -> Steps:
        lanes = LANES[: self._random.randint(1, len(LANES))]
        if self._random.random() < 0.3:
            yield from self._add(number, sequence, EventType.OPEN, lanes[0], "")
        for count in range(1, self._random.randint(3, WORDS_MAX)):
            if self.is_quiet:
                break
            yield from self._add(
                number, sequence, EventType.DELTA, self._random.choice(lanes), f"{count}."
            )
            if self._random.random() < 0.2:
                yield from self._read(sequence)
            yield self._random.randint(1, 150) * MS
        if self._random.random() < 0.5:
            for lane in lanes:
                yield from self._add(number, sequence, EventType.CLOSE, lane, "")
        else:
            yield from self._add(number, sequence, EventType.FINISH, lanes[0], "")
        yield from self._read(sequence)

    def _add(
        self, number: str, sequence: int, event_type: EventType, lane: str, word: str
    ) -> Steps:
        event_id = f"{number}-{len(self._history.added)}"
        added = Added(event_id, self._channel, sequence, lane, word, self._world.now)
        added.ends = event_type in (EventType.CLOSE, EventType.FINISH)
        self._history.added.append(added)
        payload = json.dumps({"delta": word}).encode() if word else b""
        event = AppendEvent(
            *self._channel[:2], self._uid, number, 0, event_id, event_type, lane, payload
        )
        result = yield from writing(self._key, lambda: self._once_more(event))
        added.answered = self._world.now
        if not isinstance(result, EventAppended):
            assert isinstance(result, EventRefused), result
            return
        added.number = result.sequence
        if self._random.random() < REPEATED:
            again = yield from writing(self._key, lambda: self._once_more(event))
            assert isinstance(again, EventAppended), again
            added.repeated = again.sequence

    def _once_more(self, event: AppendEvent) -> AppendEvent:
        """The same event in a call of its own."""
        return replace(event, request_id=self._random.randbytes(16))

    def _read(self, sequence: int) -> Steps:
        began = self._world.now
        page = yield from reading(self._key, told_query(self._channel, sequence), MessagesPage)
        self._history.told += told_in(self._channel, page, began, self._world.now, "a reader")


def told_query(channel: ChannelKey, sequence: int) -> MessagesQuery:
    """What a reader of one message asks."""
    channel_type, channel_id, _ = channel
    return MessagesQuery(
        channel_type, channel_id, "", sequence, sequence + 1, 1, 1, streams=WITH_SNAPSHOTS
    )


def told_in(
    channel: ChannelKey, page: MessagesPage, began: int, ended: int, reader: str
) -> list[Told]:
    """The streams of a page as observations; a message without a stream shows nothing yet."""
    views = {view.sequence: view for view in page.streams}
    return [
        Told(channel, row.sequence, reader, began, ended, _lanes_of(views.get(row.sequence)))
        for row in page.messages
    ]


def _lanes_of(view: StreamView | None) -> tuple[tuple[str, bool, str], ...]:
    return tuple(
        (
            lane.event_key,
            lane.status == StreamStatus.OPEN,
            json.loads(lane.snapshot)["text"] if lane.snapshot else "",
        )
        for lane in (view.lanes if view is not None else ())
    )
