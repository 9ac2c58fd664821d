"""From resources to a wiring: every reference resolved, every condition told. Pure; starts nothing.

A wiring says what the node should run. The node makes itself so (eventing/node/node.py), and a
changed file is a new wiring.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin, urlsplit, urlunsplit

from brokers.base import Limits, Order
from eventing.errors import UserError
from eventing.node.engine_access import (
    kafka_sink_settings,
    kafka_source_settings,
    ping_source_settings,
    redis_sink_settings,
    redis_source_settings,
)
from eventing.node.engines import EMBEDDED, EngineSettings, engine_name, engine_settings
from eventing.node.expressions import trigger_filter
from eventing.node.revision_names import revision_names
from eventing.node.revisions import (
    Revisions,
    UnknownRevision,
    numbered_name,
    split,
    with_latest,
)
from eventing.node.traffic_policies import RevisionNames, policies
from eventing.resources import (
    WORKLOADS,
    Broker,
    ConfigMap,
    EventTransform,
    Function,
    Identity,
    KafkaSink,
    KafkaSource,
    PingSource,
    Place,
    RedisStreamSink,
    RedisStreamSource,
    Reference,
    Resource,
    Secret,
    Source,
    Target,
    Trigger,
    Workload,
    broker_config,
)
from eventing.resources.broker_config import CREDENTIALS
from eventing.resources.delivery import Delivery
from eventing.resources.env import expanded
from eventing.resources.function import DEFAULT_TIMEOUT
from eventing.resources.place import Path as FieldPath
from eventing.sources.settings import SourceSettings
from functions.autoscaler import ScaleConfig
from functions.containers.spec import ContainerSpec, Probe
from functions.http.address import Address
from functions.http.security import PLAIN, Security
from functions.traffic.policy import Policy, Weighted
from functions.worker import Revision
from triggers.delivery import DeliveryPolicy
from triggers.filters import Filter
from triggers.sink import SinkSettings
from triggers.transform import Transform, compile_transform

Key = str
"""`namespace/name`, as triggers, brokers and functions are called inside the node."""

SERVING = "serving.knative.dev"
"""The group of Knative's Services; those of Kubernetes itself have none."""
DEFAULT_BROKER = "default/default"
"""There without being declared, so that one function and one trigger are enough to begin with."""

HANDLER_NOT_FOUND = "HandlerNotFound"
"""The reason of a Function whose handler no project has."""
SETTINGS_NOT_VALID = "SettingsNotValid"
"""The reason of a source or sink whose settings and secrets don't go together."""

_PING_DELIVERY = Delivery(retry=5, backoff_delay=0.05)
"""A PingSource has no `delivery`: Knative's own five tries after the first."""
_ADDRESSABLE = (*WORKLOADS, "Broker", "EventTransform", "KafkaSink", "RedisStreamSink")


@dataclass(frozen=True, slots=True)
class Condition:
    """Whether a resource is at work, as Knative's `Ready` condition tells it.

    `reason` is one CamelCase word for programs, `message` a sentence for people; both empty while
    ready.
    """

    ready: bool
    reason: str = ""
    message: str = ""


READY = Condition(True)


@dataclass(frozen=True, slots=True)
class Code:
    """One version of a project's code: its root folder, and how often it was loaded."""

    project: Path
    generation: int


@dataclass(frozen=True, slots=True)
class Discovered:
    """A function found in a project's code; what its decorator left out is None."""

    name: str
    namespace: str
    handler: str
    code: Code
    sync: bool
    file: str
    line: int
    timeout: float | None = None
    concurrency: int | None = None
    scale: tuple[int, int] | None = None
    memory: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where events go: `kind` tells how to read `name` (a key, or an absolute URI). The last two
    kinds are sinks in another engine.

    `format` forces the HTTP encoding of a URI or a container; `timeout` are the seconds it has
    to answer where the delivery names none, None = the client's own. `path` is where a function
    that speaks HTTP is sent its events, "" = where its own document says. `function` is the
    function that a URI is the address of, where that has a traffic policy. `security` is whom a
    URI's server is taken for, and what it is shown.
    """

    kind: Literal["function", "uri", "broker", "transform", "kafka-sink", "redis-stream-sink"]
    name: str
    format: Literal["binary", "json"] | None = None
    timeout: float | None = None
    path: str = ""
    function: Key = ""
    security: Security = field(default=PLAIN, repr=False)

    def __str__(self) -> str:
        """For dead letters and people: without the credentials a URI may hold."""
        if self.kind == "uri":
            parts = urlsplit(self.name)
            return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class BrokerPlan:
    key: Key
    limits: Limits
    engine: EngineSettings = EMBEDDED


@dataclass(frozen=True, slots=True)
class RevisionPlan:
    """A revision to run: on a version of a project's code, or in containers."""

    name: str
    revision: Revision
    scale: ScaleConfig
    code: Code | None = None
    container: ContainerSpec | None = None


