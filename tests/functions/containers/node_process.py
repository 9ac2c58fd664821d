"""A node's containers in a process that a test kills: it starts one, calls it, and waits.

python node_process.py NODE ENGINE_URL IMAGE AT_REST drained|busy
"""

import asyncio
import sys

from eventing.event import Event
from functions.base import Call, Response
from functions.containers.containers import Containers
from functions.containers.spec import ContainerSpec
from functions.http.client import HttpClient
from functions.output_lines import LogLine
from functions.worker import Revision, Worker


class Listener:
    def __init__(self) -> None:
        self.answered = asyncio.Event()
        self.gone = asyncio.Event()

    def ready(self, worker: Worker) -> None: ...

    def result(self, worker: Worker, id: int, response: Response) -> None:
        self.answered.set()

    def exited(self, worker: Worker, reason: str) -> None:
        self.gone.set()


def quiet(line: LogLine) -> None: ...


async def main(node: str, url: str, image: str, at_rest: str, state: str) -> None:
    containers = Containers(node, quiet, url)
    containers.start()
    spec = ContainerSpec(image, pull="Never", at_rest=at_rest, grace=20.0)  # type: ignore[arg-type]
    launcher = containers.launcher("default", "thumbnail", "thumbnail-00001", spec, HttpClient())
    listener = Listener()
    worker = launcher.launch(Revision("thumbnail", "default", "", sync=False), listener)
    event = Event({"specversion": "1.0", "id": "1", "source": "/test", "type": "echo"}, None)
    worker.call(1, Call(event, 1, "a-trigger"))
    await listener.answered.wait()
    if state == "drained":
        worker.drain()
        await listener.gone.wait()
        while not launcher.at_rest:
            await asyncio.sleep(0.01)
    else:
        hang = Event({**event.attributes, "type": "hang"}, None)
        worker.call(2, Call(hang, 1, "a-trigger"))
    print("up", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
