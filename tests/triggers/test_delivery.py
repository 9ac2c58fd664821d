"""What follows from an answer: the delivery table of Knative, line by line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brokers.base import Dead, Delivery, Done, Failure, Outcome, Retry
from eventing.event import Event
from functions.base import Response
from triggers.delivery import (
    MAX_BACKOFF,
    DeliveryPolicy,
    backoff,
    decide,
    incoming_reply,
    outgoing,
    retryable,
)

EVENT = Event({"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}, b"x")
FAILURE = Failure("http://subscriber", 500, "boom", b"body")


def outcome(
    response: Response,
    *,
    attempt: int = 1,
    stage: str = "subscriber",
    sink: bool = False,
    **policy: object,
) -> Outcome:
    delivery = Delivery(EVENT, 1, attempt, stage, FAILURE if stage == "dead_letter" else None)
    return decide(
        delivery,
        response,
        DeliveryPolicy(**policy),
        destination="http://subscriber",
        has_sink=sink,
        now=1000.0,
    )


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_every_2xx_is_done(status):
    assert isinstance(outcome(Response(status)), Done)


@pytest.mark.parametrize("status", [0, 404, 408, 409, 429, 500, 501, 502, 503, 504, 599])
def test_retryable_answers_are_retried(status):
    assert retryable(status)
    assert isinstance(outcome(Response(status), retry=1), Retry)


@pytest.mark.parametrize("status", [100, 101, 301, 302, 307, 400, 401, 403, 405, 410, 413, 422])
def test_every_other_answer_fails_at_once(status):
    assert not retryable(status)
    assert isinstance(outcome(Response(status), retry=5), Dead)


def test_no_policy_means_no_retry():
    assert isinstance(outcome(Response(500)), Dead)


def test_retry_counts_the_tries_after_the_first_attempt():
    assert isinstance(outcome(Response(500), attempt=2, retry=2), Retry)
    assert isinstance(outcome(Response(500), attempt=3, retry=2), Dead)


def test_linear_backoff_waits_delay_times_k():
    policy = DeliveryPolicy(backoff_policy="linear", backoff_delay=2.0)
    assert [backoff(policy, k) for k in (1, 2, 3)] == [2.0, 4.0, 6.0]


def test_exponential_backoff_doubles_from_the_delay():
    policy = DeliveryPolicy(backoff_delay=0.5)
    assert [backoff(policy, k) for k in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 4.0]


@given(st.integers(1, 10**9), st.floats(0, 10**9), st.sampled_from(["linear", "exponential"]))
def test_backoff_is_bounded_whatever_the_count(retry, delay, policy):
    waits = backoff(DeliveryPolicy(backoff_policy=policy, backoff_delay=delay), retry)
    assert 0 <= waits <= MAX_BACKOFF


@pytest.mark.parametrize(
    ("status", "after", "bound", "wait"),
    [
        (503, 30.0, None, 30.0),
        (429, 30.0, None, 30.0),
        (503, 30.0, 10.0, 10.0),
        (503, 30.0, 0.0, 1.0),
        (503, 0.2, None, 1.0),
        (500, 30.0, None, 1.0),
    ],
    ids=[
        "503 honoured in full",
        "429 honoured in full",
        "bounded by retryAfterMax",
        "PT0S ignores it",
        "the larger of it and the backoff",
        "not for other statuses",
    ],
)
def test_retry_after(status, after, bound, wait):
    result = outcome(Response(status, retry_after=after), retry=3, retry_after_max=bound)
    assert isinstance(result, Retry)
    assert result.at == 1000.0 + wait


def test_spent_attempts_turn_to_the_sink_at_once():
    result = outcome(Response(500, body=b"body", reason="boom"), sink=True)
    assert isinstance(result, Retry)
    assert (result.stage, result.at) == ("dead_letter", 1000.0)
    assert result.failure == FAILURE


def test_the_sink_is_retried_by_the_same_policy_and_keeps_the_first_failure():
    result = outcome(Response(503, reason="down"), stage="dead_letter", retry=1, sink=True)
    assert isinstance(result, Retry)
    assert (result.stage, result.failure) == ("dead_letter", FAILURE)


def test_a_failing_sink_leaves_the_event_in_the_brokers_dead_letters():
    result = outcome(Response(400, reason="no"), stage="dead_letter", sink=True)
    assert isinstance(result, Dead)
    assert result.failure.code == 500
    assert result.failure.reason == "boom; the dead-letter sink failed too: no"


def test_answers_of_the_sink_are_no_replies():
    result = outcome(Response(200, replies=(EVENT,)), stage="dead_letter", sink=True)
    assert result == Done(Delivery(EVENT, 1, 1, "dead_letter", FAILURE))


def test_error_data_fits_in_1024_characters_of_base64():
    result = outcome(Response(500, body=b"x" * 5000))
    assert isinstance(result, Dead)
    assert len(result.failure.data) == 768


def test_a_subscriber_never_sees_the_brokers_ttl():
    event = Event({**EVENT.attributes, "knativebrokerttl": "7"}, b"x")
    assert outgoing(event) == EVENT


def test_a_reply_has_one_hop_less_and_stays_in_the_trace():
    cause = Event({**EVENT.attributes, "traceparent": "00-a-b-01", "tracestate": "x=1"}, None)
    reply = incoming_reply(EVENT, cause, 7)
    assert reply.attributes["knativebrokerttl"] == "6"
    assert reply.attributes["traceparent"] == "00-a-b-01"
    assert reply.attributes["tracestate"] == "x=1"


def test_a_replys_own_trace_is_kept():
    cause = Event({**EVENT.attributes, "traceparent": "00-a-b-01"}, None)
    reply = Event({**EVENT.attributes, "traceparent": "00-c-d-01"}, None)
    assert incoming_reply(reply, cause, 7).attributes["traceparent"] == "00-c-d-01"
