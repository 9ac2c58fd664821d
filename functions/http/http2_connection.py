"""One HTTP/2 connection of the client: many requests at once, each with its answer and deadline.

Rules: RFC 9113. The h2 library keeps the protocol, this decides what becomes of requests.
"""

import asyncio
import select
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, cast

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import H2Error, NoAvailableStreamIDError
from h2.settings import SettingCodes, Settings
from hpack import NeverIndexedHeaderTuple

from functions.http.address import Address
from functions.http.answer import NoAnswer
from functions.http.connect import why_ended
from functions.http.exchange import CANCELLED, Answer, Exchange, Limits
from functions.http.http2_frames import FrameCutter, GoAway, error_name
from functions.http.http2_stream import Stream

SENDINGS = 10
"""How often one request is sent where the server says each time that it did not look at it, since
it goes away: it may have many connections to do so on."""
REFUSED_SENDINGS = 3
"""How often where the server stays, and refuses it."""
PING_PATIENCE = 5.0
"""Seconds a silent server has for a ping before its connection is cut."""
WINDOW = 1 << 20
"""Bytes a server may be ahead of what has been read, of an answer and of all together."""
PIECE = 64 << 10
"""Bytes of one body that are sent before it is the next one's turn."""
TABLE = 4096
"""Bytes of headers kept to send them shorter; a server may allow any number."""
OWED = 256 << 10
"""Bytes of replies to a server's frames (settings, pings) that may wait for it to read them."""
_REMEMBERED = 4096


class Owner(Protocol):
    """Who put a connection to use, and is told what becomes of it."""

    def serve(self, connection: "Http2Connection") -> None:
        """It may have room for requests that wait."""

    def retire(self, connection: "Http2Connection") -> None:
        """It takes no more requests; those on it go on."""

    def restore(self, connection: "Http2Connection") -> None:
        """It takes requests again."""

    def again(self, exchanges: Sequence[Exchange]) -> None:
        """These had no effect; they go to the head of those who wait."""

    def lost(self, connection: "Http2Connection") -> None:
        """It has ended. Told exactly once."""


class _H2(H2Connection):
    MAX_CLOSED_STREAMS = _REMEMBERED


