"""The embedded broker when its storage fails: it says so, keeps what it owes, and goes on."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker_contract import ALL, awaited, event, ids, publish, receive, settle_all

from brokers.base import Done, Limits
from brokers.embedded import EmbeddedBroker
from brokers.embedded.commit import Request
from brokers.embedded.transaction import Transaction
from eventing.errors import BrokerFull, EventTooLarge, InvalidEvent, StorageError
from eventing.event import Event

DISK = 6 << 20
NO_RESERVE = Limits(min_free_bytes=0)


async def opened(path: Path, limits: Limits = NO_RESERVE) -> EmbeddedBroker:
    broker = EmbeddedBroker("test", path, limits)
    await broker.start()
    broker.set_router(ALL)
    return broker


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system takes more rights than this process has")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """A stranger's file that takes all the space there is."""
    stranger = disk / "stranger"
    with stranger.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
    return stranger


def assert_sound(path: Path) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


# A full disk.


@awaited
async def test_a_publish_on_a_full_disk_fails_and_the_next_works_when_space_returns(
    disk: Path,
) -> None:
    path = disk / "broker.db"
    broker = await opened(path)
    a = await broker.subscribe("a")
    await publish(broker, "before")
    stranger = fill(disk)
    failed = 0
    for n in range(20):
        try:
            await broker.publish([event(f"lost-{n}", data=bytes(100_000))])
        except StorageError as error:
            assert "full" in str(error)
            failed += 1
    assert failed == 20
    stranger.unlink()
    await publish(broker, "after")
    assert ids(await receive(a, 2)) == ["before", "after"]
    await broker.close()
    assert_sound(path)


@awaited
async def test_settles_on_a_full_disk_are_held_until_space_returns(disk: Path) -> None:
    path = disk / "broker.db"
    broker = await opened(path)
    a = await broker.subscribe("a")
    await publish(broker, *range(20))
    got = await receive(a, 20)
    stranger = fill(disk)
    replies = [Done(each, (event(f"r{n}", data=bytes(50_000)),)) for n, each in enumerate(got)]
    settled = [a.settle([outcome]) for outcome in replies]
    with pytest.raises(StorageError):
        await broker.publish([event("lost", data=bytes(200_000))])
    assert not any(future.done() for future in settled)
    stranger.unlink()
    async with asyncio.timeout(20):
        positions = [await future for future in settled]
    assert [len(replies) for ((*replies,),) in positions] == [1] * 20
    assert ids(await receive(a, 20)) == [f"r{n}" for n in range(20)]
    await broker.close()
    assert_sound(path)


@awaited
async def test_what_is_being_settled_counts_as_lag_until_it_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = await opened(tmp_path / "broker.db")
    a = await broker.subscribe("a")
    await publish(broker, 1)
    (got,) = await receive(a, 1)
    may_commit = threading.Event()
    commit = broker._commits._commit

    def slow(group: list[Request], transaction: Transaction) -> None:
        assert may_commit.wait(20)
        commit(group, transaction)

    monkeypatch.setattr(broker._commits, "_commit", slow)
    settled = a.settle([Done(got, (event("r"),))])
    async with asyncio.timeout(20):
        while (await broker.stats()).subscriptions["a"].in_flight:
            await asyncio.sleep(0)
    # A moment without any lag would say that all is done, with the reply still to come.
    assert (await broker.stats()).subscriptions["a"].lag == 1
    may_commit.set()
    await settled
    assert (await broker.stats()).subscriptions["a"].lag == 1
    await settle_all(a, await receive(a, 1))
    assert (await broker.stats()).subscriptions["a"].lag == 0
    await broker.close()


@awaited
async def test_what_could_not_be_settled_before_closing_comes_again(disk: Path) -> None:
    path = disk / "broker.db"
    broker = await opened(path)
    a = await broker.subscribe("a")
    await publish(broker, 1)
    got = await receive(a, 1)
    stranger = fill(disk)
    settled = a.settle([Done(got[0], (event("reply", data=bytes(200_000)),))])
    await broker.close()
    with pytest.raises(StorageError):
        await settled
    stranger.unlink()
    broker = await opened(path)
    a = await broker.subscribe("a")
    assert ids(await receive(a, 1)) == ["1"]
    await broker.close()
    assert_sound(path)


@awaited
async def test_a_broker_refuses_before_it_fills_the_disk_and_makes_room_by_itself(
    disk: Path,
) -> None:
    path = disk / "broker.db"
    broker = await opened(path, Limits(min_free_bytes=2 << 20))
    a = await broker.subscribe("a")
    stored = 0
    with pytest.raises(BrokerFull) as full:
        while True:
            await broker.publish([event(stored, data=bytes(20_000))])
            stored += 1
    assert full.value.retry_after > 0
    state = os.statvfs(disk)
    assert state.f_bavail * state.f_frsize >= 1 << 20
    for n in range(stored):
        (got,) = await receive(a, 1)
        assert ids([got]) == [str(n)]
        await settle_all(a, [got])
    # Nobody needs those events any more, so they make room for new ones.
    async with asyncio.timeout(20):
        while True:
            try:
                await publish(broker, "taken")
                break
            except BrokerFull:
                await asyncio.sleep(0.05)
    assert ids(await receive(a, 1)) == ["taken"]
    await broker.close()
    assert_sound(path)


