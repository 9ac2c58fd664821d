"""What Service and InferenceService have in common: a revision is a pod of one container."""

from abc import abstractmethod
from dataclasses import replace

from eventing.resources.container import Container
from eventing.resources.durations import parse_go_duration
from eventing.resources.env import Environment, EnvironmentFrom, environment, environment_from
from eventing.resources.place import Path
from eventing.resources.pod import PodSpec
from eventing.resources.workload import HANDLER, PATH, PROGRESS_DEADLINE, Workload, at_rest


class PodWorkload(Workload):
    """A workload whose document holds a pod."""

    @property
    @abstractmethod
    def _pod(self) -> PodSpec: ...

    @property
    @abstractmethod
    def _annotations(self) -> dict[str, str]:
        """Those of the revision, wherever they stand."""

    @property
    @abstractmethod
    def _container_path(self) -> Path:
        """Where the container that is called stands."""

    @property
    def handler(self) -> str | None:
        return self._annotations.get(HANDLER)

    @property
    def uri(self) -> str | None:
        return None

    @property
    def container(self) -> Container | None:
        if self.handler is not None:
            return None
        container = self._pod.container.value(
            user=self._pod.user,
            path=self._annotations.get(PATH, "/"),
            at_rest=at_rest(self._annotations),
            grace=self.timeout,
        )
        deadline = self._annotations.get(PROGRESS_DEADLINE)
        if deadline is None:
            return container
        return replace(container, ready_timeout=parse_go_duration(deadline))

    @property
    def memory(self) -> int | None:
        resources = self._pod.container.resources
        return resources.memory if resources else None

    @property
    def env(self) -> Environment:
        variables = self._pod.container.env or ()
        return environment(variables, self.namespace, (*self._container_path, "env"))

    @property
    def env_from(self) -> EnvironmentFrom:
        sources = self._pod.container.env_from or ()
        return environment_from(sources, self.namespace, (*self._container_path, "envFrom"))
