"""From the answers of calls to one response: what a broker makes of it decides."""

import pytest

from eventing.event import Event
from eventing.http_encoding import decode_http
from eventing.sdk.answer import Answer, answer_to_error
from eventing.sdk.failure import Reject, Retry
from eventing.sdk.http_response import response_to


def reply(id: str, **more: str) -> Event:
    return Event({"specversion": "1.0", "id": id, "source": "/f", "type": "r", **more}, b"x")


def test_no_reply_is_204_without_a_body():
    assert response_to([Answer(200)]) == (204, (), b"", False)
    assert response_to([]).status == 204


def test_one_reply_is_a_binary_event():
    response = response_to([Answer(200, (reply("1"),))])
    assert response.status == 200
    assert (b"ce-id", b"1") in response.headers and response.body == b"x"


@pytest.mark.parametrize(
    "answers",
    [
        [Answer(200, (reply("1"), reply("2")))],
        [Answer(200, (reply("1"),)), Answer(200), Answer(202, (reply("2"),))],
    ],
)
def test_several_replies_are_a_batch(answers):
    response = response_to(answers)
    assert response.status == 200
    events = decode_http(response.headers, response.body)
    assert [event.attributes["id"] for event in events] == ["1", "2"]


def test_a_reply_that_is_no_event_fails_the_attempt():
    response = response_to([Answer(200, (reply("1", time="yesterday"),))])
    assert response.status == 500 and b"yesterday" in response.body


def test_a_rejected_event_is_400_and_says_why():
    response = response_to([answer_to_error(Reject("no such size"))])
    assert (response.status, response.body) == (400, b"no such size")


@pytest.mark.parametrize(("after", "told"), [(0, b"0"), (0.2, b"1"), (2.1, b"3"), (60, b"60")])
def test_a_retry_is_503_with_the_time_in_whole_seconds_never_less(after, told):
    response = response_to([answer_to_error(Retry(after, "later"))])
    assert response.status == 503
    assert dict(response.headers)[b"retry-after"] == told


def test_a_retry_without_a_time_leaves_it_to_the_caller():
    assert b"retry-after" not in dict(response_to([answer_to_error(Retry())]).headers)


def test_an_exception_is_500_with_its_line_and_no_traceback():
    try:
        raise ValueError("boom")
    except ValueError as error:
        response = response_to([answer_to_error(error)])
    assert (response.status, response.body) == (500, b"ValueError: boom")


def test_in_a_batch_a_failure_that_is_retried_goes_before_one_that_is_not():
    rejected, retried = answer_to_error(Reject("bad")), answer_to_error(Retry(1, "later"))
    response = response_to([Answer(200), rejected, retried])
    assert (response.status, response.body) == (503, b"event [2] of the batch: later")
    response = response_to([Answer(200), rejected, rejected])
    assert (response.status, response.body) == (400, b"event [1] of the batch: bad")
