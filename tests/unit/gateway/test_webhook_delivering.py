"""What an application is told until it is safe: answers, retries, dead letters, signatures."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import structlog

from zmqim.chat.encoding import encode
from zmqim.chat.operations import SendMessage
from zmqim.chat.results import MessageRow
from zmqim.errors import DamagedData, UsageError
from zmqim.gateway.plugin import SessionChanged
from zmqim.gateway.webhooks.delivering import Delivery
from zmqim.gateway.webhooks.events import (
    gap_body,
    offline_body,
    status_of,
    statuses_body,
    stored_body,
)
from zmqim.gateway.webhooks.letters import DeadLetters, all_letters, letter_of, letters_of
from zmqim.gateway.webhooks.posting import Taken, Verdict, judge, secret_of, signature
from zmqim.gateway.webhooks.statuses import Statuses
from zmqim.limits import (
    WEBHOOK_RETRY_MS_MAX,
    WEBHOOK_RETRY_MS_MIN,
    WEBHOOK_STATUS_TRIES_MAX,
    WEBHOOK_STATUSES_BATCH_MAX,
    WEBHOOK_STATUSES_MAX,
    WEBHOOK_TRIES_MAX,
)
from zmqim.webhook_settings import WebhookSettings

YES, LATER, NEVER = Verdict(Taken.YES), judge(503), judge(400)
NOBODY = Verdict(Taken.NOBODY, "nobody can be reached there")


class Told:
    """The port, the application and the clock of a delivery."""

    def __init__(self, letters: DeadLetters, verdicts: Sequence[Verdict]) -> None:
        self.posts: list[tuple[str, bytes]] = []
        self.pauses: list[float] = []
        self.reports: dict[str, str] = {}
        self.counts: dict[str, int] = {}
        self.logged: list[str] = []
        self.on_pause = lambda: None
        self._verdicts: Iterator[Verdict] = iter(verdicts)
        logger = structlog.wrap_logger(
            structlog.PrintLogger(),
            processors=[self._log],
            wrapper_class=structlog.make_filtering_bound_logger(0),
        )
        self.delivery = Delivery("im", "host:1", self.post, letters, self, logger, self.sleep)

    def _log(self, _logger: object, _level: str, event: structlog.typing.EventDict) -> str:
        self.logged.append(str(event))
        raise structlog.DropEvent

    async def post(self, event: str, body: bytes) -> Verdict:
        self.posts.append((event, body))
        return next(self._verdicts, YES)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.on_pause()

    def report(self, source: str, problem: str) -> None:
        self.reports[source] = problem

    def count(self, counter: str, by: int = 1) -> None:
        self.counts[counter] = self.counts.get(counter, 0) + by


@pytest.fixture
def letters(tmp_path: Path) -> DeadLetters:
    return letters_of(tmp_path / "gateway-1", "im")


# ---- answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "taken"),
    [
        (200, Taken.YES),
        (204, Taken.YES),
        (302, Taken.NEVER),
        (400, Taken.NEVER),
        (404, Taken.NEVER),
        (408, Taken.LATER),
        (429, Taken.LATER),
        (500, Taken.LATER),
        (503, Taken.LATER),
    ],
)
def test_what_a_status_means(status: int, taken: Taken) -> None:
    assert judge(status).taken is taken


def test_the_signature_is_what_the_document_says() -> None:
    wanted = hmac.new(b"secret", b'1764209000.{"a":1}', hashlib.sha256).hexdigest()
    assert signature(b"secret", "1764209000", b'{"a":1}') == wanted
    page = (Path(__file__).parents[3] / "docs" / "WEBHOOKS.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    assert len(code.strip().splitlines()) <= 10
    names: dict[str, object] = {}
    exec(code, names)
    check = names["is_from_zmqim"]
    assert callable(check)
    headers = {"X-Zmqim-Timestamp": "1764209000", "X-Zmqim-Signature": wanted}
    assert check(b"secret", headers, b'{"a":1}', 1764209100)
    assert not check(b"secret", headers, b'{"a":2}', 1764209100)
    assert not check(b"other", headers, b'{"a":1}', 1764209100)
    assert not check(b"secret", headers, b'{"a":1}', 1764209000 + 3_600)


def test_a_secret_comes_from_a_file_or_a_variable_and_is_long_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    path.write_text("  sixteen characters\n")
    by_file = WebhookSettings("im", str(path), "", ("msg.notify",), 1, False)
    assert secret_of(by_file) == b"sixteen characters"
    by_variable = WebhookSettings("im", "", "IM_SECRET", ("msg.notify",), 1, False)
    with pytest.raises(UsageError, match="variable IM_SECRET holds none"):
        secret_of(by_variable)
    monkeypatch.setenv("IM_SECRET", "short")
    with pytest.raises(UsageError, match="has 5 characters") as caught:
        secret_of(by_variable)
    assert "short" not in str(caught.value)
    path.unlink()
    with pytest.raises(UsageError, match="holds none"):
        secret_of(by_file)


# ---- retries -------------------------------------------------------------------------------------


def test_it_is_tried_again_with_growing_pauses_and_said_once(letters: DeadLetters) -> None:
    told = Told(letters, [LATER, NOBODY, LATER])
    asyncio.run(told.delivery.deliver("msg.notify", b"[]"))
    assert told.posts == [("msg.notify", b"[]")] * 4
    first = WEBHOOK_RETRY_MS_MIN / 1000
    assert told.pauses == [first, 2 * first, 4 * first]
    assert told.reports == {"webhook im": ""}
    assert told.counts == {"webhook_posts": 1, "webhook_posts_failed": 3}
    assert len(told.logged) == 2
    assert letters.names() == []


def test_status_says_what_is_wrong_while_it_is(letters: DeadLetters) -> None:
    told = Told(letters, [LATER])
    seen: list[str] = []
    told.on_pause = lambda: seen.append(told.reports["webhook im"])
    asyncio.run(told.delivery.deliver("msg.notify", b"[]"))
    assert seen == [
        "webhook im: the application at host:1 does not take msg.notify: HTTP status 503; "
        "it is tried again"
    ]


def test_what_is_refused_for_good_is_a_dead_letter_at_once(letters: DeadLetters) -> None:
    told = Told(letters, [NEVER])
    asyncio.run(told.delivery.deliver("msg.notify", b'["x"]'))
    assert (len(told.posts), told.pauses) == (1, [])
    [name] = letters.names()
    letter = letters.read(name)
    assert (letter.webhook, letter.event, letter.why) == ("im", "msg.notify", "HTTP status 400")
    assert letter.content == b'["x"]'
    assert told.counts["webhook_dead_letters"] == 1


def test_after_the_last_try_it_is_a_dead_letter_but_nobody_there_is_no_try(
    letters: DeadLetters,
) -> None:
    told = Told(letters, [NOBODY] * 500 + [LATER] * WEBHOOK_TRIES_MAX)
    asyncio.run(told.delivery.deliver("msg.notify", b"[]"))
    assert len(told.posts) == 500 + WEBHOOK_TRIES_MAX
    assert max(told.pauses) == WEBHOOK_RETRY_MS_MAX / 1000
    assert len(letters.names()) == 1


def test_without_room_for_dead_letters_it_waits_and_says_so(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "letters", count_max=1)
    assert letters.keep(letter_of("im", "msg.notify", "old", 1, b"[]"))
    told = Told(letters, [NEVER])
    seen: list[str] = []

    def drop_one() -> None:
        seen.append(told.reports["webhook im, dead letters"])
        letters.drop(letters.names()[0])

    told.on_pause = drop_one
    asyncio.run(told.delivery.deliver("msg.notify", b"[]"))
    assert "there are too many: replay or drop some" in seen[0]
    assert told.reports["webhook im, dead letters"] == ""
    assert letters.read(letters.names()[0]).why == "HTTP status 400"


def test_nothing_of_a_body_is_logged(letters: DeadLetters) -> None:
    told = Told(letters, [LATER, NEVER])
    asyncio.run(told.delivery.deliver("msg.notify", b"the payload"))
    text = "".join(told.logged) + str(told.reports)
    assert "payload" not in text
    assert base64.b64encode(b"the payload").decode() not in text


# ---- dead letters --------------------------------------------------------------------------------


def test_letters_are_found_again_oldest_first_by_whoever_looks(tmp_path: Path) -> None:
    kept = letters_of(tmp_path / "gateway-1", "im")
    for number, at in enumerate((2_000, 1_000, 2_000)):
        assert kept.keep(letter_of("im", "msg.offline", "why", at, b"%d" % number))
    (tmp_path / "gateway-1" / "dead-letters" / "im" / "x.json.tmp").write_text("half")
    [(gateway, found)] = all_letters(tmp_path)
    assert gateway == "gateway-1"
    assert [found.read(name).content for name in found.names()] == [b"1", b"0", b"2"]
    found.drop(found.names()[0])
    found.drop("gone already")
    assert len(kept.names()) == 2
    assert kept.folder.stat().st_mode & 0o777 == 0o700


def test_letters_have_a_bound_of_bytes_which_an_earlier_life_counts_in(tmp_path: Path) -> None:
    first = DeadLetters(tmp_path, bytes_max=400)
    assert first.keep(letter_of("im", "msg.notify", "why", 1, bytes(100)))
    assert not DeadLetters(tmp_path, bytes_max=400).keep(
        letter_of("im", "msg.notify", "why", 1, bytes(200))
    )


def test_a_letter_that_is_not_there_or_is_none_says_so(letters: DeadLetters) -> None:
    with pytest.raises(UsageError, match="no dead letter 'x'"):
        letters.read("x")
    letters.keep(letter_of("im", "msg.notify", "why", 1, b"[]"))
    path = letters.folder / f"{letters.names()[0]}.json"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DamagedData, match="is no dead letter"):
        letters.read(letters.names()[0])


# ---- events --------------------------------------------------------------------------------------


def row(sender: str, channel: str, channel_type: int = 1) -> MessageRow:
    send = SendMessage(channel_type, channel, sender, "n", b"hi", flags=2)
    return MessageRow(7, 99, 1_750_000_000_000 << 16, 3, encode(send))


def test_messages_are_spelled_as_in_history() -> None:
    [message] = json.loads(stored_body([row("ada", "bob@ada")]))
    assert message == {
        "header": {"no_persist": 0, "red_dot": 1, "sync_once": 0},
        "setting": 0,
        "message_id": 99,
        "message_idstr": "99",
        "client_msg_no": "n",
        "message_seq": 7,
        "from_uid": "ada",
        "channel_id": "bob",
        "channel_type": 1,
        "topic": "",
        "expire": 0,
        "timestamp": 1_750_000_000,
        "payload": "aGk=",
    }
    assert json.loads(offline_body(row("ada", "bob@ada"), ["bob"])) == {
        **message,
        "to_uids": ["bob"],
    }


def test_a_gap_names_webhook_partition_and_range() -> None:
    assert json.loads(gap_body("im", 3, 10, 20)) == {
        "webhook": "im",
        "partition": 3,
        "from": 10,
        "upto": 20,
    }


def test_a_status_ends_with_five_numbers_whatever_the_uid_is() -> None:
    status = status_of(SessionChanged("a-b", 1, True, 17, 1, 2))
    assert status == "a-b-1-1-17-1-2"
    assert status.rsplit("-", 5) == ["a-b", "1", "1", "17", "1", "2"]


def test_statuses_go_in_batches_in_order_and_the_oldest_are_dropped_above_the_bound(
    letters: DeadLetters,
) -> None:
    told = Told(letters, [])
    statuses = Statuses(told.delivery, told)
    for number in range(WEBHOOK_STATUSES_MAX + 3):
        statuses.add(SessionChanged(f"u{number}", 0, True, number, 1, 1))
    asyncio.run(statuses.tell())
    batch = json.loads(told.posts[0][1])
    assert told.posts[0][0] == "user.onlinestatus"
    assert [one.split("-")[0] for one in batch] == [
        f"u{number}" for number in range(3, WEBHOOK_STATUSES_BATCH_MAX + 3)
    ]
    assert told.counts["webhook_statuses_dropped"] == 3


def test_statuses_that_nobody_takes_are_dropped_and_counted(letters: DeadLetters) -> None:
    told = Told(letters, [NOBODY] * 99)
    statuses = Statuses(told.delivery, told)
    asyncio.run(statuses.tell())
    assert told.posts == []
    for number in range(2):
        statuses.add(SessionChanged("ada", 0, False, number, 0, 0))
    asyncio.run(statuses.tell())
    assert len(told.posts) == WEBHOOK_STATUS_TRIES_MAX
    assert told.counts["webhook_statuses_dropped"] == 2
    assert json.loads(statuses_body(["a"])) == ["a"]
    assert letters.names() == []
