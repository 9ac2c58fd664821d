"""From documents to a wiring: references, inheritance, overrides, and what is not ready why."""

from pathlib import Path
from textwrap import dedent

import pytest

from eventing.node.checks import check
from eventing.node.wiring import Code, Destination, Discovered, RevisionPlan, Wiring, resolve
from eventing.resources import Identity, load_text

CODE = Code(Path("/project"), 1)


def found(name: str = "thumbnail", **options: object) -> Discovered:
    return Discovered(name, "default", f"app:{name}", CODE, True, "/project/app.py", 3, **options)


def wired(text: str, *discovered: Discovered, failures: dict[Path, str] | None = None):
    loaded = load_text(dedent(text), "wiring.yaml")
    assert loaded.errors == []
    return resolve(loaded.resources, discovered, failures)


def trigger(name: str = "t", **spec: str) -> str:
    lines = [
        "apiVersion: eventing.knative.dev/v1",
        "kind: Trigger",
        f"metadata: {{name: {name}}}",
        "spec:",
        f"  broker: {spec.pop('broker', 'default')}",
        f"  subscriber: {spec.pop('subscriber', '{ref: {kind: Function, name: thumbnail}}')}",
        *(f"  {field}: {value}" for field, value in spec.items()),
    ]
    return "\n".join(lines) + "\n---\n"


def only_revision(wiring: Wiring, key: str) -> RevisionPlan:
    (plan,) = wiring.functions[key].revisions.values()
    return plan


def condition(wiring, kind: str, name: str):
    return wiring.conditions[Identity(kind, "default", name)]


def test_a_broker_called_default_is_there_without_being_declared():
    assert list(wired("").brokers) == ["default/default"]


def test_a_decorated_function_needs_no_yaml():
    wiring = wired(trigger(), found())
    assert wiring.triggers["default/t"].destination == Destination("function", "default/thumbnail")
    assert condition(wiring, "Trigger", "t").ready


def test_yaml_overrides_the_decorator_and_leaves_the_rest():
    wiring = wired(
        """
        apiVersion: functions/v1
        kind: Function
        metadata: {name: thumbnail}
        spec: {handler: "app:thumbnail", timeout: PT5S, scale: {min: 0}}
        """,
        found(timeout=60.0, concurrency=3, scale=(2, 4), memory=1 << 28),
    )
    plan = only_revision(wiring, "default/thumbnail")
    assert (plan.revision.timeout, plan.revision.concurrency) == (5.0, 3)
    assert (plan.revision.memory, plan.scale.min, plan.scale.max) == (1 << 28, 0, 4)


def test_a_handler_that_yaml_gives_another_name_has_that_name_only():
    wiring = wired(
        """
        apiVersion: functions/v1
        kind: Function
        metadata: {name: small}
        spec: {handler: "app:thumbnail"}
        """,
        found(),
    )
    assert list(wiring.functions) == ["default/small"]


def test_an_async_handler_serves_many_calls_unless_told_otherwise():
    asynchronous = Discovered("a", "default", "app:a", CODE, False, "/project/app.py", 1)
    wiring = wired("", found("s"), asynchronous)
    assert only_revision(wiring, "default/s").revision.concurrency == 1
    assert only_revision(wiring, "default/a").revision.concurrency == 0


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        (trigger(broker="other"), "BrokerNotFound", "there is no broker default/other"),
        (
            trigger(subscriber="{ref: {kind: Function, name: nobody}}"),
            "SubscriberNotResolved",
            "there is no Function/default/nobody",
        ),
        (
            trigger(subscriber="{ref: {apiVersion: v1, kind: Service, name: web}}"),
            "SubscriberNotResolved",
            "Service/default/web of apiVersion v1 is one of Kubernetes itself, and there are none "
            "here; Knative's have apiVersion serving.knative.dev/v1",
        ),
        (
            trigger(delivery="{deadLetterSink: {ref: {kind: Function, name: nobody}}}"),
            "DeadLetterSinkNotResolved",
            "there is no Function/default/nobody",
        ),
        (
            trigger(subscriber="{ref: {kind: Function, name: thumbnail}, uri: /path}"),
            "SubscriberNotResolved",
            "Function/default/thumbnail has no HTTP address that the uri /path could join",
        ),
    ],
    ids=["broker", "function", "unreachable kind", "sink", "path of a function"],
)
def test_what_is_missing_is_told(text, reason, message):
    told = condition(wired(text, found()), "Trigger", "t")
    assert (told.ready, told.reason, told.message) == (False, reason, message)


