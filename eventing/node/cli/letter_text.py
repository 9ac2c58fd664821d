"""One dead letter, as `dead-letters show` tells it."""

import base64
import json
from typing import Any

from eventing.node.cli import terminal
from eventing.node.cli.letter_ids import LetterId
from eventing.node.cli.moments import age, moment
from eventing.node.cli.names import short

_SHOWN = 4000
"""Characters of data."""
_TTL = "knativebrokerttl"
"""The brokers' own."""


def tell_letter(id: LetterId, letter: dict[str, Any]) -> None:
    """Why it failed, the event's attributes, its data, and what can be done."""
    attempts = letter["attempts"]
    terminal.line(
        ("dead letter ", "bold"),
        (str(id), "bold"),
        f"{_whose(letter)}, given up {age(letter['at'])} ago",
        (f" ({moment(letter['at'])})", "dim"),
    )
    terminal.line()
    code = f"{letter['code']} " if letter["code"] else ""
    terminal.line(("failed   ", "dim"), (f"{code}{letter['reason']}", "red"))
    many = "attempt" if attempts == 1 else "attempts"
    if letter["trigger"]:
        terminal.line(("after    ", "dim"), f"{attempts} {many} at {letter['destination']}")
    if letter["data"].strip() not in ("", letter["reason"]):
        terminal.line()
        for text in letter["data"].rstrip().splitlines():
            terminal.line(f"  {text}")
    terminal.line()
    event = {name: value for name, value in letter["event"].items() if name != _TTL}
    data = _data(event)
    width = max(map(len, event))
    for name, value in event.items():
        terminal.line((f"{name:{width}}  ", "dim"), str(value))
    if data:
        terminal.line()
        for text in data.splitlines():
            terminal.line(f"  {text}")
    terminal.line()
    again = "delivers it again" if letter["trigger"] else "sends it to the broker"
    terminal.note((f"'eventing dead-letters redrive {id}' {again}; --edit mends its data", "dim"))


def _whose(letter: dict[str, Any]) -> str:
    """What the broker itself could not read is no trigger's."""
    if letter["trigger"]:
        return f" of trigger {short(letter['trigger'])}"
    return f" of broker {short(letter['broker'])}"


def _data(event: dict[str, Any]) -> str:
    """The data taken out of the event in JSON format, as text of a bearable length."""
    if "data_base64" in event:
        data = base64.b64decode(event.pop("data_base64"))
        return f"{len(data)} bytes of {event.get('datacontenttype', 'data of no named type')}"
    if "data" not in event:
        return ""
    data = event.pop("data")
    text = data if isinstance(data, str) else json.dumps(data, indent=2, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…\n({len(text)} characters; -o json)"