# Limits.


@awaited
async def test_max_bytes_refuses_what_is_not_settled_and_lets_settled_events_go(
    tmp_path: Path,
) -> None:
    broker = await opened(tmp_path / "broker.db", Limits(max_bytes=1 << 20, min_free_bytes=0))
    a = await broker.subscribe("a")
    stored = 0
    with pytest.raises(BrokerFull, match="max_bytes"):
        while stored < 1000:
            await broker.publish([event(stored, data=bytes(10_000))])
            stored += 1
    assert 50 < stored < 110
    await settle_all(a, await receive(a, stored))
    async with asyncio.timeout(20):
        while True:
            try:
                await publish(broker, "taken")
                break
            except BrokerFull:
                await asyncio.sleep(0.05)
    await broker.close()


@awaited
async def test_a_reserve_larger_than_the_disk_refuses_everything(tmp_path: Path) -> None:
    broker = await opened(tmp_path / "broker.db", Limits(min_free_bytes=1 << 62))
    with pytest.raises(BrokerFull, match="min_free_bytes"):
        await publish(broker, 1)
    await broker.close()


# Files that are no broker's.


@pytest.mark.parametrize("content", [b"no database at all" * 1000, b"SQLite format 3\0" * 500])
@awaited
async def test_a_file_that_is_no_database_is_refused_and_left_alone(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "broker.db"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"broker\.db"):
        await EmbeddedBroker("test", path).start()
    assert path.read_bytes() == content


@awaited
async def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(StorageError, match="another program"):
        await EmbeddedBroker("test", path).start()


@awaited
async def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    broker = await opened(path)
    await broker.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StorageError, match="later version"):
        await EmbeddedBroker("test", path).start()


@awaited
async def test_a_damaged_file_says_so_and_the_node_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    broker = await opened(path)
    for _ in range(20):
        await broker.publish([event(n, data=bytes(500)) for n in range(50)])
    await broker.close()
    with path.open("r+b") as file:
        file.seek(8 * 4096)
        file.write(os.urandom(path.stat().st_size - 9 * 4096))
    broker = EmbeddedBroker("test", path)
    with pytest.raises(StorageError, match="damaged"):
        await broker.start()
        broker.set_router(ALL)
        assert [each async for each in broker.read()] == []
    await broker.close()


@awaited
async def test_a_second_broker_on_one_file_is_refused_until_the_first_is_closed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "broker.db"
    first = await opened(path)
    with pytest.raises(StorageError, match=f"in use.*pid {os.getpid()}"):
        await opened(path)
    await first.close()
    second = await opened(path)
    await second.close()


def test_a_second_process_on_one_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broker.db"
    child = Path(__file__).with_name("kill_child.py")
    with subprocess.Popen(
        [sys.executable, child, path, "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as first:
        assert first.stdout is not None
        first.stdout.readline()

        async def second() -> None:
            with pytest.raises(StorageError, match=f"pid {first.pid}"):
                await EmbeddedBroker("test", path).start()

        asyncio.run(second())
        first.kill()
        first.stdout.read()


@awaited
async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="file"):
        await EmbeddedBroker("test", tmp_path / "file" / "broker.db").start()


# Events that can't be stored.


@awaited
async def test_an_event_that_is_no_text_fails_alone(tmp_path: Path) -> None:
    broker = await opened(tmp_path / "broker.db")
    a = await broker.subscribe("a")
    good = broker.publish([event("good")])
    with pytest.raises(InvalidEvent):
        await broker.publish([Event({"id": "\ud800"})])
    await good
    got = await receive(a, 1)
    with pytest.raises(InvalidEvent):
        await a.settle([Done(got[0], (Event({"id": "\ud800"}),))])
    assert await a.settle([Done(got[0])]) == [()]
    await broker.close()


@awaited
async def test_data_larger_than_storage_takes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brokers.embedded.transaction.LARGEST_DATA", 1000)
    broker = await opened(tmp_path / "broker.db")
    with pytest.raises(EventTooLarge):
        await broker.publish([event(1, data=bytes(1001))])
    await broker.publish([event(1, data=bytes(1000))])
    await broker.close()


@awaited
async def test_a_closed_broker_says_so(tmp_path: Path) -> None:
    broker = await opened(tmp_path / "broker.db")
    await broker.close()
    with pytest.raises(StorageError, match="closed"):
        await publish(broker, 1)
    with pytest.raises(StorageError, match="closed"):
        await broker.dead_letters()
    await broker.close()
