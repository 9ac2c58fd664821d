"""Transforms: events in, events out, and nothing that a bad expression could hold up."""

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from eventing.errors import InvalidExpression, UserError
from eventing.event import Event
from triggers.transform import TransformError, compile_transform
from triggers.transform_limits import Limits

LIMITS = Limits(seconds=0.1)


def event(data: bytes | None = b'{"size": 3, "tags": ["a", "b"]}', **attributes: str) -> Event:
    required = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}
    return Event(required | {"datacontenttype": "application/json"} | attributes, data)


def applied(expression: str, to: Event | None = None) -> Event:
    return compile_transform(expression, LIMITS).apply(to or event())


def data(expression: str, to: Event | None = None) -> Any:
    result = applied('$merge([$, {"data": ' + expression + "}])", to)
    return None if result.data is None else json.loads(result.data)


def test_the_whole_event_comes_out_as_it_went_in() -> None:
    assert applied("$") == event(b'{"size":3,"tags":["a","b"]}')


def test_attributes_and_data_can_be_changed() -> None:
    result = applied('$merge([$, {"type": "u", "region": "eu", "data": data.tags[0]}])')

    assert result == event(b'"a"', type="u", region="eu")


def test_only_what_the_expression_names_is_kept() -> None:
    result = applied('{"specversion": "1.0", "id": id, "source": source, "type": "u"}')

    assert result.attributes == {"specversion": "1.0", "id": "1", "source": "/s", "type": "u"}
    assert result.data is None


def test_integers_and_booleans_become_attributes() -> None:
    result = applied('$merge([$, {"size": data.size, "big": data.size > 2}])')

    assert (result.attributes["size"], result.attributes["big"]) == ("3", "true")


def test_nulls_and_ranges_and_nested_values_reach_the_data() -> None:
    assert data('{"a": null, "b": [1..3], "c": [[data.size]], "d": nothing}') == {
        "a": None,
        "b": [1, 2, 3],
        "c": [[3]],
    }


def test_text_data_is_a_string() -> None:
    result = applied(
        '$merge([$, {"data": $uppercase(data)}])', event(b"a", datacontenttype="text/plain")
    )

    assert result.data == b"A"


def test_data_that_is_no_json_is_there_as_base64() -> None:
    broken = event(b"\xff not json")

    assert applied("$", broken) == broken
    result = applied(
        '{"specversion": "1.0", "id": data_base64, "source": "/", "type": "t"}', broken
    )
    assert result.attributes["id"] == "/yBub3QganNvbg=="


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("'text'", "it gives a string"),
        ("[$, $]", "it gives an array"),
        ("nothing", "it gives nothing"),
        ("null", "it gives nothing"),
        ("42", "it gives a number"),
        ("function($x) {$x}", "gives a function"),
        ('$merge([$, {"data": $sum}])', "gives a function"),
        ('{"specversion": "1.0", "id": "1", "source": "/s"}', "'type' is missing"),
        ('$merge([$, {"type": ""}])', "'type'"),
        ('$merge([$, {"Bad-Name": "x"}])', "Bad-Name"),
        ('$merge([$, {"size": 1.5}])', "'size' is a fractional number"),
        ('$merge([$, {"time": "yesterday"}])', "no RFC 3339 timestamp"),
        ('"a" + 1', "left side of the + operator"),
        ("1 / 0", "division by zero"),
        ('$error("out of stock")', "out of stock"),
        ("$unknown()", "non-function"),
    ],
)
def test_a_result_that_is_no_event_says_what_is_wrong(expression: str, words: str) -> None:
    with pytest.raises(TransformError, match=re.escape(words)):
        applied(expression)


@pytest.mark.parametrize(
    ("expression", "position"),
    [("", 0), ("a +", 3), ("a.b)", 4), ('"abc', 4), ("/a", 2), ("x ~> y +", 8), ("[1, 2", 5)],
)
def test_an_expression_that_does_not_parse_is_refused_with_its_place(
    expression: str, position: int
) -> None:
    with pytest.raises(InvalidExpression) as caught:
        compile_transform(expression)
    assert caught.value.position == position


def test_an_expression_nested_too_deep_is_refused() -> None:
    with pytest.raises(InvalidExpression, match="too deep"):
        compile_transform("(" * 5000 + "1" + ")" * 5000)


def test_an_expression_cannot_take_hold_of_the_limits() -> None:
    with pytest.raises(InvalidExpression):
        compile_transform("($__evaluate_entry := 1; $)")


ENDLESS = "($f := function() { $f() }; $f())"


