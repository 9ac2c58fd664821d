"""The node's admin API and ingress as the command line uses them: plain blocking HTTP."""

import http.client
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit

from eventing.errors import OperationError, UserError
from eventing.node.cli.activity_stream import ActivityStream, Record
from eventing.node.cli.node_address import NodeAddress

TIMEOUT = 30.0
"""Seconds without a byte after which a node counts as gone."""


class NodeUnreachable(OperationError):
    """Nobody answers, or not as a node does."""


class NotThere(UserError):
    """The node has nothing of that name (404)."""


class NodeClient:
    """One node. Each call is a connection of its own.

    Raises UserError for what the node refuses, OperationError for what it could not do, and
    NodeUnreachable.
    """

    def __init__(self, address: NodeAddress, timeout: float = TIMEOUT) -> None:
        self.url = address.url
        self._address = address
        self._timeout = timeout

    def get(self, path: str, **query: str | int | None) -> Any:
        return self._call("GET", _path(path, query))

    def post(self, path: str, document: Any, **query: str | int | None) -> Any:
        return self.post_bytes(path, json.dumps(document).encode(), **query)

    def post_bytes(self, path: str, body: bytes, **query: str | int | None) -> Any:
        return self._call("POST", _path(path, query), body)

    def delete(self, path: str) -> Any:
        return self._call("DELETE", path)

    def activity(self, tell: Callable[[Record | None], None] | None = None) -> ActivityStream:
        """What happens from now on; listening has begun when this returns. `tell`: see there."""
        try:
            connection = _connect(self.url, self._timeout)
            connection.request("GET", "/api/v1/activity")
            response = connection.getresponse()
            if response.status != 200:
                raise self._foreign()
            return ActivityStream(connection, response, tell)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None

    def send(self, path: str, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """POST a message to the node's ingress; returns once it is accepted."""
        ingress = str(self.get("/api/v1/node")["ingress"])
        try:
            status, answer = _exchange(ingress, self._timeout, "POST", path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            raise NodeUnreachable(
                f"the ingress at {ingress} does not answer ({_words(error)}); whether the event was"
                " taken is not known"
            ) from None
        if status != 202:
            _refuse(status, _parsed(answer))

    def _call(self, method: str, path: str, body: bytes | None = None) -> Any:
        headers = [(b"content-type", b"application/json")] if body is not None else []
        try:
            status, answer = _exchange(self.url, self._timeout, method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        document = _parsed(answer)
        if not isinstance(document, dict):
            raise self._foreign()
        if status >= 400:
            _refuse(status, document)
        return document

    def _unreachable(self, error: Exception) -> NodeUnreachable:
        return NodeUnreachable(
            f"no node answers at {self.url} ({_words(error)}); {self._address.silence}"
        )

    def _foreign(self) -> NodeUnreachable:
        return NodeUnreachable(
            f"what answers at {self.url} is no eventing node; name its admin port with --admin URL"
        )


def _connect(url: str, timeout: float) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=timeout)


def _exchange(
    url: str,
    timeout: float,
    method: str,
    path: str,
    body: bytes | None,
    headers: list[tuple[bytes, bytes]],
) -> tuple[int, bytes]:
    connection = _connect(url, timeout)
    try:
        named = {name.decode(): value.decode("latin-1") for name, value in headers}
        connection.request(method, path, body, named)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _path(path: str, query: dict[str, str | int | None]) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _refuse(status: int, document: Any) -> None:
    """Raise what an answer of 400 and above means."""
    error = document.get("error") if isinstance(document, dict) else None
    message = str(error or f"the node answered {status}")
    if status == 404:
        raise NotThere(message)
    if status >= 500 or status == 429:
        raise OperationError(message)
    raise UserError(message)


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
