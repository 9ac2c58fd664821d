"""The PingSource: which moments are due, and what it sends of them."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_harness import Sink, eventually, local_lease, outlet_to, running

from eventing.resources.schedule import parse_schedule
from eventing.sources.ping_source import PingSource
from eventing.sources.settings import PingSourceSettings
from eventing.sources.ticks import LATE, believed, due
from functions.base import Response
from triggers.delivery import DeliveryPolicy

NAME = "PingSource/default/p"
SOURCE = "/apis/v1/namespaces/default/pingsources/p"
MINUTE = parse_schedule("* * * * *")
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()


def test_a_moment_is_due_when_it_has_come() -> None:
    assert due(MINUTE, NOON, NOON + 59.9) is None
    assert due(MINUTE, NOON, NOON + 60) == NOON + 60


def test_of_those_that_were_missed_the_latest_is_made_up_for_once() -> None:
    now = NOON + 200
    assert due(MINUTE, NOON, now) == NOON + 180
    assert due(MINUTE, NOON + 180, now) is None


def test_what_was_missed_by_more_than_the_bound_is_passed_over() -> None:
    daily = parse_schedule("@daily")
    midnight = daily.after(NOON)
    assert due(daily, NOON, midnight + LATE - 1) == midnight
    assert due(daily, NOON, midnight + LATE + 1) is None


def test_a_clock_that_jumps_ahead_makes_no_burst() -> None:
    seconds = parse_schedule("@every 1s")
    assert due(seconds, NOON, NOON + 86_400) == NOON + 86_400


def test_a_clock_set_back_a_little_waits_and_by_more_begins_again() -> None:
    assert believed(NOON + 60, NOON) == NOON + 60
    assert believed(NOON + LATE + 1, NOON) == NOON


@given(st.floats(0, 1e6), st.lists(st.floats(-400, 400), max_size=40))
def test_whatever_the_clock_does_there_is_at_most_one_event_a_look(start, steps) -> None:
    now = last = 1.7e9 + start
    for step in steps:
        now += step
        last = believed(last, now)
        moment = due(MINUTE, last, now)
        if moment is not None:
            assert last < moment <= now and moment > now - 60 - 1
            last = moment


def ping(
    folder: Path,
    outlet,
    schedule: str = "@every 1s",
    *,
    data: bytes | None = b"x",
    clock=time.time,
    lease=local_lease,
) -> PingSource:
    settings = PingSourceSettings(parse_schedule(schedule), schedule, "", "text/plain", data)
    return PingSource(
        NAME,
        settings,
        outlet,
        source=SOURCE,
        find_lease=lease,
        lease=NAME,
        memory=folder / "ticks" / "default" / "p",
        clock=clock,
    )


def test_each_moment_is_one_event_whose_id_is_the_moment(tmp_path) -> None:
    async def main() -> None:
        sink = Sink()
        async with running(ping(tmp_path, outlet_to(sink))) as source:
            await eventually(lambda: len(sink.events) == 2, "two moments came")
            assert source.status()["lastTick"] == sink.ids[1]
        first, second = (datetime.fromisoformat(id).timestamp() for id in sink.ids)
        assert second == first + 1
        assert sink.events[0].attributes == {
            "specversion": "1.0",
            "id": sink.ids[0],
            "source": SOURCE,
            "type": "dev.knative.sources.ping",
            "time": sink.ids[0],
            "datacontenttype": "text/plain",
        }
        assert sink.events[0].data == b"x"

    asyncio.run(main())


def test_the_first_start_makes_up_for_nothing_a_restart_for_what_was_missed(tmp_path) -> None:
    async def run(now: float, expected: int) -> list:
        sink = Sink()
        source = ping(tmp_path, outlet_to(sink), "* * * * *", clock=lambda: now)
        async with running(source):
            await eventually(lambda: source._leased.held, "it works")
            if expected:
                await eventually(lambda: sink.events, "it sends")
            await asyncio.sleep(0)
        return sink.ids

    assert asyncio.run(run(NOON + 10, 0)) == []
    (tmp_path / "ticks" / "default").mkdir(parents=True)
    (tmp_path / "ticks" / "default" / "p").write_text(repr(NOON))
    assert asyncio.run(run(NOON + 130, 1)) == ["2026-01-31T12:02:00Z"]
    assert asyncio.run(run(NOON + 140, 0)) == []


def test_a_moment_that_did_not_reach_its_end_is_sent_again_under_the_same_id(tmp_path) -> None:
    (tmp_path / "ticks" / "default").mkdir(parents=True)
    (tmp_path / "ticks" / "default" / "p").write_text(repr(NOON))
    slow = DeliveryPolicy(retry=5, backoff_delay=600)

    async def run(answer) -> list:
        sink = Sink(answer)
        outlet = outlet_to(sink, policy=slow)
        source = ping(tmp_path, outlet, "* * * * *", clock=lambda: NOON + 70)
        async with running(source):
            await eventually(lambda: sink.events, "it sends")
        return sink.ids

    assert asyncio.run(run(lambda event: Response(503))) == ["2026-01-31T12:01:00Z"]
    assert asyncio.run(run(lambda event: Response(202))) == ["2026-01-31T12:01:00Z"]


def test_one_that_stands_by_learns_what_was_sent(tmp_path) -> None:
    async def main() -> None:
        given = asyncio.Event()

        async def lease(name):
            await given.wait()
            return await local_lease(name)

        sink = Sink()
        source = ping(tmp_path, outlet_to(sink), "* * * * *", clock=lambda: NOON + 130, lease=lease)
        async with running(source):
            assert source.status()["state"] == "standing by"
            source.learn(NOON + 60)
            given.set()
            await eventually(lambda: sink.events, "it takes over")
        assert sink.ids == ["2026-01-31T12:02:00Z"]

    asyncio.run(main())


def test_a_sink_that_takes_nothing_has_bounded_events_waiting(
    tmp_path, monkeypatch, caplog
) -> None:
    monkeypatch.setattr("eventing.sources.ping_source.MOST_OUT", 2)

    async def main() -> None:
        sink = Sink(lambda event: None)
        async with running(ping(tmp_path, outlet_to(sink))) as source:
            await eventually(lambda: source.status()["skipped"], "one is skipped")
            assert len(sink.events) == 2
            sink.release()

    asyncio.run(main())
    assert "sends nothing for" in caplog.text


@pytest.mark.parametrize(("status", "how"), [(202, "taken"), (400, "given up")])
def test_it_sends_when_it_is_told_to(tmp_path, status, how) -> None:
    async def main() -> None:
        sink = Sink(lambda event: Response(status))
        async with running(ping(tmp_path, outlet_to(sink), "@yearly", data=None)) as source:
            id, end = await source.fire()
            assert end.how == how and sink.ids == [id] and sink.events[0].data is None
            assert (await source.fire())[0] != id
            assert source.settled == 0

    asyncio.run(main())