# Stopped within the collector of garbage, a callback that Hypothesis has there complains.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "expression",
    [
        ENDLESS,
        f"[1, {ENDLESS}]",
        f'{{"a": 1, "b": {ENDLESS}}}',
        f"$map([1..2], function($n) {{ {ENDLESS} }})",
        f"$eval('{ENDLESS}')",
        "($f := function($n) { $n + $f($n) }; true and $f(1))",
        "($f := function($n) { $n = 0 ? 1 : $f($n - 1) + $f($n - 1) }; $f(60))",
        "($g := function($f) { $f($f) }; $g($g))",
        "($f := function($s, $n) { $n = 0 ? $s : $f($s & $s, $n - 1) }; $f('abcdefgh', 40))",
        "($f := function($a, $n) { $n = 0 ? $a : $f($append($a, $a), $n - 1) }; $f([1, 2], 40))",
        '($f := function($o, $n) { $n = 0 ? $o : $f({"a": $o, "b": $o}, $n - 1) }; $f({}, 60))',
        "[1..9999999]",
        "$sum([1..9999999])",
        "$sort([1..100000], function($a, $b) { $a < $b })",
        "$pad('x', 2000000000)",
        "'x' ~> $pad(-2000000000, '-')",
    ],
)
def test_an_evaluation_without_end_is_stopped(expression: str) -> None:
    with pytest.raises(TransformError, match="was stopped"):
        applied(expression)


def test_a_regular_expression_that_backtracks_is_stopped_in_the_main_thread() -> None:
    assert threading.current_thread() is threading.main_thread()

    with pytest.raises(TransformError, match="CPU time"):
        applied("$match(data, /^(a+)+$/)", event(b'"' + b"a" * 40 + b'b"'))
    assert data("data.size") == 3


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_the_event_loop_goes_on_after_one_was_stopped(run: Callable[[Any], str]) -> None:
    async def node() -> str:
        with pytest.raises(TransformError, match="CPU time"):
            applied("$match(data, /^(a+)+$/)", event(b'"' + b"a" * 40 + b'b"'))
        return await asyncio.sleep(0.001, "goes on")

    assert run(node()) == "goes on"


def test_an_evaluation_in_another_thread_is_stopped_by_its_steps() -> None:
    caught: list[Exception] = []

    def run() -> None:
        try:
            applied(ENDLESS)
        except TransformError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    assert "was stopped" in str(caught[0])


def test_integers_beyond_64_bits_become_doubles() -> None:
    assert data("$power(2, 62) * 8") == 2.0**65


def test_recursion_within_the_limits_works() -> None:
    fac = "($f := function($n) { $n < 2 ? 1 : $n * $f($n - 1) }; $f(40))"
    assert data(fac) == pytest.approx(8.15915283247898e47)
    tail = "($f := function($n, $a) { $n = 0 ? $a : $f($n - 1, $a + 1) }; $f(1000, 0))"
    assert data(tail) == 1000


def test_the_interpreters_own_limit_stays_what_it_was() -> None:
    before = sys.getrecursionlimit()

    applied("$")
    with pytest.raises(TransformError):
        applied(ENDLESS)

    assert sys.getrecursionlimit() == before


def test_variables_do_not_outlive_an_event() -> None:
    transform = compile_transform(
        '($seen := $exists($seen) ? "leaked" : id; $merge([$, {"subject": $seen}]))'
    )

    assert transform.apply(event(id="1")).attributes["subject"] == "1"
    assert transform.apply(event(id="2")).attributes["subject"] == "2"


def test_transforms_do_not_see_each_other() -> None:
    now = compile_transform('$merge([$, {"subject": $string($millis() > 0)}])')
    other = compile_transform('($x := 5; $merge([$, {"subject": $string($eval("$x"))}]))')

    for _ in range(2):
        assert now.apply(event()).attributes["subject"] == "true"
        assert other.apply(event()).attributes["subject"] == "5"


def test_the_time_is_that_of_the_evaluation() -> None:
    transform = compile_transform('$merge([$, {"time": $now()}])')
    compile_transform("1")

    first = transform.apply(event()).attributes["time"]
    while transform.apply(event()).attributes["time"] == first:
        pass


def test_the_event_itself_is_never_changed() -> None:
    given = event()

    result = applied('$ ~> |$|{"type": "u"}|', given)

    assert result.attributes["type"] == "u"
    assert given == event()


def test_a_document_that_is_no_event_can_be_evaluated() -> None:
    assert compile_transform("a[b = 2].c").evaluate({"a": [{"b": 2, "c": "x"}]}) == "x"


@settings(max_examples=200, deadline=None)
@given(st.text() | st.text("$ab1.()[]{}:;,'\"`/\\*%^<>=!&|?~@#+- \n"))
def test_any_text_is_a_transform_or_refused(expression: str) -> None:
    try:
        compile_transform(expression, LIMITS).apply(event())
    except UserError:
        pass


def test_the_evaluator_is_imported_only_where_a_transform_is() -> None:
    script = "import sys, triggers.transform; sys.exit('jsonata' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
