"""Traffic policies of functions that run elsewhere: from the documents to one router of each."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from eventing.event import Event
from eventing.node.running_remotes import RunningRemotes
from eventing.node.wiring import Destination, Wiring, resolve
from eventing.resources import Identity, load_text
from functions.base import Call, Response
from functions.http.address import Address
from functions.http.client import HttpClient
from functions.http.target import HttpTarget
from functions.traffic.policy import (
    ConnectionPool,
    DestinationPolicy,
    HttpRoute,
    Policy,
    Retries,
)

FUNCTION = """\
apiVersion: functions/v1
kind: Function
metadata: {name: remote}
spec: {uri: "http://host:9000/base/", timeout: PT7S}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: t}
spec:
  broker: default
  subscriber: {ref: {kind: Function, name: remote}, uri: events}
  delivery: {format: json}
---
"""

POLICY = """\
apiVersion: functions/v1
kind: TrafficPolicy
metadata: {name: p}
spec:
  function: remote
  http: [{route: [{destination: {revision: %s}}], timeout: 3s}]
"""

DESTINATION = Destination("uri", "http://host/", "json", 7.0, function="default/remote")
BOUND = Policy(destination=DestinationPolicy(connection_pool=ConnectionPool(max_requests=1)))


def wired(text: str) -> Wiring:
    loaded = load_text(text, "w.yaml")
    assert loaded.errors == []
    return resolve(loaded.resources)


class Recorder:
    """Takes calls to one destination and keeps them; they are answered when the test says so."""

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self.calls: list[tuple[Call, Callable[[Response], None]]] = []

    def submit(self, call: Call, done: Callable[[Response], None]) -> None:
        self.calls.append((call, done))


class Elsewhere:
    """What was made of destinations, newest last."""

    def __init__(self) -> None:
        self.made: list[Recorder] = []

    def target(self, destination: Destination) -> Recorder:
        self.made.append(Recorder(destination))
        return self.made[-1]


def in_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(test())

    return run


def call(id: str = "1", timeout: float | None = None) -> Call:
    return Call(
        Event({"specversion": "1.0", "id": id, "source": "/s", "type": "a"}), 1, "t", timeout
    )


def test_a_destination_tells_whose_policy_counts_there() -> None:
    wiring = wired(FUNCTION + POLICY % "remote")
    assert wiring.triggers["default/t"].destination == Destination(
        "uri", "http://host:9000/base/events", "json", 7.0, function="default/remote"
    )
    [route] = wiring.remotes["default/remote"].routes
    assert route.timeout == 3.0
    assert wiring.conditions[Identity("TrafficPolicy", "default", "p")].ready


def test_its_one_revision_has_the_functions_own_name() -> None:
    wiring = wired(FUNCTION + POLICY % "remote-00001")
    assert wiring.remotes == {}
    condition = wiring.conditions[Identity("TrafficPolicy", "default", "p")]
    assert condition.message == (
        "spec.http[0].route[0].destination.revision: default/remote has no revision "
        'remote-00001; did you mean "remote"?'
    )
    assert wiring.triggers["default/t"].destination == Destination(
        "uri", "http://host:9000/base/events", "json", 7.0
    )


@in_a_loop
async def test_each_call_goes_the_way_of_its_destination_and_one_bound_counts_for_all() -> None:
    elsewhere = Elsewhere()
    remotes = RunningRemotes(elsewhere.target)
    remotes.renew({"default/remote": BOUND})
    plain = remotes.service(DESTINATION)
    below = remotes.service(Destination("uri", "http://host/below", function="default/remote"))
    assert plain is not None
    assert below is not None
    answers: list[Response] = []
    plain.submit(call("1"), answers.append)
    below.submit(call("2"), answers.append)
    first, second = elsewhere.made
    assert [len(first.calls), len(second.calls)] == [1, 0]
    first.calls[0][1](Response(200))
    assert [each[0].event.attributes["id"] for each in second.calls] == ["2"]
    second.calls[0][1](Response(204))
    assert [answer.status for answer in answers] == [200, 204]


@in_a_loop
async def test_counts_stay_over_a_change() -> None:
    elsewhere = Elsewhere()
    remotes = RunningRemotes(elsewhere.target)
    remotes.renew({"default/remote": BOUND})
    service = remotes.service(DESTINATION)
    assert service is not None
    service.submit(call(), lambda response: None)
    elsewhere.made[0].calls[0][1](Response(500))
    retried = Policy(routes=(HttpRoute(retries=Retries()),))
    remotes.renew({"default/remote": retried})
    service = remotes.service(DESTINATION)
    assert service is not None
    service.submit(call(), lambda response: None)
    assert [len(each.calls) for each in elsewhere.made] == [2]
    router = remotes.router("default/remote")
    assert router is not None
    assert (router.figures("remote").calls, router.figures("remote").errors) == (1, 1)


@in_a_loop
async def test_what_waits_at_a_policy_that_goes_is_sent() -> None:
    elsewhere = Elsewhere()
    remotes = RunningRemotes(elsewhere.target)
    remotes.renew({"default/remote": BOUND})
    service = remotes.service(DESTINATION, ordered=True)
    assert service is not None
    for id in ("1", "2", "3"):
        service.submit(call(id), lambda response: None)
    [target] = elsewhere.made
    assert len(target.calls) == 1
    remotes.renew({})
    assert len(target.calls) == 3
    assert remotes.router("default/remote") is None
    assert remotes.service(DESTINATION) is None


@in_a_loop
async def test_closing_answers_what_waits() -> None:
    elsewhere = Elsewhere()
    remotes = RunningRemotes(elsewhere.target)
    remotes.renew({"default/remote": BOUND})
    service = remotes.service(DESTINATION)
    assert service is not None
    answers: list[Response] = []
    service.submit(call("1"), answers.append)
    service.submit(call("2"), answers.append)
    remotes.close()
    assert [answer.status for answer in answers] == [503]


@pytest.mark.timeout(30)
@in_a_loop
async def test_the_functions_own_time_counts_where_it_is_shorter_than_what_a_call_names() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the client gives up
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    client = HttpClient()
    try:
        port = server.sockets[0].getsockname()[1]
        address = Address.parse(f"http://127.0.0.1:{port}/")
        target = HttpTarget(address, client=client, timeout=0.2, most=0.2)
        answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        target.submit(call(timeout=3600.0), answered.set_result)
        async with asyncio.timeout(20):
            response = await answered
        assert response.status == 0
        assert "0.2 s" in response.reason
    finally:
        await client.close()
        server.close()
