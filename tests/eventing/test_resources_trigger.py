"""The Trigger: filters, delivery, order, start, transform; and the EventTransform."""

import pytest

from eventing.resources import Broker, Delivery, EventTransform, Trigger, load_text
from eventing.resources.delivery import DeliverySpec

TRIGGER = """\
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: t
  namespace: shop
ANNOTATIONS
spec:
  broker: default
  subscriber: {ref: {apiVersion: functions/v1, kind: Function, name: f}}
"""


def document(rest: str = "", annotations: str = "") -> str:
    return TRIGGER.replace("ANNOTATIONS", annotations and f"  annotations: {annotations}") + rest


def trigger(rest: str = "", annotations: str = "") -> Trigger:
    loaded = load_text(document(rest, annotations), "f.yaml")
    assert loaded.errors == []
    (resource,) = loaded.resources
    assert isinstance(resource, Trigger)
    return resource


def complaints(rest: str = "", annotations: str = "") -> list[str]:
    return [error.message for error in load_text(document(rest, annotations)).errors]


def broker(delivery: str) -> Broker:
    text = (
        "apiVersion: eventing.knative.dev/v1\nkind: Broker\nmetadata: {name: b, namespace: shop}\n"
    )
    (resource,) = load_text(f"{text}spec: {{delivery: {delivery}}}\n").resources
    assert isinstance(resource, Broker)
    return resource


def test_every_dialect_is_read() -> None:
    filters = trigger("""\
  filters:
    - exact: {type: a, source: /b}
    - not: {prefix: {type: com.}}
    - any: [{suffix: {subject: .png}}, {all: [{cesql: "TRUE"}]}]
""").spec.filters
    assert filters is not None
    exact, negated, either = filters
    assert exact.exact == {"type": "a", "source": "/b"}
    assert negated.not_ is not None
    assert negated.not_.prefix == {"type": "com."}
    assert either.any is not None
    assert either.any[1].all is not None
    assert either.any[1].all[0].cesql == "TRUE"


@pytest.mark.parametrize("rest", ["", "  filters: []\n", "  filter: {}\n", "  filters:\n"])
def test_no_filter_takes_many_forms(rest: str) -> None:
    assert not trigger(rest).spec.filters


@pytest.mark.parametrize(
    ("filter_", "complaint"),
    [
        ("{}", "spec.filters[0]: names no dialect; it takes one of exact, prefix, suffix, "),
        ("{exact: {}}", "spec.filters[0].exact: is empty"),
        ("{exact: {type: ''}}", "spec.filters[0].exact.type: is empty"),
        ("{exact: {'': a}}", 'spec.filters[0].exact: "" is no attribute name'),
        ("{prefix: {ce-type: a}}", 'spec.filters[0].prefix: "ce-type" is no attribute name'),
        ("{any: []}", "spec.filters[0].any: is empty"),
        ("{cesql: ''}", "spec.filters[0].cesql: is empty"),
        ("{not: [{cesql: a}]}", "spec.filters[0].not: has to be a mapping, not a list"),
        ("{exact: {a: b}, cesql: c}", 'spec.filters[0].cesql: stands beside "exact"; '),
        ("{exakt: {a: b}}", 'unknown field "exakt" in spec.filters[0]; did you mean "exact"?'),
    ],
)
def test_a_filter_names_one_dialect_and_says_something(filter_: str, complaint: str) -> None:
    assert complaints(f"  filters: [{filter_}]\n")[0].startswith(complaint)


def test_a_filter_by_attributes_may_ask_for_presence() -> None:
    filter_ = trigger('  filter: {attributes: {type: a, subject: ""}}\n').spec.filter
    assert filter_ is not None
    assert filter_.attributes == {"type": "a", "subject": ""}


def test_a_filter_beside_filters_has_no_effect() -> None:
    rest = "  filter: {attributes: {type: a}}\n  filters: [{exact: {type: b}}]\n"
    (warning,) = load_text(document(rest)).warnings
    assert warning.message == 'filter has no effect: "filters" takes its place'


