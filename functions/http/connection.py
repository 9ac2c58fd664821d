"""One HTTP/1.1 connection of the client: requests written, answers taken, deadlines kept."""

import asyncio
import select
from typing import Protocol, cast

from functions.http.answer import AnswerReader, NoAnswer
from functions.http.connect import why_ended
from functions.http.exchange import CANCELLED, Answer, Exchange, Limits

SLICE = 256 << 10
"""Bytes of a body handed to the transport at a time, the next once it has drained."""


class Owner(Protocol):
    """Who put a connection to use, and is told what becomes of it."""

    def release(self, connection: "Connection") -> None:
        """Its request was answered, and it can carry another."""

    def lost(self, connection: "Connection") -> None:
        """It has ended. Told exactly once."""


class Connection(asyncio.Protocol):
    """One connection: at most one request at a time, and its answer.

    Anything that is not exactly one whole answer to it ends the connection, so that no byte can
    ever be taken for part of another request's answer.
    """

    def __init__(self, owner: Owner, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self.ended: str | None = None
        """Once it has ended, what is known of why, for the end of a sentence."""
        self._owner = owner
        self._loop = loop
        self._reader = AnswerReader(limits)
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._exchange: Exchange | None = None
        self._unsent: memoryview | None = None
        self._writing_paused = False

    # What its owner asks of it.

    def is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def is_quiet(self) -> bool:
        """Whether it can be used again. While idle there is nothing to read: anything is its end,
        or bytes nobody asked for."""
        return not self.is_closing() and not self._poll.poll(0)

    def begin(self, exchange: Exchange) -> bool:
        """Write the request; False: the connection has ended and nothing of it was sent."""
        transport = cast(asyncio.Transport, self._transport)
        request = exchange.request
        body = request.body
        if len(body) <= SLICE:
            transport.write(exchange.head + body)
        else:
            self._unsent = memoryview(body)[SLICE:]
            transport.writelines((exchange.head, memoryview(body)[:SLICE]))
        if transport.is_closing():
            self._unsent = None
            return False
        self._exchange = exchange
        exchange.carrier = self
        self.end_at(self._loop.time() + request.timeout)
        if self._unsent is not None:
            self._write_on()
        return True

    def end_at(self, deadline: float) -> None:
        """End it at `deadline`. The timer is left where it is if it fires before that: then it
        looks again. So a busy connection sets it once in an idle time, not once a request."""
        self._deadline = deadline
        timer = self._timer
        if timer is None or timer.when() > deadline:
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(deadline, self._look_at_deadline)

    def cut(self, reason: str) -> None:
        """End it at once, and the request on it, if any, for that reason."""
        self._abort(Answer(0, reason=reason))

    def give_up(self, exchange: Exchange) -> None:
        """HTTP/1.1 has no other way to take a request back than to end the connection."""
        if exchange is self._exchange:
            self._abort(CANCELLED)

    # What the transport tells it.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.ended = why_ended(error)
        self._owner.lost(self)
        self.cut(self._why_no_answer(self.ended))
        self._reader.close()

    def eof_received(self) -> bool:
        if self._exchange is None:
            return False
        if self._reader.end():
            self._finish()
        else:
            self.cut(self._why_no_answer(""))
        return False

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._write_on()

    def data_received(self, data: bytes) -> None:
        if self._exchange is None:
            self.cut("")
            return
        try:
            self._reader.feed(data)
        except NoAnswer as error:
            self.cut(str(error))
            return
        if self._reader.answer is not None:
            self._finish()

    # What follows.

    def _abort(self, answer: Answer) -> None:
        exchange, self._exchange = self._exchange, None
        self._reader.answer = self._unsent = None
        if self._transport is not None:
            self._transport.abort()
        if exchange is not None:
            exchange.end(answer)

    def _finish(self) -> None:
        """Hand over the answer, and the connection to the next.

        An answer that comes before the request is whole is final if it is a refusal: the rest is
        not sent. A success stands only once the server took the whole event.
        """
        reader = self._reader
        answer = cast(Answer, reader.answer)
        if self._unsent is not None and 200 <= answer.status < 300:
            if not reader.keep:
                self.cut(self._why_no_answer(""))
            return
        exchange = cast(Exchange, self._exchange)
        transport = cast(asyncio.Transport, self._transport)
        self._exchange = None
        reader.next()
        if not reader.keep or self._unsent is not None:
            self._unsent = None
            transport.abort()
        elif not transport.is_closing():
            self._owner.release(self)
        exchange.end(answer)

    def _write_on(self) -> None:
        while self._unsent is not None and not self._writing_paused and not self.is_closing():
            piece, rest = self._unsent[:SLICE], self._unsent[SLICE:]
            self._unsent = rest if rest else None
            cast(asyncio.Transport, self._transport).write(piece)
        if self._unsent is None and self._reader.answer is not None:
            self._finish()

    def _look_at_deadline(self) -> None:
        self._timer = None
        if self._loop.time() < self._deadline:
            self.end_at(self._deadline)
        elif self._exchange is None:
            cast(asyncio.Transport, self._transport).close()
        elif self._reader.answer is not None:
            self.cut(self._why_no_answer(""))
        else:
            self.cut(f"no answer within {self._exchange.request.timeout:g} s")

    def _why_no_answer(self, error: str) -> str:
        if self._reader.answer is not None:
            return f"answered {self._reader.answer.status} before the request was whole"
        if self._reader.begun:
            return f"the connection ended in the middle of the answer{error}"
        return f"the connection ended before an answer{error}"
