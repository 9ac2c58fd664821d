"""The file that usage is kept in: SQLite, one row an hour and revision. Blocking.

What is added is on the disk when `add` returns, or nothing of it is. The file may be read while
another process adds to it.
"""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from eventing.errors import StorageError, UserError
from eventing.node.usage_query import DAY, By, Line, Lines, UsageQuery
from functions.usage import FIGURES, HourOf, Usage

FILE = "usage.db"
"""Its name in the data folder."""
KEPT_BY_HOUR = 400
"""Days after which the hours of a day are folded into one row, of its first hour: a year of a
revision that is always there is then 365 rows, and no sum by day or month ever changes."""

_APPLICATION_ID = 0x45565553
_VERSION = 1
_KEY = "hour, namespace, function, revision"
_COUNTS = ("invocations", "failed", "cold_starts")
_TABLE = f"""
CREATE TABLE usage (
    hour INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    function TEXT NOT NULL,
    revision TEXT NOT NULL,
    {", ".join(f"{name} {'INTEGER' if name in _COUNTS else 'REAL'} NOT NULL" for name in FIGURES)},
    PRIMARY KEY ({_KEY})
) WITHOUT ROWID
"""
_ADD = f"""
INSERT INTO usage VALUES ({", ".join("?" * (4 + len(FIGURES)))})
ON CONFLICT DO UPDATE SET {", ".join(f"{name} = {name} + excluded.{name}" for name in FIGURES)}
"""
_SUMS = ", ".join(f"sum({name})" for name in FIGURES)
_STARTS: dict[By, str] = {
    "hour": "hour",
    "day": f"hour - hour % {DAY}",
    "month": "CAST(strftime('%s', hour, 'unixepoch', 'start of month') AS INTEGER)",
    "total": "0",
}
_REMEDIES = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write; see the system log",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; move it away, and another one is begun",
    sqlite3.SQLITE_NOTADB: "the file is no database; move it away, and another one is begun",
    sqlite3.SQLITE_READONLY: "it can't be written; check the owner and mode of file and folder",
    sqlite3.SQLITE_PERM: "it can't be written; check the owner and mode of file and folder",
    sqlite3.SQLITE_CANTOPEN: "it can't be opened; check the owner and mode of file and folder",
    sqlite3.SQLITE_BUSY: "another program holds it; close that",
}