class Http2Connection(asyncio.Protocol):
    """As many requests at once as the server allows, and no more than `limits.connections`.

    - It is `ready` once the server has said what it allows: a reason why not, empty where it is.
    - A request the server says it did not look at is sent again by itself: where a GOAWAY names
      an earlier one, `SENDINGS` times in all, after REFUSED_STREAM `REFUSED_SENDINGS` times. Every
      other end of a stream without an answer is an answer with status 0.
    - A timeout or a cancelled request ends its stream alone. Where nothing at all has come since
      the timed-out request began, the server is pinged, and takes no more requests until it is
      heard; a silent one is cut.
    - What breaks the protocol ends the connection, with all that is on it.
    """

    def __init__(
        self, owner: Owner, address: Address, limits: Limits, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.ready: asyncio.Future[str] = loop.create_future()
        self.capacity = 0
        self.ended: str | None = None
        """Once it has ended, what is known of why, for the end of a sentence."""
        self._owner = owner
        self._address = address
        self._limits = limits
        self._loop = loop
        self._frames = FrameCutter()
        # What we send is checked where it is made; a value has no line break (HttpClient.send).
        self._h2 = _H2(
            H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
        )
        self._transport: asyncio.Transport | None = None
        self._poll = select.poll()
        self._timer: asyncio.TimerHandle | None = None
        self._streams: dict[int, Stream] = {}
        self._blocked: deque[int] = deque()
        """Streams with a body to send, in turn; not those whose own window is used up."""
        self._writing_paused = False
        self._corked = False
        self._owed = 0
        self._heard = 0
        self._idle_until = 0.0
        self._ping_until: float | None = None
        self._retired = False
        self._ended_by = ""
        self._handlers: dict[type[events.Event], Callable[[Any], None]] = {
            events.ResponseReceived: self._on_response,
            events.InformationalResponseReceived: self._on_more_headers,
            events.TrailersReceived: self._on_more_headers,
            events.DataReceived: self._on_data,
            events.StreamEnded: self._on_end,
            events.StreamReset: self._on_reset,
            events.WindowUpdated: self._on_window,
            events.RemoteSettingsChanged: self._on_settings,
        }

    # What its owner asks of it.

    def is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def begin(self, exchange: Exchange) -> bool:
        """Send the request; False: there is no room, and nothing of it was sent."""
        streams = self._streams
        if len(streams) >= self.capacity or self._retired or self.is_closing():
            return False
        if self._ping_until is not None:
            return False
        if not streams and not self._corked and self._poll.poll(0):
            # Its end, perhaps. That is read first.
            self._look_again()
            return False
        request = exchange.request
        try:
            id = self._h2.get_next_available_stream_id()
            self._h2.send_headers(id, self._headers(exchange), end_stream=not request.body)
        except NoAvailableStreamIDError:
            self._retire()
            return False
        except H2Error:
            # The server has just said that it allows fewer: told to us after this.
            return False
        now = self._loop.time()
        if exchange.sendings == 0:
            exchange.deadline = now + request.timeout
        exchange.sendings += 1
        stream = Stream(exchange, self._limits, exchange.deadline, self._heard)
        streams[id] = stream
        if stream.unsent is not None:
            self._blocked.append(id)
            # Behind others it has no room either.
            if len(self._blocked) == 1:
                self._write_on()
        self._flush()
        if self.is_closing():
            del streams[id]
            exchange.sendings -= 1
            return False
        exchange.carrier = self
        self._look_at(exchange.deadline)
        return True

    def rest(self) -> None:
        """Close it if nobody uses it for its idle time."""
        self._idle_until = self._loop.time() + self._limits.idle
        self._look_at(self._idle_until)

    def give_up(self, exchange: Exchange) -> None:
        for id, stream in self._streams.items():
            if stream.exchange is exchange:
                self._reset(id, CANCELLED)
                break

    def cut(self, reason: str) -> None:
        """End it at once, and the requests on it for that reason."""
        self._ended_by = self._ended_by or reason
        if self._transport is not None:
            self._transport.abort()
        if not self.ready.done():
            self.ready.set_result(reason)
        streams, self._streams = self._streams, {}
        self._blocked.clear()
        for stream in streams.values():
            stream.exchange.end(Answer(0, reason=reason))

    # What the transport tells it.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        h2, limits = self._h2, self._limits
        h2.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: WINDOW,
                SettingCodes.MAX_HEADER_LIST_SIZE: limits.headers,
            },
        )
        # An answer over the limit is refused by itself; one far over it takes the connection
        # along, since what is not decoded leaves the two ends with different tables.
        h2.decoder.max_header_list_size = 4 * limits.headers
        h2.initiate_connection()
        h2.increment_flow_control_window(WINDOW)
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.ended = detail = why_ended(error)
        self._owner.lost(self)
        why = self._ended_by or "the connection ended"
        streams, self._streams = self._streams, {}
        if not self.ready.done():
            self.ready.set_result(f"{why} before HTTP/2 was agreed on{detail}")
        for stream in streams.values():
            stream.exchange.end(Answer(0, reason=stream.no_answer(why, detail)))
        self._handlers.clear()

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._owed = 0
        self._write_on()

    def data_received(self, data: bytes) -> None:
        self._heard += 1
        self._corked = True
        broken: Exception | None = None
        try:
            for piece in self._frames.feed(data):
                if isinstance(piece, GoAway):
                    self._on_go_away(piece)
                    continue
                for event in self._h2.receive_data(piece):
                    handler = self._handlers.get(type(event))
                    if handler is not None:
                        handler(event)
        except (H2Error, ValueError) as error:
            broken = error
        self._corked = False
        if broken is not None:
            self._broken(broken)
        if self.is_closing():
            return
        self._flush(owed=self._writing_paused)
        if self._ping_until is not None:
            self._ping_until = None
            if not self._retired:
                self._owner.restore(self)
        if not self._retired:
            self._owner.serve(self)
        elif not self._streams:
            self._leave()

    # What the server tells it.

    def _on_settings(self, event: events.RemoteSettingsChanged) -> None:
        if self._h2.encoder.header_table_size > TABLE:
            self._h2.encoder.header_table_size = TABLE
        allowed = self._h2.remote_settings.max_concurrent_streams
        self.capacity = min(allowed, self._limits.connections)
        if self.capacity == 0:
            reason = "the server allows no request on an HTTP/2 connection"
            if self.ready.done():
                self._retire()
            else:
                self.cut(reason)
        elif not self.ready.done():
            self.ready.set_result("")
        self._wake(self._streams)

    def _on_response(self, event: events.ResponseReceived) -> None:
        self._take_headers(event.stream_id, event.headers, final=True)

    def _on_more_headers(
        self, event: events.InformationalResponseReceived | events.TrailersReceived
    ) -> None:
        self._take_headers(event.stream_id, event.headers, final=False)

    def _on_data(self, event: events.DataReceived) -> None:
        id = event.stream_id
        self._h2.acknowledge_received_data(event.flow_controlled_length, id)
        stream = self._streams.get(id)
        if stream is not None:
            try:
                stream.take_body(event.data or b"")
            except NoAnswer as error:
                self._reset(id, Answer(0, reason=str(error)))

    def _on_end(self, event: events.StreamEnded) -> None:
        id = event.stream_id
        stream = self._streams.get(id)
        if stream is None:
            return
        stream.answered = True
        if stream.unsent is None:
            self._end(id, stream.answer)
        elif not 200 <= stream.status < 300:
            self._reset(id, stream.answer)
        # Else it stands once the server has taken the whole event.

    def _on_reset(self, event: events.StreamReset) -> None:
        id = event.stream_id
        stream = self._streams.get(id)
        if stream is None:
            return
        code = int(event.error_code or 0)
        if code == ErrorCodes.REFUSED_STREAM and not stream.status:
            if stream.exchange.sendings < REFUSED_SENDINGS:
                self._remove(id)
                self._owner.again((stream.exchange,))
                return
            why = f"the server refused the request {REFUSED_SENDINGS} times (REFUSED_STREAM)"
            self._end(id, Answer(0, reason=why))
            return
        why = f"the server ended the request ({error_name(code)})"
        self._end(id, Answer(0, reason=stream.no_answer(why)))

    def _on_window(self, event: events.WindowUpdated) -> None:
        self._wake((event.stream_id,) if event.stream_id else ())

    def _on_go_away(self, told: GoAway) -> None:
        if told.error != ErrorCodes.NO_ERROR or not self._ended_by:
            self._ended_by = f"the server ended the connection ({told})"
        self._retire()
        if not self.ready.done():
            self.ready.set_result(self._ended_by)
        untouched = [id for id in self._streams if id > told.last]
        again: list[Exchange] = []
        refused: list[Exchange] = []
        for id in untouched:
            exchange = self._remove(id).exchange
            (again if exchange.sendings < SENDINGS else refused).append(exchange)
        if again:
            self._owner.again(again)
        for exchange in refused:
            exchange.end(Answer(0, reason=f"{self._ended_by} before the request, {SENDINGS} times"))

    # What follows.

    def _headers(self, exchange: Exchange) -> list[tuple[bytes, bytes]]:
        request = exchange.request
        headers: list[tuple[bytes, bytes]] = [
            NeverIndexedHeaderTuple(*field) if field[0] == b"authorization" else field
            for field in self._address.fields
        ]
        headers += [(name.lower(), value.strip(b" \t")) for name, value in request.headers]
        headers.append((b"content-length", b"%d" % len(request.body)))
        return headers

    def _take_headers(self, id: int | None, fields: Any, *, final: bool) -> None:
        stream = self._streams.get(id or 0)
        if stream is not None:
            try:
                stream.take_headers(fields, final=final)
            except NoAnswer as error:
                self._reset(id or 0, Answer(0, reason=str(error)))

    def _remove(self, id: int) -> Stream:
        stream = self._streams.pop(id)
        if not self._streams:
            self.rest()
        return stream

    def _end(self, id: int, answer: Answer) -> None:
        """Hand over the answer, and the room to the next."""
        exchange = self._remove(id).exchange
        if not self._retired:
            self._owner.serve(self)
        elif not self._streams and not self._corked:
            self._leave()
        exchange.end(answer)

    def _reset(self, id: int, answer: Answer) -> None:
        """End it without waiting for the server to end it, or to read the rest."""
        with suppress(H2Error):
            self._h2.reset_stream(id, ErrorCodes.CANCEL)
        self._flush()
        self._end(id, answer)

    def _retire(self) -> None:
        if not self._retired:
            self._retired = True
            self._owner.retire(self)

    def _leave(self) -> None:
        """Close it, as nobody needs it."""
        transport = cast(asyncio.Transport, self._transport)
        if transport.is_closing():
            return
        with suppress(H2Error):
            self._h2.close_connection()
        self._flush()
        if transport.get_write_buffer_size():
            transport.abort()
        else:
            transport.close()

    def _broken(self, error: Exception) -> None:
        if not self.ready.done():
            self.cut("the server does not speak HTTP/2")
            return
        if not isinstance(error, H2Error):
            # Else the library has made the GOAWAY that says so.
            self._h2.close_connection(ErrorCodes.PROTOCOL_ERROR)
        self._flush()
        self.cut(f"the server broke the rules of HTTP/2: {error}")

    def _wake(self, ids: Any) -> None:
        """These may have room to send now."""
        for id in ids:
            stream = self._streams.get(id)
            if stream is not None and stream.unsent is not None and id not in self._blocked:
                self._blocked.append(id)
        self._write_on()

    def _write_on(self) -> None:
        """Send what the windows of the connection and of each stream allow, in turn."""
        h2 = self._h2
        while self._blocked and not self._writing_paused and not self.is_closing():
            if h2.outbound_flow_control_window <= 0:
                return
            id = self._blocked.popleft()
            stream = self._streams.get(id)
            if stream is None or stream.unsent is None:
                continue
            unsent = stream.unsent
            try:
                window = h2.local_flow_control_window(id)
                size = min(window, h2.max_outbound_frame_size, PIECE, len(unsent))
                if size <= 0:
                    continue
                last = size == len(unsent)
                h2.send_data(id, bytes(unsent[:size]), end_stream=last)
            except H2Error:
                # The server has ended it: told to us after this.
                continue
            stream.unsent = None if last else unsent[size:]
            self._write()
            if not last:
                self._blocked.append(id)
            elif stream.answered:
                self._end(id, stream.answer)

    def _flush(self, *, owed: bool = False) -> None:
        """Write what the library has ready; while the server's frames are read, that is left for
        their end. owed: it is what the server wants to hear, and does not read."""
        if self._corked:
            return
        size = self._write()
        if owed:
            self._owed += size
            if self._owed > OWED:
                self.cut("the server sends without reading")

    def _write(self) -> int:
        data = self._h2.data_to_send()
        transport = self._transport
        if data and transport is not None and not transport.is_closing():
            transport.write(data)
        return len(data)

    def _look_again(self) -> None:
        """Once what is there to read was read, give it what waits. Of the two turns of the loop
        that takes, the reading is done in the second."""
        self._loop.call_soon(self._loop.call_soon, self._owner.serve, self)

    def _look_at(self, moment: float) -> None:
        """See to deadlines at `moment`, or before: the timer is left where it is if it fires
        sooner, and looks again then. So it is not set once a request."""
        timer = self._timer
        if timer is None or timer.when() > moment:
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(moment, self._look_at_deadlines)

    def _look_at_deadlines(self) -> None:
        self._timer = None
        if self.is_closing():
            return
        now = self._loop.time()
        if self._ping_until is not None and self._ping_until <= now:
            self.cut(f"the server is silent: no answer to a ping within {PING_PATIENCE:g} s")
            return
        late = [(id, stream) for id, stream in self._streams.items() if stream.deadline <= now]
        silent = any(stream.heard == self._heard for _, stream in late)
        if silent and self._ping_until is None:
            self._ask_whether_alive(now)
        for id, stream in late:
            if id in self._streams:
                timeout = stream.exchange.request.timeout
                reason = f"no answer within {timeout:g} s"
                if stream.answered:
                    reason = stream.no_answer("")
                self._reset(id, Answer(0, reason=reason))
        waits = [stream.deadline for stream in self._streams.values()]
        if self._ping_until is not None:
            waits.append(self._ping_until)
        elif not waits:
            waits.append(self._idle_until)
        if self.is_closing():
            return
        if min(waits) <= now and not self._streams and self._ping_until is None:
            self._leave()
        else:
            self._look_at(min(waits))

    def _ask_whether_alive(self, now: float) -> None:
        self._ping_until = now + PING_PATIENCE
        self._h2.ping(b"eventing")
        self._flush()
        if not self._retired:
            self._owner.retire(self)
