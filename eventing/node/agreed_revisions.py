"""How the nodes of an engine come to know the same revisions by the same names. Pure.

Every rule takes the same from the same facts, in whichever order they were learned; facts are
only ever added (ready, judged, used). So nodes that have read the same agree.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from eventing.node.revision_records import RolloutRecord, name_among, revision_key, told
from eventing.node.revisions import Revision, Revisions, Rollout, newest, numbered_name


def agreed(claims: Iterable[Revision]) -> tuple[Revision, ...]:
    """These revisions, as several nodes may have named them, with one name for each, oldest first.

    A name is kept by the revision that has been ready under it, else by the older one. What has to
    give its name up, or has two that were given by number, goes by the one it keeps, else by the
    next number.
    """
    won, lost = _by_name(_united(claims))
    numbered: dict[str, Revision] = {}
    named = []
    for each in sorted(won, key=_precedence):
        if not _is_numbered(each):
            named.append(each)
        elif each.digest in numbered:
            numbered[each.digest] = _both(numbered[each.digest], each)
        else:
            numbered[each.digest] = each
    number = max((each.number for each in (*won, *lost)), default=0)
    for each in sorted(lost, key=lambda each: (each.created, each.digest, each.name)):
        if each.digest in numbered:
            numbered[each.digest] = _both(numbered[each.digest], each)
            continue
        number += 1
        name = numbered_name(each.function, number)
        numbered[each.digest] = replace(each, name=name, number=number)
    everything = [*named, *numbered.values()]
    return tuple(sorted(everything, key=lambda each: (each.number, each.created, each.name)))


def joined(own: Revisions, told: Iterable[Revision]) -> Revisions:
    """A node's revisions together with what others have told. Where its own go by other names now,
    its latest and its rollout go by those as well."""
    known = agreed((*own.known, *told))
    digests = {each.name: each.digest for each in own.known}
    latest = name_among(known, own.latest, digests.get(own.latest, ""))
    rollout = own.rollout
    if rollout is not None:
        record = RolloutRecord(rollout, digests.get(rollout.old, ""), digests.get(rollout.new, ""))
        rollout = record.among(known)
    return Revisions(known, latest, rollout)


def following(own: Revisions, rollouts: Iterable[Rollout], document: str) -> Revisions:
    """With the rollout that is furthest of those of its document."""
    found = newest((own.rollout, *rollouts), document)
    if found is None or (own.rollout is not None and found.progress == own.rollout.progress):
        return own
    return replace(own, rollout=found)


def unknown(own: Revisions, shared: Mapping[str, Revision]) -> dict[str, Revision]:
    """Of these the revisions, by their key in the table, that the table has not, or not as they
    are. Under one key the content is the same."""
    known = {revision_key(each): each for each in own.known}
    there = {key: replace(each, template={}) for key, each in shared.items()}
    return {k: e for k, e in known.items() if there.get(k) != replace(told(e), template={})}


def _united(claims: Iterable[Revision]) -> list[Revision]:
    """One of each name and content."""
    united: dict[tuple[str, str], Revision] = {}
    for each in claims:
        same = united.get((each.name, each.digest))
        united[each.name, each.digest] = each if same is None else _both(same, each)
    return list(united.values())


def _both(one: Revision, other: Revision) -> Revision:
    """The one, with all that is known of either."""
    verdict = max(one, other, key=lambda each: (each.judged, each.rejected))
    return replace(
        one,
        created=min(one.created, other.created),
        ready=one.ready or other.ready,
        ready_elsewhere=one.ready_elsewhere or other.ready_elsewhere,
        rejected=verdict.rejected,
        judged=verdict.judged,
        used=max(one.used, other.used),
    )


def _by_name(claims: Iterable[Revision]) -> tuple[list[Revision], list[Revision]]:
    """Who has each name, and who wanted it as well."""
    groups: dict[str, list[Revision]] = defaultdict(list)
    for each in claims:
        groups[each.name].append(each)
    won, lost = [], []
    for group in groups.values():
        first, *rest = sorted(group, key=_precedence)
        won.append(first)
        lost += rest
    return won, lost


def _precedence(revision: Revision) -> tuple[bool, float, str, int, str]:
    return (
        not revision.ready_anywhere,
        revision.created,
        revision.digest,
        revision.number,
        revision.name,
    )


def _is_numbered(revision: Revision) -> bool:
    return revision.name == numbered_name(revision.function, revision.number)
