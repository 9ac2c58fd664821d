"""A load on a node's ingress that knows what was accepted: an id counts only once 202 has come.

Closed loop, one thread a connection; every thread ends at the first one the node cuts.
"""

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import islice


class IngressLoad:
    """Sends `{prefix}-0`, `{prefix}-1` … to broker default/default until it is stopped, the node
    is gone, or `most` events are sent. `singles` connections send one event a request (binary
    mode), `batchers` ten a request. Each event's subject is its id.

    accepted, refused: ids answered 202, and those answered otherwise; ids without an answer are in
    neither. statuses: how often each status was answered.
    """

    BATCH = 10

    def __init__(
        self,
        address: str,
        prefix: str,
        *,
        type: str,
        singles: int = 4,
        batchers: int = 2,
        most: int = 1_000_000,
        size: int = 64,
    ) -> None:
        self.statuses: Counter[int] = Counter()
        self._address = address
        self._prefix = prefix
        self._type = type
        self._data = "x" * size
        self._numbers = iter(range(most))
        self._lock = threading.Lock()
        self._accepted: list[str] = []
        self._refused: list[str] = []
        self._stopping = False
        self._threads = [threading.Thread(target=self._send, args=(1,)) for _ in range(singles)]
        self._threads += [
            threading.Thread(target=self._send, args=(self.BATCH,)) for _ in range(batchers)
        ]

    @property
    def accepted(self) -> list[str]:
        with self._lock:
            return list(self._accepted)

    @property
    def refused(self) -> list[str]:
        with self._lock:
            return list(self._refused)

    def start(self) -> "IngressLoad":
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> "IngressLoad":
        """Send no more; what has been sent is waited for."""
        self._stopping = True
        return self.join()

    def join(self) -> "IngressLoad":
        """Wait until all is sent, or the node is gone."""
        for thread in self._threads:
            thread.join()
        return self

    def _send(self, count: int) -> None:
        requests = self._take(count)
        while True:
            try:
                self._send_on_one(requests, count)
                return
            except TimeoutError:
                # A node may have to wait for its engine for longer; what it did not answer by now
                # counts for nothing, and the next is sent anew.
                if self._stopping:
                    return
            except OSError:
                return  # the node is gone; what it did not answer counts for nothing

    def _send_on_one(self, requests: Iterator[list[str]], count: int) -> None:
        """Over one connection, to the last. Raises OSError where one is not answered."""
        with _Connection(self._address) as connection:
            for ids in requests:
                head = self._single(ids[0]) if count == 1 else self._batch(ids)
                status = connection.exchange(head)
                with self._lock:
                    self.statuses[status] += 1
                    (self._accepted if status == 202 else self._refused).extend(ids)

    def _take(self, count: int) -> Iterator[list[str]]:
        while not self._stopping:
            with self._lock:
                numbers = list(islice(self._numbers, count))
            if not numbers:
                return
            yield [f"{self._prefix}-{number}" for number in numbers]

    def _single(self, id: str) -> bytes:
        return (
            "POST /default/default HTTP/1.1\r\nhost: test\r\nce-specversion: 1.0\r\n"
            f"ce-type: {self._type}\r\nce-source: /load\r\nce-id: {id}\r\nce-subject: {id}\r\n"
            f"content-type: text/plain\r\ncontent-length: {len(self._data)}\r\n\r\n{self._data}"
        ).encode()

    def _batch(self, ids: list[str]) -> bytes:
        items = ",".join(
            f'{{"specversion":"1.0","type":"{self._type}","source":"/load","id":"{id}",'
            f'"subject":"{id}","datacontenttype":"text/plain","data":"{self._data}"}}'
            for id in ids
        )
        body = f"[{items}]".encode()
        return (
            "POST /default/default HTTP/1.1\r\nhost: test\r\n"
            "content-type: application/cloudevents-batch+json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        ).encode() + body


class _Connection:
    """A kept-alive connection that reads no more of an answer than its status and its end."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), 30)
        self._answers = self._socket.makefile("rb")

    def __enter__(self) -> "_Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._socket.close()

    def exchange(self, request: bytes) -> int:
        """The status of the answer. Raises OSError where there is none."""
        self._socket.sendall(request)
        line = self._answers.readline()
        if not line:
            raise ConnectionResetError("closed without an answer")
        length = 0
        while (header := self._answers.readline()) not in (b"\r\n", b""):
            name, _, value = header.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        self._answers.read(length)
        return int(line.split()[1])
