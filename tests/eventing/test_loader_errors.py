"""Mistakes in resources: each told with its place and its remedy, all at once."""

import pytest

from eventing.resources import load_text

TRIGGER = """\
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: t
spec:
  broker: default
  subscriber: {uri: "http://localhost:9000/"}
"""


def complaints(text: str) -> list[str]:
    return [str(problem) for problem in load_text(text, "f.yaml").errors]


def test_all_mistakes_of_all_documents_are_told_in_order() -> None:
    text = f"""{TRIGGER}  filters:
    - exact: {{type: 1, Kind: x}}
  delivery: {{retry: "5", backofDelay: PT1S, timeout: 5s}}
---
kind: Brokr
apiVersion: eventing.knative.dev/v1
"""
    assert complaints(text) == [
        "f.yaml:9:21: spec.filters[0].exact.type: has to be text, not the number 1; "
        'write it in quotes: "1"',
        'f.yaml:9:24: spec.filters[0].exact: "Kind" is no attribute name: lower-case letters '
        'and digits, a letter first; "kind" would do',
        'f.yaml:10:21: spec.delivery.retry: has to be a whole number, not the text "5"',
        'f.yaml:10:26: unknown field "backofDelay" in spec.delivery; did you mean "backoffDelay"?',
        'f.yaml:10:54: spec.delivery.timeout: "5s" is no ISO 8601 duration such as "PT30S", '
        '"PT1M30S" or "P7D"; did you mean "PT5S"?',
        'f.yaml:12:7: unknown kind "Brokr"; did you mean "Broker"?',
    ]


@pytest.mark.parametrize(
    ("written", "home"),
    [("retry", "delivery.retry"), ("dead_letter_sink", "delivery.deadLetterSink")],
)
def test_a_field_at_the_wrong_level_is_shown_its_home(written: str, home: str) -> None:
    assert complaints(f"{TRIGGER}  {written}: 3\n") == [
        f'f.yaml:8:3: unknown field "{written}" in spec; did you mean spec.{home}?'
    ]


def test_a_field_like_no_other_is_shown_them_all() -> None:
    (complaint,) = complaints(f"{TRIGGER}  zzz: 3\n")
    assert complaint.startswith('f.yaml:8:3: unknown field "zzz" in spec; known are: broker, ')


def test_python_names_are_no_field_names() -> None:
    (complaint,) = complaints(f"{TRIGGER}  broker_ref: {{kind: Broker, name: a}}\n")
    assert complaint.endswith('unknown field "broker_ref" in spec; did you mean "brokerRef"?')


def test_a_missing_field_points_at_what_lacks_it() -> None:
    text = TRIGGER.replace('  subscriber: {uri: "http://localhost:9000/"}\n', "")
    assert complaints(text) == ['f.yaml:5:1: "subscriber" is missing in spec']


def test_an_empty_section_is_said_to_be_empty() -> None:
    text = TRIGGER[: TRIGGER.index("  broker")]
    assert complaints(text) == ["f.yaml:5:6: spec: has to be a mapping, not empty"]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("name: t", "name: My_T", '5:9: metadata.name: "My_T" is no valid name'),
        ("name: t", "name: 1", "5:9: metadata.name: has to be text, not the number 1"),
        ("broker: default", "broker: [a]", "7:11: spec.broker: has to be text, not a list"),
        ("broker: default", "filters: {}", "7:12: spec.filters: has to be a list, not a mapping"),
    ],
)
def test_a_value_of_the_wrong_form_is_told_the_right_one(
    old: str, new: str, complaint: str
) -> None:
    text = "# a comment\n" + TRIGGER.replace(old, new)
    assert complaints(text)[0].startswith(f"f.yaml:{complaint}")


