"""The filter index: it answers as the filters themselves would, whatever they are."""

from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from eventing.event import Event
from triggers.clauses import AttributeClause, Predicate
from triggers.filter_index import FilterIndex, Key, conditions
from triggers.filters import Filter, compile_filter

NAMES = ["type", "source", "x", "y"]
TEXTS = ["a", "ab", "aba", "b", "ba", "1", "01", "-1", "true", "TRUE", "a%", "é"]

names = st.sampled_from(NAMES)
texts = st.sampled_from(TEXTS)
literals = (
    texts.map(lambda text: f"'{text}'") | st.sampled_from(["1", "-1", "0", "TRUE", "FALSE"]) | names
)
patterns = st.lists(st.sampled_from(["a", "b", "%", "_", "\\%", "\\_"]), max_size=4).map("".join)
atoms = st.one_of(
    st.tuples(literals, st.sampled_from(["=", "!=", "<", ">="]), literals).map(" ".join),
    st.tuples(names, st.lists(literals, min_size=1, max_size=3)).map(
        lambda parts: f"{parts[0]} IN ({', '.join(parts[1])})"
    ),
    st.tuples(names, patterns).map(lambda parts: f"{parts[0]} LIKE '{parts[1]}'"),
    st.tuples(names, texts).map(lambda parts: f"{parts[0]} NOT LIKE '{parts[1]}%'"),
    names.map(lambda name: f"EXISTS {name}"),
    names.map(lambda name: f"UPPER({name}) = 'A'"),
    names,
    st.sampled_from(["TRUE", "FALSE"]),
)
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["AND", "OR", "XOR"]), inner).map(
            lambda parts: f"({' '.join(parts)})"
        ),
        inner.map(lambda text: f"NOT ({text})"),
    ),
    max_leaves=5,
)
pairs = st.dictionaries(names, texts, min_size=1, max_size=2)
specs: st.SearchStrategy[Mapping[str, Any]] = st.recursive(
    st.one_of(
        st.builds(lambda content: {"exact": content}, pairs),
        st.builds(lambda content: {"prefix": content}, pairs),
        st.builds(lambda content: {"suffix": content}, pairs),
        st.builds(lambda content: {"cesql": content}, expressions),
    ),
    lambda inner: st.one_of(
        st.builds(lambda content: {"all": content}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda content: {"any": content}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda content: {"not": content}, inner),
    ),
    max_leaves=4,
)
filters = st.one_of(
    st.lists(specs, max_size=2).map(lambda given: compile_filter(None, given)),
    st.dictionaries(names, texts | st.just(""), max_size=2).map(
        lambda given: compile_filter(given, None)
    ),
)
events = st.dictionaries(names, texts | st.text("ab1", max_size=5), max_size=4).map(Event)


@settings(max_examples=300, deadline=None)
@given(st.lists(filters, max_size=12), st.lists(events, min_size=1, max_size=4))
def test_it_routes_as_the_filters_themselves_would(
    given_filters: list[Filter], given_events: list[Event]
) -> None:
    triggers = {f"trigger{number}": each for number, each in enumerate(given_filters)}
    index = FilterIndex(triggers)

    for event in given_events:
        routed = list(index.route(event))
        assert sorted(routed) == sorted(name for name, f in triggers.items() if f.matches(event))
        assert all(index.accepts(name, event) == (name in routed) for name in triggers)


@settings(max_examples=300, deadline=None)
@given(filters, events)
def test_every_event_that_a_filter_takes_meets_all_its_conditions(
    given_filter: Filter, event: Event
) -> None:
    def holds(key: Key) -> bool:
        value = event.attributes.get(key.attribute)
        if value is None:
            return False
        match key.kind:
            case "present":
                return True
            case "integer":
                return int(value) == int(key.text)
            case test:
                return AttributeClause(test, key.attribute, key.text).predicate()(event.attributes)

    if given_filter.matches(event):
        for condition in conditions(given_filter.clause):
            assert any(holds(key) for key in condition)


@settings(deadline=None)
@given(filters, events)
def test_a_filter_explains_what_it_does(given_filter: Filter, event: Event) -> None:
    verdict = given_filter.explain(event)

    assert verdict.matches is given_filter.matches(event)
    assert bool(verdict.failed) is not verdict.matches


class Counting(Filter):
    """A filter that counts how often it is asked."""

    __slots__ = ("asked",)

    def __init__(self, spec: Mapping[str, Any]) -> None:
        super().__init__(compile_filter(None, [spec]).clause)
        self.asked = 0
        accepts: Predicate = self.accepts

        def counting(attributes: Mapping[str, str]) -> bool:
            self.asked += 1
            return accepts(attributes)

        self.accepts = counting


def asked(specs_by_trigger: list[Mapping[str, Any]], event: Event) -> int:
    triggers = {f"trigger{n}": Counting(spec) for n, spec in enumerate(specs_by_trigger)}
    FilterIndex(triggers).route(event)
    return sum(each.asked for each in triggers.values())


def test_only_filters_that_may_match_are_asked() -> None:
    event = Event({"type": "order.7.created", "source": "/shops/7/tills", "x": "7"})
    kinds: list[Any] = [
        lambda n: {"exact": {"type": f"order.{n}.created"}},
        lambda n: {"prefix": {"type": f"order.{n}."}},
        lambda n: {"suffix": {"type": f".{n}.created"}},
        lambda n: {"cesql": f"type = 'order.{n}.created'"},
        lambda n: {"cesql": f"'{n}' = x"},
        lambda n: {"cesql": f"x = {n}"},
        lambda n: {"cesql": f"x IN ({n}, 'other{n}')"},
        lambda n: {"cesql": f"type LIKE 'order.{n}.%'"},
        lambda n: {"cesql": f"EXISTS x AND (source LIKE '/shops/{n}/%' OR x = 'x{n}')"},
        lambda n: {"all": [{"exact": {"source": "/shops/7/tills"}}, {"exact": {"x": f"{n}"}}]},
        lambda n: {"any": [{"exact": {"type": f"t{n}"}}, {"prefix": {"source": f"/shops/{n}/"}}]},
    ]
    for kind in kinds:
        assert asked([kind(n) for n in range(50)], event) == 1


def test_identical_filters_are_asked_once() -> None:
    spec = {"not": {"exact": {"type": "x"}}}

    assert asked([spec] * 50, Event({"type": "t"})) == 1


def test_prefixes_of_prefixes_are_all_found() -> None:
    triggers = {
        text: compile_filter(None, [{"prefix": {"type": text}}])
        for text in ("a", "ab", "abc", "abcd", "abd", "b")
    }

    assert sorted(FilterIndex(triggers).route(Event({"type": "abce"}))) == ["a", "ab", "abc"]


def test_an_unknown_trigger_takes_nothing() -> None:
    assert not FilterIndex({}).accepts("gone", Event({"type": "t"}))