def test_the_broker_is_named_or_referred_to_not_both() -> None:
    assert str(trigger().broker) == "Broker/shop/default"
    reference = "brokerRef: {kind: Broker, name: b, namespace: other}"
    text = document().replace("broker: default", reference)
    (resource,) = load_text(text).resources
    assert isinstance(resource, Trigger)
    assert str(resource.broker) == "Broker/other/b"
    assert complaints(f"  {reference}\n") == [
        'spec.brokerRef: stands beside "broker"; keep one of them'
    ]
    (error,) = load_text(document().replace("  broker: default\n", "")).errors
    assert error.message == 'spec: names no broker; add "broker"'


@pytest.mark.parametrize(
    ("subscriber", "complaint"),
    [
        ("{}", 'spec.subscriber: needs a "ref" or a "uri"'),
        ("{uri: /path}", 'spec.subscriber.uri: "/path" is no absolute URI'),
        ("{uri: 'ftp://a'}", 'spec.subscriber.uri: "ftp://a": only http and https'),
        ("{uri: 'http://a:b'}", 'spec.subscriber.uri: "http://a:b" is no URI'),
        ("{uri: 'http://a/b c'}", 'spec.subscriber.uri: "http://a/b c" is no URI: white space'),
        ("{ref: {kind: Channel, name: s}}", "spec.subscriber.ref: a reference to a Channel needs"),
        ("{ref: {kind: Function}}", '"name" is missing in spec.subscriber.ref'),
        (
            "{ref: {kind: Function, name: f}, uri: 'http://a'}",
            "spec.subscriber.uri: is absolute, beside a ref it is a path below it",
        ),
        (
            "{ref: {kind: X, name: x, apiVersion: a/v1, group: b}}",
            'spec.subscriber.ref.group: is not the group of apiVersion "a/v1"',
        ),
    ],
)
def test_a_subscriber_is_a_ref_or_an_address(subscriber: str, complaint: str) -> None:
    text = document()
    text = f"{text[: text.index('  subscriber')]}  subscriber: {subscriber}\n"
    (error,) = load_text(text).errors
    assert error.message.startswith(complaint)


def test_a_subscriber_may_be_a_path_below_a_ref() -> None:
    text = document().replace("name: f}}", "name: f}, uri: /path}")
    (resource,) = load_text(text).resources
    assert isinstance(resource, Trigger)
    assert resource.subscriber.uri == "/path"
    assert str(resource.subscriber.reference) == "Function/shop/f"


def test_delivery_has_defaults() -> None:
    assert trigger().delivery() == Delivery(
        retry=0, backoff_policy="exponential", backoff_delay=1.0, timeout=None, retry_after_max=None
    )


def test_a_triggers_delivery_replaces_its_brokers_as_a_whole() -> None:
    inherited = broker("{retry: 3, timeout: PT5S}")
    assert trigger().delivery(inherited).retry == 3
    own = trigger("  delivery: {backoffDelay: PT2S, retry: 1}\n").delivery(inherited)
    assert own == Delivery(retry=1, backoff_delay=2.0)


def test_the_dead_letter_sink_falls_back_to_the_brokers() -> None:
    inherited = broker("{deadLetterSink: {ref: {kind: Function, name: dead}}}")
    sink = trigger("  delivery: {retry: 1}\n").delivery(inherited).dead_letter_sink
    assert str(sink) == "Function/shop/dead"
    own = trigger("  delivery: {deadLetterSink: {uri: 'http://own/'}}\n")
    assert str(own.delivery(inherited).dead_letter_sink) == "http://own/"


@pytest.mark.parametrize(
    ("delivery", "complaint"),
    [
        ("{retry: -1}", "spec.delivery.retry: has to be at least 0"),
        ("{retry: 3.5}", "spec.delivery.retry: has to be a whole number"),
        ("{retry: true}", "spec.delivery.retry: has to be a whole number"),
        ("{backoffPolicy: Linear}", 'spec.delivery.backoffPolicy: has to be "linear" or "expon'),
        ("{timeout: PT0S}", 'spec.delivery.timeout: "PT0S" has to be more than zero'),
        ("{retryAfterMax: 5}", "spec.delivery.retryAfterMax: has to be text, not the number 5"),
        ("{format: xml}", 'spec.delivery.format: has to be "binary" or "json", not the text "xml"'),
    ],
)
def test_a_mistaken_delivery_is_told(delivery: str, complaint: str) -> None:
    (message,) = complaints(f"  delivery: {delivery}\n")
    assert message.startswith(complaint)


