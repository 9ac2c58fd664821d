"""The example in eventing.testing's documentation, run as it stands there."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import eventing.testing

ORDERS = """
from dataclasses import dataclass
from eventing import CloudEvent, Context, Retry, function

@dataclass
class Order:
    id: int
    total: float

@function
def charge(order: Order, ctx: Context):
    if ctx.attributes.get("tilldown") == "always":
        raise Retry(reason="the till is down")
    return ctx.event("order.charged", {"id": order.id})

@function
def ship(event: CloudEvent): ...
"""

WIRING = """
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: charge}
spec:
  broker: default
  filter: {attributes: {type: order.placed}}
  subscriber: {ref: {apiVersion: functions/v1, kind: Function, name: charge}}
  delivery: {retry: 2}
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: ship}
spec:
  broker: default
  filter: {attributes: {type: order.charged}}
  subscriber: {ref: {apiVersion: functions/v1, kind: Function, name: ship}}
"""


def test_the_documented_example_passes(tmp_path: Path) -> None:
    (tmp_path / "orders.py").write_text(ORDERS)
    (tmp_path / "wiring.yaml").write_text(WIRING)
    lines = (eventing.testing.__doc__ or "").splitlines(keepends=True)
    code = "".join(line for line in lines if line.startswith("    ") or not line.strip())
    (tmp_path / "test_orders.py").write_text(dedent(code))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "test_orders.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "4 passed" in ran.stdout
