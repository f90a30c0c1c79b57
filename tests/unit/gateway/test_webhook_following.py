"""A webhook's steps through a partition's log, on a real storage core."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from storage_world import ack_of, message, private
from webhook_gateway import OTHER, Gateway

from zmqim.chat.channels import members_channel, route_key_of_channel
from zmqim.chat.codes import ChannelType
from zmqim.chat.operations import AddMembers, FollowerMoved, SendMessage, Unfollow
from zmqim.errors import DeadlinePassed
from zmqim.ids import NodeName
from zmqim.limits import WEBHOOK_BOOK_MS, WEBHOOK_IDLE_ENTRIES_MAX, WEBHOOK_OFFLINE_UIDS_MAX

PARTITIONS = 4


def test_the_first_step_makes_it_a_follower_and_the_next_tells_what_came_since() -> None:
    gateway = Gateway()
    gateway.world.add("g", "ada", "bob")
    gateway.world.send(message("ada", "g", "0", b"before"))
    assert gateway.step() is False
    gateway.world.send(message("ada", "g", "1", b"one"), message("ada", "g", "2", b"two"))
    gateway.step()
    gateway.step()
    assert gateway.texts() == ["one", "two"]


def test_the_position_is_moved_once_in_a_while_and_read_by_whoever_goes_on() -> None:
    gateway = Gateway()
    gateway.world.add("g", "ada")
    gateway.step()
    first = gateway.position()
    gateway.world.send(message("ada", "g", "1", b"one"))
    gateway.step()
    assert isinstance(gateway.written[-1], FollowerMoved)
    booked = gateway.position()
    assert first is not None
    assert booked is not None
    assert booked > first
    gateway.world.send(message("ada", "g", "2", b"two"))
    gateway.step(ms=WEBHOOK_BOOK_MS - 1)
    assert gateway.position() == booked
    gateway.take()
    other = Gateway(world=gateway.world)
    other.step()
    assert other.texts() == ["two"]
    gateway.step(ms=1)
    assert gateway.position() == gateway.place.upto > booked


def test_an_idle_partition_is_not_moved_by_its_own_moves() -> None:
    gateway = Gateway()
    gateway.step()
    count = len(gateway.written)
    for _ in range(20):
        gateway.step(ms=WEBHOOK_BOOK_MS)
    assert len(gateway.written) == count
    for number in range(WEBHOOK_IDLE_ENTRIES_MAX):
        gateway.world.add("g", f"u{number}")
    gateway.step(ms=WEBHOOK_BOOK_MS)
    gateway.step(ms=WEBHOOK_BOOK_MS)
    assert len(gateway.written) == count + 1
    assert gateway.take() == []


def test_nothing_is_told_and_nothing_moves_while_recipients_cannot_be_asked_for() -> None:
    gateway = Gateway()
    gateway.world.add("g", "ada", "bob")
    gateway.step()
    gateway.world.send(private("ada", "bob", "1"))
    at, before = gateway.place.upto, gateway.position()
    gateway.is_reachable = False
    assert gateway.step(ms=WEBHOOK_BOOK_MS) is False
    online, gateway.online = gateway.online, _nobody_answers  # type: ignore[method-assign]
    gateway.is_reachable = True
    assert gateway.step(ms=WEBHOOK_BOOK_MS) is False
    assert (gateway.take(), gateway.place.upto, gateway.position()) == ([], at, before)
    gateway.online = online  # type: ignore[method-assign]
    gateway.step()
    assert [event for event, _ in gateway.take()] == ["msg.notify", "msg.offline"]


async def _nobody_answers(uids: Sequence[str]) -> list[tuple[str, int]]:
    raise DeadlinePassed("nobody answered")


def test_offline_are_members_without_a_device_but_never_the_sender() -> None:
    gateway = Gateway(events=("msg.offline",))
    gateway.world.add("g", "ada", "bob", "cid", "dan")
    gateway.step()
    gateway.online_uids = {"cid"}
    gateway.world.send(message("ada", "g", "1"))
    gateway.world.send(private("ada", "cid", "2"))
    gateway.world.send(private("cid", "ada", "3"))
    gateway.step()
    told = [(event, body["channel_id"], body["to_uids"]) for event, body in gateway.take()]
    assert told == [("msg.offline", "g", ["bob", "dan"]), ("msg.offline", "ada", ["ada"])]


@pytest.mark.parametrize(
    ("channel", "sender", "offline"),
    [
        ((ChannelType.COMMUNITY_TOPIC, "town@news"), "ada", ["bob"]),
        ((ChannelType.VISITORS, "guest"), "ada", ["bob", "guest"]),
        ((ChannelType.VISITORS, "guest"), "guest", ["ada", "bob"]),
        ((ChannelType.CUSTOMER_SERVICE, "guest|shop"), "ada", ["bob", "guest"]),
        ((ChannelType.AGENT, "ada@bot"), "ada", ["bot"]),
    ],
)
def test_offline_are_all_who_would_hear_the_message(
    channel: tuple[int, str], sender: str, offline: list[str]
) -> None:
    gateway = Gateway(events=("msg.offline",))
    kind, name = members_channel(*channel)
    if kind != ChannelType.AGENT:
        key = route_key_of_channel(kind, name)
        gateway.world.write(key, AddMembers(kind, name, ["ada", "bob"]))
    gateway.step()
    gateway.world.send(SendMessage(*channel, sender, "1", b"hi"))
    gateway.step()
    assert [body["to_uids"] for _, body in gateway.take()] == [offline]


def test_many_who_are_offline_are_told_in_slices_and_too_many_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gateway = Gateway(events=("msg.offline",))
    uids = [f"u{number:05}" for number in range(WEBHOOK_OFFLINE_UIDS_MAX + 5)]
    for first in range(0, len(uids), 500):
        gateway.world.add("g", *uids[first : first + 500])
    gateway.step()
    gateway.world.send(message(uids[0], "g", "1"))
    gateway.step()
    slices = [body["to_uids"] for _, body in gateway.take()]
    assert [uid for one in slices for uid in one] == uids[1:]
    assert [len(one) for one in slices] == [WEBHOOK_OFFLINE_UIDS_MAX, 4]
    monkeypatch.setattr("zmqim.gateway.webhooks.recipients.WEBHOOK_OFFLINE_MEMBERS_MAX", 1_000)
    gateway.world.send(message(uids[0], "g", "2"))
    gateway.step()
    assert gateway.take() == []
    assert gateway.counts["webhook_offline_too_many"] == 1


def test_members_are_read_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqim.gateway.webhooks.recipients.MEMBERS_PAGE_MAX", 2)
    gateway = Gateway(events=("msg.offline",))
    gateway.world.add("g", "a", "b", "c", "d", "e")
    gateway.step()
    gateway.world.send(message("c", "g", "1"))
    gateway.step()
    assert gateway.take()[0][1]["to_uids"] == ["a", "b", "d", "e"]


def test_what_the_log_has_no_more_is_told_as_a_gap_before_what_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zmqim.storage.shortening.JOURNAL_BYTES_MAX", 10_000)
    monkeypatch.setattr("zmqim.storage.shortening.FOLLOWED_LOG_BYTES_MAX", 20_000)
    monkeypatch.setattr("zmqim.storage.log_size.STRETCH_BYTES", 1_000)
    gateway = Gateway(events=("msg.notify",))
    gateway.world.add("g", "ada")
    gateway.step()
    began = gateway.position()
    for number in range(60):
        gateway.world.send(message("ada", "g", str(number), bytes(1_000)))
        gateway.world.receive(ack_of(0, 1, 999))
    gateway.world.turn(1_000)
    gateway.world.turn()
    first = gateway.world.core.groups[0].raft.log.extent.first
    gateway.step()
    assert began is not None
    (gap_event, gap), (event, messages), *_ = gateway.take()
    assert (gap_event, event) == ("webhook.gap", "msg.notify")
    assert gap == {"webhook": "im", "partition": 0, "from": began + 1, "upto": first - 1}
    assert messages[-1]["message_seq"] == 60
    assert 1 < messages[0]["message_seq"] < 60
    assert gateway.position() == gateway.place.upto
    assert gateway.counts["webhook_gaps"] == 1


def test_a_follower_that_was_let_go_begins_anew() -> None:
    gateway = Gateway()
    gateway.world.add("g", "ada")
    gateway.step()
    gateway.step()
    gateway.world.write(gateway.place.key, Unfollow("im"))
    gateway.world.send(message("ada", "g", "1", b"nobody follows"))
    gateway.step()
    gateway.world.send(message("ada", "g", "2", b"again"))
    gateway.step()
    assert gateway.texts() == ["again"]


def test_partitions_are_shared_with_the_live_gateways_that_have_the_webhook() -> None:
    gateway = Gateway(PARTITIONS)
    mine = [n for n in range(PARTITIONS) if gateway.following.is_mine(n)]
    assert 0 < len(mine) < PARTITIONS
    gateway.name = OTHER
    theirs = [n for n in range(PARTITIONS) if gateway.following.is_mine(n)]
    assert sorted(mine + theirs) == list(range(PARTITIONS))
    gateway.live = (NodeName("gateway-3"),)
    assert all(gateway.following.is_mine(n) for n in range(PARTITIONS))


def test_status_says_how_many_partitions_are_not_followed_yet_and_which_name_found_no_room() -> (
    None
):
    gateway = Gateway(PARTITIONS)
    places = gateway.places
    for place in places[:3]:
        for _ in range(2):
            gateway.step(place)
    assert "1 partitions are not followed yet" in gateway.reports["webhook im, following"]
    for _ in range(2):
        gateway.step(places[3])
    assert gateway.reports["webhook im, following"] == ""


def test_when_it_stops_it_writes_down_how_far_it_is() -> None:
    gateway = Gateway()
    gateway.world.add("g", "ada")
    gateway.step()
    gateway.world.send(message("ada", "g", "1"))
    gateway.step()
    gateway.world.send(message("ada", "g", "2"))
    gateway.step()
    assert gateway.place.is_dirty

    async def stop() -> None:
        await asyncio.gather(*gateway.following.stop())

    asyncio.run(stop())
    assert gateway.position() == gateway.place.upto
    assert gateway.written[-1] == FollowerMoved("im", gateway.place.upto)
