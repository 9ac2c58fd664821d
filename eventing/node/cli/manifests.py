"""Resources as documents that can be applied again, with a Knative-like status."""

from typing import Any

Item = dict[str, Any]

_API_VERSIONS = {
    "Broker": "eventing.knative.dev/v1",
    "Function": "functions/v1",
    "Revision": "functions/v1",
}
"""Of the kinds that may be there without a document."""


def manifest(item: Item) -> dict[str, Any]:
    """The document as it was written, or one that says the same; `status` holds the Ready
    condition and the figures."""
    condition = {"type": "Ready", "status": "True" if item["ready"] else "False"}
    if item["reason"]:
        condition |= {"reason": item["reason"], "message": item["message"]}
    status: dict[str, Any] = {"conditions": [condition], **item["status"]}
    status["source"] = item["source"]
    status["applied"] = item["applied"]
    return {**(item["document"] or _implied(item)), "status": status}


def _implied(item: Item) -> dict[str, Any]:
    document: dict[str, Any] = {
        "apiVersion": _API_VERSIONS[item["kind"]],
        "kind": item["kind"],
        "metadata": {"name": item["name"], "namespace": item["namespace"]},
    }
    if item["kind"] == "Function":
        document["spec"] = {"handler": item["status"].get("handler", "")}
    return document
