"""Functions that run elsewhere and have a traffic policy: one router of their calls each.

It is shared by all triggers that send there, at whatever path and in whatever format, so that a
bound is one for all of them, and it outlives changes of the wiring with its counts and ejections.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from eventing.node.wiring import Destination, Key
from functions.base import Call, Response, Service
from functions.http.path import AtPath
from functions.traffic.policy import Policy, Weighted
from functions.traffic.router import TrafficRouter

MakeTarget = Callable[[Destination], Service]
Done = Callable[[Response], None]


class RunningRemotes:
    """Use from one event loop. `make_target` makes what speaks HTTP to a destination."""

    def __init__(self, make_target: MakeTarget) -> None:
        self._make_target = make_target
        self._remotes: dict[Key, _Remote] = {}

    def renew(self, policies: Mapping[Key, Policy]) -> None:
        """From now on, these policies of these functions. Calls that wait at one that has none any
        more go on without it."""
        for key, policy in policies.items():
            remote = self._remotes.get(key)
            if remote is None:
                self._remotes[key] = _Remote(key.partition("/")[2], policy)
            elif remote.policy != policy:
                remote.update(policy)
        for key in self._remotes.keys() - policies.keys():
            self._remotes.pop(key).update(Policy())

    def service(self, destination: Destination, *, ordered: bool = False) -> Service | None:
        """What takes the calls to a destination of one of them; None where it is none of them."""
        remote = self._remotes.get(destination.function)
        if remote is None:
            return None
        if destination not in remote.targets.paths:
            remote.targets.add(destination, self._make_target(destination))
        router = remote.router
        return AtPath(router.ordered if ordered else router, remote.targets.paths[destination])

    def router(self, key: Key) -> TrafficRouter | None:
        remote = self._remotes.get(key)
        return remote.router if remote is not None else None

    def close(self) -> None:
        """Take no more calls, and answer those that are not out."""
        for remote in self._remotes.values():
            remote.router.close()


@dataclass(slots=True)
class _Targets:
    """Sends each call to the destination that its path stands for. Those of former wirings stay for
    calls that are with the router still: there are as many as triggers have asked for in the life
    of the node.

    A path is the destination's URI and, as destinations differ in more than that, a fragment: it
    tells them apart, and no server is ever sent it.
    """

    paths: dict[Destination, str] = field(default_factory=dict)
    by_path: dict[str, Service] = field(default_factory=dict)

    def add(self, destination: Destination, target: Service) -> None:
        path = f"{destination.name}#{len(self.paths)}"
        self.paths[destination] = path
        self.by_path[path] = target

    def submit(self, call: Call, done: Done) -> None:
        """See Service."""
        self.by_path[call.path].submit(call, done)


class _Remote:
    """One function. Its only revision has its own name."""

    def __init__(self, name: str, policy: Policy) -> None:
        self.policy = policy
        self.targets = _Targets()
        self._services = {name: self.targets}
        self._split = (Weighted(name, 100.0),)
        self.router = TrafficRouter(self._services, self._split, policy)

    def update(self, policy: Policy) -> None:
        self.policy = policy
        self.router.update(self._services, self._split, policy)
