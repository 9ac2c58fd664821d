"""The admin API: what the command line and the dashboard see and do. JSON over HTTP, Starlette.

Listens on loopback unless told otherwise, for whoever reaches it may do all it offers, web pages
excepted (admin_guard.py).
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from brokers.base import At, Broker, DeadLetter, Place
from eventing.errors import BrokerFull, OperationError, UserError
from eventing.event import Event, validate_event
from eventing.json_format import decode_object, encode_object
from eventing.node.activity import identity
from eventing.node.admin_guard import AdminGuard, is_loopback
from eventing.node.explain import explain
from eventing.node.explain_traffic import call_in_words
from eventing.node.function_status import rollout_document
from eventing.node.inventory import inventory
from eventing.node.log_store import line_document
from eventing.node.node import InvalidResources, Node
from eventing.node.node_usage import read_query
from eventing.node.wiring import DEFAULT_BROKER, Key
from eventing.resources import Identity

MAX_BODY = 64 << 20
FIRE_LIMIT = 20.0
"""Seconds that a sink has to take what a PingSource is told to send."""
HEARTBEAT = 15.0
"""Seconds without a record after which a stream sends an empty line, to notice a reader's end."""


def admin_app(node: Node) -> Starlette:
    """The ASGI app of one node's admin port."""
    api = _Api(node)
    return Starlette(
        routes=[
            Route("/healthz", api.healthz),
            Route("/readyz", api.readyz),
            Route("/api/v1/node", api.node),
            Route("/api/v1/nodes", api.nodes),
            Route("/api/v1/resources", api.resources, methods=["GET"]),
            Route("/api/v1/resources", api.apply, methods=["POST"]),
            Route("/api/v1/resources/{kind}/{namespace}/{name}", api.delete, methods=["DELETE"]),
            Route("/api/v1/activity", api.activity),
            Route("/api/v1/explain", api.explain, methods=["POST"]),
            Route("/api/v1/dead-letters", api.dead_letters),
            Route(
                "/api/v1/dead-letters/{namespace}/{broker}/{id}",
                api.dead_letter,
                methods=["GET"],
            ),
            Route("/api/v1/dead-letters/{namespace}/{broker}/{id}", api.drop, methods=["DELETE"]),
            Route(
                "/api/v1/dead-letters/{namespace}/{broker}/{id}/redrive",
                api.redrive,
                methods=["POST"],
            ),
            Route("/api/v1/replay", api.replay, methods=["POST"]),
            Route("/api/v1/fire", api.fire, methods=["POST"]),
            Route("/api/v1/rollout", api.rollout, methods=["GET"]),
            Route("/api/v1/rollout", api.begin_rollout, methods=["POST"]),
            Route("/api/v1/rollback", api.roll_back, methods=["POST"]),
            Route("/api/v1/logs", api.logs),
            Route("/api/v1/usage", api.usage),
        ],
        exception_handlers={
            HTTPException: _http_error,
            InvalidResources: _invalid_resources,
            UserError: _user_error,
            OperationError: _operation_error,
        },
        middleware=[Middleware(AdminGuard, loopback=is_loopback(node.config.admin_host))],
    )


