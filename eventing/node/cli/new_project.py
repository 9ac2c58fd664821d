"""The files of the project that `eventing init` writes."""

_APP = '''\
"""Two handlers: an order is checked and priced, its reply becomes a receipt."""

from dataclasses import dataclass

from eventing import CloudEvent, Reject, function

PRICES = {"tea": 3, "coffee": 4}


@dataclass
class Order:
    item: str
    amount: int


@function(reply_type="order.priced")
def price(order: Order) -> dict[str, object]:
    """What is returned becomes a new event, of type order.priced."""
    if order.item not in PRICES:
        raise Reject(f"there is no {order.item} for sale")
    return {"item": order.item, "total": PRICES[order.item] * order.amount}


@function
def receipt(event: CloudEvent) -> None:
    """What is printed shows in `eventing logs receipt`."""
    order = event.get_data()
    print(f"{order['item']}: {order['total']} EUR")
'''

_WIRING = """\
# Which event goes where. The functions themselves are in app.py.
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: price
spec:
  broker: default
  filters:
    - exact: {type: order.placed}
  subscriber:
    ref: {apiVersion: functions/v1, kind: Function, name: price}
  # Three more tries, after 0.5, 1 and 2 seconds. What fails for good is kept: see
  # `eventing dead-letters list`.
  delivery:
    retry: 3
    backoffPolicy: exponential
    backoffDelay: PT0.5S
---
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: receipt
spec:
  broker: default
  filters:
    - exact: {type: order.priced}
  subscriber:
    ref: {apiVersion: functions/v1, kind: Function, name: receipt}
"""

_TEST = '''\
"""Handlers are plain functions, so tests call them; the wiring has a node of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from eventing import Reject
from eventing.testing import Node, event, node

from app import Order, price


def test_an_order_is_priced() -> None:
    assert price(Order("tea", 2)) == {"item": "tea", "total": 6}


def test_what_is_not_for_sale_is_rejected() -> None:
    with pytest.raises(Reject, match="no gravel"):
        price(Order("gravel", 1))


@pytest.fixture(scope="module")
def shop() -> Iterator[Node]:
    with node(Path(__file__).parent) as running:
        yield running


def test_an_order_ends_as_a_receipt(shop: Node) -> None:
    journey = shop.send(event("order.placed", {"item": "tea", "amount": 2}))
    journey.assert_done()
    journey.assert_delivered("receipt")


def test_an_order_for_what_is_not_for_sale_is_kept_as_a_dead_letter(shop: Node) -> None:
    journey = shop.send(event("order.placed", {"item": "gravel", "amount": 1}))
    journey.assert_dead("price", reason="no gravel")
'''

_README = """\
# A small event-driven project

| file | what it holds |
| --- | --- |
| app.py | the handlers |
| wiring.yaml | which event goes to which handler, and what happens when that fails |
| test_app.py | `pytest` in this folder, after `pip install pytest` |

Run it; with `--reload` what you change is live as you save it:

```console
$ eventing up . --reload
```

In another terminal, in this folder, send an order and follow it to its end:

```console
$ eventing send --type order.placed --data '{"item": "tea", "amount": 2}' --wait
$ eventing logs receipt
```

Break it: nobody sells milk, so the order is rejected and kept as a dead letter.

```console
$ eventing send --type order.placed --data '{"item": "milk", "amount": 1}' --wait
$ eventing dead-letters list
$ eventing dead-letters show 1
```

Mend it: add `"milk": 1` to `PRICES` in app.py, save, and deliver the dead letter again.

```console
$ eventing dead-letters redrive 1 --wait
```

See what goes on: `eventing get` shows brokers, triggers and functions, `eventing tail` every event
as it comes, `eventing explain --type order.placed` which trigger would take an event, and why not.
"""

FILES = {
    "app.py": _APP,
    "wiring.yaml": _WIRING,
    "test_app.py": _TEST,
    "README.md": _README,
    ".gitignore": ".eventing/\n__pycache__/\n.pytest_cache/\n",
}
"""By name; each works as it stands."""
