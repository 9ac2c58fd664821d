"""As whom a container runs, and what it may do: Kubernetes' security contexts."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from eventing.resources.model import Fault, Model
from eventing.resources.place import Path

UserId = Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]


class SeccompProfile(Model):
    type: Literal["RuntimeDefault", "Localhost", "Unconfined"]
    localhost_profile: str | None = None


class SecurityContext(Model):
    """Of one container."""

    run_as_user: UserId | None = None
    run_as_group: UserId | None = None
    run_as_non_root: StrictBool | None = None
    read_only_root_filesystem: StrictBool | None = None
    allow_privilege_escalation: StrictBool | None = None
    privileged: StrictBool | None = None
    capabilities: Any = None
    seccomp_profile: SeccompProfile | None = None
    proc_mount: Any = None
    se_linux_options: Any = None
    app_armor_profile: Any = None
    windows_options: Any = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.privileged:
            yield ("privileged",), "a function's container gets no privileges; leave it out"

    def without_effect(self, path: Path) -> Iterator[Fault]:
        if self.allow_privilege_escalation:
            yield (
                (*path, "allowPrivilegeEscalation"),
                "has no effect: no container's process may gain privileges here",
            )
        yield from _unhonoured(
            self,
            path,
            "run_as_non_root",
            "capabilities",
            "proc_mount",
            "se_linux_options",
            "app_armor_profile",
            "windows_options",
        )
        yield from _seccomp(self.seccomp_profile, path)


class PodSecurityContext(Model):
    """Of all containers of a pod; a container's own goes before it."""

    run_as_user: UserId | None = None
    run_as_group: UserId | None = None
    run_as_non_root: StrictBool | None = None
    fs_group: Any = None
    fs_group_change_policy: Any = None
    supplemental_groups: Any = None
    supplemental_groups_policy: Any = None
    seccomp_profile: SeccompProfile | None = None
    sysctls: Any = None
    se_linux_options: Any = None
    se_linux_change_policy: Any = None
    app_armor_profile: Any = None
    windows_options: Any = None

    def without_effect(self, path: Path) -> Iterator[Fault]:
        honoured = ("run_as_user", "run_as_group", "seccomp_profile")
        names = [name for name in type(self).model_fields if name not in honoured]
        yield from _unhonoured(self, path, *names)
        yield from _seccomp(self.seccomp_profile, path)


def user(own: SecurityContext | None, pod: PodSecurityContext | None) -> str | None:
    """ "uid" or "uid:gid" as container engines take it; None = the image's own user."""
    contexts = [context for context in (own, pod) if context is not None]
    uid = next((c.run_as_user for c in contexts if c.run_as_user is not None), None)
    gid = next((c.run_as_group for c in contexts if c.run_as_group is not None), None)
    if uid is None:
        return None
    return str(uid) if gid is None else f"{uid}:{gid}"


def group_without_user(
    own: SecurityContext | None, own_path: Path, pod: PodSecurityContext | None, pod_path: Path
) -> Iterator[Fault]:
    """A group alone can't be told to a container engine."""
    if user(own, pod) is not None:
        return
    for context, path in ((own, own_path), (pod, pod_path)):
        if context is not None and context.run_as_group is not None:
            yield (*path, "runAsGroup"), 'has no effect without a "runAsUser"'


def _unhonoured(context: Model, path: Path, *names: str) -> Iterator[Fault]:
    for name in names:
        if getattr(context, name):
            alias = str(type(context).model_fields[name].alias)
            yield (*path, alias), "has no effect in this version"


def _seccomp(profile: SeccompProfile | None, path: Path) -> Iterator[Fault]:
    if profile is not None and profile.type != "RuntimeDefault":
        yield (*path, "seccompProfile"), "has no effect: the engine's default profile is used"
