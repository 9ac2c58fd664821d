"""The node's live record of what happens to events, read in the background."""

import http.client
import json
import queue
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from eventing.errors import OperationError

Record = dict[str, Any]
"""See eventing.node.activity."""

SILENCE = 45.0
"""Seconds; a node that lives says something three times as often."""

GONE = "the node is gone, or it shuts down; what it took it will go on with"
_END = None


class StreamEnded(OperationError):
    """The node is gone, or it shuts down."""


class ActivityStream:
    """Records in order, from before this was made until it is closed: for `next`, or given to
    `tell` in a thread, None as the last."""

    def __init__(
        self,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
        tell: Callable[[Record | None], None] | None = None,
    ) -> None:
        self._connection = connection
        self._response = response
        # A response that is read to its end drops its connection's socket.
        self._socket = connection.sock
        self._records: queue.SimpleQueue[Record | None] = queue.SimpleQueue()
        self._tell = tell or self._records.put
        if self._socket is not None:
            self._socket.settimeout(SILENCE)
        if not response.readline():
            raise http.client.RemoteDisconnected("the stream ended at once")
        self._reader = threading.Thread(target=self._read, name="activity", daemon=True)
        self._reader.start()

    def __enter__(self) -> "ActivityStream":
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
        try:
            record = self._records.get(timeout=timeout)
        except queue.Empty:
            return None
        if record is _END:
            self._records.put(_END)
            raise StreamEnded(GONE)
        return record

    def close(self) -> None:
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._connection.close()

    def _read(self) -> None:
        try:
            while text := self._response.readline():
                if text.strip():
                    self._tell(json.loads(text))
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            # AttributeError: http.client's, for a response that was closed meanwhile.
            pass
        self._tell(_END)
