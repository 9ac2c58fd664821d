"""`python -m eventing.serve`: what a container answers to requests, for sync and async handlers."""

import json
import socket
from collections.abc import Iterator

import pytest
from serve_process import EVENT, ServeProcess, wait_for

from eventing.event import Event
from eventing.http_encoding import decode_http, encode_http_batch, encode_http_structured

APP = """
    import asyncio
    import sys
    import threading
    from eventing import CloudEvent, Context, Reject, Retry, function

    def answer(event, context):
        data = event.get_data()
        match data["do"]:
            case "reply":
                return {"said": data.get("say")}
            case "nothing":
                return None
            case "two":
                return [{"n": 1}, {"n": 2}]
            case "event":
                return context.event("made", b"raw", subject="ü")
            case "context":
                return {
                    "attempt": context.attempt,
                    "trigger": context.trigger,
                    "function": context.function,
                    "namespace": context.namespace,
                    "trace": context.trace.traceparent,
                    "timed": context.remaining is not None,
                    "main": threading.current_thread() is threading.main_thread(),
                }
            case "reject":
                raise Reject("can't be")
            case "retry":
                raise Retry(5, "not yet")
            case "boom":
                raise ValueError("boom")
            case "bad reply":
                event = CloudEvent({"type": "t", "source": "/"}, None)
                event.get_attributes()["Bad"] = "x"
                return event
            case "log":
                context.logger.info("working")
                print("printed")

    @function(timeout=20)
    def handler(event: CloudEvent, context: Context):
        return answer(event, context)

    @function(timeout=20)
    async def concurrent(event: CloudEvent, context: Context):
        return answer(event, context)

    @function
    def sizes(data: dict):
        return {"keys": len(data)}
"""


@pytest.fixture(scope="module", params=["handler", "concurrent"])
def served(request, tmp_path_factory) -> Iterator[ServeProcess]:
    process = ServeProcess(tmp_path_factory.mktemp("app"), APP, f"app:{request.param}")
    yield process
    process.close()


def test_returned_data_is_a_binary_event(served):
    status, headers, body = served.ask({"do": "reply", "say": "hello"})
    assert status == 200 and json.loads(body) == {"said": "hello"}
    assert headers["content-type"] == "application/json"
    assert headers["ce-type"] in ("handler.reply", "concurrent.reply")
    assert headers["ce-source"].startswith("/functions/default/")


def test_a_repeated_event_gets_the_same_reply(served):
    ids = {served.ask({"do": "reply"})[1]["ce-id"] for _ in range(2)}
    assert len(ids) == 1
    assert served.ask({"do": "reply"}, ce_id="8")[1]["ce-id"] not in ids


def test_no_reply_is_204(served):
    status, headers, body = served.ask({"do": "nothing"})
    assert (status, body) == (204, b"") and "content-length" not in headers


def test_several_replies_are_a_batch(served):
    status, headers, body = served.ask({"do": "two"})
    assert (status, headers["content-type"]) == (200, "application/cloudevents-batch+json")
    assert [each["data"] for each in json.loads(body)] == [{"n": 1}, {"n": 2}]


def test_attributes_of_a_reply_are_percent_encoded(served):
    _, headers, body = served.ask({"do": "event"})
    assert (headers["ce-subject"], body) == ("%C3%BC", b"raw")
    assert headers["content-type"] == "application/octet-stream"


def event(id: str, data: object) -> Event:
    attributes = {"specversion": "1.0", "id": id, "source": "/test", "type": "asked"}
    attributes["datacontenttype"] = "application/json"
    return Event(attributes, json.dumps(data).encode())


def test_a_structured_event_is_one_as_well(served):
    headers, body = encode_http_structured(event("1", {"do": "reply", "say": 5}))
    sent = {name.decode(): value.decode() for name, value in headers}
    status, _, answer = served.request(body=body, headers=sent)
    assert (status, json.loads(answer)) == (200, {"said": 5})


def batch(served: ServeProcess, *asked: dict) -> tuple[int, bytes, list[Event]]:
    headers, body = encode_http_batch(event(str(n), each) for n, each in enumerate(asked))
    sent = {name.decode(): value.decode() for name, value in headers}
    status, told, answer = served.request(body=body, headers=sent)
    raw = [(name.encode(), value.encode()) for name, value in told.items()]
    return status, answer, decode_http(raw, answer) if status == 200 else []


def test_a_batch_is_answered_as_a_whole(served):
    asked = [{"do": "reply", "say": 1}, {"do": "nothing"}, {"do": "reply", "say": 2}]
    status, _, replies = batch(served, *asked)
    assert status == 200
    assert [json.loads(reply.data or b"") for reply in replies] == [{"said": 1}, {"said": 2}]
    assert batch(served)[0] == 204


def test_a_batch_fails_with_the_failure_that_is_retried(served):
    status, answer, _ = batch(served, {"do": "reject"}, {"do": "reply"}, {"do": "retry"})
    assert (status, answer) == (503, b"event [2] of the batch: not yet")
    status, answer, _ = batch(served, {"do": "reply"}, {"do": "reject"})
    assert (status, answer) == (400, b"event [1] of the batch: can't be")