def test_a_trigger_whose_subscriber_is_missing_still_takes_events_in():
    plan = wired(trigger()).triggers["default/t"]
    assert plan.destination is None


def test_code_that_does_not_load_is_named_as_the_reason():
    wiring = wired(trigger(), failures={Path("/project"): "app.py:3: SyntaxError: bad"})
    assert "app.py:3: SyntaxError: bad" in condition(wiring, "Trigger", "t").message


def test_the_brokers_delivery_counts_where_the_trigger_has_none():
    broker = """
        apiVersion: eventing.knative.dev/v1
        kind: Broker
        metadata: {name: default}
        spec:
          delivery:
            retry: 5
            deadLetterSink: {ref: {kind: Function, name: sink}}
        ---
        """
    text = dedent(broker) + trigger("inherits") + trigger("own", delivery="{retry: 1}")
    wiring = wired(text, found(), found("sink"))
    inherits, own = wiring.triggers["default/inherits"], wiring.triggers["default/own"]
    assert (inherits.policy.retry, own.policy.retry) == (5, 1)
    assert inherits.sink == own.sink == Destination("function", "default/sink")


def test_a_brokers_limits_come_from_its_config_map():
    wiring = wired(
        """
        apiVersion: eventing.knative.dev/v1
        kind: Broker
        metadata: {name: small}
        spec: {config: {apiVersion: v1, kind: ConfigMap, name: limits}}
        ---
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: limits}
        data: {max.bytes: 1Gi, retention.age: PT1H}
        """
    )
    limits = wiring.brokers["default/small"].limits
    assert (limits.max_bytes, limits.retention_age) == (1 << 30, 3600.0)


def test_a_missing_config_map_makes_the_broker_not_ready():
    wiring = wired(
        """
        apiVersion: eventing.knative.dev/v1
        kind: Broker
        metadata: {name: b}
        spec: {config: {apiVersion: v1, kind: ConfigMap, name: nowhere}}
        """
    )
    assert condition(wiring, "Broker", "b").reason == "ConfigMapNotFound"


FUNCTION_WITH_SECRET = """
    apiVersion: functions/v1
    kind: Function
    metadata: {name: thumbnail}
    spec:
      handler: app:thumbnail
      env:
        - {name: PLAIN, value: text}
        - {name: TOKEN, valueFrom: {secretKeyRef: {name: keys, key: token}}}
        - {name: MAYBE, valueFrom: {configMapKeyRef: {name: none, key: x, optional: true}}}
    ---
    """


def test_a_functions_environment_is_filled_from_secrets_and_config_maps():
    secret = """
    apiVersion: v1
    kind: Secret
    metadata: {name: keys}
    stringData: {token: s3cret}
    """
    wiring = wired(dedent(FUNCTION_WITH_SECRET) + dedent(secret), found())
    revision = only_revision(wiring, "default/thumbnail").revision
    assert revision.env == {"PLAIN": "text", "TOKEN": "s3cret"}


def test_a_secret_that_is_not_there_makes_the_function_not_ready():
    wiring = wired(FUNCTION_WITH_SECRET, found())
    assert condition(wiring, "Function", "thumbnail").reason == "SecretNotFound"


def test_a_function_elsewhere_is_called_at_its_uri_and_paths_join_it():
    function = """
    apiVersion: functions/v1
    kind: Function
    metadata: {name: remote}
    spec: {uri: "http://host:9000/base/", timeout: PT7S}
    ---
    """
    subscriber = "{ref: {kind: Function, name: remote}, uri: events}"
    wiring = wired(dedent(function) + trigger(subscriber=subscriber))
    destination = wiring.triggers["default/t"].destination
    assert destination == Destination("uri", "http://host:9000/base/events", timeout=7.0)


