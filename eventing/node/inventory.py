"""Every resource as `get` and `describe` show it: what it is, whether it is ready, how it does."""

import dataclasses
from contextlib import suppress
from typing import Any

from brokers.base import BrokerStats
from eventing.errors import StorageError
from eventing.node.engines import shown_engine
from eventing.node.function_status import function_status, revision_items
from eventing.node.node import Node
from eventing.node.wiring import Discovered, Key
from eventing.resources import WORKLOADS, Identity, Resource, to_document

Item = dict[str, Any]
"""`kind`, `namespace`, `name`, `ready`, `reason`, `message`, `source` (file:line:column, "" where
implicit), `applied` (it came by apply), `document` (as written, None where implicit), `status`
(figures by kind)."""


async def inventory(node: Node) -> list[Item]:
    """All of them: those of files and `apply`, functions that only code declares, the default
    broker, and the revisions of functions."""
    stats = await _stats(node)
    items = [_item(node, resource) for resource in node.resources().values()]
    known = {(item["kind"], item["namespace"], item["name"]) for item in items}
    for key, found in node.runtime.wiring.discovered.items():
        if key in node.runtime.wiring.functions and ("Function", *key.split("/")) not in known:
            items.append(_discovered_item(found))
    runtime = node.runtime
    for key in dict.fromkeys((*runtime.brokers, *runtime.faults, *runtime.opening)):
        namespace, name = key.split("/")
        if ("Broker", namespace, name) not in known:
            items.append(_default_broker(node, namespace, name))
    for item in items:
        key = f"{item['namespace']}/{item['name']}"
        match item["kind"]:
            # One that is being closed is in the wiring no more.
            case "Broker" if key in stats and key in node.runtime.wiring.brokers:
                figures = stats[key]
                item["status"] = {
                    "url": f"{node.ingress_url}/{key}",
                    "engine": shown_engine(node.runtime.wiring.brokers[key].engine),
                    "head": figures.head,
                    "events": figures.events,
                    "bytes": figures.bytes,
                    "unrouted": node.runtime.unrouted(key),
                }
            case "Trigger" if key in node.runtime.triggers:
                item["status"] = _trigger_status(node, key, stats)
            case "KafkaSource" | "RedisStreamSource" | "PingSource" as kind:
                item["status"] = _source_status(node, Identity(kind, *key.split("/")))
            case "KafkaSink" | "RedisStreamSink" as kind:
                sink = node.runtime.sinks.running().get(Identity(kind, *key.split("/")))
                item["status"] = sink.status() if sink is not None else {}
            case kind if kind in WORKLOADS:
                item["status"] = function_status(node, key)
    return [*items, *revision_items(node)]


async def _stats(node: Node) -> dict[Key, BrokerStats]:
    """Of the brokers whose storage answers; brokers may come and go meanwhile."""
    stats = {}
    for key, broker in tuple(node.runtime.brokers.items()):
        with suppress(StorageError):
            stats[key] = await broker.stats()
    return stats


def _item(node: Node, resource: Resource) -> Item:
    identity = resource.identity
    condition = node.condition(identity)
    return {
        "kind": identity.kind,
        "namespace": identity.namespace,
        "name": identity.name,
        "ready": condition.ready,
        "reason": condition.reason,
        "message": condition.message,
        "source": str(resource.source),
        "applied": node.is_applied(identity),
        "document": to_document(resource),
        "status": {},
    }


def _implicit(kind: str, namespace: str, name: str, source: str = "") -> Item:
    return {
        "kind": kind,
        "namespace": namespace,
        "name": name,
        "ready": True,
        "reason": "",
        "message": "",
        "source": source,
        "applied": False,
        "document": None,
        "status": {},
    }


def _default_broker(node: Node, namespace: str, name: str) -> Item:
    item = _implicit("Broker", namespace, name)
    condition = node.runtime.broker_condition(f"{namespace}/{name}")
    if condition is not None:
        item |= {"ready": False, "reason": condition.reason, "message": condition.message}
    return item


def _discovered_item(found: Discovered) -> Item:
    source = f"{found.file}:{found.line}"
    return _implicit("Function", found.namespace, found.name, source)


def _trigger_status(node: Node, key: Key, stats: dict[Key, BrokerStats]) -> Item:
    running = node.runtime.triggers[key]
    plan = running.plan
    figures = stats[plan.broker].subscriptions.get(key) if plan.broker in stats else None
    status: Item = {
        "broker": plan.broker,
        "subscriber": str(plan.destination) if plan.destination is not None else "",
        "filter": str(plan.filter),
        "order": plan.order,
    }
    if figures is not None:
        status |= dataclasses.asdict(figures)
    if running.dispatcher is not None:
        counters = running.dispatcher.counters
        status |= {
            "attempts": counters.attempts,
            "done": counters.done,
            "retried": counters.retried,
            "dead_lettered": counters.dead_lettered,
            "given_up": counters.dead,
        }
    return status


def _source_status(node: Node, identity: Identity) -> Item:
    plan = node.runtime.wiring.sources.get(identity)
    status: Item = {"sink": ""}
    if plan is not None:
        status["sink"] = str(plan.destination) if plan.destination is not None else ""
        status["deadLetterSink"] = str(plan.sink) if plan.sink is not None else ""
    return status | node.runtime.sources.status(identity)