class _Api:
    """One method a route."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def healthz(self, request: Request) -> Response:
        """The process lives and its loop turns."""
        return _json({"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """503 with the reason while the node takes no events."""
        reason = self._node.readiness()
        return _json({"ready": not reason, "reason": reason}, 503 if reason else 200)

    async def node(self, request: Request) -> Response:
        node = self._node
        return _json(
            {
                "name": node.runtime.name,
                "pid": os.getpid(),
                "ingress": node.ingress_url,
                "admin": node.admin_url,
                "uptime": time.time() - node.started_at,
                "paths": [str(path) for path in node.config.paths],
                "data": str(node.config.data.absolute()),
                "reload": node.config.reload,
                "reloadError": node.reload_error,
                "ready": not node.readiness(),
                "reason": node.readiness(),
            }
        )

    async def nodes(self, request: Request) -> Response:
        """Every node of the engine, this one included."""
        members = await self._node.membership.members()
        return _json(
            {
                "items": [
                    {"name": member.name, "seenAt": member.at, **member.document}
                    for member in members
                ]
            }
        )

    async def resources(self, request: Request) -> Response:
        """`kind`, `namespace`, `name` in the query narrow it down."""
        wanted = request.query_params
        items = [
            item
            for item in await inventory(self._node)
            if all(
                item[field] == wanted[field]
                for field in ("kind", "namespace", "name")
                if field in wanted
            )
        ]
        return _json({"items": items})

    async def apply(self, request: Request) -> Response:
        """The body is YAML; `file` in the query names it in error messages."""
        body = await _body(request)
        try:
            text = body.decode()
        except UnicodeDecodeError as error:
            raise UserError(f"the body is no UTF-8 text: {error}") from None
        applied = await self._node.apply(text, request.query_params.get("file", "<request>"))
        return _json(
            {
                "results": [
                    {"resource": str(identity), "result": result}
                    for identity, result in applied.results
                ],
                "warnings": [str(warning) for warning in applied.warnings],
            }
        )

    async def delete(self, request: Request) -> Response:
        """A Namespace stands in none: its namespace in the path is "-"."""
        path = request.path_params
        namespace = "" if path["namespace"] == "-" else path["namespace"]
        identity = Identity(path["kind"], namespace, path["name"])
        if not await self._node.delete(identity):
            raise HTTPException(404, f"there is no {identity}")
        return _json({"deleted": str(identity)})

    async def activity(self, request: Request) -> Response:
        """Every record as it happens, one JSON object a line; the first says that it listens."""
        return StreamingResponse(self._records(request), media_type="application/x-ndjson")

    async def _records(self, request: Request) -> AsyncIterator[bytes]:
        with self._node.activity.listen() as listener:
            yield orjson.dumps({"record": "listening", "at": time.time()}) + b"\n"
            while True:
                try:
                    record = await asyncio.wait_for(listener.get(), HEARTBEAT)
                except TimeoutError:
                    yield b"\n"
                    continue
                if record["record"] == "closing":
                    return
                yield orjson.dumps(record) + b"\n"

    async def explain(self, request: Request) -> Response:
        """The body is `{"event": {…}, "broker": "namespace/name"}`, the event in JSON format."""
        asked = await _json_body(request)
        event = _event(asked.get("event"))
        broker = asked.get("broker", DEFAULT_BROKER)
        wiring = self._node.runtime.wiring
        running = self._node.runtime.functions.plan
        explanations = explain(
            event,
            wiring.resources,
            broker=broker,
            conditions=wiring.conditions,
            then=lambda trigger: call_in_words(event, trigger, wiring, running),
        )
        return _json({"triggers": [each.document() for each in explanations]})

    async def dead_letters(self, request: Request) -> Response:
        """`broker`, `trigger`, `after` (an id) and `limit` in the query narrow it down."""
        query = request.query_params
        limit = min(_number(query.get("limit", "100"), "limit"), 1000)
        after = _number(query.get("after", "0"), "after")
        items = []
        for key, broker in tuple(self._node.runtime.brokers.items()):
            if query.get("broker", key) == key:
                found = await broker.dead_letters(query.get("trigger"), after=after, limit=limit)
                items += [_summary(key, letter) for letter in found]
        return _json({"items": items[:limit]})

    async def dead_letter(self, request: Request) -> Response:
        key, broker = self._broker(request)
        letter = await broker.dead_letter(_id(request))
        if letter is None:
            raise _no_dead_letter(request)
        whole = _summary(key, letter) | {"event": encode_object(letter.event)}
        whole["data"] = letter.failure.data.decode(errors="replace")
        return _json(whole)

    async def redrive(self, request: Request) -> Response:
        """`{"event": {…}}` in the body replaces the event; without a body it goes as it is."""
        key, broker = self._broker(request)
        letter = await broker.dead_letter(_id(request))
        if letter is None:
            raise _no_dead_letter(request)
        # Its subscription may be kept for a while yet, but nobody takes from it.
        # One without a trigger is the broker's own: every trigger gets it.
        if letter.trigger and self._node.runtime.wiring.subscriptions.get(letter.trigger) != key:
            raise UserError(
                f"dead letter {letter.id} was of trigger {letter.trigger}, which is gone; make the "
                "trigger again, or drop the dead letter"
            )
        event = None
        body = await _body(request)
        if body:
            event = _event(_parsed(body).get("event"))
        try:
            found = await broker.redrive(_id(request), event)
        except LookupError as error:
            raise UserError(str(error)) from None
        if not found:
            raise _no_dead_letter(request)
        return _json({"redriven": _id(request)})

    async def drop(self, request: Request) -> Response:
        _, broker = self._broker(request)
        if not await broker.drop([_id(request)]):
            raise _no_dead_letter(request)
        return _json({"dropped": _id(request)})

    async def replay(self, request: Request) -> Response:
        """`{"trigger": "namespace/name", "since": Unix seconds, "until": …}`, or `from` and `to`
        as positions of the log; without any, the whole log."""
        asked = await _json_body(request)
        trigger = asked.get("trigger")
        running = self._node.runtime.triggers.get(trigger) if isinstance(trigger, str) else None
        if running is None:
            raise UserError(f"there is no trigger {trigger}; 'eventing get triggers' lists them")
        start: Place = _position(asked, "from") or 1
        end: Place | None = _position(asked, "to")
        if (since := _time(asked, "since")) is not None:
            start = At(since)
        if (until := _time(asked, "until")) is not None:
            end = At(until)
        count = await running.subscription.replay(start, end)
        return _json({"trigger": trigger, "replayed": count})

    async def fire(self, request: Request) -> Response:
        """`{"source": "namespace/name"}`: the PingSource sends an event now; how that ended."""
        asked = await _json_body(request)
        namespace, slash, name = str(asked.get("source", "")).partition("/")
        if not slash:
            raise UserError("source must be namespace/name of a PingSource")
        try:
            id, end = await self._node.runtime.sources.fire(
                Identity("PingSource", namespace, name), FIRE_LIMIT
            )
        except LookupError:
            raise HTTPException(404, f"there is no PingSource {namespace}/{name}") from None
        return _json({"id": id, "end": end.how, "reason": end.reason})

    async def rollout(self, request: Request) -> Response:
        """Of the `function` (namespace/name) in the query: how the last one goes, or ended."""
        key = request.query_params.get("function", "")
        rollout = self._node.rollouts.find(key)
        if rollout is None:
            raise HTTPException(404, f"there was no rollout of function {key}")
        return _json(rollout_document(rollout))

    async def begin_rollout(self, request: Request) -> Response:
        """`{"function": "namespace/name", "to": revision, "plan": {…}}`; without `to`, to the
        latest. `plan` holds what differs from the function's own."""
        asked = await _json_body(request)
        rollout = await self._node.rollouts.begin(
            _text(asked, "function") or "", _text(asked, "to"), asked.get("plan") or {}
        )
        return _json(rollout_document(rollout))

    async def roll_back(self, request: Request) -> Response:
        """`{"function": "namespace/name", "to": revision}`; without `to`, to the one before."""
        asked = await _json_body(request)
        rollout = await self._node.rollouts.roll_back(
            _text(asked, "function") or "", _text(asked, "to")
        )
        return _json(rollout_document(rollout))

    async def logs(self, request: Request) -> Response:
        """`function` in the query, and `lines`, how many at the most."""
        query = request.query_params
        count = _number(query.get("lines", "200"), "lines")
        function = query.get("function", "")
        lines = self._node.logs.lines(function, count)
        return _json({"items": [line_document(line) for line in lines]})

    async def usage(self, request: Request) -> Response:
        """What functions have used on this node; for the query see read_query."""
        return _json(await self._node.usage.report(read_query(request.query_params)))

    def _broker(self, request: Request) -> tuple[Key, Broker]:
        key = f"{request.path_params['namespace']}/{request.path_params['broker']}"
        broker = self._node.runtime.brokers.get(key)
        if broker is None:
            raise HTTPException(404, f"there is no broker {key}")
        return key, broker


