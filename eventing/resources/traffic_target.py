"""How calls are split among the revisions of one workload: Knative's `spec.traffic`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, StrictBool, StrictInt, model_validator

from eventing.resources.fields import Dns1035Label, ResourceName
from eventing.resources.model import Fault, Model, refusing
from eventing.resources.place import Path

Percent = Annotated[StrictInt, Field(ge=0, le=100)]


@dataclass(frozen=True, slots=True)
class TrafficTarget:
    """A share of the calls, for the revision of that name, for the latest one that is ready, or
    for the one that had all calls before it (`previous`): one of the three.

    A tag names the revision for policies and for calls to it alone; with 0 percent that is all it
    gets.
    """

    percent: int
    revision: str | None = None
    latest: bool = False
    previous: bool = False
    tag: str | None = None


class TrafficTargetSpec(Model):
    percent: Percent | None = Field(default=None, description="0 where left out.")
    tag: Dns1035Label | None = Field(default=None, description="A name of its own for it.")
    revision_name: ResourceName | None = None
    latest_revision: StrictBool | None = Field(
        default=None, description="The latest that is ready; also where no revisionName is given."
    )
    configuration_name: Any = None
    url: Any = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self.unless(self._faults())

    def _faults(self) -> Iterator[Fault]:
        if self.latest_revision is True and self.revision_name is not None:
            yield ("latestRevision",), 'true stands beside a "revisionName"; keep one of them'
        if self.latest_revision is False and self.revision_name is None:
            yield ("latestRevision",), 'false needs a "revisionName" beside it'
        if self.configuration_name is not None:
            yield ("configurationName",), "is for a Route; leave it out, the service's own is meant"
        if self.url is not None:
            yield ("url",), "is set by a cluster, in the status; leave it out"

    @property
    def value(self) -> TrafficTarget:
        return TrafficTarget(
            percent=self.percent or 0,
            revision=self.revision_name,
            latest=self.revision_name is None,
            tag=self.tag,
        )


def _list_faults(targets: Sequence[TrafficTargetSpec]) -> Iterator[Fault]:
    tags: dict[str, int] = {}
    for index, target in enumerate(targets):
        if target.tag is None:
            continue
        first = tags.setdefault(target.tag, index)
        if first != index:
            yield (index, "tag"), f'"{target.tag}" is the tag of [{first}] too; keep one of them'
    total = sum(target.percent or 0 for target in targets)
    if targets and total != 100:
        yield (), f"the percentages add up to {total}, not to 100"


TrafficSpec = Annotated[tuple[TrafficTargetSpec, ...], refusing(_list_faults)]


def traffic(spec: Sequence[TrafficTargetSpec] | None) -> tuple[TrafficTarget, ...]:
    """It as values, in the same order; () = all to the latest."""
    return tuple(target.value for target in spec or ())


def rollout_without_effect(targets: Sequence[TrafficTarget], path: Path) -> Iterator[Fault]:
    """A rollout, which stands at `path`, beside a split that gives the latest revision nothing."""
    if targets and not any(target.latest and target.percent for target in targets):
        yield path, "has no effect: the latest revision has no share of the traffic"
