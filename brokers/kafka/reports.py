"""Serving a producer's reports on the event loop.

The client calls back once a record, and takes Python's interpreter lock anew for each: in a thread
of its own that would wait for a busy loop every time. So the loop itself asks for the reports,
while some are outstanding.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from brokers.kafka.faults import kafka_error

QUICKEST = 0.001
SLOWEST = 0.01
IDLE = 0.5
"""Seconds between two looks while nothing is outstanding: for what the client hears by itself."""


class Reports:
    """Asks `producer` for its reports, which come through the callbacks given to it."""

    def __init__(self, producer: Any, broken: Callable[[KafkaError], None]) -> None:
        """`broken` is told once where the producer can't be used any more: nothing that is
        outstanding is reported then."""
        self._producer = producer
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        self._delay = QUICKEST
        self._waiting = False
        self._timer = self._loop.call_later(IDLE, self._look)

    def expect(self) -> None:
        """Records were handed to the producer."""
        if not self._waiting:
            self._waiting = True
            self._timer.cancel()
            self._delay = QUICKEST
            self._timer = self._loop.call_later(QUICKEST, self._look)

    def _look(self) -> None:
        try:
            served = self._producer.poll(0)
        except KafkaException as error:
            self._broken(kafka_error(error))
            return
        if len(self._producer):
            self._delay = QUICKEST if served else min(self._delay * 1.5, SLOWEST)
            self._timer = self._loop.call_later(self._delay, self._look)
        else:
            self._waiting = False
            self._timer = self._loop.call_later(IDLE, self._look)

    def stop(self) -> None:
        """Ask no more."""
        self._timer.cancel()
