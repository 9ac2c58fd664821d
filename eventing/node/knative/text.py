"""The manifests as text: YAML with comments that say where each comes from."""

import textwrap
from collections.abc import Callable, Iterable, Iterator

from eventing.node.knative.manifest import KINDS, Export, Manifest, Note
from eventing.resources import Place
from eventing.resources.dump import documents_to_yaml

HEAD = "# Made by `eventing export knative`."
"""The first line of all that is written."""
_WIDTH = 100

Shown = Callable[[str], str]
"""How the place of something is shown."""


def one_text(export: Export, shown: Shown = str) -> str:
    """All of them, separated by lines of `---`."""
    return _text(export.manifests, _head(export, shown), shown)


def files(export: Export, shown: Shown = str) -> dict[str, str]:
    """A text for each kind by the name of its file; sorted by name they are in the order they are
    applied. The notes stand in the first."""
    by_kind: dict[str, list[Manifest]] = {}
    for manifest in export.manifests:
        by_kind.setdefault(manifest.kind, []).append(manifest)
    head = _head(export, shown)
    texts = {}
    for kind, manifests in by_kind.items():
        texts[f"{KINDS[kind]:02d}-{kind.lower()}.yaml"] = _text(manifests, head, shown)
        head = [HEAD]
    return texts


def is_ours(text: str) -> bool:
    """Whether a text begins as those that are written here."""
    return text.startswith(HEAD)


def note_text(note: Note, shown: Shown = str) -> str:
    return f"{shown(str(note.place))}: {note.text}"


def _head(export: Export, shown: Shown) -> list[str]:
    lines = [HEAD]
    if export.needs:
        lines += _comment(f"The cluster has to have: {', '.join(export.needs)}.")
    if export.notes:
        lines += ["#", "# A cluster has no counterpart for:"]
        for note in export.notes:
            lines += _comment(note_text(note, shown), "- ")
    return lines


def _text(manifests: Iterable[Manifest], head: list[str], shown: Shown) -> str:
    parts = ["\n".join(head) + "\n"]
    parts += ["\n".join(_lines(manifest, shown)) + "\n" for manifest in manifests]
    return "---\n".join(parts)


def _lines(manifest: Manifest, shown: Shown) -> Iterator[str]:
    yield f"# From {_place(manifest.source, shown)}"
    for comment in manifest.comments:
        yield from _comment(comment)
    for line in documents_to_yaml([manifest.document]).splitlines():
        yield f"#   {line}" if manifest.hidden else line


def _place(place: Place, shown: Shown) -> str:
    return shown(f"{place.file}:{place.line}" if place.line else place.file)


def _comment(text: str, bullet: str = "") -> list[str]:
    # Whatever a document says: no line of it gets out of the comment.
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return textwrap.wrap(
        plain,
        _WIDTH,
        initial_indent=f"# {bullet}",
        subsequent_indent="# " + " " * len(bullet),
        break_long_words=False,
        break_on_hyphens=False,
    )
