"""The folder a node keeps its data in: held by one node at a time, and where that one listens."""

import fcntl
import json
import logging
import os
import re
import secrets
import socket
from pathlib import Path

from eventing.errors import StorageError, UserError

log = logging.getLogger("eventing.node")


class DataFolder:
    """`take` it before anything in it is written, `release` it after all is.

    The hold is a lock on the folder itself: it needs no space, and ends with the process that has
    it, whatever becomes of that.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: int | None = None
        self._announced = False
        self._complained = False

    @property
    def _node_file(self) -> Path:
        return self._path / "node.json"

    def take(self) -> None:
        """Make it where it is missing, and hold it. Raises UserError where another node does, and
        StorageError where it can't be made."""
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError(
                f"the data folder {self._path} can't be used: {error.strerror}; mend that, or name "
                "another with --data"
            ) from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(folder)
            raise UserError(
                f"another node{self._holder()} runs on the data folder {self._path}; stop it, or "
                "name another folder with --data"
            ) from None
        self._held = folder

    def node_name(self) -> str:
        """The name of the node that has this folder: made up once, the host's and something that
        no other has. Where it can't be written it is another one after the next start."""
        file = self._path / "node-name"
        try:
            name = file.read_text().strip()
            if name:
                return name
        except (OSError, UnicodeDecodeError):
            pass
        host = re.sub("[^A-Za-z0-9.-]+", "-", socket.gethostname()).strip("-.") or "node"
        name = f"{host}-{secrets.token_hex(3)}"
        try:
            file.write_text(f"{name}\n")
        except OSError as error:
            log.warning("%s can't be written: %s", file, error.strerror)
        return name

    def announce(self, ingress: str, admin: str) -> None:
        """Tell the command line where this node listens. Does nothing once that is written; where
        it can't be, the node runs on, and this may be called again."""
        if self._announced:
            return
        where = {"pid": os.getpid(), "ingress": ingress, "admin": admin}
        new = self._node_file.with_suffix(".new")
        try:
            new.write_text(json.dumps(where) + "\n")
            new.replace(self._node_file)
            self._announced = True
        except OSError as error:
            if self._complained:
                return
            self._complained = True
            log.warning(
                "%s can't be written: %s; until it can, commands find this node by --admin %s",
                self._node_file,
                error.strerror,
                admin,
            )

    def release(self) -> None:
        """Let the next node have it. May be called more than once, and without `take`."""
        if self._held is None:
            return
        try:
            self._node_file.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s can't be removed: %s", self._node_file, error.strerror)
        os.close(self._held)
        self._held = None

    def _holder(self) -> str:
        try:
            return f" (process {int(json.loads(self._node_file.read_text())['pid'])})"
        except (OSError, ValueError, TypeError, KeyError):
            return ""
