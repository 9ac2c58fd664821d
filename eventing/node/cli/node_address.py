"""Where the node is that a command speaks to."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from eventing.errors import UserError
from eventing.node.config import DEFAULT_ADMIN_PORT

ENVIRONMENT = "EVENTING_ADMIN"
_REMEDY = "start one with 'eventing up PATH', or name it with --admin URL"


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """The admin API's `url`, and what to tell where nobody answers there."""

    url: str
    silence: str


def find_node(admin: str | None, data: Path) -> NodeAddress:
    """The node that is named, else the one that runs on the data folder, else the default port.

    Raises UserError for an `admin` that is no HTTP URL.
    """
    if admin:
        url = admin if "://" in admin else f"http://{admin}"
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not _has_port(url):
            raise UserError(
                f"the node's address {admin!r} is no URL; write it like http://127.0.0.1:8081"
            )
        return NodeAddress(url.rstrip("/"), f"is a node running there? {_REMEDY}")
    file = data / "node.json"
    try:
        told = json.loads(file.read_text())
        url, pid = str(told["admin"]), int(told["pid"])
    except (OSError, ValueError, TypeError, KeyError):
        url = f"http://127.0.0.1:{DEFAULT_ADMIN_PORT}"
        return NodeAddress(url, f"no node runs on {data}; {_REMEDY}")
    if not _lives(pid):
        return NodeAddress(url, f"the node of {file}, process {pid}, is gone; {_REMEDY}")
    return NodeAddress(url, f"{file} says that process {pid} serves it; {_REMEDY}")


def _has_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