@pytest.mark.parametrize("kind", ["KafkaChannel", "SinkBinding", "Sequence", "Deployment"])
def test_kinds_of_knative_that_are_not_supported_say_so(kind: str) -> None:
    text = f"apiVersion: x/v1\nkind: {kind}\nmetadata: {{name: a}}\n"
    assert complaints(text) == [f"f.yaml:2:7: kind {kind} is not supported by this version"]


def test_another_version_of_a_kind_names_the_supported_one() -> None:
    assert complaints(TRIGGER.replace("dev/v1", "dev/v1beta1")) == [
        'f.yaml:1:13: apiVersion "eventing.knative.dev/v1beta1" of Trigger is not supported; '
        'this version has "eventing.knative.dev/v1"'
    ]


def test_an_older_version_of_a_kind_that_says_the_same_is_taken() -> None:
    text = """\
apiVersion: sources.knative.dev/v1beta2
kind: PingSource
metadata: {name: a}
spec:
  schedule: "* * * * *"
  sink: {ref: {kind: Broker, apiVersion: eventing.knative.dev/v1, name: default}}
"""
    assert complaints(text) == []
    assert complaints(text.replace("v1beta2", "v1beta1")) == [
        'f.yaml:1:13: apiVersion "sources.knative.dev/v1beta1" of PingSource is not supported; '
        'this version has "sources.knative.dev/v1"'
    ]


@pytest.mark.parametrize("text", ["text", "- a\n", "kind: Broker\n", "kind: [a]\napiVersion: v1\n"])
def test_what_is_no_resource_is_told_what_one_is(text: str) -> None:
    (complaint,) = complaints(text)
    assert complaint.endswith("a resource is a mapping with an apiVersion and a kind, both text")


def test_a_resource_defined_twice_names_both_places() -> None:
    loaded = load_text(f"{TRIGGER}---\n{TRIGGER}", "f.yaml")
    assert [str(error) for error in loaded.errors] == [
        "f.yaml:9:1: Trigger/default/t is defined twice, first at f.yaml:1:1"
    ]
    assert len(loaded.resources) == 1


def test_the_same_name_in_another_namespace_is_another_resource() -> None:
    other = TRIGGER.replace("name: t", "name: t\n  namespace: other")
    loaded = load_text(f"{TRIGGER}---\n{other}")
    assert [str(r.identity) for r in loaded.resources] == ["Trigger/default/t", "Trigger/other/t"]


def test_the_items_of_a_list_are_resources_with_places_of_their_own() -> None:
    item = "\n".join(f"    {line}" for line in TRIGGER.splitlines()).replace("    ", "  - ", 1)
    text = f"apiVersion: v1\nkind: List\nitems:\n{item}\n      retry: 3\n"
    assert complaints(text) == [
        'f.yaml:11:7: unknown field "retry" in spec; did you mean spec.delivery.retry?'
    ]


def test_what_has_no_effect_is_a_warning() -> None:
    text = TRIGGER.replace('9000/"', '9000/", audience: me')
    loaded = load_text(text, "f.yaml")
    assert len(loaded.resources) == 1
    assert [str(warning) for warning in loaded.warnings] == [
        "f.yaml:7:47: audience has no effect: requests carry no OIDC token yet",
    ]


def test_a_mistake_in_a_secret_never_shows_its_value() -> None:
    text = """\
apiVersion: v1
kind: Secret
metadata: {name: s}
data: {a: "hunter2!", b: 4711, c: [4712]}
stringData: {d: 0815}
"""
    told = complaints(text)
    assert len(told) == 4
    assert not any(word in line for line in told for word in ("hunter2", "471", "815"))


@pytest.mark.parametrize("value", ["!hunter2", "*hunter2", "&hunter2 @", "@hunter2", '"\\hunter2"'])
def test_a_secret_that_yaml_takes_for_something_else_does_not_show_either(value: str) -> None:
    text = f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData:\n  a: {value}\n"
    (complaint, *_) = complaints(text)
    assert complaint.startswith("f.yaml:5:")
    assert "hunter" not in complaint
