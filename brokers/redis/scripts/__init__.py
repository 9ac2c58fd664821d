"""The scripts that run in Redis, by name: each is one step that happens whole or not at all."""

from importlib.resources import files
from typing import Final

_NAMES = (
    "publish",
    "settle",
    "join",
    "open",
    "tend",
    "due",
    "give_back",
    "fetch",
    "beat",
    "leave",
    "unsubscribe",
    "replay",
    "keep",
    "redrive",
    "drop",
    "last",
    "stats",
    "trim",
)


def _source(name: str) -> str:
    folder = files(__package__)
    return "".join((folder / f"{part}.lua").read_text() for part in ("prelude", name))


SCRIPTS: Final = {name: _source(name) for name in _NAMES}
