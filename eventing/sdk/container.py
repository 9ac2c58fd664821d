"""What the environment tells a function in a container: Knative Serving's runtime contract."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from eventing.errors import UserError

DEFAULT_PORT: Final = 8080
NAMESPACE: Final = "EVENTING_NAMESPACE"
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where every pod of Kubernetes finds its namespace."""


def port(environment: Mapping[str, str]) -> int:
    """`PORT`, on which to listen. Raises UserError."""
    told = environment.get("PORT", "")
    if not told:
        return DEFAULT_PORT
    if told.isascii() and told.isdecimal() and len(told) <= 5 and 0 < int(told) <= 65535:
        return int(told)
    raise UserError(f"the variable PORT is {told!r}; it takes a number from 1 to 65535, like 8080")


def function_name(environment: Mapping[str, str], own: str) -> str:
    """The name the function goes by: its Service's (`K_SERVICE`), else its `own`."""
    return environment.get("K_SERVICE") or own


def namespace(environment: Mapping[str, str], file: Path = _NAMESPACE_FILE) -> str:
    """The namespace it is in: EVENTING_NAMESPACE, else the pod's, else "default"."""
    told = environment.get(NAMESPACE, "")
    if not told:
        try:
            told = file.read_text().strip()
        except OSError:
            pass
    return told or "default"
