"""Namespaces, ConfigMaps and Secrets: what others name."""

from collections.abc import Iterable, Iterator

from eventing.node.knative.brokers import KeptSettings
from eventing.node.knative.manifest import Manifest, Notes
from eventing.node.knative.options import DEFAULT_NAMESPACE
from eventing.node.knative.scope import Scope
from eventing.resources import Broker, ConfigMap, Identity, Namespace, Resource, Secret

_DEFAULTS = "What was left open is as it counts here; the class Kafka wants it said."
BLANK = "PUT-THE-VALUE-HERE"


def namespaces(scope: Scope, others: Iterable[Manifest]) -> Iterator[Manifest]:
    """Those that are declared, and those that `others` stand in."""
    there = {DEFAULT_NAMESPACE}
    for namespace in scope.each(Namespace):
        if namespace.name != DEFAULT_NAMESPACE:
            there.add(namespace.name)
            yield Manifest(scope.document(namespace), namespace.source)
    for manifest in others:
        name = manifest.identity.namespace
        if name not in there:
            there.add(name)
            document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            yield Manifest(document, manifest.source, ("It is made here by being used.",))


def config_maps(scope: Scope, kept: KeptSettings) -> Iterator[Manifest]:
    """As they are; of those that hold the settings of brokers and nothing else, what `kept` has of
    them."""
    settings = _settings_alone(scope.resources.values())
    for config in scope.each(ConfigMap):
        document = scope.document(config)
        comments: tuple[str, ...] = ()
        if config.identity in kept:
            written = document.get("data", {})
            whole = {} if config.identity in settings else written
            document["data"] = whole | kept[config.identity]
            if document["data"].keys() - written.keys():
                comments = (_DEFAULTS,)
        elif config.identity in settings:
            continue
        yield Manifest(document, config.source, comments)


def _settings_alone(resources: Iterable[Resource]) -> set[Identity]:
    of_brokers: set[Identity] = set()
    of_others: set[Identity] = set()
    for resource in resources:
        named = {reference.identity for reference in resource.references()}
        (of_brokers if isinstance(resource, Broker) else of_others).update(named)
    return of_brokers - of_others


def secrets(scope: Scope, notes: Notes) -> Iterator[Manifest]:
    """With their values where the user wants that; else a form to fill in, in comments."""
    for secret in scope.each(Secret):
        document = scope.document(secret)
        if scope.options.with_secrets:
            for name, values in (("data", secret.data), ("stringData", secret.string_data)):
                if values is not None:
                    document[name] = {key: each.get_secret_value() for key, each in values.items()}
            yield Manifest(document, secret.source)
            continue
        document.pop("data", None)
        keys = (*(secret.data or {}), *(secret.string_data or {}))
        document["stringData"] = dict.fromkeys(keys, BLANK)
        told = "Its values are not written out. Make it on the cluster, from this form:"
        yield Manifest(document, secret.source, (told,), hidden=True)
        notes.add(
            secret,
            (),
            "its values are not written out",
            "make it on the cluster (its form is there, in comments), or use --with-secrets",
        )
