"""What an image installs: a project's dependencies, eventing itself, pip's own settings."""

import configparser
import re
from pathlib import Path

import pytest

from eventing.errors import UserError
from eventing.node.images.dependencies import dependencies
from eventing.node.images.pip_settings import pip_settings
from eventing.node.images.runtime_package import put_wheel, runtime_package


def test_requirements_go_before_pyproject(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["numpy"]\n')
    assert dependencies(tmp_path, None).inline == ("numpy",)
    (tmp_path / "requirements.txt").write_text("pillow\n")
    found = dependencies(tmp_path, None)
    assert found.files == ((tmp_path / "requirements.txt", "requirements.txt"),)
    assert found.inline == () and not found.hashed


def test_a_project_may_need_nothing(tmp_path):
    assert dependencies(tmp_path, None).origin == ""
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\n")
    assert dependencies(tmp_path, None).inline == ()


def test_files_that_are_included_come_along(tmp_path):
    (tmp_path / "requirements").mkdir()
    main = tmp_path / "requirements" / "prod.txt"
    main.write_text("-r base.txt\n--constraint=../constraints.txt  # pinned\nflask\n-r prod.txt\n")
    (tmp_path / "requirements" / "base.txt").write_text("-r https://example.com/more.txt\nnumpy\n")
    (tmp_path / "constraints.txt").write_text("numpy==2.0\n")
    found = dependencies(tmp_path, main)
    assert [below for _, below in found.files] == [
        "requirements/prod.txt",
        "requirements/base.txt",
        "constraints.txt",
    ]


def test_those_outside_of_the_project_keep_their_places_to_each_other(tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "requirements.txt").write_text("-c project/pins.txt\n")
    (project / "pins.txt").write_text("numpy==2.0\n")
    found = dependencies(project, tmp_path / "requirements.txt")
    assert [below for _, below in found.files] == ["requirements.txt", "project/pins.txt"]


def test_hashes_are_seen(tmp_path):
    (tmp_path / "requirements.txt").write_text("numpy==2.0 \\\n    --hash=sha256:abc\n")
    assert dependencies(tmp_path, None).hashed


@pytest.mark.parametrize(
    "line", ["-e .", ".", "./lib", "../lib", "/lib", "file:///lib", "lib @ file:///lib", "-e../x"]
)
def test_a_place_of_this_machine_is_refused(tmp_path, line):
    (tmp_path / "requirements.txt").write_text(f"numpy\n\n{line}\n")
    with pytest.raises(UserError, match=r"requirements.txt:3: .* is a place on this machine"):
        dependencies(tmp_path, None)


def test_an_included_file_that_is_missing_is_told(tmp_path):
    (tmp_path / "requirements.txt").write_text("-r base.txt\n")
    with pytest.raises(UserError, match=r"requirements.txt:1: there is no file .*base.txt"):
        dependencies(tmp_path, None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[project]\ndynamic = ["dependencies"]\n', "dynamic"),
        ('[tool.poetry.dependencies]\nnumpy = "*"\n', "poetry export"),
        ('[project]\ndependencies = "numpy"\n', "no list of strings"),
        ("[project\n", "pyproject.toml: "),
        ('[project]\ndependencies = ["lib @ file:///lib"]\n', "on this machine"),
        ('[project]\ndependencies = ["a\\nb"]\n', "no requirement"),
        ("project = 5\n", "no table"),
    ],
)
def test_a_pyproject_that_does_not_tell_is_refused(tmp_path, text, says):
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(UserError, match=re.escape(says)):
        dependencies(tmp_path, None)


def test_eventing_comes_as_it_is_installed_here(tmp_path):
    """From a checkout, in this repository: as a wheel of that checkout."""
    package = runtime_package()
    assert Path(package.requirement, "pyproject.toml").is_file()
    assert re.fullmatch(r"eventing_runtime-[\d.]+-py3-none-any\.whl", package.wheel)
    assert put_wheel(package, tmp_path) == package.wheel


# Pip's settings


def test_variables_go_before_files_and_later_files_before_earlier(tmp_path):
    (tmp_path / ".pip").mkdir()
    (tmp_path / ".pip" / "pip.conf").write_text(
        "[global]\nindex-url = https://one/\nextra_index_url =\n  https://a/\n  https://b/\n"
        "[install]\nprefer-binary = true\n[list]\nformat = json\n"
    )
    (tmp_path / "own.conf").write_text("[global]\nindex-url = https://two/\n")
    environment = {"PIP_CONFIG_FILE": str(tmp_path / "own.conf"), "PIP_TIMEOUT": "7"}
    found = pip_settings(environment | _NOWHERE, tmp_path).values
    assert found["index-url"] == "https://two/" and found["timeout"] == "7"
    assert found["extra-index-url"] == "https://a/ https://b/"
    assert found["prefer-binary"] == "true" and "format" not in found
    environment["PIP_INDEX_URL"] = "https://three/"
    assert pip_settings(environment, tmp_path).values["index-url"] == "https://three/"


_NOWHERE = {"XDG_CONFIG_DIRS": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent"}


def test_no_files_are_read_where_pip_reads_none(tmp_path):
    found = pip_settings({"PIP_CONFIG_FILE": "/dev/null"}, tmp_path)
    assert not found.values and found.write_into(tmp_path) == {}
    assert not (tmp_path / "pip.conf").exists()


def test_they_become_secrets_that_only_their_owner_reads(tmp_path):
    authority = tmp_path / "ca.pem"
    authority.write_text("a certificate")
    environment = {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": "https://user:password@index/",
        "PIP_CERT": str(authority),
        "PIP_EXTRA_INDEX_URL": "https://a/ https://b/",
    }
    beside = tmp_path / "beside"
    beside.mkdir()
    secrets = pip_settings(environment, tmp_path).write_into(beside)
    assert secrets == {"pip.conf": beside / "pip.conf", "pip-ca.pem": authority}
    assert (beside / "pip.conf").stat().st_mode & 0o077 == 0
    parser = configparser.RawConfigParser()
    parser.read(secrets["pip.conf"])
    assert dict(parser["global"]) == {
        "index-url": "https://user:password@index/",
        "extra-index-url": "https://a/\nhttps://b/",
        "cert": "/run/secrets/pip-ca.pem",
    }


def test_what_holds_for_this_machine_alone_is_told(tmp_path):
    environment = {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_FIND_LINKS": "/wheels https://wheels/",
        "PIP_CONSTRAINT": "/pins.txt",
    }
    found = pip_settings(environment, tmp_path)
    assert found.values == {"find-links": "https://wheels/"}
    assert found.not_passed == ("find-links /wheels", "constraint /pins.txt")


def test_settings_that_are_wrong_are_told(tmp_path):
    with pytest.raises(UserError, match=r"cert names /no/ca.pem, which is no file"):
        pip_settings({"PIP_CONFIG_FILE": "/dev/null", "PIP_CERT": "/no/ca.pem"}, tmp_path)
    (tmp_path / "pip.conf").write_text("index-url = x\n")
    with pytest.raises(UserError, match=r"pip's settings can't be read: .*pip.conf"):
        pip_settings({"PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}, tmp_path)
