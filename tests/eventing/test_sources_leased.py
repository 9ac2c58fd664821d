"""Work under a lease: it ends with the lease and with the source, whatever its client does."""

import asyncio

import pytest

from brokers.local_cluster import LocalCluster, LocalLease
from eventing.sources import leased as module
from eventing.sources.leased import Leased


def test_work_whose_client_forgets_a_cancellation_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CANCEL_AGAIN", 0.01)
    told: list[str] = []

    async def work() -> None:
        while True:
            try:
                told.append("works")
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                if told.count("forgets") == 2:
                    told.append("ends")
                    raise
                told.append("forgets")

    async def main() -> None:
        lease = LocalCluster("n").lease("l")
        leases = [lease]

        async def find(name: str) -> LocalLease:
            return leases.pop() if leases else await asyncio.get_running_loop().create_future()

        made = Leased("l", find, work)
        while not told:
            await asyncio.sleep(0.001)
        await lease.close()
        while "ends" not in told:
            await asyncio.sleep(0.001)
        assert not made.held

        async def ending() -> None:
            told.append("ending")

        await made.stop(ending)

    asyncio.run(asyncio.wait_for(main(), 20))
    assert told[-2:] == ["ends", "ending"]
