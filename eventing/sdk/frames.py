"""The frames a node and its workers exchange over a stream socket.

A frame is 4 bytes of length (big-endian, without themselves), then one msgpack array whose first
item is its kind. Many calls may be in flight; each side checks what it reads and gives up on the
other at the first malformed frame, for after one there is no telling where the next begins.
"""

from collections.abc import Callable, Iterator, Mapping
from struct import Struct
from typing import Any, Final, NamedTuple, TypeVar

import msgpack

from eventing.errors import EventingError
from eventing.event import Event

MAX_FRAME: Final = 64 << 20
"""Bytes a frame may take without its length."""

# From the node:
START: Final = 1  # [START, settings]: always first, see eventing.sdk.worker.Settings
CALL: Final = 2  # [CALL, id, attributes, data, attempt, trigger, timeout]
CANCEL: Final = 3  # [CANCEL, id]
DRAIN: Final = 4  # [DRAIN]
# From the worker:
READY: Final = 17  # [READY, pid]
RESULT: Final = 18  # [RESULT, id, status, replies, body, reason, retry_after, started]
STOPPING: Final = 19  # [STOPPING]: every call is answered, the shutdown hooks begin
LAST_WORDS: Final = 20  # [LAST_WORDS, reason, between_calls]: why it exits now

_LENGTH = Struct(">I")
_length = _LENGTH.unpack_from
_prefix = _LENGTH.pack
_pack: Callable[[object], bytes] = msgpack.Packer(use_bin_type=True).pack


class FrameError(EventingError):
    """What came is no frame of this protocol; the connection can't be used any more."""


class FrameTooLarge(EventingError):
    """A frame over MAX_FRAME was to be sent; nothing was."""


class CallFrame(NamedTuple):
    """One attempt as the worker gets it. `timeout` in seconds, None = the function's own."""

    id: int
    event: Event
    attempt: int
    trigger: str
    timeout: float | None


Made = TypeVar("Made")


def encode(*items: object) -> bytes:
    """One frame of `items`. Raises FrameTooLarge."""
    body = _pack(items)
    if len(body) > MAX_FRAME:
        raise FrameTooLarge(
            f"{len(body)} bytes are more than the {MAX_FRAME} that fit between node and worker"
        )
    return _prefix(len(body)) + body


def encode_call(id: int, event: Event, attempt: int, trigger: str, timeout: float | None) -> bytes:
    """A CALL frame. Raises FrameTooLarge."""
    return encode(CALL, id, event.attributes, event.data, attempt, trigger, timeout)


def encode_result(
    id: int,
    status: int,
    replies: tuple[Event, ...],
    body: bytes,
    reason: str,
    retry_after: float | None,
    started: int,
) -> bytes:
    """A RESULT frame. Raises FrameTooLarge."""
    events = [(reply.attributes, reply.data) for reply in replies]
    return encode(RESULT, id, status, events, body, reason, retry_after, started)


def decode_call(frame: list[Any]) -> CallFrame:
    """Raises FrameError where the frame has not the shape of a CALL."""
    try:
        _, id, attributes, data, attempt, trigger, timeout = frame
    except ValueError:
        raise FrameError(f"a CALL frame of {len(frame)} items instead of 7") from None
    if not (
        isinstance(id, int)
        and isinstance(attempt, int)
        and isinstance(trigger, str)
        and (timeout is None or isinstance(timeout, (int, float)))
    ):
        raise FrameError("a CALL frame with an item of the wrong type")
    return CallFrame(id, _event(attributes, data), attempt, trigger, timeout)


def decode_result(
    frame: list[Any],
    make: Callable[[int, tuple[Event, ...], bytes, str, float | None, int], Made],
) -> tuple[int, Made]:
    """The call's id, and `make(status, replies, body, reason, retry_after, started)`.

    Raises FrameError where the frame has not the shape of a RESULT.
    """
    try:
        _, id, status, replies, body, reason, retry_after, started = frame
    except ValueError:
        raise FrameError(f"a RESULT frame of {len(frame)} items instead of 8") from None
    if not (
        isinstance(id, int)
        and isinstance(status, int)
        and isinstance(replies, list)
        and isinstance(body, bytes)
        and isinstance(reason, str)
        and (retry_after is None or isinstance(retry_after, (int, float)))
        and isinstance(started, int)
    ):
        raise FrameError("a RESULT frame with an item of the wrong type")
    if not replies:
        return id, make(status, (), body, reason, retry_after, started)
    events = []
    for reply in replies:
        if not isinstance(reply, list) or len(reply) != 2:
            raise FrameError("a RESULT frame whose reply is no pair of attributes and data")
        events.append(_event(reply[0], reply[1]))
    return id, make(status, tuple(events), body, reason, retry_after, started)


def _event(attributes: object, data: object) -> Event:
    if data is not None and not isinstance(data, bytes):
        raise FrameError("a frame whose event's data are no bytes")
    if not isinstance(attributes, dict):
        raise FrameError("a frame whose event's attributes are no map")
    for name, value in attributes.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise FrameError("a frame whose event has an attribute that is no string")
    return Event(attributes, data)


class FrameReader:
    """Cuts a stream of bytes into frames, whatever pieces it comes in.

    Holds at most one unfinished frame, so never more than MAX_FRAME and one piece.
    """

    __slots__ = ("_needed", "_pending")

    def __init__(self) -> None:
        self._pending = bytearray()
        self._needed = 0

    def feed(self, data: bytes) -> Iterator[list[Any]]:
        """The frames that `data` completes. Raises FrameError at the first malformed one.

        To be used up before the next `feed`.
        """
        pending = self._pending
        if pending:
            pending += data
            if len(pending) < self._needed:
                return
            data = bytes(pending)
            pending.clear()
        offset, end = 0, len(data)
        view = memoryview(data)
        while end - offset >= 4:
            (length,) = _length(data, offset)
            if length > MAX_FRAME:
                raise FrameError(f"a frame of {length} bytes; at most {MAX_FRAME} are allowed")
            stop = offset + 4 + length
            if stop > end:
                self._needed = stop - offset
                break
            yield _unpack(view[offset + 4 : stop])
            offset = stop
        else:
            self._needed = 4
        if offset < end:
            pending += view[offset:]


def _unpack(body: memoryview) -> list[Any]:
    try:
        frame = msgpack.unpackb(body, raw=False, use_list=True)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise FrameError(f"a frame that is no msgpack: {type(error).__name__}: {error}") from None
    if not isinstance(frame, list) or not frame or type(frame[0]) is not int:
        raise FrameError("a frame that is no array beginning with its kind")
    return frame


def require_settings(frame: list[Any]) -> Mapping[str, Any]:
    """The settings of a START frame. Raises FrameError where it is none."""
    if frame[0] != START or len(frame) != 2 or not isinstance(frame[1], dict):
        raise FrameError("the first frame is no START")
    return frame[1]
