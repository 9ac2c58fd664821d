"""Which files are read, in which order, and what is said of those that can't be."""

import os
from pathlib import Path

import pytest

from eventing.resources import load


def config_map(name: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def names(*paths: Path) -> list[str]:
    loaded = load(paths)
    assert loaded.errors == []
    return [resource.name for resource in loaded.resources]


def test_folders_are_read_in_name_order_at_every_depth(tmp_path: Path) -> None:
    for place in ("b.yaml", "a.yml", "c/z.yaml", "c/a.yaml", "d.yaml"):
        write(tmp_path / place, config_map(place.replace("/", "-")))
    assert names(tmp_path) == ["a.yml", "b.yaml", "c-a.yaml", "c-z.yaml", "d.yaml"]


@pytest.mark.parametrize(
    "place", [".git/a.yaml", ".a.yaml", "node_modules/a.yaml", "x/__pycache__/a.yaml", "a.json"]
)
def test_a_folder_hides_what_is_not_meant(tmp_path: Path, place: str) -> None:
    write(tmp_path / place, config_map("a"))
    assert names(tmp_path) == []


def test_a_virtual_environment_is_passed_by(tmp_path: Path) -> None:
    write(tmp_path / "env/pyvenv.cfg", "")
    write(tmp_path / "env/lib/a.yaml", config_map("a"))
    assert names(tmp_path) == []


def test_a_linked_folder_is_passed_by_and_a_linked_file_is_read(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere/a.yaml", config_map("a"))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "loop").symlink_to(folder)
    (folder / "b.yaml").symlink_to(tmp_path / "elsewhere/a.yaml")
    assert names(folder) == ["a"]


def test_a_named_file_is_read_whatever_its_suffix(tmp_path: Path) -> None:
    assert names(
        write(
            tmp_path / "a.json",
            '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "j"}}',
        )
    ) == ["j"]
    assert names(write(tmp_path / ".hidden", config_map("h"))) == ["h"]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", config_map("a"))
    assert names(file, tmp_path, tmp_path / ".." / tmp_path.name) == ["a"]


def test_resources_of_several_files_are_told_apart_by_file(tmp_path: Path) -> None:
    first = write(tmp_path / "a.yaml", config_map("a"))
    second = write(tmp_path / "b.yaml", config_map("a"))
    (error,) = load([first, second]).errors
    assert str(error) == f"{second}:1:1: ConfigMap/default/a is defined twice, first at {first}:1:1"


def test_yaml_in_a_folder_that_is_no_resource_is_skipped_with_a_warning(tmp_path: Path) -> None:
    file = write(tmp_path / "compose.yaml", "services: {}\n")
    loaded = load([tmp_path])
    assert loaded.errors == []
    assert [str(w) for w in loaded.warnings] == [
        f"{file}:1:1: skipped: no document in it has a kind"
    ]
    assert len(load([file]).errors) == 1


def test_a_path_of_nothing_is_an_error_among_the_others(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", "a: [")
    missing = tmp_path / "missing"
    loaded = load([missing, file])
    assert str(loaded.errors[0]) == f"{missing}: there is no such file or folder"
    assert len(loaded.errors) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml", config_map("a"))
    file.chmod(0)
    (error,) = load([file]).errors
    assert str(error) == f"{file}: can't be read: Permission denied"


def test_a_file_of_any_size_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    with open(file, "wb") as stream:
        stream.truncate(17 << 20)
    (error,) = load([file]).errors
    assert str(error) == f"{file}: is larger than 16 MiB"
