"""A test whose server is missing: skipped by default, failed where servers are required."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
# What this run was told is nothing to the runs in here.
TOLD = (
    "CI",
    "EVENTING_TEST_SERVICES",
    "EVENTING_TEST_KAFKA",
    "EVENTING_TEST_REDIS",
    "EVENTING_TEST_VALKEY",
    "JAVA_HOME",
)

INSTALL = {
    "def test_it(kafka): pass\n": "apt install default-jre-headless",
    "def test_it(start_kafka): start_kafka()\n": "apt install default-jre-headless",
    "def test_it(redis_url): pass\n": "apt install redis-server",
    "def test_it(start_redis): start_redis()\n": "apt install redis-server",
    "def test_it(container_engine): pass\n": "apt install podman",
    "def test_it(start_container_engine): start_container_engine()\n": "apt install podman",
}
"""A test, and what is to be installed for it."""


def run(folder: Path, tests: list[str], settings: dict[str, str]) -> tuple[int, str]:
    """pytest over these tests, on a machine with no server and no container engine."""
    rules = (TESTS / "conftest.py").read_text()
    here = "Path(__file__).parents[1]"
    assert here in rules
    (folder / "conftest.py").write_text(rules.replace(here, f"Path({str(TESTS.parent)!r})"))
    for number, test in enumerate(tests):
        (folder / f"test_{number}.py").write_text(test)
    (folder / "bin").mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in TOLD}
    nothing = {"PATH": str(folder / "bin"), "DOCKER_HOST": f"unix://{folder}/none.sock"}
    markers = "-o", "markers=service: needs a server"
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", *markers],
        cwd=folder,
        env={**kept, **nothing, **settings},
        capture_output=True,
        text=True,
        timeout=100,
    )
    return ran.returncode, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    "settings", [{}, {"CI": "false"}, {"CI": "true", "EVENTING_TEST_SERVICES": "optional"}]
)
def test_where_servers_are_optional_it_is_skipped_and_says_what_to_install(
    settings: dict[str, str], tmp_path: Path
) -> None:
    code, said = run(tmp_path, list(INSTALL), settings)
    assert code == 0, said
    assert f"{len(INSTALL)} skipped" in said
    assert all(install in said for install in INSTALL.values())


@pytest.mark.parametrize("settings", [{"CI": "true"}, {"EVENTING_TEST_SERVICES": "required"}])
def test_where_servers_are_required_it_fails_and_says_what_to_install(
    settings: dict[str, str], tmp_path: Path
) -> None:
    code, said = run(tmp_path, list(INSTALL), settings)
    assert code == 1, said
    assert "skipped" not in said and "passed" not in said
    assert all(install in said for install in INSTALL.values())


@pytest.mark.parametrize(
    ("variable", "given", "fixture"),
    [
        ("EVENTING_TEST_KAFKA", "127.0.0.1:1", "kafka"),
        ("EVENTING_TEST_REDIS", "redis://:hidden@127.0.0.1:1", "redis_url"),
    ],
)
def test_an_address_where_nothing_answers_is_named_without_its_password(
    variable: str, given: str, fixture: str, tmp_path: Path
) -> None:
    code, said = run(tmp_path, [f"def test_it({fixture}): pass\n"], {variable: given, "CI": "1"})
    assert code == 1
    assert variable in said and "hidden" not in said


def test_a_rule_of_another_name_is_a_clear_mistake(tmp_path: Path) -> None:
    code, said = run(tmp_path, list(INSTALL), {"EVENTING_TEST_SERVICES": "maybe"})
    assert code == 4
    assert "EVENTING_TEST_SERVICES is 'maybe'; it is required or optional" in said