def test_backoff_without_retries_has_no_effect() -> None:
    (warning,) = load_text(document("  delivery: {backoffDelay: PT1S}\n")).warnings
    assert warning.message.startswith('backoffDelay has no effect without "retry"')


def test_delivery_made_in_code_uses_python_names() -> None:
    assert DeliverySpec(backoff_delay="PT1S").model_dump(by_alias=True, exclude_unset=True) == {
        "backoffDelay": "PT1S"
    }


def test_order_is_an_annotation() -> None:
    assert trigger().order == "unordered"
    annotation = "{kafka.eventing.knative.dev/delivery.order: ordered}"
    assert trigger(annotations=annotation).order == "ordered"
    (message,) = complaints(annotations=annotation.replace("ordered}", "Ordered}"))
    assert message.endswith('"Ordered" is neither "ordered" nor "unordered"')


@pytest.mark.parametrize(
    ("written", "start"),
    [
        ("earliest", 0.0),
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01T02:00:00.5+02:00", 0.5),
    ],
)
def test_a_start_is_an_annotation(written: str, start: float) -> None:
    assert trigger().start is None
    assert trigger(annotations=f"{{eventing.dev/start: '{written}'}}").start == start


@pytest.mark.parametrize(
    "written", ["latest", "2026-01-31", "2026-01-31T12:00:00", "2026-13-01T00:00:00Z"]
)
def test_a_mistaken_start_is_told(written: str) -> None:
    (message,) = complaints(annotations=f"{{eventing.dev/start: '{written}'}}")
    assert f'"{written}" is neither "earliest" nor a time with its zone' in message


def test_an_unknown_annotation_of_ours_is_an_error_and_of_knatives_a_warning() -> None:
    (message,) = complaints(annotations="{eventing.dev/starts: earliest}")
    assert message.endswith('unknown annotation; did you mean "eventing.dev/start"?')
    loaded = load_text(document(annotations="{eventing.knative.dev/injection: enabled, a/b: c}"))
    assert [w.message for w in loaded.warnings] == [
        "eventing.knative.dev/injection has no effect in this version"
    ]


def test_a_transform_is_an_expression() -> None:
    assert trigger().transform is None
    assert trigger("  transform: {jsonata: {expression: $}}\n").transform == "$"
    assert complaints("  transform: {}\n") == ['"jsonata" is missing in spec.transform']


TRANSFORM = """\
apiVersion: eventing.knative.dev/v1alpha1
kind: EventTransform
metadata: {name: t, namespace: shop}
spec:
  jsonata:
    expression: |
      {"a": $.data}
"""


def test_an_event_transform_replies_or_sends_on() -> None:
    (plain,) = load_text(TRANSFORM).resources
    assert isinstance(plain, EventTransform)
    assert (plain.expression, plain.sink) == ('{"a": $.data}\n', None)
    rest = "  sink: {ref: {kind: Broker, name: b}}\n  reply: {jsonata: {expression: $}}\n"
    (sending,) = load_text(TRANSFORM + rest).resources
    assert isinstance(sending, EventTransform)
    assert str(sending.sink) == "Broker/shop/b"
    assert (sending.reply_expression, sending.discards_reply) == ("$", False)
    assert [str(ref) for ref in sending.references()] == ["Broker/shop/b"]


@pytest.mark.parametrize(
    ("rest", "complaint"),
    [
        ("  reply: {discard: true}\n", 'spec.reply: needs a "sink" whose reply it is'),
        (
            "  sink: {uri: 'http://a'}\n  reply: {discard: true, jsonata: {expression: $}}\n",
            'spec.reply.discard: stands beside "jsonata"; keep one of them',
        ),
        (
            "  sink: {uri: 'http://a'}\n  reply: {discard: yes}\n",
            'spec.reply.discard: has to be true or false, not the text "yes"',
        ),
    ],
)
def test_a_mistaken_event_transform_is_told(rest: str, complaint: str) -> None:
    (error,) = load_text(TRANSFORM + rest).errors
    assert error.message == complaint
