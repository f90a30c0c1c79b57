"""What a run came to: the history of the clients and the replicas, asked by the simulator's checks.

The history holds what clients saw, at their times. Where the harness itself stopped a gateway, or
was late, or the gateway was slow to answer a PING, times prove nothing: such sessions are `deaf`
for the check that pushes are repeated in time. That every
push must come is not asked either (`loses_frames`): a killed router or a cut may lose hints, and
the log is the truth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tools.chaos.replicas import Replica, differences
from zmqim.sim.checks import check
from zmqim.sim.history import History, Pull, Refused, SessionKey

SENTENCES_MAX = 50
"""In a report; the counts are of all."""
SENTENCE_CHARACTERS_MAX = 400
TRANSIENT_REASONS = {22}
"""A refusal that a retry cures: the server is busy."""
DISK_REASON = 15


@dataclass
class Verdict:
    """Sentences by check; `counts` are of all, `sentences` only the first ones."""

    counts: dict[str, int] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Acknowledged messages that are not where they must be."""
        return self.counts.get("I-1", 0)

    @property
    def doubled(self) -> int:
        """Messages stored twice or answered in two ways."""
        return self.counts.get("I-3", 0)

    @property
    def gaps(self) -> int:
        """Channels whose sequences are not 1, 2, 3 …"""
        return self.counts.get("I-4", 0)

    def add(self, number: str, sentences: Iterable[str]) -> None:
        """Take over what a check found."""
        for sentence in sentences:
            self.counts[number] = self.counts.get(number, 0) + 1
            if len(self.sentences) < SENTENCES_MAX:
                self.sentences.append(f"{number} {sentence}"[:SENTENCE_CHARACTERS_MAX])


def judge(history: History, replicas: Sequence[Replica], findings: Iterable[str]) -> Verdict:
    """Everything that is wrong. `findings` are what the harness itself saw."""
    verdict = Verdict()
    add_replicas(history, replicas)
    for sentence in check(history):
        number, _, text = sentence.partition(" ")
        verdict.add(number, [text])
    verdict.add("I-13", differences(list(replicas)))
    verdict.add("harness", findings)
    return verdict


def add_replicas(history: History, replicas: Sequence[Replica]) -> None:
    """The replicas' dumps as observations: no reader may see another message at a sequence.

    The newest replica of a partition holds everything acknowledged; one that is behind is only held
    to what it has (`more`).
    """
    newest: dict[int, int] = {}
    for replica in replicas:
        index = replica.applied.index
        newest[replica.partition] = max(newest.get(replica.partition, 0), index)
    for number, replica in enumerate(replicas):
        behind = replica.applied.index < newest[replica.partition]
        for channel, messages in replica.messages.items():
            reader: SessionKey = (f"replica {replica.storage}", number, 0)
            rows = tuple(messages)
            last = rows[-1].sequence
            at = history.ended
            history.pulls.append(Pull(at, at, reader, channel, 1, rows, behind, last))


def refused_for_good(history: History, full_disk: bool) -> list[str]:
    """Refusals that no retry of the same cures: clients see delay, never those."""
    allowed = TRANSIENT_REASONS | ({DISK_REASON} if full_disk else set())
    reasons = Counter(
        attempt.answer.reason
        for sending in history.sendings
        for attempt in sending.attempts
        if isinstance(attempt.answer, Refused)
    )
    return [
        f"{count} messages were refused with reason {reason}"
        for reason, count in sorted(reasons.items())
        if reason not in allowed
    ]


def deafen(
    history: History, deaf: Sequence[tuple[str, int, int]], slept: Sequence[tuple[int, int]]
) -> None:
    """Mark the sessions whose times prove nothing."""
    for session in history.sessions:
        spans = [(start, end) for name, start, end in deaf if name in (session.key[0], "*")]
        for start, end in [*spans, *slept]:
            if session.opened < end and start < session.closed:
                history.deaf.add(session.key)
