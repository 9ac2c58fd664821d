"""For the demo: the Kafka or Redis that its nodes share, named by the environment or started."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node_process import Failed
from rich.console import Console

ADDRESS = "EVENTING_BROKER"
"""Names a server that is there, as for `eventing up`: kafka://host:port, redis://host:port."""
SCHEMES = {"kafka": ("kafka", "kafkas"), "redis": ("redis", "rediss", "unix")}

_LOCAL_SERVERS = Path(__file__).resolve().parents[2] / "compose" / "local_servers"


@contextmanager
def engine(kind: str, console: Console) -> Iterator[str]:
    """The address of a Kafka or Redis, for `eventing up --broker`. Raises Failed."""
    given = os.environ.get(ADDRESS, "")
    if given.partition(":")[0] in SCHEMES[kind]:
        shown = given.rpartition("@")[2].removeprefix(f"{given.partition(':')[0]}://")
        console.print(f"{kind}: {shown}, of {ADDRESS}", highlight=False)
        yield given
        return
    with _started(kind, console) as address:
        yield address


@contextmanager
def _started(kind: str, console: Console) -> Iterator[str]:
    if not _LOCAL_SERVERS.is_dir():
        raise Failed(
            f"{_LOCAL_SERVERS} is not there to start {kind} with; name one that runs: "
            f"{ADDRESS}={kind}://host:port"
        )
    sys.path.insert(0, str(_LOCAL_SERVERS))
    from server_process import ServerFailed, ServerUnavailable

    try:
        if kind == "kafka":
            from kafka_jars import kafka_jars
            from kafka_properties import QUICK_GROUPS
            from kafka_server import KafkaServer

            with console.status("fetching Kafka's server, if this is the first time"):
                kafka_jars()
            server = KafkaServer(properties=QUICK_GROUPS)
            address = f"kafka://{server.bootstrap_servers}"
        else:
            from redis_server import RedisServer

            server = RedisServer()
            address = server.url
        began = time.monotonic()
        with server:
            seconds = time.monotonic() - began
            console.print(
                f"{kind}: {address}, a process of this machine, ready after {seconds:.1f} s",
                highlight=False,
            )
            yield address
    except (ServerUnavailable, ServerFailed) as error:
        raise Failed(
            f"{error}\nor name a {kind} that runs: {ADDRESS}={kind}://host:port"
        ) from error
