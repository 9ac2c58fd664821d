"""An EventTransform as a target: the transformed event is the reply, or goes on to a sink.

Knative's EventTransform: with a sink, the sink's answer comes back, transformed in its turn where
`reply` says so, or dropped.
"""

from collections.abc import Callable

from eventing.errors import UserError
from functions.base import Call, Response, Service
from triggers.delivery import succeeded
from triggers.dispatcher import Transform


class TransformTarget:
    """A failing expression is a failed attempt of status 500, worth a retry only if it is mended
    meanwhile; its reason names what went wrong."""

    def __init__(
        self,
        expression: Transform,
        sink: Service | None = None,
        reply: Transform | None = None,
        *,
        discard: bool = False,
    ) -> None:
        self._expression = expression
        self._sink = sink
        self._reply = reply
        self._discard = discard

    def submit(self, call: Call, done: Callable[[Response], None]) -> None:
        try:
            event = self._expression.apply(call.event)
        except UserError as error:
            done(Response(500, reason=str(error)))
            return
        if self._sink is None:
            done(Response(200, (event,)))
            return
        self._sink.submit(call._replace(event=event), lambda response: done(self._answer(response)))

    def _answer(self, response: Response) -> Response:
        if not succeeded(response.status) or not response.replies:
            return response
        if self._discard:
            return response._replace(replies=())
        if self._reply is None:
            return response
        try:
            replies = tuple(self._reply.apply(event) for event in response.replies)
        except UserError as error:
            return Response(500, reason=f"the reply: {error}")
        return response._replace(replies=replies)
