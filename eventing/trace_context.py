"""The trace an event is part of: W3C Trace Context (level 1) in headers and in extensions.

CloudEvents' distributed tracing extension keeps it in `traceparent` and `tracestate`; HTTP peers
that are instrumented look for it in the headers of these names.
"""

import re
from collections.abc import Mapping, Sequence

_IDS = "(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_PARENT = re.compile(f"00-{_IDS}|(?!00|ff)[0-9a-f]{{2}}-{_IDS}(?:-[!-~]*)?").fullmatch
"""Section 3.2; a version to come may put more at the end."""

_KEY = "[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13}"
_VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(f"[ \t]*({_KEY})={_VALUE}[ \t]*").fullmatch
_MOST_MEMBERS = 32


def trace_headers(attributes: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """The headers for an event of these attributes: none where its `traceparent` is missing or
    invalid, and no `tracestate` that is invalid."""
    parent = attributes.get("traceparent")
    if parent is None or _PARENT(parent) is None:
        return []
    headers = [(b"traceparent", parent.encode())]
    state = attributes.get("tracestate")
    if state and _is_state(state):
        headers.append((b"tracestate", state.encode()))
    return headers


def trace_extensions(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """The extensions for a message with these headers (names in lower case): none where
    `traceparent` is missing, given twice or invalid, as section 4.3 asks, and no `tracestate` that
    is invalid."""
    parents = [value for name, value in headers if name == b"traceparent"]
    parent = parents[0].decode("latin-1") if len(parents) == 1 else ""
    if _PARENT(parent) is None:
        return {}
    # Several headers are one list (section 3.3.1.1).
    state = b",".join(value for name, value in headers if name == b"tracestate").decode("latin-1")
    if state and _is_state(state):
        return {"traceparent": parent, "tracestate": state}
    return {"traceparent": parent}


def _is_state(value: str) -> bool:
    """Whether it is a list of pairs, no key twice (section 3.3)."""
    members = [member for member in value.split(",") if member.strip(" \t")]
    keys = [found[1] for found in map(_MEMBER, members) if found]
    return 0 < len(keys) == len(members) == len(set(keys)) and len(keys) <= _MOST_MEMBERS
