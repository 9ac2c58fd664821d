"""A bounded HTTP load on loopback from this process, and the CPU time another process spends.

The client writes ready-made requests on keep-alive connections and counts the answers' ends, so
that it costs little beside the server it loads.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

FLOOR_APP = """
import sys, uvicorn
START = {"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]}
END = {"type": "http.response.body", "body": b""}
async def app(scope, receive, send):
    while (await receive()).get("more_body"): pass
    await send(START)
    await send(END)
uvicorn.run(app, port=int(sys.argv[1]), http="httptools", loop="uvloop", access_log=False,
            log_level="warning", lifespan="off")
"""


def cpu_seconds(pid: int) -> float:
    """CPU time of a process with all its threads, in seconds to the nanosecond."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def memory_bytes(pid: int, field: str = "Rss") -> int:
    """A sum of /proc/<pid>/smaps_rollup: Rss, Pss …"""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for_port(port: int, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


@contextmanager
def floor_server() -> Iterator[tuple[int, int]]:
    """A bare uvicorn app that answers 202: yields its pid and port."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", FLOOR_APP, str(port)])
    try:
        wait_for_port(port)
        yield process.pid, port
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def post(path: str, headers: dict[str, str], body: bytes) -> bytes:
    """One ready-made request."""
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, load: "_Load") -> None:
        self.load = load
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.next()

    def next(self) -> None:
        request = self.load.take()
        if request is None:
            self.transport.close()
        else:
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self.buffer[:end].lower()
        length = 0
        at = head.find(b"content-length:")
        if at >= 0:
            length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self.buffer) < end + 4 + length:
            return
        status = int(head[9:12])
        self.buffer = self.buffer[end + 4 + length :]
        self.load.answered(status)
        self.next()

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.closed(self.buffer, exc)


class _Load:
    def __init__(self, requests: Iterator[bytes], connections: int) -> None:
        self.requests = requests
        self.statuses: dict[int, int] = {}
        self.open = connections
        self.over = asyncio.get_running_loop().create_future()

    def take(self) -> bytes | None:
        return next(self.requests, None)

    def answered(self, status: int) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def closed(self, rest: bytes, exc: Exception | None) -> None:
        self.open -= 1
        if self.open == 0 and not self.over.done():
            self.over.set_result(None)


async def drive(port: int, requests: Iterator[bytes], connections: int = 32) -> dict[int, int]:
    """Send all requests, `connections` at a time; returns how often each status was answered."""
    loop = asyncio.get_running_loop()
    load = _Load(requests, connections)
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(load), "127.0.0.1", port)
    await asyncio.wait_for(load.over, 120)
    return load.statuses


def events(
    path: str, count: int, *, type: str = "com.example.bench", size: int = 1024
) -> Iterator[bytes]:
    """`count` requests of one binary-mode event each, ids told apart."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {size}\r\n"
        f"content-type: application/octet-stream\r\nce-specversion: 1.0\r\n"
        f"ce-type: {type}\r\nce-source: /bench\r\nce-id: "
    ).encode()
    tail = b"\r\n\r\n" + b"x" * size
    prefix = os.urandom(4).hex()
    for number in range(count):
        yield head + f"{prefix}-{number}".encode() + tail


def batches(
    path: str,
    count: int,
    *,
    type: str = "com.example.bench",
    size: int = 1024,
    batch: int = 100,
) -> Iterator[bytes]:
    """`count` events in requests of `batch` each (`application/cloudevents-batch+json`)."""
    text = "x" * size
    prefix = os.urandom(4).hex()
    for start in range(0, count, batch):
        items = ",".join(
            f'{{"specversion":"1.0","type":"{type}","source":"/bench",'
            f'"id":"{prefix}-{number}","datacontenttype":"text/plain","data":"{text}"}}'
            for number in range(start, min(start + batch, count))
        )
        yield post(
            path, {"content-type": "application/cloudevents-batch+json"}, f"[{items}]".encode()
        )
