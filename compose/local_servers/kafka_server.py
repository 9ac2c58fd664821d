"""Apache Kafka as local processes, for tests, the demo and benchmarks: one node, or a quorum.

    with KafkaServer(properties={"auto.create.topics.enable": "false"}) as kafka:
        AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
        kafka.kill(); kafka.start()       # also stop(), pause(), resume(), restart()

    with KafkaCluster() as cluster:       # three nodes, replication factor 3, in sync at least 2
        cluster.nodes[0].restart()

Ports and data stay the same from the first start to close(), which removes the data. With
`Access(users={"ann": "secret"}, rules=True)` clients come in over SASL PLAIN and may do only what
an ACL allows; `inside_servers` has no such limits, to set the ACLs from. Needs Java 17, and Maven
for the first run.
"""

import socket
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from kafka_jars import java, kafka_jars
from kafka_properties import Access, Ports, node_properties, write_properties
from server_process import HOST, ServerFailed, ServerProcess, free_port

_START_SECONDS = 90.0
_OPEN = Access()
# Small and soon there; a long life is not what these are for.
_JVM = ("-Xmx512m", "-Xshare:auto", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class KafkaServer:
    """One node. `properties` are added to its server.properties. `nodes` and `cluster` are given
    by KafkaCluster. Raises ServerUnavailable where Java or the jars are missing."""

    def __init__(
        self,
        *,
        properties: Mapping[str, str] | None = None,
        access: Access = _OPEN,
        number: int = 1,
        nodes: Sequence[Ports] = (),
        cluster: str = "",
    ) -> None:
        self.access = access
        self.number = number
        self.ports = (nodes or [free_ports()])[number - 1]
        self._temporary = tempfile.TemporaryDirectory(prefix="kafka-", ignore_cleanup_errors=True)
        folder = Path(self._temporary.name)
        self._settings = folder / "server.properties"
        own = node_properties(number, nodes or [self.ports], folder, access)
        write_properties(self._settings, {**own, **(properties or {})})
        for name, text in (("server.pem", access.pem), ("clients.pem", access.client_ca)):
            (folder / name).touch(mode=0o600)
            (folder / name).write_text(text)
        self._cluster = cluster or cluster_id()
        self._java = [java(), *_JVM, "-Dlog4j2.level=WARN", "-cp", f"{kafka_jars()}/*"]
        command = [*self._java, "kafka.Kafka", str(self._settings)]
        self._process = ServerProcess(f"Kafka's node {number}", command, folder)

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect: host:port."""
        return f"{HOST}:{self.ports.clients}"

    @property
    def inside_servers(self) -> str:
        """Plain and without any limit, whatever `access` asks of clients: host:port."""
        return f"{HOST}:{self.ports.inside}"

    @property
    def output(self) -> Path:
        """The file of all that the server printed."""
        return self._process.output

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.running

    def start(self) -> None:
        """Returns once it serves. Raises ServerFailed with the end of what it printed."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start without waiting; a node of a quorum serves once most of the others are there."""
        if not (self._settings.parent / "data" / "meta.properties").exists():
            self._format()
        self._process.launch()

    def wait(self) -> None:
        """Until clients can reach it and the controller counts it in."""
        self._process.wait_until(self._serves, _START_SECONDS)

    def stop(self, seconds: float = 30) -> None:
        """SIGTERM: it hands over what it leads and ends. SIGKILL when that takes longer."""
        self._process.stop(seconds)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def pause(self) -> None:
        """SIGSTOP."""
        self._process.pause()

    def resume(self) -> None:
        """SIGCONT."""
        self._process.resume()

    def restart(self) -> None:
        """Stop it in order and start it with the data it had."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End it at once and remove its data."""
        self.kill()
        self._temporary.cleanup()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _format(self) -> None:
        tool = ["kafka.tools.StorageTool", "format", "-t", self._cluster, "-c", str(self._settings)]
        ran = subprocess.run([*self._java, *tool], capture_output=True, text=True, timeout=120)
        if ran.returncode != 0:
            said = (ran.stdout + ran.stderr).strip()[-2_000:]
            raise ServerFailed(f"Kafka's data folder could not be prepared; it said:\n{said}")

    def _serves(self) -> bool:
        for port in (self.ports.clients, self.ports.inside):
            try:
                socket.create_connection((HOST, port), 1).close()
            except OSError:
                return False
        with suppress(KafkaException):
            # A client of its own for each look: one that met a closed port waits before the next.
            client = AdminClient({"bootstrap.servers": self.inside_servers, "log_level": 0})
            return self.number in client.list_topics(timeout=2).brokers
        return False


class KafkaCluster:
    """Three nodes, all of them brokers and voters of the controller's quorum."""

    SIZE = 3

    def __init__(
        self, *, properties: Mapping[str, str] | None = None, access: Access = _OPEN
    ) -> None:
        ports = [free_ports() for _ in range(self.SIZE)]
        cluster = cluster_id()
        self.nodes = [
            KafkaServer(
                properties=properties, access=access, number=number, nodes=ports, cluster=cluster
            )
            for number in range(1, self.SIZE + 1)
        ]

    @property
    def bootstrap_servers(self) -> str:
        """All three nodes, as clients are configured with them."""
        return ",".join(node.bootstrap_servers for node in self.nodes)

    @property
    def inside_servers(self) -> str:
        """As those of KafkaServer."""
        return ",".join(node.inside_servers for node in self.nodes)

    def start(self) -> None:
        """All nodes; returns once each of them serves."""
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait()

    def stop(self) -> None:
        """SIGTERM to all at once. Kafka's last nodes wait for a quorum that is gone: they are
        killed after some seconds."""
        with ThreadPoolExecutor(self.SIZE) as threads:
            for stopping in [threads.submit(node.stop, 5) for node in self.nodes]:
                stopping.result()

    def close(self) -> None:
        """End all nodes at once and remove their data."""
        for node in self.nodes:
            node.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def free_ports() -> Ports:
    return Ports(free_port(), free_port(), free_port())


def cluster_id() -> str:
    """A name for a new cluster, in the form Kafka gives them. Its storage tool takes one that
    begins with a dash for an option."""
    while True:
        name = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not name.startswith("-"):
            return name