def test_what_fails_says_why_and_its_traceback_stays_in_the_log(served):
    assert served.ask({"do": "reject"})[::2] == (400, b"can't be")
    status, headers, body = served.ask({"do": "retry"})
    assert (status, headers["retry-after"], body) == (503, "5", b"not yet")
    assert served.ask({"do": "boom"}, ce_id="boom-1")[::2] == (500, b"ValueError: boom")
    status, _, body = served.ask({"do": "bad reply"})
    assert status == 500 and b"'Bad'" in body
    wait_for(lambda: served.said('raise ValueError("boom")'), "the traceback is in the log")
    assert served.said("ERROR eventing.serve [boom-1] Traceback")
    assert served.said("WARNING eventing.serve [7] rejected with 400: can't be")


def test_the_context_tells_what_is_known(served):
    told = json.loads(served.ask({"do": "context"})[2])
    assert (told["attempt"], told["trigger"], told["namespace"]) == (1, "", "default")
    assert told["timed"] and told["main"] and told["trace"] == ""


def test_a_node_tells_the_attempt_and_the_trigger(served):
    headers = {"eventing_attempt": "3", "eventing_trigger": "shop/price"}
    told = json.loads(served.ask({"do": "context"}, **headers)[2])
    assert (told["attempt"], told["trigger"]) == (3, "shop/price")
    assert json.loads(served.ask({"do": "context"}, eventing_attempt="x")[2])["attempt"] == 1


def test_the_trace_of_the_request_is_the_events_where_it_has_none(served):
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    _, headers, body = served.ask({"do": "context"}, traceparent=parent)
    assert json.loads(body)["trace"] == parent == headers["ce-traceparent"]
    own = f"00-{'c' * 32}-{'d' * 16}-01"
    told = served.ask({"do": "context"}, traceparent=parent, ce_traceparent=own)
    assert json.loads(told[2])["trace"] == own


def test_what_is_logged_carries_the_event(served):
    served.ask({"do": "log"}, ce_id="the%20id%0AERROR%20forged")
    wait_for(lambda: served.said("printed\n"), "what is printed is in the log")
    assert served.said("printed\n") and "\nERROR forged" not in served.log
    served.ask({"do": "log"}, ce_id="logged-1")
    wait_for(lambda: served.said("[logged-1] working\n"), "what is logged is there")


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        ({}, b"{}", b"ce-specversion"),
        (EVENT | {"ce-id": ""}, b"", b"ce-id"),
        (EVENT | {"ce-specversion": "0.3"}, b"", b"0.3"),
        ({"content-type": "application/cloudevents+json"}, b"{", b"JSON"),
        ({"content-type": "application/cloudevents+xml"}, b"<a/>", b"xml"),
    ],
)
def test_what_is_no_event_is_400_and_says_why(served, headers, body, reason):
    status, _, answer = served.request(body=body, headers=headers)
    assert status == 400 and reason in answer


def test_events_are_taken_at_any_path(served):
    headers = {"content-type": "application/json"} | EVENT
    assert served.request(path="/a/b?c", body=b'{"do": "reply"}', headers=headers)[0] == 200


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/readyz", "/health/readiness", "/health/liveness"]
)
def test_health_is_200(served, path):
    assert served.request("GET", path, headers={})[0] == 200
    assert served.request("HEAD", path, headers={})[::2] == (200, b"")


def test_other_methods_and_paths_are_told_what_there_is(served):
    status, headers, body = served.request("PUT", headers={})
    assert (status, headers["allow"]) == (405, "POST, GET, HEAD, OPTIONS") and b"POST" in body
    status, _, body = served.request("GET", "/metrics", headers={})
    assert status == 404 and b"/healthz" in body


def test_the_web_hook_handshake_is_answered(served):
    status, headers, _ = served.request("OPTIONS", headers={"webhook-request-origin": "e.org"})
    assert (status, headers["webhook-allowed-origin"]) == (200, "*")


def test_a_compressed_body_is_refused(served):
    status, _, body = served.request(body=b"x" * 9, headers=EVENT | {"content-encoding": "gzip"})
    assert status == 415 and b"gzip" in body


def test_data_that_does_not_fit_is_rejected_for_good(tmp_path):
    served = ServeProcess(tmp_path, APP, "app:sizes")
    try:
        assert served.ask({"a": 1})[::2] == (200, b'{"keys":1}')
        status, _, body = served.ask([1])
        assert status == 400 and b"array" in body
    finally:
        served.close()


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Iterator[ServeProcess]:
    process = ServeProcess(
        tmp_path_factory.mktemp("app"), APP, "app:handler", "--max-event-bytes=1000", "--access-log"
    )
    yield process
    process.close()


def test_a_request_over_the_limit_is_413_before_it_is_read(small):
    with socket.create_connection(("127.0.0.1", small.port), 20) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2000\r\n\r\n")
        assert connection.recv(99).startswith(b"HTTP/1.1 413 ")


def test_so_is_one_whose_length_is_not_told(small):
    connection = small.connect()
    connection.request("POST", "/", iter([b"x" * 600] * 3), EVENT)
    answer = connection.getresponse()
    assert answer.status == 413 and b"--max-event-bytes" in answer.read()
    connection.close()


def test_a_batch_may_be_four_times_as_large(small):
    padding = "x" * 300
    asked = [{"do": "reply", "say": n, "padding": padding} for n in range(4)]
    assert batch(small, *asked)[0] == 200
    assert batch(small, *asked * 4)[0] == 413


def test_the_access_log_has_a_line_for_each_request(small):
    small.request("GET", "/healthz", headers={})
    wait_for(lambda: small.said("INFO eventing.serve GET /healthz 200 "), "the request is told")
