"""The broker's files: opened, locked against a second process, measured, checkpointed, closed.

Errors of SQLite become StorageError here, with what to do about them.
"""

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import IO

from brokers.embedded.schema import ForeignFile, prepare
from eventing.errors import StorageError

PAGE_SIZE = 4096
CACHE_KIB = 8 * 1024

_REMEDIES = {
    sqlite3.SQLITE_FULL: "the disk is full; free space and it goes on by itself",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write; see the system log",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore it from a copy, or move it away",
    sqlite3.SQLITE_NOTADB: "the file is no database; move it away, or name another data directory",
    sqlite3.SQLITE_READONLY: "it can't be written; check the owner and mode of file and folder",
    sqlite3.SQLITE_PERM: "it can't be written; check the owner and mode of file and folder",
    sqlite3.SQLITE_CANTOPEN: "it can't be opened; check the owner and mode of file and folder",
    sqlite3.SQLITE_BUSY: "another program holds it; close that",
    sqlite3.SQLITE_LOCKED: "another program holds it; close that",
}


def storage_error(broker: str, path: Path, error: Exception, kept: str) -> StorageError:
    """`error` for people: what failed, where, the remedy; `kept` says what becomes of events."""
    code = getattr(error, "sqlite_errorcode", None)
    reason = str(error)
    if isinstance(code, int):
        reason += f": {_REMEDIES.get(code & 0xFF, f'SQLite error {code}')}"
    return StorageError(f"broker {broker!r}: storage {path} failed: {reason}; {kept}")


class Storage:
    """The one connection that writes, and the lock that makes it the only one.

    The commit is synced to disk (`synchronous=FULL`); nothing spills before it, so statements
    before the commit touch memory only. A commit whose write or sync failed is rolled back; its
    frames in the write-ahead log are written anew by the next one, never trusted.
    """

    def __init__(self, broker: str, path: Path) -> None:
        """Open, or make, the file at `path`. Raises StorageError."""
        self.broker = broker
        self.path = path
        self._lock = self._locked()
        try:
            self.connection = self._connect()
            prepare(self.connection)
        except BaseException as error:
            if hasattr(self, "connection"):
                self.connection.close()
            self._lock.close()
            if isinstance(error, ForeignFile | sqlite3.Error):
                raise storage_error(broker, path, error, "nothing was changed") from error
            raise

    def _locked(self) -> IO[str]:
        path = self.path.with_name(self.path.name + ".lock")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("a+")
        except OSError as error:
            raise StorageError(
                f"broker {self.broker!r}: can't open {path}: {error.strerror}; "
                "check the owner and mode of the folder"
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            holder = lock.read(32).strip() or "unknown"
            lock.close()
            raise StorageError(
                f"broker {self.broker!r}: {self.path} is in use by another process (pid {holder});"
                " stop it, or name another data directory"
            ) from error
        try:
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
        except OSError:
            pass  # a full disk: the pid is only a hint for people
        return lock

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=0, isolation_level=None, check_same_thread=False
        )
        connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA cache_spill=OFF")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        connection.execute("PRAGMA secure_delete=OFF")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("PRAGMA journal_size_limit=67108864")
        # A checkpoint is run by hand after the commit has been answered.
        connection.execute("PRAGMA wal_autocheckpoint=0")
        return connection

    def reader(self) -> sqlite3.Connection:
        """A further connection, that can only read."""
        connection = sqlite3.connect(
            self.path, timeout=1, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA query_only=ON")
        return connection

    def used_bytes(self) -> tuple[int, int]:
        """Bytes of the pages in use and of those free for reuse, as of the last commit."""
        pages = int(self.connection.execute("PRAGMA page_count").fetchone()[0])
        free = int(self.connection.execute("PRAGMA freelist_count").fetchone()[0])
        return (pages - free) * PAGE_SIZE, free * PAGE_SIZE

    def free_disk(self) -> int:
        """Bytes the file system still has for us."""
        state = os.statvfs(self.path.parent)
        return state.f_bavail * state.f_frsize

    def checkpoint(self) -> None:
        """Move the write-ahead log into the database, so that the next commit starts it anew.

        A failure is left to the next time: the log is whole without it.
        """
        try:
            self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error:
            pass

    def fault(self, error: Exception, kept: str) -> StorageError:
        """`error` as a StorageError that names this file."""
        return storage_error(self.broker, self.path, error, kept)

    def rollback(self) -> None:
        """Leave a failed transaction, whatever state it is in."""
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass

    def close(self) -> None:
        """Close; the last connection to close moves the write-ahead log into the database."""
        try:
            self.connection.close()
        finally:
            self._lock.close()