@dataclass(frozen=True, slots=True)
class FunctionPlan:
    """A function to run: its revisions by name, and how its calls are spread over them. `tags`
    name revisions; `latest` is the one its document describes."""

    key: Key
    revisions: Mapping[str, RevisionPlan]
    shares: tuple[Weighted, ...]
    latest: str
    policy: Policy | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TransformPlan:
    """An EventTransform: `reply` is applied to the sink's answer, None = it goes back as it is;
    `discard` drops it."""

    key: Key
    expression: Transform
    sink: Destination | None
    reply: Transform | None
    discard: bool


@dataclass(frozen=True, slots=True)
class TriggerPlan:
    """A trigger to run. `destination` is None while its subscriber is not there: its events are
    then held in the broker."""

    key: Key
    broker: Key
    filter: Filter
    policy: DeliveryPolicy
    destination: Destination | None
    sink: Destination | None
    transform: Transform | None
    order: Order
    start: float | None
    place: Place


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """A source to run. `destination` is None while its sink is not there: it then takes nothing
    in. `extensions` are set on every event."""

    identity: Identity
    settings: SourceSettings
    policy: DeliveryPolicy
    destination: Destination | None = None
    sink: Destination | None = None
    extensions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SinkPlan:
    """A sink in another engine; without `settings` it takes every event and keeps none."""

    destination: Destination
    settings: SinkSettings | None


@dataclass(frozen=True, slots=True)
class Wiring:
    """`subscriptions` tells the broker of every trigger there is, also of those that can't run now
    and so have no plan: what a broker keeps for them is to be kept."""

    brokers: Mapping[Key, BrokerPlan] = field(default_factory=dict)
    triggers: Mapping[Key, TriggerPlan] = field(default_factory=dict)
    subscriptions: Mapping[Key, Key] = field(default_factory=dict)
    functions: Mapping[Key, FunctionPlan] = field(default_factory=dict)
    remotes: Mapping[Key, Policy] = field(default_factory=dict)
    """The traffic policies of functions that run elsewhere; those without one need no plan."""
    transforms: Mapping[Key, TransformPlan] = field(default_factory=dict)
    sinks: Mapping[Identity, SinkPlan] = field(default_factory=dict)
    sources: Mapping[Identity, SourcePlan] = field(default_factory=dict)
    conditions: Mapping[Identity, Condition] = field(default_factory=dict)
    resources: Mapping[Identity, Resource] = field(default_factory=dict)
    discovered: Mapping[Key, Discovered] = field(default_factory=dict)
    places: Mapping[Identity, FieldPath] = field(default_factory=dict)
    """Where in a document that is not ready the reason stands, as far as that is one field."""


@dataclass(frozen=True, slots=True)
class _Remote:
    """A function that runs elsewhere, and how it is reached."""

    workload: Workload
    security: Security


class _NotReady(Exception):
    def __init__(self, reason: str, message: str, path: FieldPath = ()) -> None:
        super().__init__(message)
        self.condition = Condition(False, reason, message)
        self.path = path


def resolve(
    resources: Iterable[Resource],
    discovered: Iterable[Discovered] = (),
    failures: Mapping[Path, str] | None = None,
    missing: Mapping[str, str] | None = None,
    engine: EngineSettings = EMBEDDED,
    revisions: Mapping[Key, Revisions] | None = None,
) -> Wiring:
    """What to run for these resources and functions, `engine` being that of brokers which don't
    name one, `revisions` those that functions have had (a function without any has one now).

    `failures` says of projects whose code did not load why, `missing` of handlers that YAML names
    and no project has. Resources are taken as valid (see eventing/node/checks.py); what is not
    there, or not usable, makes those that need it NotReady.
    """
    resolution = _Resolution(
        resources, discovered, failures or {}, missing or {}, engine, revisions or {}
    )
    return resolution.wiring()


