"""Which files of a project go into its image."""

import os
import re
from pathlib import Path

import pytest

from eventing.errors import UserError
from eventing.node.images.ignore import patterns_of, stays_out
from eventing.node.images.selection import copy_into, select, settle_folders


def make(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_code_and_its_data_go_in(tmp_path):
    make(tmp_path, "app.py", "shop/__init__.py", "shop/models/small.onnx", "README.md")
    selection = select(tmp_path)
    assert selection.files == (
        "README.md",
        "app.py",
        "shop/__init__.py",
        "shop/models/small.onnx",
    )
    assert selection.size == sum(map(len, selection.files))


@pytest.mark.parametrize(
    "name",
    [
        ".git/config",
        ".venv/bin/python",
        ".eventing/default.db",
        ".env",
        "shop/.env",
        ".dockerignore",
        "__pycache__/app.pyc",
        "shop/__pycache__/a.pyc",
        "old.pyc",
        "node_modules/a/index.js",
        "shop.egg-info/PKG-INFO",
        "Dockerfile",
    ],
)
def test_what_is_of_the_machine_or_made_of_it_stays_out(tmp_path, name):
    assert select(make(tmp_path, "app.py", name)).files == ("app.py",)


def test_so_does_a_virtual_environment_of_any_name(tmp_path):
    make(tmp_path, "app.py", "environment/pyvenv.cfg", "environment/lib/a.py")
    assert select(tmp_path).files == ("app.py",)


@pytest.mark.parametrize("name", ["server.key", "certs/ca.pem", "prod.env", "keys/id_rsa"])
def test_what_looks_like_a_secret_stays_out_and_is_named(tmp_path, name):
    selection = select(make(tmp_path, "app.py", name))
    assert (selection.files, selection.secrets) == (("app.py",), (name,))
    (tmp_path / ".dockerignore").write_text(f"!{name}\n")
    assert select(tmp_path).files == tuple(sorted(("app.py", name)))


@pytest.mark.parametrize(
    ("ignore", "path", "out"),
    [
        ("tests", "tests/test_app.py", True),
        ("/tests/", "tests/test_app.py", True),
        ("tests", "shop/tests/test_app.py", False),
        ("**/tests", "shop/tests/test_app.py", True),
        ("*.md", "README.md", True),
        ("*.md", "docs/page.md", False),
        ("**/*.md", "docs/page.md", True),
        ("**/*.md", "README.md", True),
        ("docs/**", "docs/a/b.txt", True),
        ("docs/*/b.txt", "docs/a/b.txt", True),
        ("docs/*/b.txt", "docs/a/c/b.txt", False),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[ab].txt", "b.txt", True),
        ("[^ab].txt", "b.txt", False),
        ("*\n!app.py", "app.py", False),
        ("*\n!app.py", "other.py", True),
        ("*.md\n!README.md", "README.md", False),
        ("!README.md\n*.md", "README.md", True),
        ("# tests\n\n  ", "tests", False),
        ("data\n!data/small", "data/small/a", False),
        ("data\n!data/small", "data/large/a", True),
        ("!.streamlit", ".streamlit/config.toml", False),
        ("a+b", "a+b", True),
        ("\\*", "*", True),
        ("\\*", "a", False),
    ],
)
def test_dockerignore_is_honoured_as_docker_does(tmp_path, ignore, path, out):
    (tmp_path / ".dockerignore").write_text(ignore)
    assert (stays_out(path, patterns_of(tmp_path)) is not None) is out


def test_what_an_exception_lets_in_is_found_in_folders_that_stay_out(tmp_path):
    make(tmp_path, "app.py", "data/large/a", "data/small/b", ".hidden/keep", ".hidden/other")
    (tmp_path / ".dockerignore").write_text("data\n!data/small\n!**/keep\n")
    assert select(tmp_path).files == (".hidden/keep", "app.py", "data/small/b")


@pytest.mark.parametrize("line", ["../other", "!", "a/../../b"])
def test_a_pattern_that_is_none_is_told_with_its_place(tmp_path, line):
    (tmp_path / ".dockerignore").write_text(f"fine\n{line}\n")
    with pytest.raises(UserError, match=re.escape(f"{tmp_path}/.dockerignore:2: '{line}'")):
        patterns_of(tmp_path)


def test_a_link_within_the_project_stays_a_link(tmp_path):
    project = make(tmp_path / "project", "app.py", "shop/data.json")
    (project / "latest.json").symlink_to(project / "shop" / "data.json")
    (project / "shop" / "app.py").symlink_to("../app.py")
    copy_into(select(project), tmp_path / "copy")
    assert (tmp_path / "copy" / "latest.json").readlink() == Path("shop/data.json")
    assert (tmp_path / "copy" / "shop" / "app.py").readlink() == Path("../app.py")


def test_a_link_that_leads_out_of_it_is_refused(tmp_path):
    project = make(tmp_path / "project", "app.py")
    (project / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(UserError, match=r"passwd is a link to /etc/passwd, outside"):
        select(project)
    (project / ".dockerignore").write_text("passwd\n")
    assert select(project).files == ("app.py",)


def test_what_is_no_file_stays_out(tmp_path):
    make(tmp_path, "app.py")
    os.mkfifo(tmp_path / "pipe")
    assert select(tmp_path).files == ("app.py",)


def test_the_same_files_give_the_same_copy_whatever_their_times_and_modes(tmp_path):
    seen = []
    for number, mode in enumerate((0o600, 0o664)):
        project = make(tmp_path / f"project-{number}", "app.py", "shop/run.sh")
        (project / "app.py").chmod(mode)
        (project / "shop" / "run.sh").chmod(mode | 0o100)
        (project / "shop").chmod(0o700 if number else 0o777)
        os.utime(project / "app.py", (number * 1000, number * 1000))
        copy = tmp_path / f"copy-{number}"
        copy_into(select(project), copy)
        settle_folders(copy)
        paths = sorted(copy.rglob("*"))
        seen.append(
            [
                (path.relative_to(copy).as_posix(), path.stat().st_mode, path.stat().st_mtime)
                for path in paths
            ]
        )
    assert seen[0] == seen[1]
    assert [oct(mode)[-3:] for _, mode, _ in seen[0]] == ["644", "755", "755"]
