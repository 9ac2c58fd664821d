"""The files of a project that go into its image, and a copy of them that is always the same."""

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from eventing.errors import OperationError, UserError
from eventing.node.images.ignore import SECRETS, Pattern, all_stays_out, patterns_of, stays_out

EPOCH = 1_000_000_000
"""The time of every file in a build context: what has not changed must look the same."""


@dataclass(frozen=True, slots=True)
class Selection:
    """`files` are paths below `root`, in name order, `size` their bytes. `secrets` were left out
    because they look like some."""

    root: Path
    files: tuple[str, ...]
    size: int
    secrets: tuple[str, ...]


def select(root: Path) -> Selection:
    """The files below `root` that no pattern keeps out. Raises UserError for links that lead out
    of the project, and OperationError for what can't be read."""
    patterns = patterns_of(root)
    files: list[str] = []
    secrets: list[str] = []
    size = 0
    for path, entry in _walk(root, "", patterns):
        reason = stays_out(path, patterns)
        if reason is not None:
            if reason.text in SECRETS:
                secrets.append(path)
            continue
        if entry.is_symlink():
            _link_within(root, path)
        elif not entry.is_file():
            continue  # sockets and the like are of this machine
        files.append(path)
        size += entry.stat(follow_symlinks=False).st_size
    return Selection(root, tuple(files), size, tuple(secrets))


def _walk(
    root: Path, below: str, patterns: list[Pattern]
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        entries = sorted(os.scandir(root / below), key=lambda entry: entry.name)
    except OSError as error:
        raise OperationError(f"{error.filename} can't be read: {error.strerror}") from None
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        if not entry.is_dir(follow_symlinks=False):
            yield path, entry
        elif not all_stays_out(path, patterns) and not Path(entry, "pyvenv.cfg").exists():
            yield from _walk(root, path, patterns)


def _link_within(root: Path, path: str) -> str:
    """Where the link leads, relative to it. Raises UserError where that is not in the project."""
    link = root / path
    target = link.resolve()
    if not target.is_relative_to(root.resolve()):
        raise UserError(
            f"{link} is a link to {link.readlink()}, outside of the project; put the file itself "
            "there, or leave the link out in .dockerignore"
        )
    return os.path.relpath(target, link.parent.resolve())


def copy_into(selection: Selection, folder: Path) -> None:
    """Copy the files, with the times and modes that every copy has. Raises OperationError."""
    for path in selection.files:
        copy_file(selection.root / path, folder / path, root=selection.root)


def copy_file(source: Path, target: Path, *, root: Path | None = None) -> None:
    """A copy that is readable for all and executable where its source is. A link stays one where
    `root`, its project, is given."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if root is not None and source.is_symlink():
            target.symlink_to(_link_within(root, str(source.relative_to(root))))
            os.utime(target, (EPOCH, EPOCH), follow_symlinks=False)
            return
        shutil.copyfile(source, target)
        executable = source.stat().st_mode & stat.S_IXUSR
    except OSError as error:
        raise OperationError(f"{error.filename} can't be copied: {error.strerror}") from None
    target.chmod(0o755 if executable else 0o644)
    os.utime(target, (EPOCH, EPOCH))


def settle_folders(folder: Path) -> None:
    """Give every folder below, and itself, the mode and the time that every copy has."""
    for at, _, _ in os.walk(folder, topdown=False):
        Path(at).chmod(0o755)
        os.utime(at, (EPOCH, EPOCH))
