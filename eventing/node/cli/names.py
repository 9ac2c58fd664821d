"""Names of resources on the command line: kinds in all their forms, and `namespace/name`."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from eventing.node.config import DEFAULT_DATA

DEFAULT_NAMESPACE = "default"
DEFAULT_BROKER = "default/default"
ALL = "all"
NODES = "nodes"
SOURCES = "sources"
SINKS = "sinks"

KINDS = {
    "Broker": ("broker", "brokers"),
    "Trigger": ("trigger", "triggers", "tr"),
    "Function": ("function", "functions", "fn"),
    "Service": ("service", "services", "ksvc"),
    "InferenceService": ("inferenceservice", "inferenceservices", "isvc"),
    "Revision": ("revision", "revisions", "rev"),
    "TrafficPolicy": ("trafficpolicy", "trafficpolicies"),
    "VirtualService": ("virtualservice", "virtualservices", "vs"),
    "DestinationRule": ("destinationrule", "destinationrules", "dr"),
    "EventTransform": ("eventtransform", "eventtransforms", "et"),
    "KafkaSource": ("kafkasource", "kafkasources"),
    "RedisStreamSource": ("redisstreamsource", "redisstreamsources"),
    "PingSource": ("pingsource", "pingsources"),
    "KafkaSink": ("kafkasink", "kafkasinks"),
    "RedisStreamSink": ("redisstreamsink", "redisstreamsinks"),
    "ConfigMap": ("configmap", "configmaps", "cm"),
    "Secret": ("secret", "secrets"),
    "Namespace": ("namespace", "namespaces", "ns"),
}
"""Every kind with the words for it: one, many, short."""
GROUPS = {
    SOURCES: ("KafkaSource", "RedisStreamSource", "PingSource"),
    SINKS: ("KafkaSink", "RedisStreamSink"),
}
"""Words for several kinds at once."""

_KIND_OF = {word: kind for kind, words in KINDS.items() for word in words}
_PLURALS = [words[1] for words in KINDS.values()]


class Kind(click.ParamType):  # type: ignore[type-arg]  # generic since 8.4
    """A kind by any of its words, in any case, or one of the words in `more`."""

    name = "kind"

    def __init__(self, *, more: Sequence[str] = ()) -> None:
        self._more = list(more)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        word = str(value).lower()
        if word in self._more:
            return word
        kind = _KIND_OF.get(word)
        if kind is None:
            near = get_close_matches(word, [*_KIND_OF, *self._more], n=1)
            remedy = (
                f"did you mean {near[0]!r}?"
                if near
                else f"known are: {', '.join([*_PLURALS, *self._more])}"
            )
            self.fail(f"there is no kind {value!r}; {remedy}", param, ctx)
        return kind

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        words = [*_PLURALS, *self._more]
        return [CompletionItem(word) for word in words if word.startswith(incomplete.lower())]


class QualifiedName(click.ParamType):  # type: ignore[type-arg]  # generic since 8.4
    """`name` or `namespace/name`, always the latter once read."""

    name = "[namespace/]name"

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return qualified(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return complete_names(self._kind, ctx, incomplete)


def qualified(name: str, namespace: str = DEFAULT_NAMESPACE) -> str:
    """`namespace/name` of a name that may have its namespace already. Raises ValueError."""
    given, slash, bare = name.rpartition("/")
    if not bare or "/" in given or (slash and not given):
        raise ValueError(f"{name!r} is neither a name nor namespace/name")
    return f"{given or namespace}/{bare}"


def short(key: str) -> str:
    """A `namespace/name` as people read it: without the default namespace."""
    return key.removeprefix(f"{DEFAULT_NAMESPACE}/")


def did_you_mean(name: str, known: list[str]) -> str:
    """What to say after "there is no …": the nearest name, else all of them."""
    near = get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there are: {', '.join(known)}" if known else "there is none at all"


def complete_names(kind: str, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
    """Names of a kind on the node, for the shell; silently none where no node answers."""
    from eventing.errors import EventingError
    from eventing.node.cli.node_address import find_node
    from eventing.node.cli.node_client import NodeClient

    try:
        folder = ctx.params.get("data_dir") or DEFAULT_DATA
        node = NodeClient(find_node(ctx.params.get("admin"), Path(folder)), timeout=1.0)
        items = node.get("/api/v1/resources", kind=kind)["items"]
    except EventingError:
        return []
    names = [short(f"{item['namespace']}/{item['name']}") for item in items]
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def resource_name(kind: str) -> Callable[..., list[CompletionItem]]:
    """A `shell_complete` for names of one kind."""

    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return complete_names(kind, ctx, incomplete)

    return complete
