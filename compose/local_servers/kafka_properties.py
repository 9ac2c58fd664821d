"""The server.properties of a small, quick Kafka node on loopback, KRaft's broker and controller in
one process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from server_process import HOST

QUICK_GROUPS = {
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "1000",
    "group.consumer.heartbeat.interval.ms": "1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}
"""Members of a group that speak the next-generation protocol (KIP-848) are missed within seconds;
as Kafka comes it is 45. So are transactions that a killed node left open, and that hold up whoever
reads committed records: they are looked for every second, not every 10."""


@dataclass(frozen=True, slots=True)
class Ports:
    """`clients` is where users connect. `inside` is for the nodes among themselves: plain, and
    free of any access rule."""

    clients: int
    inside: int
    controller: int


@dataclass(frozen=True, slots=True)
class Access:
    """How clients are let in. `users`: names and passwords for SASL PLAIN; empty means without.
    `rules`: ACLs count, and what none allows is denied. `pem`: the server's private key (PKCS #8)
    and certificate chain, for TLS. `client_ca`: the certificate authority, as PEM, that clients'
    certificates must come from."""

    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    rules: bool = False
    pem: str = field(default="", repr=False)
    client_ca: str = ""

    @property
    def protocol(self) -> str:
        """As Kafka's clients name it in `security.protocol`."""
        return ("SASL_" if self.users else "") + ("SSL" if self.pem else "PLAINTEXT")


def node_properties(
    node: int, nodes: Sequence[Ports], folder: Path, access: Access
) -> dict[str, str]:
    """Those of node number `node`, counted from 1, whose data and certificates are in `folder`."""
    own = nodes[node - 1]
    voters = [f"{number}@{HOST}:{ports.controller}" for number, ports in enumerate(nodes, 1)]
    copies = str(min(3, len(nodes)))
    in_sync = str(min(2, len(nodes)))
    clients, inside = f"CLIENTS://{HOST}:{own.clients}", f"INSIDE://{HOST}:{own.inside}"
    return {
        "process.roles": "broker,controller",
        "node.id": str(node),
        "controller.quorum.voters": ",".join(voters),
        "listeners": f"{clients},{inside},CONTROLLER://{HOST}:{own.controller}",
        "advertised.listeners": f"{clients},{inside}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "INSIDE",
        "listener.security.protocol.map": (
            f"CLIENTS:{access.protocol},INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT"
        ),
        "log.dirs": str(folder / "data"),
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.num.partitions": "5",
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.num.partitions": "5",
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        "group.initial.rebalance.delay.ms": "0",
        # How long a killed node counts as there, which is how long it waits when it comes back.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        **_access_properties(access, folder),
    }


def write_properties(file: Path, properties: Mapping[str, str]) -> None:
    """As java.util.Properties reads them."""
    lines = [f"{name}={_escaped(value)}\n" for name, value in properties.items()]
    file.touch(mode=0o600)
    file.write_text("".join(lines), encoding="ascii")


def _access_properties(access: Access, folder: Path) -> dict[str, str]:
    properties = {}
    if access.users:
        accounts = "".join(f' user_{user}="{word}"' for user, word in access.users.items())
        properties["sasl.enabled.mechanisms"] = "PLAIN"
        properties["listener.name.clients.plain.sasl.jaas.config"] = (
            f"org.apache.kafka.common.security.plain.PlainLoginModule required{accounts};"
        )
    if access.rules:
        # Who comes in over the plain listeners has no name: the nodes, and whoever sets the rules.
        properties["super.users"] = "User:ANONYMOUS"
        properties["authorizer.class.name"] = (
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
        )
    if access.pem:
        properties["listener.name.clients.ssl.keystore.type"] = "PEM"
        properties["listener.name.clients.ssl.keystore.location"] = str(folder / "server.pem")
    if access.client_ca:
        properties["listener.name.clients.ssl.client.auth"] = "required"
        properties["listener.name.clients.ssl.truststore.type"] = "PEM"
        properties["listener.name.clients.ssl.truststore.location"] = str(folder / "clients.pem")
    return properties


def _escaped(value: str) -> str:
    text = value.replace("\\", "\\\\").replace("\n", "\\n")
    return "".join(each if each.isascii() else f"\\u{ord(each):04x}" for each in text)
