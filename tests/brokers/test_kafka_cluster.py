"""Nodes that share a Kafka keep the contract, and what is Kafka's alone."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from broker_contract import awaited
from cluster_contract import ClusterContract, acquired, new_name
from kafka_records import write
from kafka_service import StartKafka

from brokers.kafka.cluster import KafkaCluster
from brokers.kafka.lease import lease_group
from brokers.kafka.settings import KafkaSettings
from eventing.errors import StorageError


@dataclass
class KafkaHarness:
    url: str


class TestKafkaCluster(ClusterContract):
    @pytest.fixture
    def harness(self, kafka: str) -> KafkaHarness:
        return KafkaHarness(f"kafka://{kafka}")


@asynccontextmanager
async def member(servers: str) -> AsyncIterator[KafkaCluster]:
    cluster = KafkaCluster(KafkaSettings(servers), new_name("node"))
    await cluster.start()
    try:
        yield cluster
    finally:
        await cluster.close()


async def closed_in_time(cluster: KafkaCluster) -> None:
    began = time.monotonic()
    await cluster.close()
    assert time.monotonic() - began < 5.5


@awaited
async def test_an_announcement_that_is_none_is_passed_over(kafka: str) -> None:
    async with member(kafka) as cluster:
        await cluster.announce({})
        names = {new_name("none").encode(), b"\xff"}
        write(kafka, "eventing-nodes", [(name, [], b"{no json") for name in names])
        write(kafka, "eventing-nodes", [(name, [], b"[1]") for name in names])
        found = {each.name.encode(errors="replace") for each in await cluster.members()}
        assert found.isdisjoint(names)


@awaited
async def test_a_record_that_is_no_document_of_a_table_is_passed_over(kafka: str) -> None:
    table = new_name("table")
    async with member(kafka) as cluster:
        await cluster.store(table, {"key": {"version": 1}})
        write(kafka, "eventing-tables", [(f"{table}/none".encode(), [], b"{no json")])
        write(kafka, "eventing-tables", [(f"{table}/list".encode(), [], b"[1]")])
        write(kafka, "eventing-tables", [(b"no-table", [], b"{}"), (b"\xff/key", [], b"{}")])
        assert await cluster.documents(table) == {"key": {"version": 1}}


@awaited
async def test_a_document_that_no_record_can_hold_is_an_error_that_names_it(kafka: str) -> None:
    table = new_name("table")
    async with member(kafka) as cluster:
        with pytest.raises(StorageError, match=f"document '{table}/large'"):
            await cluster.store(table, {"large": {"text": "x" * 2_000_000}, "small": {}})
        assert await cluster.documents(table) == {"small": {}}


def test_a_group_is_named_after_its_lease() -> None:
    assert lease_group("default-cron.1_x") == "eventing-lease-default-cron.1_x"


@pytest.mark.parametrize("name", ["x" * 200, "x" * 2000, "ä" * 2000, "a/" * 1000])
def test_a_group_has_a_name_of_a_length_that_kafka_takes(name: str) -> None:
    assert lease_group(name).startswith("eventing-lease-")
    assert len(lease_group(name)) <= 220


def test_names_that_no_group_can_have_still_differ() -> None:
    names = ["a/b", "a b", "a-b", "ä-b", "x" * 300, "x" * 301, "a\ud800b"]
    assert len({lease_group(name) for name in names}) == len(names)


def test_without_the_next_generation_protocol_and_when_kafka_goes(start_kafka: StartKafka) -> None:
    """One server for both: the classic protocol hands on as well; a node that is cut off neither
    holds its lease nor hangs."""
    server = start_kafka()

    @awaited
    async def test() -> None:
        async with (
            member(server.bootstrap_servers) as one,
            member(server.bootstrap_servers) as another,
        ):
            lease = one.lease("cron")
            await acquired(lease)
            waiting = another.lease("cron")
            await lease.close()
            await acquired(waiting)
            await another.announce({})
            server.pause()
            async with asyncio.timeout(8):
                await waiting.lost()
            assert not waiting.held
            await closed_in_time(another)
            server.kill()
            with pytest.raises(StorageError, match="can't be reached"):
                await one.members()
            with pytest.raises(StorageError):
                await one.documents("table")
            with pytest.raises(StorageError):
                await one.store("table", {"key": {}})
            await closed_in_time(one)

    test()


@awaited
async def test_kafka_that_is_away_is_an_error_of_the_start() -> None:
    cluster = KafkaCluster(KafkaSettings("localhost:1"), "node")
    with pytest.raises(StorageError, match="can't be reached"):
        await cluster.start()
    await closed_in_time(cluster)
