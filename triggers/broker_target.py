"""A broker as a target: the event enters its log as if it had come by HTTP."""

from asyncio import Future
from collections.abc import Callable

from brokers.base import Broker
from eventing.errors import BrokerFull, EventingError, EventTooLarge, UserError
from eventing.event import Event
from functions.base import Call, Response
from triggers.delivery import TTL_ATTRIBUTE


class BrokerTarget:
    """Delivers to another broker, one hop of the event's life spent, so that a loop of brokers
    ends too. Accepted = 202; full = 429 with its `Retry-After`; storage at fault = 503; what can't
    be stored whatever happens = 413 where it is too large, else 400."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def submit(self, call: Call, done: Callable[[Response], None]) -> None:
        ttl = call.ttl - 1
        if ttl <= 0:
            done(Response(400, reason="knativebrokerttl is used up: the event goes in a loop"))
            return
        attributes = call.event.attributes.copy()
        attributes[TTL_ATTRIBUTE] = str(ttl)

        def published(future: Future[list[int]]) -> None:
            done(_response(future))

        self._broker.publish([Event(attributes, call.event.data)]).add_done_callback(published)


def _response(future: "Future[list[int]]") -> Response:
    if future.cancelled():
        return Response(0, reason="the broker was closed")
    error = future.exception()
    if error is None:
        return Response(202)
    if isinstance(error, BrokerFull):
        return Response(429, reason=str(error), retry_after=error.retry_after)
    if isinstance(error, EventTooLarge):
        return Response(413, reason=str(error))
    if isinstance(error, UserError):
        return Response(400, reason=str(error))
    if isinstance(error, EventingError):
        return Response(503, reason=str(error))
    return Response(500, reason=f"{type(error).__name__}: {error}")
