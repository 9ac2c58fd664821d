"""The worker's end of the socket: whatever a node sends, it serves or exits with a reason."""

import os
import random
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import msgpack
import pytest

from eventing.sdk import frames

ROOT = Path(__file__).parent.parent.parent
APP = """
    from eventing import function

    @function
    def echo(data: bytes):
        return data

    @function
    async def concurrent(data: bytes):
        return data
"""
MAIN = "import sys; sys.path.insert(0, sys.argv[1]); from eventing.sdk.worker import main; "
MAIN += "main(*map(int, sys.argv[2:]))"


class Worker:
    """A fresh worker, and this process in the node's place."""

    def __init__(self, folder: Path, handler: str = "app:echo") -> None:
        (folder / "app.py").write_text(textwrap.dedent(APP))
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(20)
        lifeline, self.end = os.pipe()
        fds = (theirs.fileno(), lifeline)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", MAIN, str(ROOT), *map(str, fds), "1", "2"], pass_fds=fds
        )
        theirs.close()
        os.close(lifeline)
        self.start = frames.encode(
            frames.START, {"handler": handler, "name": "f", "roots": [str(folder)]}
        )
        self.heard: list[list] = []

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # it has exited already, which is what it may do

    def until_exit(self) -> tuple[int, str]:
        """Its exit status and its last words."""
        reader = frames.FrameReader()
        try:
            while data := self.socket.recv(1 << 16):
                self.heard += reader.feed(data)
        except ConnectionResetError:
            pass
        status = self.process.wait(20)
        os.close(self.end)
        self.socket.close()
        words = [frame[1] for frame in self.heard if frame[0] == frames.LAST_WORDS]
        return status, words[0] if words else ""


def call(id: int, data: bytes) -> bytes:
    from eventing.event import Event

    attributes = {"specversion": "1.0", "id": str(id), "source": "/", "type": "t"}
    return frames.encode_call(id, Event(attributes, data), 1, "t", None)


@pytest.mark.parametrize("handler", ["app:echo", "app:concurrent"])
def test_calls_are_answered_then_it_drains(tmp_path, handler):
    worker = Worker(tmp_path, handler)
    worker.send(worker.start + b"".join(call(id, b"x") for id in range(5)))
    worker.send(frames.encode(frames.DRAIN))
    assert worker.until_exit() == (0, "")
    kinds = [frame[0] for frame in worker.heard]
    assert kinds == [frames.READY, *[frames.RESULT] * 5, frames.STOPPING, frames.LAST_WORDS]


@pytest.mark.parametrize(
    ("first", "says"),
    [
        (frames.encode(frames.DRAIN), "no START"),
        (frames.encode(frames.START, 5), "no START"),
        (frames.encode(frames.START, {"handler": "app:echo"}), "does not fit"),
        (frames.encode(frames.START, {"unknown": 1}), "does not fit"),
        (b"\xff\xff\xff\xff", "a frame of 4294967295 bytes"),
        (b"\x00\x00\x00\x01\xc1", "no msgpack"),
        (b"\x00\x00\x00\x00", "no msgpack"),
        (b"\x00\x00\x00\x01\x01", "no array"),
    ],
)
def test_a_wrong_beginning_is_told_and_ends_it(tmp_path, first, says):
    worker = Worker(tmp_path)
    worker.send(first)
    status, words = worker.until_exit()
    assert status == 1
    assert says in words


@pytest.mark.parametrize("handler", ["app:echo", "app:concurrent"])
@pytest.mark.parametrize(
    "frame",
    [
        frames.encode(frames.CALL),
        frames.encode(frames.CALL, 1, {}, "text", 1, "t", None),
        frames.encode(frames.CALL, 1, {"a": 1}, None, 1, "t", None),
        frames.encode(frames.CALL, 1, None, None, 1, "t", None),
        b"\x00\x00\x00\x01\xc1",
    ],
)
def test_a_malformed_call_is_told_and_ends_it(tmp_path, handler, frame):
    worker = Worker(tmp_path, handler)
    worker.send(worker.start + call(1, b"x") + frame)
    status, words = worker.until_exit()
    assert status == 1
    assert words.startswith("the node sent a")


@pytest.mark.parametrize("seed", range(8))
def test_random_bytes_never_make_it_hang(tmp_path, seed):
    generator = random.Random(seed)
    worker = Worker(tmp_path, generator.choice(["app:echo", "app:concurrent"]))
    worker.send(worker.start + call(1, b"x"))
    for _ in range(20):
        kind = generator.choice([frames.CALL, frames.CANCEL, generator.randrange(300)])
        items = [generator.choice([0, None, "a", b"b", [], {}, 1.5]) for _ in range(6)]
        body = msgpack.packb([kind, *items][: generator.randrange(1, 8)])
        if generator.random() < 0.2:
            body = generator.randbytes(len(body))
        worker.send(len(body).to_bytes(4, "big") + body)
    worker.socket.shutdown(socket.SHUT_WR)
    status, _ = worker.until_exit()
    assert status in (0, 1)


@pytest.mark.parametrize("sent", [0, 3, 30])
def test_it_exits_when_the_node_closes_the_socket(tmp_path, sent):
    worker = Worker(tmp_path)
    worker.send(worker.start[:sent])
    worker.socket.shutdown(socket.SHUT_WR)
    assert worker.until_exit()[0] == 1


def test_it_is_killed_when_its_lifeline_is_cut(tmp_path):
    worker = Worker(tmp_path)
    worker.send(worker.start)
    worker.socket.recv(100)
    os.close(worker.end)
    assert worker.process.wait(20) == -9


def test_a_handler_that_can_not_be_imported_is_told(tmp_path):
    worker = Worker(tmp_path, "app:nothing")
    worker.send(worker.start)
    status, words = worker.until_exit()
    assert status == 1
    assert "has no 'nothing'; it has echo, concurrent" in words
