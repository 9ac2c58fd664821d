"""Usage on the disk: what is added, what is asked of it, and what becomes of it when it fails."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventing.errors import StorageError, UserError
from eventing.node.node_usage import NodeUsage, read_query
from eventing.node.usage_file import FILE, KEPT_BY_HOUR, UsageFile
from eventing.node.usage_query import (
    DAY,
    PERIODS,
    By,
    Line,
    UsageQuery,
    lines_document,
    period_start,
    read_lines,
    summed,
    together,
)
from eventing.node.usage_store import UsageStore
from functions.usage import HOUR, HourOf, Usage

START = int(datetime(2026, 10, 31, 22, tzinfo=UTC).timestamp())
EVER = UsageQuery(0, 1e12)


def used(calls: int = 1, busy: float = 0.5) -> Usage:
    return Usage(calls, 0, busy, busy, busy / 8, 2 * busy, busy, 1, 0.01, 3.0, 0.375)


def key(hour: int = START, function: str = "price", revision: str = "price-00001") -> HourOf:
    return HourOf(hour, "default", function, revision)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[UsageFile]:
    opened = UsageFile.opened(tmp_path / FILE)
    yield opened
    opened.close()


def run(path: Path, sql: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute(sql).fetchall()
        connection.commit()
        return rows
    finally:
        connection.close()


# -- What is kept


def test_what_is_added_to_an_hour_adds_up_and_outlives_the_process(tmp_path: Path) -> None:
    for _ in range(3):
        file = UsageFile.opened(tmp_path / FILE)
        file.add({key(): used(2)}, START)
        file.close()
    file = UsageFile.opened(tmp_path / FILE)
    assert file.read(EVER) == {
        Line(0, "default", "price", ""): used(2) + used(2) + used(2),
    }
    file.close()


def test_an_hour_counts_where_it_begins_within_the_bounds(file: UsageFile) -> None:
    hours = [START + each * HOUR for each in range(4)]
    file.add({key(hour): used(10**each) for each, hour in enumerate(hours)}, START)
    [found] = file.read(UsageQuery(hours[1], hours[3])).values()
    assert found.invocations == 110
    assert file.read(UsageQuery(hours[3] + 1, hours[3] + HOUR)) == {}


def test_a_month_begins_at_midnight_utc(file: UsageFile) -> None:
    file.add({key(START + each * HOUR): used() for each in range(4)}, START)
    starts = [line.start for line in file.read(UsageQuery(0, 1e12, "month"))]
    assert [datetime.fromtimestamp(start, UTC) for start in starts] == [
        datetime(2026, 10, 1, tzinfo=UTC),
        datetime(2026, 11, 1, tzinfo=UTC),
    ]


def test_revisions_are_told_apart_where_that_is_asked_for(file: UsageFile) -> None:
    both = {key(): used(1), key(revision="price-00002"): used(2), key(function="tax"): used(4)}
    file.add(both, START)
    asked = UsageQuery(0, 1e12, function="default/price", by_revision=True)
    assert [(line.revision, usage.invocations) for line, usage in file.read(asked).items()] == [
        ("price-00001", 1),
        ("price-00002", 2),
    ]
    assert [usage.invocations for usage in file.read(EVER).values()] == [3, 4]
    assert file.functions() == ["default/price", "default/tax"]


names = st.sampled_from(["a", "b"])
hours = st.integers(0, 20_000).map(lambda number: START - 10_000 * HOUR + number * HOUR)
queries = st.builds(
    UsageQuery,
    hours,
    hours,
    st.sampled_from(PERIODS),
    st.booleans(),
    st.none() | names.map(lambda name: f"default/{name}"),
)


@given(
    keys=st.lists(st.builds(HourOf, hours, names, names, names), unique=True, max_size=30),
    query=queries,
)
def test_what_is_stored_and_what_is_not_yet_are_summed_alike(
    tmp_path_factory: pytest.TempPathFactory, keys: list[HourOf], query: UsageQuery
) -> None:
    usage = {key: used(number + 1) for number, key in enumerate(keys)}
    path = tmp_path_factory.mktemp("usage") / FILE
    file = UsageFile.opened(path)
    file.add(usage, START - 10_000 * HOUR)
    stored = file.read(query)
    file.close()
    assert stored == together([summed(query, usage)])
    assert list(stored) == sorted(stored)


@given(hours)
def test_periods_begin_in_order(hour: int) -> None:
    by_month, by_day = period_start(hour, "month"), period_start(hour, "day")
    assert by_month <= by_day <= period_start(hour, "hour") == hour
    assert datetime.fromtimestamp(by_month, UTC).day == 1


def test_lines_are_told_and_read() -> None:
    lines = {Line(START, "shop", "price", "price-00001"): used(3, 1 / 3)}
    [(line, usage)] = read_lines(lines_document(lines)).items()
    assert line in lines
    assert usage.figures() == pytest.approx(lines[line].figures())


# -- What is old


@pytest.mark.parametrize("by", ["day", "month", "total"])
def test_hours_that_are_old_become_one_row_a_day_and_no_sum_changes(
    file: UsageFile, by: By
) -> None:
    first = START - START % DAY
    file.add({key(first + each * HOUR): used(each) for each in range(60)}, first)
    before = file.read(UsageQuery(0, 1e12, by))
    today = first + (KEPT_BY_HOUR + 2) * DAY
    file.add({key(today, "other"): used()}, today)
    rows = run(file.path, "SELECT hour FROM usage WHERE function = 'price' ORDER BY 1")
    recent = [first + 2 * DAY + each * HOUR for each in range(12)]
    assert [hour for (hour,) in rows] == [first, first + DAY, *recent]
    after = file.read(UsageQuery(0, 1e12, by, function="default/price"))
    assert list(after) == list(before)
    for line, usage in after.items():
        assert usage.figures() == pytest.approx(before[line].figures())


def test_usage_of_an_old_hour_that_comes_late_is_folded_with_the_others(file: UsageFile) -> None:
    first = START - START % DAY
    today = first + (KEPT_BY_HOUR + 1) * DAY
    file.add({key(first + HOUR): used(1)}, today)
    file.add({key(first + 2 * HOUR): used(2)}, today + DAY)
    rows = run(file.path, "SELECT hour, invocations FROM usage")
    assert rows == [(first, 3)]


# -- Files that are not as they should be


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    run(tmp_path / FILE, "CREATE TABLE theirs (a)")
    for open_it in (UsageFile.opened, UsageFile.opened_to_read):
        with pytest.raises(StorageError, match="database of another program; move it away"):
            open_it(tmp_path / FILE)
    assert run(tmp_path / FILE, "SELECT name FROM sqlite_schema") == [("theirs",)]


def test_a_later_versions_file_is_left_alone(tmp_path: Path) -> None:
    UsageFile.opened(tmp_path / FILE).close()
    run(tmp_path / FILE, "PRAGMA user_version=7")
    with pytest.raises(StorageError, match=r"later version .* \(schema 7, this one knows 1\)"):
        UsageFile.opened(tmp_path / FILE)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 500)
    with pytest.raises(StorageError, match=r"usage\.db failed: .*move it away"):
        UsageFile.opened(tmp_path / FILE)


def test_a_folder_without_a_file_is_a_mistake_of_who_names_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no node has run on .*--data"):
        UsageFile.opened_to_read(tmp_path / FILE)
    assert list(tmp_path.iterdir()) == []


def test_reading_leaves_the_folder_as_it_is(tmp_path: Path) -> None:
    file = UsageFile.opened(tmp_path / FILE)
    file.add({key(): used(5)}, START)
    file.close()
    before = sorted(tmp_path.iterdir())
    reader = UsageFile.opened_to_read(tmp_path / FILE)
    [found] = reader.read(EVER).values()
    reader.close()
    assert found.invocations == 5
    assert sorted(tmp_path.iterdir()) == before


def test_what_a_killed_node_has_not_moved_into_its_file_yet_is_read_too(tmp_path: Path) -> None:
    alive = UsageFile.opened(tmp_path / FILE)
    alive.add({key(): used(5)}, START)
    killed = tmp_path / "killed"
    killed.mkdir()
    for path in tmp_path.glob(f"{FILE}*"):
        shutil.copy(path, killed)
    assert (killed / f"{FILE}-wal").stat().st_size
    reader = UsageFile.opened_to_read(killed / FILE)
    [found] = reader.read(EVER).values()
    reader.close()
    alive.close()
    assert found.invocations == 5


# -- The store


def invocations(store: UsageStore) -> int:
    async def ask() -> int:
        return sum(usage.invocations for usage in (await store.read(EVER)).values())

    return asyncio.run(ask())


def close(store: UsageStore) -> None:
    asyncio.run(store.close())


def test_a_file_that_is_moved_away_is_followed_by_a_new_one(tmp_path: Path) -> None:
    store = UsageStore(tmp_path)
    asyncio.run(store.add({key(): used(1)}))
    (tmp_path / FILE).rename(tmp_path / "away.db")
    asyncio.run(store.add({key(): used(2)}))
    assert invocations(store) == 2
    close(store)


def test_a_damaged_file_fails_until_it_is_moved_away(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 500)
    store = UsageStore(tmp_path)
    for _ in range(2):
        with pytest.raises(StorageError, match="move it away"):
            asyncio.run(store.add({key(): used(1)}))
    (tmp_path / FILE).rename(tmp_path / "away.db")
    asyncio.run(store.add({key(): used(2)}))
    assert invocations(store) == 2
    close(store)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={1 << 20}", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system takes more rights than this process has")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_on_a_full_disk_nothing_of_a_write_is_kept_and_with_space_it_goes_on(disk: Path) -> None:
    store = UsageStore(disk)
    asyncio.run(store.add({key(): used(1)}))
    stranger = disk / "stranger"
    with stranger.open("wb", buffering=0) as other, pytest.raises(OSError):
        while True:
            other.write(bytes(1 << 12))
    many = {key(function=f"f{number}"): used(1) for number in range(2_000)}
    for _ in range(3):
        with pytest.raises(StorageError, match="the disk is full"):
            asyncio.run(store.add(many))
    assert invocations(store) == 1
    stranger.unlink()
    asyncio.run(store.add(many))
    assert invocations(store) == 2_001
    close(store)


# -- A node's report


def test_a_report_is_up_to_this_moment_and_has_what_could_not_be_stored(tmp_path: Path) -> None:
    async def ask() -> None:
        usage = NodeUsage(tmp_path)
        meter = usage.metering.meter("default", "price", "price-00001", None)
        meter.invocations += 3
        asked = read_query({"by": "hour", "function": "default/price"})
        [item] = (await usage.report(asked))["items"]
        assert (item["function"], item["invocations"]) == ("price", 3)
        file = tmp_path / FILE
        connection = sqlite3.connect(file, isolation_level=None)
        connection.execute(
            "CREATE TRIGGER no BEFORE INSERT ON usage BEGIN SELECT RAISE(ABORT, ''); END"
        )
        meter.invocations += 4
        [item] = (await usage.report(asked))["items"]
        assert item["invocations"] == 7
        connection.execute("DROP TRIGGER no")
        connection.close()
        [item] = (await usage.report(asked))["items"]
        assert item["invocations"] == 7
        await usage.metering.close()

    asyncio.run(ask())


def test_a_report_of_a_function_without_usage_says_which_have_some(tmp_path: Path) -> None:
    async def ask() -> None:
        usage = NodeUsage(tmp_path)
        usage.metering.meter("shop", "price", "price-00001", None).invocations += 1
        report = await usage.report(read_query({"function": "default/pirce"}))
        assert report == {"items": [], "known": ["shop/price"]}
        await usage.metering.close()

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"by": "week"}, "by is 'week'; it must be one of hour, day, month, total"),
        ({"since": "today"}, "since is 'today'; it must be a time in Unix seconds"),
        ({"until": "nan"}, "until is 'nan'; it must be a time in Unix seconds"),
        ({"revisions": "1"}, "revisions is '1'; it must be true or false"),
        ({"function": "price"}, "function is 'price'; it must be namespace/name"),
    ],
)
def test_a_wrong_query_is_told(asked: dict[str, str], said: str) -> None:
    with pytest.raises(UserError) as told:
        read_query(asked)
    assert str(told.value) == said