def transform(name: str, sink: str) -> str:
    return (
        "apiVersion: eventing.knative.dev/v1alpha1\nkind: EventTransform\n"
        f"metadata: {{name: {name}}}\nspec:\n  jsonata: {{expression: '$'}}\n"
        f"  sink: {{ref: {{kind: EventTransform, name: {sink}}}}}\n---\n"
    )


def test_transforms_resolve_in_whatever_order_they_stand():
    last = transform("z", "unused").replace(
        "{ref: {kind: EventTransform, name: unused}}", "{uri: 'http://host/'}"
    )
    wiring = wired(transform("a", "b") + transform("b", "z") + last)
    assert set(wiring.transforms) == {"default/a", "default/b", "default/z"}


def test_a_circle_of_transforms_is_not_ready():
    wiring = wired(transform("a", "b") + transform("b", "a"))
    assert wiring.transforms == {}
    assert condition(wiring, "EventTransform", "a").reason == "SinkNotResolved"


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        (trigger(filters='[{cesql: "type = "}]'), "7:29", "expected"),
        (
            trigger(transform='{jsonata: {expression: "$merge([$, {"}}'),
            "7:",
            "JSONata",
        ),
    ],
    ids=["cesql", "jsonata"],
)
def test_expressions_that_do_not_parse_are_told_with_their_place(text, place, message):
    findings = check(load_text(text, "wiring.yaml").resources)
    [problem] = findings.errors
    assert str(problem).startswith(f"wiring.yaml:{place}")
    assert message in problem.message


def test_a_triggers_broker_can_not_be_changed():
    running = {each.identity: each for each in load_text(trigger(), "old.yaml").resources}
    changed = load_text(trigger(broker="other"), "new.yaml").resources
    [problem] = check(changed, running).errors
    assert str(problem).startswith("new.yaml:5:11: a trigger's broker can't be changed")


def in_project(project: str, name: str = "thumbnail") -> Discovered:
    code = Code(Path(project), 1)
    return Discovered(name, "default", "app:thumbnail", code, True, f"{project}/app.py", 3)


def test_a_function_runs_the_code_of_the_project_its_file_lies_in():
    text = """
        apiVersion: functions/v1
        kind: Function
        metadata: {{name: {name}}}
        spec: {{handler: "app:thumbnail"}}
        """
    one = load_text(dedent(text.format(name="one")), "/a/w.yaml").resources
    two = load_text(dedent(text.format(name="two")), "/b/w.yaml").resources
    wiring = resolve([*one, *two], [in_project("/a"), in_project("/b")])
    projects = {key: only_revision(wiring, key).code.project for key in wiring.functions}
    assert projects == {"default/one": Path("/a"), "default/two": Path("/b")}


def test_a_name_that_two_projects_give_a_function_reaches_neither_and_says_where_they_stand():
    wiring = wired(trigger(), in_project("/a"), in_project("/b"))
    assert wiring.functions == {}
    told = condition(wiring, "Trigger", "t")
    assert told.reason == "SubscriberNotResolved"
    assert "/a/app.py:3 and in /b/app.py:3" in told.message


def test_a_trigger_keeps_its_subscription_while_its_broker_is_not_ready():
    broker = """\
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: shop}
spec: {config: {kind: ConfigMap, apiVersion: v1, name: limits}}
---
"""
    wiring = wired(broker + trigger(broker="shop"), found())
    assert wiring.triggers == {}
    assert wiring.subscriptions == {"default/t": "default/shop"}
    told = condition(wiring, "Trigger", "t")
    assert (told.reason, told.message) == (
        "BrokerNotReady",
        "Broker/default/shop is not ready: there is no ConfigMap/default/limits",
    )


def test_a_uri_that_no_request_could_go_to_is_not_ready():
    wiring = wired(trigger(subscriber='{uri: "http://a..b/"}'))
    told = condition(wiring, "Trigger", "t")
    assert told.reason == "SubscriberNotResolved"
    assert "names no valid host" in told.message
    assert wiring.triggers["default/t"].destination is None


def test_the_credentials_of_a_uri_are_not_shown():
    wiring = wired(trigger(subscriber='{uri: "http://user:secret@sink:81/x?y"}'))
    destination = wiring.triggers["default/t"].destination
    assert destination == Destination("uri", "http://user:secret@sink:81/x?y")
    assert str(destination) == "http://sink:81/x?y"
