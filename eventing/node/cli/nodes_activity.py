"""What all nodes of one engine tell of events, as one stream: an event that is sent to one node may
be handled on another.
"""

import heapq
import itertools
import queue
import threading
import time
from types import TracebackType

from eventing.errors import EventingError, OperationError
from eventing.node.cli import terminal
from eventing.node.cli.activity_stream import GONE, ActivityStream, Record, StreamEnded
from eventing.node.cli.node_address import NodeAddress
from eventing.node.cli.node_client import NodeClient

LOOK_EVERY = 3.0
"""Seconds between two looks for nodes that are new."""
HELD_BACK = 0.2
"""Seconds a record waits for earlier ones of other nodes, where there are any."""
_ANSWERS_WITHIN = 2.0


class NodesActivity:
    """Records of `node` and of all nodes it sees, in the order of their clocks, from before this
    was made until it is closed. It ends with `node`; others come and go.

    `unseen`: nodes whose admin API is not reached from here, with the address they tell.
    """

    def __init__(self, node: NodeClient) -> None:
        self._node = node
        self._told: queue.SimpleQueue[tuple[str, Record | None]] = queue.SimpleQueue()
        self._streams: dict[str, ActivityStream] = {}
        self._lock = threading.Lock()
        self._held: list[tuple[float, int, float, Record]] = []
        self._numbers = itertools.count()
        self._closed = threading.Event()
        self._ended = False
        self._warns = False
        self._warned: set[str] = set()
        self.unseen: dict[str, str] = {}
        self._own = str(node.get("/api/v1/node")["name"])
        self._open(self._own, node)
        self._look()
        threading.Thread(target=self._go_on_looking, name="nodes", daemon=True).start()

    def __enter__(self) -> "NodesActivity":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def next(self, timeout: float | None = None) -> Record | None:
        """The next record; None where none came for `timeout` seconds. Raises StreamEnded."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            now = time.monotonic()
            release = self._release_at()
            if release is not None and release <= now:
                return heapq.heappop(self._held)[3]
            until = min((each for each in (deadline, release) if each is not None), default=None)
            if until is not None and until <= now:
                return None
            try:
                self._take(*self._told.get(timeout=None if until is None else until - now))
            except queue.Empty:
                pass

    def tell_unseen(self) -> None:
        """Warn of nodes whose part of the story will be missing, once of each, now and later."""
        self._warns = True
        for name, url in tuple(self.unseen.items()):
            if name not in self._warned:
                self._warned.add(name)
                terminal.warning(
                    f"what node {name} does is not seen here: its admin API at {url} is not reached"
                )

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            for stream in self._streams.values():
                stream.close()

    def _release_at(self) -> float | None:
        """When the earliest record may be told: at once where no other node could have one before
        it."""
        if not self._held:
            return None
        came = self._held[0][2]
        return came if self._ended or len(self._streams) == 1 else came + HELD_BACK

    def _take(self, name: str, record: Record | None) -> None:
        if record is not None:
            held = (record["at"], next(self._numbers), time.monotonic(), record)
            heapq.heappush(self._held, held)
        elif name == self._own:
            self._told.put((name, None))
            self._ended = True
            if not self._held:  # What came before the end is told first.
                raise StreamEnded(GONE)
        else:
            with self._lock:
                self._streams.pop(name, None)

    def _open(self, name: str, client: NodeClient) -> None:
        stream = client.activity(lambda record: self._told.put((name, record)))
        with self._lock:
            if self._closed.is_set():
                stream.close()
            else:
                self._streams[name] = stream

    def _look(self) -> None:
        """Open the streams of nodes that are new, or that were not reached the last time."""
        try:
            items = self._node.get("/api/v1/nodes")["items"]
        except EventingError:  # The engine is away: who is there will be seen when it is back.
            return
        for item in items:
            name, url = item["name"], item["admin"]
            if name in self._streams:
                continue
            client = NodeClient(NodeAddress(url, ""), _ANSWERS_WITHIN)
            try:
                # A loopback address of another machine may be that of some other node here.
                if client.get("/api/v1/node")["name"] != name:
                    raise OperationError("it is another node")
                self._open(name, client)
                self.unseen.pop(name, None)
            except EventingError:
                self.unseen[name] = url

    def _go_on_looking(self) -> None:
        while not self._closed.wait(LOOK_EVERY):
            self._look()
            if self._warns:
                self.tell_unseen()
