"""What every broker promises: one suite, run against each implementation.

An implementation's test module calls `suite(Harness)` to get the test class. A harness makes
brokers over one lasting place, and can bring one back after a crash.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from brokers.base import (
    Broker,
    BrokerFull as _Full,
)
