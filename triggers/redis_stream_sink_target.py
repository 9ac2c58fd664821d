"""A Redis stream as a target: each event an entry, answered once Redis has it.

Data that is a JSON array of texts, names and values by turns, are the entry's fields, as Knative's
RedisStreamSink has it. Any other event is written with all its attributes, as brokers over Redis
write theirs (brokers/redis/entry.py), and a RedisStreamSource makes the same event of it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson

from brokers.base import Fault
from brokers.redis.entry import encode_entry
from eventing.errors import InvalidEvent
from eventing.event import Event, validate_event
from functions.base import Call, Response
from triggers.redis_connection import FAULTS, connect, redis_error
from triggers.sink import RedisStreamSinkSettings

log = logging.getLogger("eventing.sinks")

AT_ONCE = 500
"""Entries that are written in one exchange."""
AGAIN_SECONDS = 2.0
REPLICATION_SECONDS = 5.0
"""How long the replicas that are asked for have to take what was written."""
UNSENDABLE = 500
"""The status of an attempt whose event breaks the rules of CloudEvents: nothing was sent."""

Fields = list[str | bytes]


def entry_fields(event: Event) -> Fields:
    """Names and values of the event's entry, by turns. Raises InvalidEvent."""
    validate_event(event)
    return _written(event.data) or encode_entry(event)


class RedisStreamSinkTarget:
    """See triggers/sink.py. What gathers while an exchange is out goes with the next one."""

    def __init__(self, name: str, settings: RedisStreamSinkSettings, *, client_id: str) -> None:
        self._name = name
        self._settings = settings
        self._client_id = client_id
        self._fault: Fault | None = None
        self._waiting: deque[tuple[Fields, Callable[[Response], None]]] = deque()
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stored = self._failed = 0
        self._closed = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"sink {name}")

    @property
    def fault(self) -> Fault | None:
        """See the contract."""
        return self._fault

    def status(self) -> dict[str, Any]:
        """See the contract."""
        return {
            "to": self._settings.stream,
            "servers": self._settings.redis.address,
            "stored": self._stored,
            "failed": self._failed,
        }

    def submit(self, call: Call, done: Callable[[Response], None]) -> None:
        """See the contract."""
        if self._closed:
            done(Response(503, reason=f"sink {self._name} is closed"))
            return
        try:
            fields = entry_fields(call.event)
        except InvalidEvent as error:
            done(Response(UNSENDABLE, reason=f"the event can't be sent: {error}"))
            return
        self._waiting.append((fields, done))
        self._idle.clear()
        self._more.set()

    async def close(self, seconds: float) -> None:
        """See the contract."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        self._closed = True
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._answer(list(self._waiting), Response(503, reason=f"sink {self._name} is closed"))
        self._waiting.clear()

    async def _run(self) -> None:
        client = connect(self._settings.redis, self._client_id)
        try:
            # Not cancellation alone ends it: the client may forget one (asyncio.wait_for, Python
            # 3.11).
            while not self._closed:
                try:
                    # Whether it is there is known before the first event comes.
                    await client.ping()
                    self._recovered()
                    await self._write_on(client)
                except FAULTS as error:
                    self._unusable(error)
                    await self._refuse_for(AGAIN_SECONDS)
        finally:
            with suppress(*FAULTS):
                await client.aclose()

    async def _write_on(self, client: Any) -> None:
        while not self._closed:
            if not self._waiting:
                self._idle.set()
                self._more.clear()
                await self._more.wait()
            batch = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
            answered = False
            try:
                answers = await self._write(client, [fields for fields, _ in batch])
                answered = True
            except FAULTS as error:
                self._answer(batch, self._response(error))
                answered = True
                raise
            finally:
                if not answered:
                    self._answer(batch, Response(503, reason=f"sink {self._name} is closed"))
            for (_, done), answer in zip(batch, answers, strict=True):
                if isinstance(answer, Exception):
                    self._failed += 1
                    done(self._response(answer))
                else:
                    self._stored += 1
                    done(Response(202))
            self._judge(answers)

    async def _write(self, client: Any, batch: list[Fields]) -> list[Any]:
        pipeline = client.pipeline(transaction=False)
        for fields in batch:
            pipeline.execute_command("XADD", self._settings.stream, "*", *fields)
        replicas = self._settings.redis.replicas
        if replicas:
            pipeline.execute_command("WAIT", replicas, int(REPLICATION_SECONDS * 1000))
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        if replicas:
            having = answers.pop()
            if isinstance(having, Exception):
                raise having
            if having < replicas:
                few = TimeoutError(f"{having} of {replicas} replicas have it")
                return [few] * len(answers)
        return answers

    async def _refuse_for(self, seconds: float) -> None:
        """Answer what comes in at once: it is tried again by those who sent it."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (left := deadline - loop.time()) > 0:
            fault = self._fault
            waiting = list(self._waiting)
            self._waiting.clear()
            self._answer(waiting, Response(503, reason=fault.message if fault else ""))
            self._idle.set()
            self._more.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._more.wait()

    def _answer(
        self, batch: list[tuple[Fields, Callable[[Response], None]]], response: Response
    ) -> None:
        self._failed += len(batch)
        for _, done in batch:
            done(response)

    def _response(self, error: BaseException) -> Response:
        what = f"an entry was not stored in stream {self._settings.stream!r}"
        return Response(503, reason=str(redis_error(error, what, self._settings.redis)))

    def _judge(self, answers: list[Any]) -> None:
        """An answer may tell of a stream that takes nothing, of rights that are missing."""
        refused = next((each for each in answers if isinstance(each, Exception)), None)
        if refused is None:
            self._recovered()
        else:
            self._unusable(refused)

    def _unusable(self, error: BaseException) -> None:
        """Once, however often it is tried, and whatever its words are the next time."""
        what = f"stream {self._settings.stream!r} can't be written"
        told = redis_error(error, what, self._settings.redis)
        if self._fault is None or self._fault.reason != told.reason:
            log.error("sink %s: %s; it is tried again", self._name, told)
        self._fault = Fault.of(told)

    def _recovered(self) -> None:
        if self._fault is not None:
            log.info("sink %s takes events now", self._name)
        self._fault = None


def _written(data: bytes | None) -> Fields | None:
    """The fields that the data names, where it is a JSON array of texts by twos."""
    if data is None or not data.lstrip().startswith(b"["):
        return None
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not found or len(found) % 2 or not all(isinstance(each, str) for each in found):
        return None
    fields: Fields = list(found)
    return fields
