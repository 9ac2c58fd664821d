"""How calls are split among revisions, and how a new one comes to its share."""

from dataclasses import asdict

import pytest

from eventing.resources import RolloutPlan, Service, TrafficTarget, load_text
from eventing.resources.rollout import parse_rollout
from functions import rollout as judged

SERVICE = """\
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: hello}
spec:
  template:
    spec:
      containers:
        - image: registry.example/hello:1
  traffic:
"""


def document(*targets: str) -> str:
    return SERVICE + "".join(f"    - {target}\n" for target in targets)


def traffic(*targets: str) -> tuple[TrafficTarget, ...]:
    loaded = load_text(document(*targets))
    assert (loaded.errors, loaded.warnings) == ([], [])
    (resource,) = loaded.resources
    assert isinstance(resource, Service)
    return resource.traffic


def complaints(*targets: str) -> list[str]:
    return [str(error) for error in load_text(document(*targets), "s.yaml").errors]


def test_all_to_the_latest_where_nothing_is_said() -> None:
    assert traffic() == ()


def test_shares_are_of_revisions_by_name_and_of_the_latest() -> None:
    assert traffic(
        "{revisionName: hello-00001, percent: 80, latestRevision: false}",
        "{latestRevision: true, percent: 15}",
        "{percent: 5, tag: next}",
        "{revisionName: hello-00002, tag: candidate}",
    ) == (
        TrafficTarget(80, revision="hello-00001"),
        TrafficTarget(15, latest=True),
        TrafficTarget(5, latest=True, tag="next"),
        TrafficTarget(0, revision="hello-00002", tag="candidate"),
    )


@pytest.mark.parametrize(
    ("targets", "complaint"),
    [
        (
            ("{percent: 50}", "{revisionName: hello-00001, percent: 40}"),
            "s.yaml:9:3: spec.traffic: the percentages add up to 90, not to 100",
        ),
        (
            ("{tag: only}",),
            "s.yaml:9:3: spec.traffic: the percentages add up to 0, not to 100",
        ),
        (("{percent: 101}",), "s.yaml:10:17: spec.traffic[0].percent: has to be at most 100"),
        (("{percent: -1}",), "s.yaml:10:17: spec.traffic[0].percent: has to be at least 0"),
        (
            ("{percent: 99.5}",),
            "s.yaml:10:17: spec.traffic[0].percent: has to be a whole number, not the number 99.5",
        ),
        (
            ("{percent: 100, revisionName: hello-1, latestRevision: true}",),
            "s.yaml:10:61: spec.traffic[0].latestRevision: true stands beside a "
            '"revisionName"; keep one of them',
        ),
        (
            ("{percent: 100, latestRevision: false}",),
            's.yaml:10:38: spec.traffic[0].latestRevision: false needs a "revisionName" beside it',
        ),
        (
            ("{percent: 100, tag: a}", "{tag: a}"),
            's.yaml:11:13: spec.traffic[1].tag: "a" is the tag of [0] too; keep one of them',
        ),
        (
            ("{percent: 100, tag: 1a}",),
            's.yaml:10:27: spec.traffic[0].tag: "1a" is no valid name: only a-z, 0-9 and "-", a '
            'letter first and no "-" last, at most 63 characters',
        ),
        (
            ("{percent: 100, configurationName: hello}",),
            "s.yaml:10:41: spec.traffic[0].configurationName: is for a Route; leave it out, the "
            "service's own is meant",
        ),
        (
            ("{percent: 100, url: 'http://a'}",),
            "s.yaml:10:27: spec.traffic[0].url: is set by a cluster, in the status; leave it out",
        ),
        (
            ("{percentage: 100}",),
            's.yaml:10:8: unknown field "percentage" in spec.traffic[0]; did you mean "percent"?',
        ),
    ],
)
def test_a_mistaken_split_is_told_with_its_place(targets: tuple[str, ...], complaint: str) -> None:
    assert complaints(*targets) == [complaint]


def test_a_rollout_has_defaults() -> None:
    plan = parse_rollout("auto")
    assert plan == parse_rollout("{}") == RolloutPlan()
    assert plan.steps == (1, 5, 10, 25, 50, 100)
    assert (plan.interval, plan.min_events, plan.min_errors) == (60.0, 20, 3)
    assert (plan.max_error_rate_increase, plan.latency_factor) == (0.05, 2.0)


def test_it_says_what_the_judge_of_rollouts_takes() -> None:
    assert asdict(RolloutPlan()) == asdict(judged.RolloutPlan())


def test_all_of_a_rollout_may_be_said() -> None:
    assert parse_rollout(
        "{steps: [20, 100], interval: PT0.5S, minEvents: 0, maxErrorRateIncrease: 0.1,"
        " latencyFactor: 1.5, minErrors: 1}"
    ) == RolloutPlan((20, 100), 0.5, 0, 0.1, 1.5, 1)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{steps: [10, 5, 100]}", "steps[1]: 5 is not above the step before it"),
        ("{steps: [10, 50]}", "steps: have to end with 100"),
        ("{steps: []}", "steps: have to end with 100"),
        ("{steps: [0, 100]}", "steps[0]: has to be at least 1"),
        ("{interval: 60s}", 'interval: "60s" is no ISO 8601 duration'),
        ("{maxErrorRateIncrease: 5}", "maxErrorRateIncrease: has to be at most 1"),
        ("{latencyFactor: 0.5}", "latencyFactor: has to be at least 1"),
        ("{minErrors: 0}", "minErrors: has to be at least 1"),
        ("{minevents: 3}", 'unknown field "minevents"; did you mean "minEvents"?'),
        ("[1, 100]", 'has to be "auto", or a mapping such as'),
        ("{steps: [1", "not valid YAML"),
        ("", 'has to be "auto", or a mapping such as'),
    ],
)
def test_a_mistaken_rollout_is_told(text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as told:
        parse_rollout(text)
    assert complaint in str(told.value)