def embedded(wiring: Wiring) -> Wiring:
    """The same with nothing from or to another engine: every broker embedded, whatever its class,
    no source at work, and sinks that keep nothing."""
    brokers = {key: replace(plan, engine=EMBEDDED) for key, plan in wiring.brokers.items()}
    sinks = {key: replace(plan, settings=None) for key, plan in wiring.sinks.items()}
    return replace(wiring, brokers=brokers, sinks=sinks, sources={})


class _Resolution:
    def __init__(
        self,
        resources: Iterable[Resource],
        discovered: Iterable[Discovered],
        failures: Mapping[Path, str],
        missing: Mapping[str, str],
        engine: EngineSettings,
        revisions: Mapping[Key, Revisions],
    ) -> None:
        self.engine = engine
        self.revisions = dict(revisions)
        self.policies: dict[Key, Policy] = {}
        self.places: dict[Identity, FieldPath] = {}
        self.resources = {resource.identity: resource for resource in resources}
        self.found = tuple(discovered)
        self.discovered: dict[Key, Discovered] = {}
        self.ambiguous: dict[Key, str] = {}
        # The first line says what and where; the log has the rest.
        self.failures = "; ".join(why.partition("\n")[0] for why in failures.values())
        self.missing = missing
        self.conditions: dict[Identity, Condition] = {}
        self.brokers: dict[Key, BrokerPlan] = {}
        self.functions: dict[Key, FunctionPlan] = {}
        self.transforms: dict[Key, TransformPlan] = {}
        self.sinks: dict[Identity, SinkPlan] = {}
        self.sources: dict[Identity, SourcePlan] = {}
        self.triggers: dict[Key, TriggerPlan] = {}
        self.subscriptions: dict[Key, Key] = {}
        self.remotes: dict[Key, _Remote] = {}

    def wiring(self) -> Wiring:
        self.brokers[DEFAULT_BROKER] = BrokerPlan(DEFAULT_BROKER, Limits(), self.engine)
        self._settle_all(Broker)
        self._find_revisions()
        self._functions_without_yaml()
        for workload in self._workloads():
            self._settle(workload)
        self._settle_all(KafkaSink)
        self._settle_all(RedisStreamSink)
        self._transforms()
        self._settle_all(Trigger)
        self._settle_all(Source)
        for identity in self.resources:
            self.conditions.setdefault(identity, READY)
        return Wiring(
            self.brokers,
            self.triggers,
            self.subscriptions,
            self.functions,
            {key: self.policies[key] for key in self.remotes if key in self.policies},
            self.transforms,
            self.sinks,
            self.sources,
            self.conditions,
            self.resources,
            self.discovered,
            self.places,
        )

    def _settle_all(self, kind: type[Resource]) -> None:
        for resource in self.resources.values():
            if isinstance(resource, kind):
                self._settle(resource)

    def _settle(self, resource: Resource) -> bool:
        """Whether the resource could be resolved; its condition is told either way."""
        try:
            match resource:
                case Broker():
                    self._broker(resource)
                case Workload():
                    self._workload(resource)
                case EventTransform():
                    self._transform(resource)
                case Trigger():
                    self._trigger(resource)
                case KafkaSink() | RedisStreamSink():
                    self._sink(resource)
                case KafkaSource() | RedisStreamSource() | PingSource():
                    self._source(resource)
        except _NotReady as problem:
            self.conditions[resource.identity] = problem.condition
            if problem.path:
                self.places[resource.identity] = problem.path
            return False
        self.conditions[resource.identity] = READY
        return True

    def _broker(self, broker: Broker) -> None:
        key = _key(broker)
        # The default one, which is there without being declared, is not when its declaration fails.
        self.brokers.pop(key, None)
        limits = Limits()
        options: Mapping[str, str] = {}
        secret: dict[str, bytes] | None = None
        if broker.config is not None:
            found = self.resources.get(broker.config.identity)
            if not isinstance(found, ConfigMap):
                raise _NotReady("ConfigMapNotFound", f"there is no {broker.config}")
            config = broker_config(found, broker.engine or engine_name(self.engine))
            limits = replace(limits, **config.limits.given())  # type: ignore[arg-type]
            options = config.engine
            if CREDENTIALS in options:
                secret = self._secret(Identity("Secret", found.namespace, options[CREDENTIALS]))
        try:
            engine = engine_settings(broker.engine, options, secret, self.engine)
        except UserError as error:
            raise _NotReady("ConfigNotValid", f"{broker.config}: {error}") from None
        self.brokers[key] = BrokerPlan(key, limits, engine)

    def _secret(self, identity: Identity) -> dict[str, bytes]:
        """Every value of a Secret."""
        secret = self.resources.get(identity)
        if not isinstance(secret, Secret):
            raise _NotReady("SecretNotFound", f"there is no {identity}")
        keys = {**(secret.data or {}), **(secret.string_data or {})}
        return {key: secret.value(key) or b"" for key in keys}

    def _find_revisions(self) -> None:
        """Of every workload, and the traffic policies, which name them."""
        for workload in self._workloads():
            if workload.uri is None:
                key = _key(workload)
                self.revisions[key] = self.revisions.get(key) or with_latest(
                    key, workload, None, 0.0
                )
        names = revision_names(self.resources.values(), self.revisions)
        for found in self.found:
            key = f"{found.namespace}/{found.name}"
            only = numbered_name(key, 1)
            names.setdefault(key, RevisionNames((only,), only, kind="Function"))
        self.policies, misnamed = policies(self.resources.values(), names)
        for identity, problems in misnamed.items():
            self.conditions[identity] = Condition(False, "PolicyNotValid", str(problems))
            self.places[identity] = problems.path

    def _workloads(self) -> list[Workload]:
        return [each for each in self.resources.values() if isinstance(each, Workload)]

    def _functions_without_yaml(self) -> None:
        declared = self._workloads()
        named = {_key(workload) for workload in declared}
        # By identity: two projects may hold handlers of one address.
        taken = {id(self._found(workload)) for workload in declared if workload.handler}
        for found in self.found:
            key = f"{found.namespace}/{found.name}"
            if key in named or id(found) in taken:
                continue
            other = self.discovered.setdefault(key, found)
            if other is not found:
                self.ambiguous[key] = (
                    f"function {key} stands in {other.file}:{other.line} and in "
                    f"{found.file}:{found.line}; rename one, or give each a Function of its own"
                )
        for key, found in self.discovered.items():
            if key not in self.ambiguous:
                name = numbered_name(key, 1)
                plan = _process_plan(key, name, found, None, {})
                self.functions[key] = FunctionPlan(
                    key, {name: plan}, (Weighted(name, 100.0),), name, self.policies.get(key)
                )

    def _workload(self, workload: Workload) -> None:
        key = _key(workload)
        if workload.uri is not None:
            security = self._security(workload)
            try:
                Address.parse(workload.uri, security=security)
            except UserError as error:
                raise _NotReady(SETTINGS_NOT_VALID, str(error)) from None
            self.remotes[key] = _Remote(workload, security)
            return
        revisions = self.revisions[key]
        try:
            spread = split(workload.traffic, revisions)
        except UnknownRevision as error:
            path = ("spec", "traffic", error.index, "revisionName")
            raise _NotReady("RevisionNotFound", str(error), path) from None
        policy = self.policies.get(key)
        running = spread.running | (policy.targets if policy is not None else frozenset())
        plans: dict[str, RevisionPlan] = {}
        problem: _NotReady | None = None
        for revision in revisions.known:
            if revision.name not in running:
                continue
            one = workload
            if revision.name != revisions.latest:
                one = workload.with_template(dict(revision.template))
            try:
                plans[revision.name] = self._revision_plan(key, revision.name, one)
            except _NotReady as error:
                problem = error
        shares = tuple(share for share in spread.shares if share.revision in plans)
        if problem is not None and len(shares) < len(spread.shares):
            raise problem
        self.functions[key] = FunctionPlan(
            key, plans, shares, revisions.latest, policy, spread.tags
        )
        if problem is not None:
            # What it was before goes on.
            raise problem

    def _security(self, workload: Workload) -> Security:
        if not isinstance(workload, Function):
            return PLAIN
        access = workload.access
        return Security.of(
            self._values(access.secrets),
            ca=access.ca,
            server_name=access.server_name,
            verify=access.verify,
        )

    def _revision_plan(self, key: Key, name: str, workload: Workload) -> RevisionPlan:
        environment = self._environment(workload)
        if workload.container is not None:
            return _container_plan(key, name, workload, environment)
        return _process_plan(key, name, self._handler(workload), workload, environment)

    def _handler(self, function: Workload) -> Discovered:
        found = self._found(function)
        if found is not None:
            return found
        handler = function.handler or ""
        if handler in self.missing:
            raise _NotReady(HANDLER_NOT_FOUND, self.missing[handler])
        if self.failures:
            raise _NotReady("LoadFailed", self.failures)
        raise _NotReady(
            HANDLER_NOT_FOUND,
            f"no handler {handler} was found; it is module:function, seen from the folder that "
            "'eventing up' was given",
        )

    def _found(self, function: Workload) -> Discovered | None:
        """Its handler: that of the innermost project its file lies in, where several have one of
        this address."""
        same = [
            found
            for found in self.found
            if found.handler == function.handler and found.namespace == function.namespace
        ]
        file = Path(function.source.file).absolute()
        own = [found for found in same if file.is_relative_to(found.code.project)]
        own.sort(key=lambda found: len(found.code.project.parts))
        return own[-1] if own else next(iter(same), None)

    def _environment(self, function: Workload) -> dict[str, str]:
        environment = {}
        for prefix, reference in function.env_from:
            environment.update(self._all_referred(prefix, reference))
        for name, value in function.env.items():
            found: str | None
            if isinstance(value, Reference):
                found = self._referred(value)
            else:
                found = expanded(value, environment)
            if found is not None:
                environment[name] = found
        return environment

    def _all_referred(self, prefix: str, reference: Reference) -> dict[str, str]:
        """Every value of a ConfigMap or Secret that is text, as a variable."""
        holder = self.resources.get(reference.identity)
        if not isinstance(holder, (ConfigMap, Secret)):
            if reference.optional:
                return {}
            raise _NotReady(f"{reference.kind}NotFound", f"there is no {reference}")
        found = {}
        for key in (*(holder.data or {}), *(getattr(holder, "string_data", None) or {})):
            value = self._referred(reference._replace(key=key))
            if value is not None:
                found[prefix + key] = value
        return found

    def _referred(self, reference: Reference) -> str | None:
        """The value of a ConfigMap's or Secret's key; None where it may be missing and is."""
        holder = self.resources.get(reference.identity)
        value = None
        if isinstance(holder, (ConfigMap, Secret)):
            value = holder.value(reference.key or "")
        elif not reference.optional:
            raise _NotReady(f"{reference.kind}NotFound", f"there is no {reference}")
        if value is None:
            if reference.optional:
                return None
            raise _NotReady("KeyNotFound", f"{reference} has no key {reference.key}")
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise _NotReady(
                "KeyNotText", f"the key {reference.key} of {reference} is no UTF-8 text"
            ) from None

    def _transforms(self) -> None:
        """EventTransforms may send to one another, so they settle as their sinks do."""
        waiting = [each for each in self.resources.values() if isinstance(each, EventTransform)]
        while waiting:
            left = [transform for transform in waiting if not self._settle(transform)]
            if len(left) == len(waiting):
                return
            waiting = left

    def _transform(self, resource: EventTransform) -> None:
        key = _key(resource)
        sink = None
        if resource.sink is not None:
            sink = self._destination(resource.sink, "SinkNotResolved", None)
        reply = resource.reply_expression
        self.transforms[key] = TransformPlan(
            key,
            compile_transform(resource.expression),
            sink,
            compile_transform(reply) if reply is not None else None,
            resource.discards_reply,
        )

    def _trigger(self, trigger: Trigger) -> None:
        key = _key(trigger)
        broker = trigger.broker
        broker_key = f"{broker.namespace}/{broker.name}"
        self.subscriptions[key] = broker_key
        if broker_key not in self.brokers:
            if broker.identity in self.conditions:
                raise _NotReady("BrokerNotReady", self._missing(broker, broker_key))
            raise _NotReady("BrokerNotFound", f"there is no broker {broker_key}")
        owner = self.resources.get(broker.identity)
        delivery = trigger.delivery(owner if isinstance(owner, Broker) else None)
        plan = TriggerPlan(
            key,
            broker_key,
            trigger_filter(trigger),
            _policy(delivery),
            None,
            None,
            compile_transform(trigger.transform) if trigger.transform is not None else None,
            trigger.order,
            trigger.start,
            trigger.source,
        )
        # Without its subscriber the trigger still takes events in, and holds them.
        self.triggers[key] = plan
        if delivery.dead_letter_sink is not None:
            sink = self._destination(
                delivery.dead_letter_sink, "DeadLetterSinkNotResolved", delivery.format
            )
            plan = replace(plan, sink=sink)
        destination = self._destination(
            trigger.subscriber, "SubscriberNotResolved", delivery.format
        )
        self.triggers[key] = replace(plan, destination=destination)

    def _sink(self, sink: KafkaSink | RedisStreamSink) -> None:
        settings: SinkSettings
        try:
            if isinstance(sink, KafkaSink):
                secret = self._secret(sink.secret.identity) if sink.secret is not None else None
                settings = kafka_sink_settings(sink, secret)
                destination = Destination("kafka-sink", _key(sink))
            else:
                settings = redis_sink_settings(sink, self._values(sink.secrets))
                destination = Destination("redis-stream-sink", _key(sink))
        except UserError as error:
            raise _NotReady(SETTINGS_NOT_VALID, str(error)) from None
        self.sinks[sink.identity] = SinkPlan(destination, settings)

    def _source(self, source: KafkaSource | RedisStreamSource | PingSource) -> None:
        settings: SourceSettings
        delivery = _PING_DELIVERY if isinstance(source, PingSource) else source.delivery
        try:
            match source:
                case KafkaSource():
                    settings = kafka_source_settings(source, self._values(source.secrets))
                case RedisStreamSource():
                    settings = redis_source_settings(source, self._values(source.secrets))
                case PingSource():
                    settings = ping_source_settings(source)
        except UserError as error:
            raise _NotReady(SETTINGS_NOT_VALID, str(error)) from None
        plan = SourcePlan(
            source.identity, settings, _policy(delivery), extensions=source.extensions
        )
        # Without its sink it keeps its place, and takes nothing in.
        self.sources[source.identity] = plan
        if source.dead_letter_sink is not None:
            sink = self._destination(
                source.dead_letter_sink, "DeadLetterSinkNotResolved", delivery.format
            )
            plan = replace(plan, sink=sink)
        destination = self._destination(source.sink, "SinkNotResolved", delivery.format)
        self.sources[source.identity] = replace(plan, destination=destination)

    def _values(self, secrets: Mapping[str, Reference]) -> dict[str, str]:
        """The values that these entries of Secrets have; those that may be missing and are, left
        out."""
        found = {key: self._referred(reference) for key, reference in secrets.items()}
        return {key: value for key, value in found.items() if value is not None}

    def _destination(
        self, target: Target, reason: str, format: Literal["binary", "json"] | None
    ) -> Destination:
        """What a ref or uri stands for, or the reason why not."""
        reference = target.reference
        if reference is None:
            security = PLAIN.trusting(target.ca_certs)
            return _address(target.uri or "", reason, format, security)
        key = f"{reference.namespace}/{reference.name}"
        if reference.kind == "Service" and not reference.api_version.startswith(SERVING):
            raise _NotReady(
                reason,
                f"{reference} of apiVersion {reference.api_version} is one of Kubernetes itself, "
                f"and there are none here; Knative's have apiVersion {SERVING}/v1",
            )
        match reference.kind:
            case kind if kind in WORKLOADS and key in self.remotes:
                return self._remote_destination(target, reference, key, reason, format)
            case kind if kind in WORKLOADS and key in self.functions:
                return self._function_destination(target, reference, key, reason, format)
            case "Broker" if key in self.brokers:
                found = Destination("broker", key)
            case "EventTransform" if key in self.transforms:
                found = Destination("transform", key)
            case "KafkaSink" | "RedisStreamSink" if reference.identity in self.sinks:
                found = self.sinks[reference.identity].destination
            case _:
                raise _NotReady(reason, self._missing(reference, key))
        if target.uri is not None:
            raise _no_address(reference, target.uri, reason)
        return found

    def _remote_destination(
        self,
        target: Target,
        reference: Reference,
        key: Key,
        reason: str,
        format: Literal["binary", "json"] | None,
    ) -> Destination:
        remote = self.remotes[key]
        address = own = remote.workload.uri or ""
        if target.uri is not None:
            address = urljoin(own, target.uri)
            if urlsplit(address)[:2] != urlsplit(own)[:2]:
                # What is shown to the one server is not for another.
                raise _NotReady(
                    reason, f"the uri {target.uri} leads away from {reference}; give a path"
                )
        security = remote.security.trusting(target.ca_certs)
        found = _address(address, reason, format, security)
        named = key if key in self.policies else ""
        return replace(found, timeout=remote.workload.timeout, function=named)

    def _function_destination(
        self,
        target: Target,
        reference: Reference,
        key: Key,
        reason: str,
        format: Literal["binary", "json"] | None,
    ) -> Destination:
        if reference.identity not in self.resources and reference.kind != "Function":
            raise _NotReady(reason, self._missing(reference, key))
        path = ""
        containers = all(each.container for each in self.functions[key].revisions.values())
        if target.uri is not None:
            path = urljoin("/", target.uri)
            if not containers or not path.startswith("/"):
                raise _no_address(reference, target.uri, reason)
        # A process gets the event as it is, by no encoding of HTTP.
        return Destination("function", key, format if containers else None, path=path)

    def _missing(self, reference: Reference, key: Key) -> str:
        condition = self.conditions.get(reference.identity)
        if condition is not None and not condition.ready:
            return f"{reference} is not ready: {condition.message}"
        if reference.kind == "Function" and key in self.ambiguous:
            return self.ambiguous[key]
        if reference.kind == "Function" and self.failures:
            return f"there is no {reference}; {self.failures}"
        if reference.kind not in _ADDRESSABLE:
            return (
                f"{reference} can't be reached: events go to a Function, a Service, a Broker, an "
                "EventTransform, a KafkaSink, a RedisStreamSink or a uri"
            )
        return f"there is no {reference}"


