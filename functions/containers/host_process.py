"""What this machine's kernel tells of a container's first process: whether it lives, on which ports
it listens, whether it was killed for memory.

The engine tells most of it too, but later; and it may be away. Where the engine's processes are not
this machine's (a virtual machine, a node in a container) there is none of this.
"""

import os
import select
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NamedTuple

_LISTENS = "0A"
"""A socket's state in /proc/net/tcp (TCP_LISTEN)."""

Address = IPv4Address | IPv6Address


class Listener(NamedTuple):
    """A port on which the container takes connections; `address` it is bound to, within it."""

    address: Address
    port: int

    @property
    def open(self) -> bool:
        """Whether connections from outside of the container reach it."""
        return not self.address.is_loopback

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


class HostProcess:
    """The process `pid`, which `open` found to be the container's. `descriptor` becomes readable
    when it has ended; to be closed by `close`."""

    def __init__(self, pid: int, descriptor: int, counters: tuple[Path, ...]) -> None:
        self.pid = pid
        self.descriptor = descriptor
        self._counters = counters
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    @classmethod
    def open(cls, pid: int, container: str) -> "HostProcess | None":
        """None where no process of this machine is that container's."""
        if pid <= 0:
            return None
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return None
        try:
            groups = Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            groups = ""
        # The number alone may be another machine's; the group is named after the container.
        if container not in groups:
            os.close(descriptor)
            return None
        return cls(pid, descriptor, tuple(_counters(groups)))

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    @property
    def ended(self) -> bool:
        return self.descriptor < 0 or bool(self._poll.poll(0))

    def listeners(self) -> list[Listener] | None:
        """On what it takes TCP connections; None where that can't be read."""
        found = []
        try:
            for table in ("tcp", "tcp6"):
                path = Path(f"/proc/{self.pid}/net/{table}")
                if path.exists():  # there is no tcp6 without IPv6
                    found += parse_listeners(path.read_text())
        except (OSError, ValueError):
            return None
        return sorted(set(found), key=lambda each: (each.port, str(each.address)))

    def killed_for_memory(self) -> bool | None:
        """Whether the kernel has killed a process of the container for its memory limit. To be
        asked as soon as it has ended: the group's counters go with it. None: they are gone."""
        for path in self._counters:
            try:
                text = path.read_text()
            except OSError:
                continue
            for line in text.splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return value.strip() != "0"
        return None


def parse_listeners(table: str) -> list[Listener]:
    """The listening sockets of a /proc/net/tcp or tcp6."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 3 and fields[3] == _LISTENS:
            address, _, port = fields[1].partition(":")
            found.append(Listener(_address(address), int(port, 16)))
    return found


def _address(text: str) -> Address:
    # Words of 32 bits, each in the machine's order of bytes: little-endian wherever this runs.
    words = [bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8)]
    return ip_address(b"".join(words))


def _counters(groups: str) -> Iterable[Path]:
    """Files with `oom_kill` among their lines: of control groups version 1, and 2."""
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            yield Path("/sys/fs/cgroup/memory") / path.lstrip("/") / "memory.oom_control"
        elif not controllers:
            yield Path("/sys/fs/cgroup") / path.lstrip("/") / "memory.events"
