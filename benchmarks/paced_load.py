"""An open loop: so many events a second are sent, however slowly they are answered.

Each carries, as its extension `sent`, the moment at which it was due; what handles it tells how
late it is.
"""

import asyncio
import time
from itertools import count

from benchmarks.load import post

TICK = 0.01
"""Seconds between two requests, each with the events that became due."""
CONNECTIONS = 16
LATENESS = """
import os, time
from eventing import Context, function

_out = os.open({file!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

@function
async def late(event, context: Context):
    os.write(_out, f"{{time.time() - float(context.attributes['sent'])}}\\n".encode())
"""
"""The handler that writes down, in seconds, how late each event is."""


async def send_paced(port: int, path: str, rate: int, seconds: float) -> int:
    """Send `rate` events a second for so long; returns how many were accepted."""
    due: asyncio.Queue[tuple[bytes, int] | None] = asyncio.Queue()
    async with asyncio.TaskGroup() as senders:
        tasks = [senders.create_task(_sender(port, due)) for _ in range(CONNECTIONS)]
        began, sent = time.time(), 0
        for tick in count(1):
            moment = began + tick * TICK
            if moment > began + seconds:
                break
            await asyncio.sleep(max(0.0, moment - time.time()))
            number = int(rate * tick * TICK) - sent
            if number:
                due.put_nowait((_request(path, f"{began}-{tick}", number, moment), number))
                sent += number
        for _ in tasks:
            due.put_nowait(None)
    return sum(task.result() for task in tasks)


def _request(path: str, prefix: str, number: int, moment: float) -> bytes:
    items = ",".join(
        f'{{"specversion":"1.0","type":"com.example.bench","source":"/bench",'
        f'"id":"{prefix}-{each}","sent":"{moment}","data":"{"x" * 1000}"}}'
        for each in range(number)
    )
    headers = {"content-type": "application/cloudevents-batch+json"}
    return post(path, headers, f"[{items}]".encode())


async def _sender(port: int, due: "asyncio.Queue[tuple[bytes, int] | None]") -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    accepted = 0
    try:
        while (request := await due.get()) is not None:
            body, number = request
            writer.write(body)
            head = await reader.readuntil(b"\r\n\r\n")
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    await reader.readexactly(int(line.partition(b":")[2]))
            if head.split(b" ", 2)[1] == b"202":
                accepted += number
    finally:
        writer.close()
    return accepted
