"""The worker process: one function, its hooks, and a socket that brings calls.

A sync function is served by a plain loop (no event loop is imported for it), one call at a time
in the order sent; an async one on asyncio. Both end with a reason for the node to tell.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from eventing.errors import UserError
from eventing.sdk import lifeline, limits, output
from eventing.sdk.failure import one_line, place, user_traceback
from eventing.sdk.frames import (
    CALL,
    CANCEL,
    DRAIN,
    LAST_WORDS,
    READY,
    STOPPING,
    FrameError,
    FrameReader,
    decode_call,
    encode,
    require_settings,
)
from eventing.sdk.function import Function
from eventing.sdk.handling import AsyncHandling, Handling, Identity, SyncHandling
from eventing.sdk.project import Handler, Project, put_first

CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Settings:
    """What a START frame says. `memory` in bytes and `timeout` in seconds, None = no limit.

    `roots` are the folders of the project, for a fresh interpreter to import from.
    """

    handler: str
    name: str
    namespace: str = "default"
    concurrency: int = 1
    timeout: float | None = None
    memory: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    roots: tuple[str, ...] = ()

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Settings:
        """Raises FrameError for settings this worker does not know."""
        try:
            return cls(**{**told, "roots": tuple(told.get("roots", ()))})
        except TypeError as error:
            raise FrameError(f"a START frame that does not fit: {error}") from None


class Ended(Exception):
    """The worker has to exit: `reason` for people, "" after a drain.

    `between_calls` says that no call was running, so that those not yet answered never began.
    """

    def __init__(self, reason: str, between_calls: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.between_calls = between_calls


class Link:
    """The worker's end of the socket, blocking."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(None)  # the user's code may have set another default for sockets
        self.connection = connection
        self.reader = FrameReader()
        self.unread: list[list[Any]] = []

    def read(self) -> list[list[Any]]:
        """At least one frame, waited for. Raises FrameError, or EOFError when the node is gone."""
        frames, self.unread = self.unread, []
        while not frames:
            try:
                data = self.connection.recv(CHUNK)
            except ConnectionResetError:
                data = b""
            if not data:
                raise EOFError
            frames = list(self.reader.feed(data))
        return frames

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)


def run(connection: socket.socket, project: Project | None = None) -> NoReturn:
    """Serve until drained, or the node is gone; ends the process without Python's `atexit`.

    `project` is the one a zygote has loaded; None = a fresh interpreter, which imports what the
    function needs by itself.
    """
    link = Link(connection)
    status = 1
    try:
        first, *link.unread = link.read()
        settings = Settings.of(require_settings(first))
        os.environ.update(settings.env)
        handler = _handler(settings, project)
        if settings.memory is not None:
            limits.limit_memory(settings.memory)
        output.capture_logging()
        _serve(link, settings, handler)
    except Ended as end:
        status = 0 if not end.reason else 1
        _last_words(link, end.reason, end.between_calls)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the node is gone: there is nobody to serve or to tell
    except FrameError as error:
        _last_words(link, f"the node sent {error}")
    except BaseException as error:
        output.stderr.record("CRITICAL", traceback.format_exc())
        _last_words(link, f"failed: {one_line(error)}")
    finally:
        output.finish()
        logging.shutdown()
        os._exit(status)


def _handler(settings: Settings, project: Project | None) -> Handler:
    if project is None:
        put_first(settings.roots)
        project = Project()
    try:
        return project.handler(settings.handler)
    except UserError as error:
        raise Ended(f"could not be imported: {error}", between_calls=True) from None


def _serve(link: Link, settings: Settings, handler: Handler) -> NoReturn:
    identity = Identity(settings.name, settings.namespace, settings.timeout)
    target = handler.target
    if isinstance(target, Function) and target.sync:
        _serve_sync(link, _start(lambda: SyncHandling(target, identity)))
    from eventing.sdk.concurrent import serve

    def make() -> Handling:
        if isinstance(target, Function):
            return AsyncHandling(target, identity)
        from eventing.sdk.knative import KnativeHandling

        return KnativeHandling(target, identity)

    serve(link, _start(make), settings.concurrency)


def _start(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except UserError as error:
        raise Ended(str(error), between_calls=True) from None


def start_failed(error: BaseException) -> Ended:
    """The end of a worker whose start-up hook raised `error`; the traceback goes to its log."""
    output.stderr.record("ERROR", user_traceback(error))
    where = place(error)
    return Ended(
        f"start-up hook failed: {one_line(error)}{f' ({where})' if where else ''}",
        between_calls=True,
    )


def stop_failed(error: BaseException) -> Ended:
    """The end of a worker whose shutdown hook raised `error`."""
    output.stderr.record("ERROR", user_traceback(error))
    return Ended(f"shutdown hook failed: {one_line(error)}", between_calls=True)


def _serve_sync(link: Link, handling: SyncHandling) -> NoReturn:
    try:
        handling.start()
    except BaseException as error:
        raise start_failed(error) from None
    output.finish()
    link.send(encode(READY, os.getpid()))
    while True:
        for frame in link.read():
            kind = frame[0]
            if kind == CALL:
                _one_call(link, handling, frame)
            elif kind == DRAIN:
                link.send(encode(STOPPING))
                try:
                    handling.stop()
                except BaseException as error:
                    raise stop_failed(error) from None
                raise Ended("", between_calls=True)
            elif kind != CANCEL:  # which is for tasks; this handler can't be interrupted
                raise FrameError(f"a frame of kind {kind} that is out of place")


def _one_call(link: Link, handling: SyncHandling, frame: list[Any]) -> None:
    call = decode_call(frame)
    output.enter_process(call.event)
    answer = handling.run(call)
    if answer.log:
        output.stderr.record("ERROR", answer.log)
    output.finish()
    output.enter_process(None)
    # Sent before the next handler begins: an answer held back while it hangs would be lost with
    # it, and the blame would fall on the wrong call.
    link.send(answer.encode(call.id))
    if answer.ends_worker:
        raise Ended(answer.ends_worker, between_calls=True)


def _last_words(link: Link, reason: str, between_calls: bool = False) -> None:
    try:
        link.connection.settimeout(1.0)
        link.send(encode(LAST_WORDS, reason, between_calls))
    except OSError:
        pass  # the node is gone


def begin(lifeline_fd: int, stdout: int, stderr: int) -> None:
    """Make this process a worker: of its own group, tied to its node, its output to the pipes."""
    lifeline.own_group()
    lifeline.hold(lifeline_fd)
    os.close(lifeline_fd)
    limits.take_output(stdout, stderr)
    limits.reset_signals()
    faulthandler.enable(file=2)


def main(connection_fd: int, lifeline_fd: int, stdout: int, stderr: int) -> NoReturn:
    """A fresh interpreter as a worker; the descriptors are inherited."""
    begin(lifeline_fd, stdout, stderr)
    output.capture()
    sys.argv = [""]
    run(socket.socket(fileno=connection_fd))
