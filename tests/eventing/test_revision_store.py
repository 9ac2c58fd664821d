"""Revisions outlive the node: what is written, what is read, and what happens when that fails."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from eventing.node.revision_store import RevisionStore
from eventing.node.revisions import Revision, Revisions, Rollout

KEY = "default/hello"
ONE = Revision(KEY, "hello-00001", 1, "aa", 1.5, {"spec": {"handler": "app:hello"}}, ready=True)
ROLLOUT = Rollout(
    KEY, "d", "hello-00001", "hello-00001", 5.0, "rolling", 1, 2.0, "", {"steps": [1]}
)
REVISIONS = Revisions((ONE,), "hello-00001", ROLLOUT)

NONE_KNOWN = json.dumps(
    {"functions": [{"function": KEY, "latest": "x", "rollout": None, "known": []}]}
)


def kept(folder: Path) -> RevisionStore:
    store = RevisionStore(folder)
    store.load()
    return store


def test_what_is_saved_is_read_again(tmp_path: Path) -> None:
    store = kept(tmp_path)
    store.put(KEY, REVISIONS)
    store.save()
    assert not store.unsaved
    assert kept(tmp_path).revisions == {KEY: REVISIONS}


def test_nothing_is_written_where_nothing_has_changed(tmp_path: Path) -> None:
    store = kept(tmp_path)
    store.put(KEY, REVISIONS)
    store.save()
    (tmp_path / "revisions.json").unlink()
    store.put(KEY, replace(REVISIONS))
    store.save()
    assert not (tmp_path / "revisions.json").exists()


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    store = kept(tmp_path)
    store.put(KEY, REVISIONS)
    store.save()
    assert (tmp_path / "revisions.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"functions": [{}]}', '{"functions": 7}', NONE_KNOWN],
)
def test_a_file_that_is_none_is_set_aside(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "revisions.json").write_text(text)
    store = kept(tmp_path)
    assert store.revisions == {}
    (aside,) = tmp_path.glob("revisions.broken-*")
    assert aside.read_text() == text
    assert "does not hold what it should" in caplog.text
    store.put(KEY, REVISIONS)
    store.save()
    assert kept(tmp_path).revisions == {KEY: REVISIONS}


def test_what_can_not_be_written_counts_is_told_once_and_written_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = kept(tmp_path)
    obstacle = tmp_path / "revisions.new"
    obstacle.mkdir()
    store.put(KEY, REVISIONS)
    store.save()
    store.save()
    assert store.unsaved
    assert store.revisions == {KEY: REVISIONS}
    assert caplog.text.count("can't be written") == 1
    obstacle.rmdir()
    store.save()
    assert kept(tmp_path).revisions == {KEY: REVISIONS}
