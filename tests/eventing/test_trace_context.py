"""The trace of an event as headers and back: what is passed on, what is dropped as invalid."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventing.trace_context import trace_extensions, trace_headers

IDS = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
PARENT = f"00-{IDS}-01"


def test_an_event_without_a_trace_has_no_headers() -> None:
    assert trace_headers({"id": "1"}) == []


@pytest.mark.parametrize("parent", [PARENT, f"00-{IDS}-ff", f"01-{IDS}-01", f"cc-{IDS}-01-more"])
def test_a_valid_traceparent_is_passed_on_as_it_is(parent: str) -> None:
    assert trace_headers({"traceparent": parent}) == [(b"traceparent", parent.encode())]


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "0",
        f" {PARENT}",
        f"{PARENT}\n",
        f"{PARENT}-more",
        f"ff-{IDS}-01",
        PARENT.upper(),
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        f"cc-{IDS}-01more",
        f"cc-{IDS}-01-\r\nx: y",
        f"cc-{IDS}-01-ü",
    ],
)
def test_an_invalid_traceparent_is_dropped_and_its_tracestate_with_it(parent: str) -> None:
    assert trace_headers({"traceparent": parent, "tracestate": "a=1"}) == []


def test_a_tracestate_alone_says_nothing() -> None:
    assert trace_headers({"tracestate": "a=1"}) == []


@pytest.mark.parametrize(
    "state",
    [
        "a=1",
        "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        "1tenant@ven-dor=a b",
        "a=1, ,b=2",
        "a=1 \t,\tb=2",
        f"{'k' * 256}={'v' * 256}",
        ",".join(f"k{n}=v" for n in range(32)),
    ],
)
def test_a_valid_tracestate_is_passed_on_as_it_is(state: str) -> None:
    headers = trace_headers({"traceparent": PARENT, "tracestate": state})
    assert headers == [(b"traceparent", PARENT.encode()), (b"tracestate", state.encode())]


@pytest.mark.parametrize(
    "state",
    [
        "",
        " , ",
        "a",
        "a=",
        "=1",
        "A=1",
        "1a=1",
        "a=1=2",
        "a =1",
        "a=ü",
        "a=1\r\nx: y",
        "a=1,a=2",
        "a=1,b",
        f"{'k' * 257}=v",
        f"k={'v' * 257}",
        ",".join(f"k{n}=v" for n in range(33)),
    ],
)
def test_an_invalid_tracestate_is_dropped_alone(state: str) -> None:
    headers = trace_headers({"traceparent": PARENT, "tracestate": state})
    assert headers == [(b"traceparent", PARENT.encode())]


@given(st.text(), st.text() | st.text("a1=, @\t\r\n"))
def test_no_value_brings_a_header_that_is_none(end: str, state: str) -> None:
    for _, value in trace_headers({"traceparent": f"cc-{IDS}-01{end}", "tracestate": state}):
        assert re.fullmatch(rb"[\t -~]+", value)


def test_headers_become_extensions_again() -> None:
    attributes = {"traceparent": PARENT, "tracestate": "a=1,b=2"}
    assert trace_extensions(trace_headers(attributes)) == attributes


def test_several_tracestate_headers_are_one_list() -> None:
    headers = [(b"traceparent", PARENT.encode()), (b"tracestate", b"a=1"), (b"tracestate", b"b=2")]
    assert trace_extensions(headers)["tracestate"] == "a=1,b=2"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"traceparent", b"nonsense")],
        [(b"traceparent", PARENT.encode())] * 2,
        [(b"tracestate", b"a=1")],
        [(b"traceparent", b"\xff")],
    ],
    ids=["none", "malformed", "twice", "state alone", "no text"],
)
def test_a_trace_that_is_none_adds_nothing(headers: list[tuple[bytes, bytes]]) -> None:
    assert trace_extensions(headers) == {}


def test_a_malformed_state_is_dropped_alone() -> None:
    headers = [(b"traceparent", PARENT.encode()), (b"tracestate", b"\xff=")]
    assert trace_extensions(headers) == {"traceparent": PARENT}
