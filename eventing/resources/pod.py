"""The pod of a revision: its one container, and what Kubernetes has around it."""

from collections.abc import Iterator
from typing import Any, Self

from pydantic import Field, StrictBool, model_validator

from eventing.resources.container import ContainerSpec
from eventing.resources.fields import LabelName, ResourceName
from eventing.resources.model import Fault, Model
from eventing.resources.place import Path
from eventing.resources.security_context import (
    PodSecurityContext,
    group_without_user,
    user,
)


class Volume(Model):
    """One of the sources Kubernetes has; what is in it is not looked at."""

    name: LabelName
    config_map: Any = None
    csi: Any = None
    downward_api: Any = Field(default=None, alias="downwardAPI")
    empty_dir: Any = None
    ephemeral: Any = None
    host_path: Any = None
    image: Any = None
    nfs: Any = None
    persistent_volume_claim: Any = None
    projected: Any = None
    secret: Any = None

    @property
    def sources(self) -> list[str]:
        """Names of those that are given, as documents have them."""
        return [
            str(field.alias)
            for name, field in type(self).model_fields.items()
            if name != "name" and name in self.model_fields_set and getattr(self, name) is not None
        ]

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        sources = self.sources
        if not sources:
            yield (), 'needs a source, such as "emptyDir: {}"'
        for name in sources[1:]:
            yield (name,), f'stands beside "{sources[0]}"; keep one of them'


class PodSpec(Model):
    """Kubernetes' pod, as far as it is one container that is called."""

    containers: tuple[ContainerSpec, ...] = ()
    init_containers: tuple[ContainerSpec, ...] | None = None
    volumes: tuple[Volume, ...] | None = None
    security_context: PodSecurityContext | None = None

    active_deadline_seconds: Any = None
    affinity: Any = None
    automount_service_account_token: StrictBool | None = None
    dns_config: Any = None
    dns_policy: Any = None
    enable_service_links: StrictBool | None = None
    ephemeral_containers: Any = None
    host_aliases: Any = None
    host_ipc: Any = Field(default=None, alias="hostIPC")
    host_network: Any = None
    host_pid: Any = Field(default=None, alias="hostPID")
    host_users: Any = None
    hostname: Any = None
    image_pull_secrets: Any = None
    node_name: Any = None
    node_selector: Any = None
    os: Any = None
    overhead: Any = None
    preemption_policy: Any = None
    priority: Any = None
    priority_class_name: Any = None
    readiness_gates: Any = None
    resource_claims: Any = None
    resources: Any = None
    restart_policy: Any = None
    runtime_class_name: Any = None
    scheduler_name: Any = None
    scheduling_gates: Any = None
    service_account: Any = None
    service_account_name: ResourceName | None = None
    set_hostname_as_fqdn: Any = Field(default=None, alias="setHostnameAsFQDN")
    share_process_namespace: Any = None
    subdomain: Any = None
    termination_grace_period_seconds: Any = None
    tolerations: Any = None
    topology_spread_constraints: Any = None

    @property
    def serving(self) -> int:
        """Position of the container that is called: as in Knative, the one with a port."""
        with_port = [index for index, each in enumerate(self.containers) if each.ports]
        return with_port[0] if len(with_port) == 1 else 0

    @property
    def container(self) -> ContainerSpec:
        return self.containers[self.serving]

    @property
    def user(self) -> str | None:
        return user(self.container.security_context, self.security_context)

    @model_validator(mode="after")
    def _check_volumes(self) -> Self:
        return self.unless(self._volume_faults())

    def _volume_faults(self) -> Iterator[Fault]:
        names: set[str] = set()
        for index, volume in enumerate(self.volumes or ()):
            if volume.name in names:
                yield ("volumes", index, "name"), f'there are two volumes "{volume.name}"'
            names.add(volume.name)
        for field, containers in (
            ("containers", self.containers),
            ("initContainers", self.init_containers or ()),
        ):
            for index, container in enumerate(containers):
                for at, mount in enumerate(container.volume_mounts or ()):
                    if mount.name not in names:
                        path = (field, index, "volumeMounts", at, "name")
                        yield path, f'there is no volume "{mount.name}" among "volumes"'

    def missing(self) -> Iterator[Fault]:
        """What the container would miss here: it is refused, rather than run without."""
        for index in range(len(self.containers)):
            if index != self.serving:
                message = (
                    "is a sidecar, which this version does not run; put both into one image, or "
                    "make a service of its own of it"
                )
                yield ("containers", index), message
        if self.init_containers:
            message = (
                "are not run by this version; do at the container's start, or in its image, what "
                "they do"
            )
            yield ("initContainers",), message
        mounted = {mount.name for mount in self.container.volume_mounts or ()}
        context = self.container.security_context
        read_only = context is not None and context.read_only_root_filesystem
        for index, volume in enumerate(self.volumes or ()):
            (source,) = volume.sources
            if volume.name not in mounted:
                continue
            if source != "emptyDir":
                remedy = "put the files into the image"
                if source in ("configMap", "secret", "projected"):
                    remedy = 'give the values as variables ("envFrom"), or ' + remedy
                message = f"volumes of this kind are not mounted by this version; {remedy}"
                yield ("volumes", index, source), message
            elif read_only:
                message = (
                    "is not mounted by this version, so the container could write nowhere; leave "
                    'out "readOnlyRootFilesystem"'
                )
                yield ("volumes", index, source), message

    def without_effect(self, path: Path) -> Iterator[Fault]:
        """`path` is where it stands in its resource."""
        container: Path = (*path, "containers", self.serving)
        yield from self.container.without_effect(container)
        yield from group_without_user(
            self.container.security_context,
            (*container, "securityContext"),
            self.security_context,
            (*path, "securityContext"),
        )
        if self.security_context is not None:
            yield from self.security_context.without_effect((*path, "securityContext"))
        mounted = {mount.name for mount in self.container.volume_mounts or ()}
        for index, volume in enumerate(self.volumes or ()):
            (source,) = volume.sources
            message = "has no effect: no container mounts it"
            if volume.name in mounted:
                message = (
                    "is no volume here: the folder is one of the container's own file system, and "
                    "has to be in the image"
                )
            yield (*path, "volumes", index, source), message
        for name, field in PodSpec.model_fields.items():
            if name not in _HONOURED and getattr(self, name):
                yield (*path, str(field.alias)), f"has no effect{_WHY.get(name, _HERE)}"


_HONOURED = ("containers", "init_containers", "volumes", "security_context")
_HERE = " in this version"
_NO_ACCOUNTS = ": there are no service accounts here"
_WHY = {
    "automount_service_account_token": _NO_ACCOUNTS,
    "image_pull_secrets": ": the container engine's own credentials are used",
    "restart_policy": ": a container that ends is replaced when there are events",
    "service_account": _NO_ACCOUNTS,
    "service_account_name": _NO_ACCOUNTS,
    "termination_grace_period_seconds": ": the timeout of a call is the time to end, too",
}
