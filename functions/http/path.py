"""A function that speaks HTTP, called at another path than its own or in a certain format."""

from collections.abc import Callable
from typing import Literal

from functions.base import Call, Response, Service


class AtPath:
    """Sends every call to `path` of the service, "" = its own, in `format`."""

    def __init__(
        self, service: Service, path: str, format: Literal["binary", "json"] | None = None
    ) -> None:
        self._service = service
        self._path = path
        self._format = format

    def submit(self, call: Call, done: Callable[[Response], None]) -> None:
        """See Service."""
        self._service.submit(call._replace(path=self._path, format=self._format), done)
