"""What the file holds: its tables, its version, and how it is told from a stranger's file."""

import sqlite3

APPLICATION_ID = 0x45564E54
VERSION = 1

# Rows of `deliveries` exist only for what a subscription's cursor can't tell: a retry waiting for
# its time (`due`, in broker time), or an event parked behind its partition key (`due` NULL).
# `only` in `events` names the one subscription a redriven event is for.
# A dead letter holds its event whole, since it outlives the event's place in the log.
TABLES = """
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value
) WITHOUT ROWID;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    only INTEGER,
    attributes BLOB NOT NULL,
    data BLOB
);
CREATE TABLE subscriptions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    high INTEGER NOT NULL,
    gaps BLOB NOT NULL
);
CREATE TABLE deliveries (
    seq INTEGER NOT NULL,
    sub INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    stage TEXT NOT NULL,
    due REAL,
    key TEXT,
    destination TEXT,
    code INTEGER,
    reason TEXT,
    body BLOB,
    PRIMARY KEY (seq, sub)
) WITHOUT ROWID;
CREATE INDEX deliveries_due ON deliveries (sub, due, seq);
CREATE INDEX deliveries_parked ON deliveries (sub, key, seq) WHERE due IS NULL;
CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    subscription TEXT NOT NULL,
    at REAL NOT NULL,
    position INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    destination TEXT NOT NULL,
    code INTEGER NOT NULL,
    reason TEXT NOT NULL,
    body BLOB NOT NULL,
    attributes BLOB NOT NULL,
    data BLOB
);
CREATE INDEX dead_letters_subscription ON dead_letters (subscription, id);
"""


class ForeignFile(Exception):
    """The file is a database, but not one of ours, or one from a later version."""


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty file; check those of an existing one.

    Raises ForeignFile, or sqlite3.Error where the file can't be read.
    """
    application = _pragma(connection, "application_id")
    version = _pragma(connection, "user_version")
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if not tables and not version and application in (0, APPLICATION_ID):
        connection.executescript(
            f"BEGIN IMMEDIATE; {TABLES}"
            f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={VERSION}; COMMIT;"
        )
    elif application != APPLICATION_ID:
        raise ForeignFile("it is a database of another program; name another data directory")
    elif version > VERSION:
        raise ForeignFile(
            f"it was written by a later version (schema {version}, this one knows {VERSION}); "
            "upgrade, or name another data directory"
        )


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
