"""Filters of triggers: what each dialect takes, what is refused, and why an event was not taken."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventing.errors import InvalidExpression
from eventing.event import Event
from triggers.filters import MAX_DEPTH, InvalidFilter, compile_filter

Spec = Mapping[str, Any]

EVENT = Event(
    {
        "specversion": "1.0",
        "id": "1",
        "source": "/shops/berlin",
        "type": "order.created",
        "region": "eu",
        "empty": "",
    }
)


def matches(*filters: Spec) -> bool:
    return compile_filter(None, filters).matches(EVENT)


def test_without_a_filter_every_event_matches() -> None:
    assert compile_filter(None, None).matches(EVENT)
    assert compile_filter({}, []).matches(EVENT)


@pytest.mark.parametrize(
    ("attributes", "wanted"),
    [
        ({"type": "order.created"}, True),
        ({"type": "order.created", "region": "eu"}, True),
        ({"type": "order.created", "region": "us"}, False),
        ({"type": "order"}, False),
        ({"region": ""}, True),
        ({"empty": ""}, False),
        ({"missing": ""}, False),
        ({"specversion": "1.0", "id": "1"}, True),
    ],
)
def test_filter_attributes_are_equal_all_and_the_empty_one_means_present(
    attributes: dict[str, str], wanted: bool
) -> None:
    assert compile_filter(attributes, None).matches(EVENT) is wanted


def test_filters_win_over_filter_attributes() -> None:
    assert compile_filter({"type": "other"}, [{"exact": {"region": "eu"}}]).matches(EVENT)


@pytest.mark.parametrize(
    ("filter_", "wanted"),
    [
        ({"exact": {"type": "order.created"}}, True),
        ({"exact": {"type": "order.created", "region": "us"}}, False),
        ({"prefix": {"type": "order."}}, True),
        ({"prefix": {"type": "created"}}, False),
        ({"prefix": {"missing": "a"}}, False),
        ({"suffix": {"type": ".created", "source": "berlin"}}, True),
        ({"suffix": {"type": "order"}}, False),
        ({"all": [{"exact": {"region": "eu"}}, {"prefix": {"type": "order"}}]}, True),
        ({"all": [{"exact": {"region": "eu"}}, {"prefix": {"type": "x"}}]}, False),
        ({"any": [{"exact": {"region": "us"}}, {"prefix": {"type": "order"}}]}, True),
        ({"any": [{"exact": {"region": "us"}}, {"prefix": {"type": "x"}}]}, False),
        ({"not": {"exact": {"region": "us"}}}, True),
        ({"not": {"exact": {"region": "eu"}}}, False),
        ({"not": {"exact": {"missing": "x"}}}, True),
        ({"cesql": "type LIKE 'order.%' AND region IN ('eu', 'us')"}, True),
        ({"cesql": "missing = 'x'"}, False),
        ({"cesql": "region"}, False),
        ({"not": {"cesql": "missing = 'x'"}}, True),
    ],
)
def test_dialects(filter_: Spec, wanted: bool) -> None:
    assert matches(filter_) is wanted


def test_every_filter_of_the_list_must_match() -> None:
    assert matches({"exact": {"region": "eu"}}, {"prefix": {"type": "order"}})
    assert not matches({"exact": {"region": "eu"}}, {"prefix": {"type": "x"}})


@pytest.mark.parametrize(
    ("filters", "path", "words"),
    [
        ([{"exakt": {"type": "x"}}], ("filters", 0, "exakt"), "did you mean exact?"),
        ([{"sql": "TRUE"}], ("filters", 0, "sql"), "did you mean cesql?"),
        ([{"what": "TRUE"}], ("filters", 0, "what"), "known are exact"),
        ([{}], ("filters", 0), "exactly one dialect, found none"),
        (
            [{"exact": {"type": "x"}, "not": {"cesql": "TRUE"}}],
            ("filters", 0),
            "found exact and not",
        ),
        (["type = 'x'"], ("filters", 0), "expected a filter"),
        ([{"exact": {}}], ("filters", 0, "exact"), "at least one attribute"),
        ([{"exact": "x"}], ("filters", 0, "exact"), "attributes and their values"),
        ([{"exact": {"": "x"}}], ("filters", 0, "exact", ""), "no attribute name"),
        ([{"exact": {"Type": "x"}}], ("filters", 0, "exact", "Type"), "lower-case"),
        ([{"exact": {"type\n": "x"}}], ("filters", 0, "exact", "type\n"), "no attribute name"),
        ([{"prefix": {"type": ""}}], ("filters", 0, "prefix", "type"), "EXISTS type"),
        ([{"suffix": {"size": 5}}], ("filters", 0, "suffix", "size"), "within quotes"),
        ([{"any": []}], ("filters", 0, "any"), "the list is empty"),
        ([{"all": {"exact": {}}}], ("filters", 0, "all"), "a list of filters"),
        ([{"not": [{"cesql": "TRUE"}]}], ("filters", 0, "not"), "expected a filter"),
        ([{"cesql": True}], ("filters", 0, "cesql"), "within quotes"),
        (
            [{"cesql": "TRUE"}, {"any": [{"not": {"cesql": "type = "}}]}],
            ("filters", 1, "any", 0, "not", "cesql"),
            "filters[1].any[0].not.cesql at character 8: expected an attribute",
        ),
    ],
)
def test_a_mistake_is_reported_with_its_path(
    filters: list[Any], path: tuple[str | int, ...], words: str
) -> None:
    with pytest.raises(InvalidFilter, match=re.escape(words)) as caught:
        compile_filter(None, filters)
    assert caught.value.path == path


def test_a_mistake_in_filter_attributes_is_reported_with_its_path() -> None:
    with pytest.raises(InvalidFilter) as caught:
        compile_filter({"ce-type": "x"}, None)
    assert caught.value.path == ("filter", "attributes", "ce-type")


def test_a_mistake_in_cesql_is_reported_with_its_offset() -> None:
    with pytest.raises(InvalidFilter) as caught:
        compile_filter(None, [{"cesql": "type = 'x' ADN id = '1'"}])
    assert caught.value.position == 11


def test_filters_nested_too_deep_are_refused() -> None:
    filter_: Spec = {"exact": {"type": "x"}}
    for _ in range(10 * MAX_DEPTH):
        filter_ = {"all": [filter_]}

    with pytest.raises(InvalidFilter, match="levels deep"):
        compile_filter(None, [filter_])


def test_a_filter_list_that_contains_itself_is_refused() -> None:
    filter_: dict[str, Any] = {}
    filter_["not"] = filter_

    with pytest.raises(InvalidFilter, match="levels deep"):
        compile_filter(None, [filter_])


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["exact", "prefix", "suffix", "all", "any", "not", "cesql"])
            | st.text(max_size=5),
            inner,
            max_size=2,
        )
    ),
)


@given(st.lists(ANYTHING, max_size=3))
def test_anything_is_a_filter_or_refused(filters: list[Any]) -> None:
    try:
        compile_filter(None, filters).explain(EVENT)
    except InvalidExpression as error:
        assert str(error).startswith("filters")


def explain(*filters: Spec) -> str:
    return str(compile_filter(None, filters).explain(EVENT))


@pytest.mark.parametrize(
    ("filters", "line"),
    [
        ([{"exact": {"region": "eu"}}], "matches"),
        (
            [{"exact": {"type": "x", "region": "eu"}}],
            'no match: filters[0].exact.type: wanted type = "x", but type is "order.created"',
        ),
        (
            [{"prefix": {"missing": "x"}}],
            'no match: filters[0].prefix.missing: wanted missing starting with "x", '
            "but the event has no missing",
        ),
        (
            [{"any": [{"exact": {"region": "us"}}, {"suffix": {"source": "bonn"}}]}],
            'no match: filters[0].any[0].exact.region: wanted region = "us", but region is "eu"; '
            'filters[0].any[1].suffix.source: wanted source ending with "bonn", '
            'but source is "/shops/berlin"',
        ),
        (
            [{"not": {"exact": {"region": "eu"}}}],
            'no match: filters[0].not: wanted not (region = "eu"), but region is "eu"',
        ),
        (
            [{"cesql": "type LIKE 'order%' AND region = 'us'"}],
            "no match: filters[0].cesql: wanted region = 'us', but region is \"eu\"",
        ),
        (
            [{"cesql": "type LIKE 'order%' AND size > 5"}],
            "no match: filters[0].cesql: wanted size > 5, but the event has no attribute size",
        ),
    ],
)
def test_a_verdict_is_one_line_for_people(filters: list[Spec], line: str) -> None:
    assert explain(*filters) == line


def test_a_verdict_names_every_clause_that_failed() -> None:
    filters = [
        {"exact": {"type": "x"}},
        {"exact": {"region": "eu"}},
        {"cesql": "TRUE AND source = '/'"},
    ]

    failed = compile_filter(None, filters).explain(EVENT).failed

    assert [(clause.path, clause.dialect, clause.attribute) for clause in failed] == [
        (("filters", 0, "exact", "type"), "exact", "type"),
        (("filters", 2, "cesql"), "cesql", "source"),
    ]
    assert failed[1].position == 9
    assert failed[1].found == {"source": "/shops/berlin"}


def test_a_verdict_on_filter_attributes_points_into_them() -> None:
    [failed] = compile_filter({"missing": ""}, None).explain(EVENT).failed

    assert failed.path == ("filter", "attributes", "missing")
    assert str(failed) == (
        "filter.attributes.missing: wanted missing to be there and not empty, "
        "but the event has no missing"
    )


def test_a_verdict_on_many_clauses_stays_short() -> None:
    line = explain({"any": [{"exact": {"type": f"type{n}"}} for n in range(100)]})

    assert line.endswith("and 94 more")
