"""From resources to a wiring: every reference resolved, every condition told. Pure; starts nothing.

A wiring says what the node should run. The node makes itself so (eventing/node/node.py), and a
changed file is a new wiring.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin, urlsplit, urlunsplit

from brokers.base import Limits, Order
from eventing.errors import UserError
from eventing.node.expressions import trigger_filter
from eventing.resources import (
    Broker,
    ConfigMap,
    EventTransform,
    Function,
    Identity,
    Place,
    Reference,
    Resource,
    Secret,
    Target,
    Trigger,
    broker_limits,
)
from eventing.resources.function import DEFAULT_TIMEOUT
from functions.autoscaler import ScaleConfig
from functions.worker import Revision
from triggers.delivery import DeliveryPolicy
from triggers.filters import Filter
from triggers.http_address import Address
from triggers.transform import Transform, compile_transform

Key = str
"""`namespace/name`, as triggers, brokers and functions are called inside the node."""

DEFAULT_BROKER = "default/default"
"""There without being declared, so that one function and one trigger are enough to begin with."""

HANDLER_NOT_FOUND = "HandlerNotFound"
"""The reason of a Function whose handler no project has."""


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
    """Where events go: `kind` tells how to read `name` (a key, or an absolute URI).

    `format` forces the HTTP encoding of a URI; `timeout` are the seconds it has to answer where the
    delivery names none, None = the client's own.
    """

    kind: Literal["function", "uri", "broker", "transform"]
    name: str
    format: Literal["binary", "json"] | None = None
    timeout: float | None = None

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


@dataclass(frozen=True, slots=True)
class FunctionPlan:
    """A function to run, and the version of the code it runs on."""

    key: Key
    revision: Revision
    scale: ScaleConfig
    code: Code


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
class Wiring:
    """`subscriptions` tells the broker of every trigger there is, also of those that can't run now
    and so have no plan: what a broker keeps for them is to be kept."""

    brokers: Mapping[Key, BrokerPlan] = field(default_factory=dict)
    triggers: Mapping[Key, TriggerPlan] = field(default_factory=dict)
    subscriptions: Mapping[Key, Key] = field(default_factory=dict)
    functions: Mapping[Key, FunctionPlan] = field(default_factory=dict)
    transforms: Mapping[Key, TransformPlan] = field(default_factory=dict)
    conditions: Mapping[Identity, Condition] = field(default_factory=dict)
    resources: Mapping[Identity, Resource] = field(default_factory=dict)
    discovered: Mapping[Key, Discovered] = field(default_factory=dict)


class _NotReady(Exception):
    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.condition = Condition(False, reason, message)


def resolve(
    resources: Iterable[Resource],
    discovered: Iterable[Discovered] = (),
    failures: Mapping[Path, str] | None = None,
    missing: Mapping[str, str] | None = None,
) -> Wiring:
    """What to run for these resources and functions.

    `failures` says of projects whose code did not load why, `missing` of handlers that YAML names
    and no project has. Resources are taken as valid (see eventing/node/checks.py); what is not
    there, or not usable, makes those that need it NotReady.
    """
    return _Resolution(resources, discovered, failures or {}, missing or {}).wiring()


class _Resolution:
    def __init__(
        self,
        resources: Iterable[Resource],
        discovered: Iterable[Discovered],
        failures: Mapping[Path, str],
        missing: Mapping[str, str],
    ) -> None:
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
        self.triggers: dict[Key, TriggerPlan] = {}
        self.subscriptions: dict[Key, Key] = {}
        self.remotes: dict[Key, Function] = {}

    def wiring(self) -> Wiring:
        self.brokers[DEFAULT_BROKER] = BrokerPlan(DEFAULT_BROKER, Limits())
        self._settle_all(Broker)
        self._functions_without_yaml()
        self._settle_all(Function)
        self._transforms()
        self._settle_all(Trigger)
        for identity in self.resources:
            self.conditions.setdefault(identity, READY)
        return Wiring(
            self.brokers,
            self.triggers,
            self.subscriptions,
            self.functions,
            self.transforms,
            self.conditions,
            self.resources,
            self.discovered,
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
                case Function():
                    self._function(resource)
                case EventTransform():
                    self._transform(resource)
                case Trigger():
                    self._trigger(resource)
        except _NotReady as problem:
            self.conditions[resource.identity] = problem.condition
            return False
        self.conditions[resource.identity] = READY
        return True

    def _broker(self, broker: Broker) -> None:
        key = _key(broker)
        limits = Limits()
        if broker.config is not None:
            found = self.resources.get(broker.config.identity)
            if not isinstance(found, ConfigMap):
                raise _NotReady("ConfigMapNotFound", f"there is no {broker.config}")
            limits = replace(limits, **broker_limits(found).limits.given())  # type: ignore[arg-type]
        self.brokers[key] = BrokerPlan(key, limits)

    def _functions_without_yaml(self) -> None:
        declared = [each for each in self.resources.values() if isinstance(each, Function)]
        named = {_key(function) for function in declared}
        # By identity: two projects may hold handlers of one address.
        taken = {id(self._found(function)) for function in declared}
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
                self.functions[key] = _function_plan(key, found, None, {})

    def _function(self, function: Function) -> None:
        key = _key(function)
        environment = self._environment(function)
        if function.spec.uri is not None:
            self.remotes[key] = function
            return
        found = self._handler(function)
        self.functions[key] = _function_plan(key, found, function, environment)

    def _handler(self, function: Function) -> Discovered:
        found = self._found(function)
        if found is not None:
            return found
        handler = function.spec.handler or ""
        if handler in self.missing:
            raise _NotReady(HANDLER_NOT_FOUND, self.missing[handler])
        if self.failures:
            raise _NotReady("LoadFailed", self.failures)
        raise _NotReady(
            HANDLER_NOT_FOUND,
            f"no handler {handler} was found; it is module:function, seen from the folder that "
            "'eventing up' was given",
        )

    def _found(self, function: Function) -> Discovered | None:
        """Its handler: that of the innermost project its file lies in, where several have one of
        this address."""
        same = [
            found
            for found in self.found
            if found.handler == function.spec.handler and found.namespace == function.namespace
        ]
        file = Path(function.source.file).absolute()
        own = [found for found in same if file.is_relative_to(found.code.project)]
        own.sort(key=lambda found: len(found.code.project.parts))
        return own[-1] if own else next(iter(same), None)

    def _environment(self, function: Function) -> dict[str, str]:
        environment = {}
        for name, value in function.env.items():
            found = self._referred(value) if isinstance(value, Reference) else value
            if found is not None:
                environment[name] = found
        return environment

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
            DeliveryPolicy(
                delivery.retry,
                delivery.backoff_policy,
                delivery.backoff_delay,
                delivery.timeout,
                delivery.retry_after_max,
            ),
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

    def _destination(
        self, target: Target, reason: str, format: Literal["binary", "json"] | None
    ) -> Destination:
        """What a ref or uri stands for, or the reason why not."""
        reference = target.reference
        if reference is None:
            return _address(target.uri or "", reason, format)
        key = f"{reference.namespace}/{reference.name}"
        match reference.kind:
            case "Function" if key in self.remotes:
                function = self.remotes[key]
                address = function.spec.uri or ""
                if target.uri is not None:
                    address = urljoin(address, target.uri)
                return replace(_address(address, reason, format), timeout=function.timeout)
            case "Function" if key in self.functions:
                found = Destination("function", key)
            case "Broker" if key in self.brokers:
                found = Destination("broker", key)
            case "EventTransform" if key in self.transforms:
                found = Destination("transform", key)
            case _:
                raise _NotReady(reason, self._missing(reference, key))
        if target.uri is not None:
            raise _NotReady(
                reason, f"{reference} has no HTTP address that the uri {target.uri} could join"
            )
        return found

    def _missing(self, reference: Reference, key: Key) -> str:
        condition = self.conditions.get(reference.identity)
        if condition is not None and not condition.ready:
            return f"{reference} is not ready: {condition.message}"
        if reference.kind == "Function" and key in self.ambiguous:
            return self.ambiguous[key]
        if reference.kind == "Function" and self.failures:
            return f"there is no {reference}; {self.failures}"
        if reference.kind not in ("Function", "Broker", "EventTransform"):
            return (
                f"{reference} can't be reached: events go to a Function, a Broker, an "
                "EventTransform or a uri"
            )
        return f"there is no {reference}"


def _key(resource: Resource) -> Key:
    return f"{resource.namespace}/{resource.name}"


def _address(uri: str, reason: str, format: Literal["binary", "json"] | None) -> Destination:
    try:
        Address.parse(uri)
    except UserError as error:
        raise _NotReady(reason, str(error)) from None
    return Destination("uri", uri, format)


def _function_plan(
    key: Key, found: Discovered, function: Function | None, environment: Mapping[str, str]
) -> FunctionPlan:
    """The decorator's options, and over them what YAML says."""
    timeout, concurrency, memory = found.timeout, found.concurrency, found.memory
    scale = ScaleConfig()
    if found.scale is not None:
        scale = ScaleConfig(min=found.scale[0], max=found.scale[1])
    if function is not None:
        spec = function.spec
        timeout = function.timeout if spec.timeout is not None else timeout
        concurrency = spec.concurrency if spec.concurrency is not None else concurrency
        memory = function.memory if function.memory is not None else memory
        scale = replace(scale, **function.scaling.given())
    namespace, _, name = key.partition("/")
    revision = Revision(
        name,
        namespace,
        found.handler,
        DEFAULT_TIMEOUT if timeout is None else timeout,
        _concurrency(concurrency, found.sync),
        found.sync,
        memory,
        {**found.env, **environment},
    )
    return FunctionPlan(key, revision, scale, found.code)


def _concurrency(given: int | None, sync: bool) -> int:
    """An async handler that says nothing serves many calls at once (0), a sync one only ever
    one."""
    if given is not None:
        return given
    return 1 if sync else 0