def _key(resource: Resource) -> Key:
    return f"{resource.namespace}/{resource.name}"


def _policy(delivery: Delivery) -> DeliveryPolicy:
    return DeliveryPolicy(
        delivery.retry,
        delivery.backoff_policy,
        delivery.backoff_delay,
        delivery.timeout,
        delivery.retry_after_max,
    )


def _no_address(reference: Reference, uri: str, reason: str) -> _NotReady:
    return _NotReady(reason, f"{reference} has no HTTP address that the uri {uri} could join")


def _address(
    uri: str, reason: str, format: Literal["binary", "json"] | None, security: Security
) -> Destination:
    try:
        Address.parse(uri, security=security)
    except UserError as error:
        raise _NotReady(reason, str(error)) from None
    return Destination("uri", uri, format, security=security)


def _process_plan(
    key: Key,
    name: str,
    found: Discovered,
    workload: Workload | None,
    environment: Mapping[str, str],
) -> RevisionPlan:
    """The decorator's options, and over them what YAML says."""
    timeout, concurrency, memory = found.timeout, found.concurrency, found.memory
    scale = ScaleConfig()
    if found.scale is not None:
        scale = ScaleConfig(min=found.scale[0], max=found.scale[1])
    if workload is not None:
        timeout = workload.timeout if workload.says_timeout else timeout
        concurrency = workload.concurrency if workload.concurrency is not None else concurrency
        memory = workload.memory if workload.memory is not None else memory
        scale = replace(scale, **workload.scaling.given())
    namespace, _, function = key.partition("/")
    revision = Revision(
        function,
        namespace,
        found.handler,
        DEFAULT_TIMEOUT if timeout is None else timeout,
        _concurrency(concurrency, found.sync),
        found.sync,
        memory,
        {**found.env, **environment},
        revision=name,
    )
    return RevisionPlan(name, revision, scale, code=found.code)


def _container_plan(
    key: Key, name: str, workload: Workload, environment: Mapping[str, str]
) -> RevisionPlan:
    container = workload.container
    assert container is not None, "the workload is one of containers"
    given = {each.name: getattr(container, each.name) for each in fields(container)}
    probe = {each.name: getattr(container.probe, each.name) for each in fields(container.probe)}
    for part in ("command", "args"):
        if given[part] is not None:
            given[part] = tuple(expanded(text, environment) for text in given[part])
    spec = ContainerSpec(**given | {"env": environment, "probe": Probe(**probe)})
    namespace, _, function = key.partition("/")
    revision = Revision(
        function,
        namespace,
        "",
        workload.timeout,
        workload.concurrency or 0,
        sync=False,
        memory=container.memory,
        revision=name,
    )
    scale = replace(ScaleConfig(), **workload.scaling.given())
    return RevisionPlan(name, revision, scale, container=spec)


def _concurrency(given: int | None, sync: bool) -> int:
    """An async handler that says nothing serves many calls at once (0), a sync one only ever
    one."""
    if given is not None:
        return given
    return 1 if sync else 0