def _summary(broker: Key, letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "broker": broker,
        "trigger": letter.trigger,
        "event": identity(letter.event),
        "destination": letter.failure.destination,
        "code": letter.failure.code,
        "reason": letter.failure.reason,
        "attempts": letter.attempts,
        "at": letter.at,
        "position": letter.position,
    }


def _event(document: Any) -> Event:
    event = decode_object(document)
    validate_event(event)
    return event


def _no_dead_letter(request: Request) -> HTTPException:
    return HTTPException(404, f"there is no dead letter {request.path_params['id']}")


def _id(request: Request) -> int:
    return _number(request.path_params["id"], "the id of the dead letter")


def _number(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise UserError(f"{name} is {text[:40]!r}; it must be a whole number from 0 up")
    return int(text)


def _position(asked: dict[str, Any], name: str) -> int | None:
    value = asked.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise UserError(f"{name} is {value!r}; it must be a position of the log, from 1 up")
    return value


def _text(asked: dict[str, Any], name: str) -> str | None:
    value = asked.get(name)
    if value is not None and not isinstance(value, str):
        raise UserError(f"{name} is {value!r}; it must be a text")
    return value


def _time(asked: dict[str, Any], name: str) -> float | None:
    value = asked.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise UserError(f"{name} is {value!r}; it must be a time in Unix seconds")
    return value


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY:
            raise HTTPException(413, f"the body is over {MAX_BODY} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


async def _json_body(request: Request) -> dict[str, Any]:
    return _parsed(await _body(request))


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UserError(f"the body is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise UserError("the body must be a JSON object")
    return document


def _json(document: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": error.detail}, error.status_code)


async def _invalid_resources(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidResources)
    problems = [str(problem) for problem in error.problems]
    return _json({"error": str(error), "problems": problems}, 400)


async def _user_error(request: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 400)


async def _operation_error(request: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 429 if isinstance(error, BrokerFull) else 503)