class UsageFile:
    """Open; `close` it. From one thread."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        """Use `opened` or `opened_to_read`."""
        self.path = path
        self._connection = connection
        self._inode = path.stat().st_ino
        self._folded_before = 0

    @classmethod
    def opened(cls, path: Path) -> "UsageFile":
        """The file at `path`, made where there is none. Raises StorageError."""
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(path, timeout=5.0, isolation_level=None)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA temp_store=MEMORY")
            connection.execute("PRAGMA wal_autocheckpoint=256")
            connection.execute("PRAGMA journal_size_limit=1048576")
            _prepare(connection)
            return cls(path, connection)
        except (sqlite3.Error, _ForeignFile, OSError) as error:
            if connection is not None:
                connection.close()
            raise _storage_error(path, error) from error

    @classmethod
    def opened_to_read(cls, path: Path) -> "UsageFile":
        """The file at `path`, of a node that may run or not. Nothing is written, not even where
        its folder may be. Raises UserError where there is none, and StorageError."""
        if not path.is_file():
            raise UserError(
                f"there is no {path}: no node has run on {path.parent}; name the data folder of "
                "one with --data"
            )
        address = f"file:{quote(str(path.absolute()))}?mode=ro"
        if not path.with_name(path.name + "-wal").exists():
            # SQLite would make the files that go with it, and fail where it may not.
            address += "&immutable=1"
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(address, uri=True, timeout=5.0, isolation_level=None)
            _check(connection)
            return cls(path, connection)
        except (sqlite3.Error, _ForeignFile, OSError) as error:
            if connection is not None:
                connection.close()
            raise _storage_error(path, error) from error

    def close(self) -> None:
        self._connection.close()

    @property
    def in_place(self) -> bool:
        """Whether it is still the file at its path: it may have been moved away."""
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    def add(self, usage: Mapping[HourOf, Usage], today: float) -> None:
        """Add to each hour. `today`: the time now, for what has become old. Raises StorageError."""
        rows = [(*key, *used.figures()) for key, used in usage.items()]
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_ADD, rows)
            self._fold(int(today // DAY - KEPT_BY_HOUR) * DAY)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._roll_back()
            raise _storage_error(self.path, error) from error

    def read(self, query: UsageQuery) -> Lines:
        """The lines that answer it, in order. Raises StorageError."""
        revision = "revision" if query.by_revision else "''"
        where, values = "hour >= ? AND hour < ?", [query.since, query.until]
        names = [] if query.function is None else query.function.split("/", 1)
        if names:
            where += " AND namespace = ? AND function = ?"
        sql = (
            f"SELECT {_STARTS[query.by]}, namespace, function, {revision}, {_SUMS} FROM usage"
            f" WHERE {where} GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
        )
        try:
            rows = self._connection.execute(sql, [*values, *names]).fetchall()
        except sqlite3.Error as error:
            raise _storage_error(self.path, error) from error
        return {Line(*row[:4]): Usage(*row[4:]) for row in rows}

    def functions(self) -> list[str]:
        """Every function there is usage of, as namespace/name. Raises StorageError."""
        sql = "SELECT DISTINCT namespace || '/' || function FROM usage ORDER BY 1"
        try:
            return [str(name) for (name,) in self._connection.execute(sql)]
        except sqlite3.Error as error:
            raise _storage_error(self.path, error) from error

    def _fold(self, before: int) -> None:
        """Make one row a day of hours before this, once for each such time."""
        if before <= self._folded_before:
            return
        day = f"hour - hour % {DAY}"
        execute = self._connection.execute
        execute(
            f"CREATE TEMP TABLE folded AS SELECT {day} AS hour, namespace, function, revision,"
            f" {_SUMS} FROM usage WHERE hour < ? GROUP BY 1, 2, 3, 4 HAVING max(hour % {DAY}) > 0",
            (before,),
        )
        execute(
            f"DELETE FROM usage WHERE hour < ? AND ({day}, namespace, function, revision) IN"
            f" (SELECT {_KEY} FROM folded)",
            (before,),
        )
        execute("INSERT INTO usage SELECT * FROM folded")
        execute("DROP TABLE folded")
        self._folded_before = before

    def _roll_back(self) -> None:
        self._folded_before = 0
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            pass


class _ForeignFile(Exception):
    """Another program's database, or one of a later version of this."""


def _prepare(connection: sqlite3.Connection) -> None:
    """Make the table in an empty file; check an existing one."""
    if not _pragma(connection, "schema_version") and not _pragma(connection, "application_id"):
        connection.executescript(
            f"BEGIN IMMEDIATE; {_TABLE};"
            f"PRAGMA application_id={_APPLICATION_ID}; PRAGMA user_version={_VERSION}; COMMIT;"
        )
    _check(connection)


def _check(connection: sqlite3.Connection) -> None:
    if _pragma(connection, "application_id") != _APPLICATION_ID:
        raise _ForeignFile("it is a database of another program; move it away")
    version = _pragma(connection, "user_version")
    if version > _VERSION:
        raise _ForeignFile(
            f"a later version has written it (schema {version}, this one knows {_VERSION}); "
            "upgrade, or move it away"
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _storage_error(path: Path, error: Exception) -> StorageError:
    code = getattr(error, "sqlite_errorcode", None)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(code, int):
        reason += f": {_REMEDIES.get(code & 0xFF, f'SQLite error {code}')}"
    return StorageError(f"the file of usage {path} failed: {reason}")
