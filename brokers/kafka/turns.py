"""Transactions of several producers in turn, still one at a time.

Kafka goes on writing the marks of a transaction after it has answered that it is committed, and
lets the same producer's next one wait for them, for 20 ms and more. Another producer's need not.
Offsets keep their order: of two commits of a group, Kafka lets the one that was written later win.
"""

from collections.abc import Sequence

from brokers.kafka.faults import ClientErrors
from brokers.kafka.settings import KafkaSettings
from brokers.kafka.transactions import Offsets, Place, Produced, Transactions

PRODUCERS = 2


def transactional_ids(name: str) -> list[str]:
    """Those of all who take turns under this name."""
    return [f"{name}-{number}" for number in range(PRODUCERS)]


class TransactionsInTurn:
    """The same as Transactions, over the ids of `name`."""

    def __init__(self, settings: KafkaSettings, client_id: str, name: str) -> None:
        self._all = [Transactions(settings, client_id, each) for each in transactional_ids(name)]
        self._turn = 0

    @property
    def heard(self) -> list[ClientErrors]:
        """What each of the clients hears."""
        return [each.heard for each in self._all]

    async def open(self) -> None:
        """Be ready, and end what earlier owners of the ids have open. Raises StorageError."""
        for each in self._all:
            await each.open()

    async def commit(self, records: Sequence[Produced], offsets: Sequence[Offsets]) -> list[Place]:
        """See Transactions. After one that failed it is the same one's turn: it ends what it may
        have left open before another begins."""
        places = await self._all[self._turn].commit(records, offsets)
        self._turn = (self._turn + 1) % len(self._all)
        return places

    def outlived_kafka(self) -> None:
        """See Transactions."""
        for each in self._all:
            each.outlived_kafka()

    async def tidy(self) -> None:
        """See Transactions."""
        for each in self._all:
            await each.tidy()

    async def close(self) -> None:
        """Not while a transaction is under way."""
        for each in self._all:
            await each.close()
