"""What came of one attempt, as the worker tells it to the node."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from eventing.sdk.cloudevents import MalformedReply
from eventing.sdk.failure import BODY_LIMIT, Reject, Retry, last_lines, one_line, user_traceback
from eventing.sdk.frames import FrameTooLarge, encode_result
from eventing.sdk.signature import BadData

if TYPE_CHECKING:
    from eventing.event import Event


class Answer(NamedTuple):
    """The fields are those of functions.base.Response; `started` is CLOCK_MONOTONIC nanoseconds.

    The last three are not sent. `ends_worker`: where not empty the worker exits after this answer,
    and it says why. `log`: the whole traceback, for the function's log. `error`: what was raised,
    for who calls a handler in a process of their own.
    """

    status: int
    replies: tuple[Event, ...] = ()
    body: bytes = b""
    reason: str = ""
    retry_after: float | None = None
    started: int = 0
    ends_worker: str = ""
    log: str = ""
    error: BaseException | None = None

    def encode(self, id: int) -> bytes:
        """Its RESULT frame. Replies too large for one make it a failure for good (status 413)."""
        try:
            return encode_result(
                id,
                self.status,
                self.replies,
                self.body,
                self.reason,
                self.retry_after,
                self.started,
            )
        except FrameTooLarge as error:
            reason = f"the replies are too large: {error}; store the data and reply with its place"
            return encode_result(id, 413, (), reason.encode(), reason, None, self.started)


def answer_to_error(error: BaseException, started: int = 0) -> Answer:
    """The answer for what a handler, or the reading of its argument, raised.

    Retry is 503 with `retry_after`; Reject and data that does not fit are 400, which is not
    retried; everything else is 500 with the traceback's end as body. A handler that calls
    `sys.exit` or runs out of memory fails its attempt and ends its worker.
    """
    return _answer(error, started)._replace(error=error)


def _answer(error: BaseException, started: int) -> Answer:
    match error:
        case Retry():
            return Answer(503, (), _body(str(error)), str(error), error.after, started)
        case Reject() | BadData():
            return Answer(400, (), _body(str(error)), str(error), None, started)
        case MalformedReply():
            reason = f"the handler's return value makes no event: {error}"
            return Answer(500, (), _body(reason), reason, None, started)
        case SystemExit():
            reason = f"the handler called sys.exit({error.code!r})"
            return Answer(500, (), _body(reason), reason, None, started, reason)
    text = user_traceback(error).rstrip()
    ends = ""
    if isinstance(error, MemoryError):
        ends = "the handler ran out of memory"
    elif not isinstance(error, Exception):
        ends = f"the handler raised {one_line(error)}"
    return Answer(500, (), _body(text), one_line(error), None, started, ends, text)


def _body(text: str) -> bytes:
    return last_lines(text, BODY_LIMIT).encode(errors="replace")
