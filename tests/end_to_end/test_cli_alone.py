"""The command line without a node: its start, its mistakes, `init`, `validate`, `explain -f`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WIRING = """\
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: bill}
spec:
  broker: default
  filters:
    - exact: {type: order.placed}
    - prefix: {subject: eu/}
  subscriber:
    ref: {apiVersion: functions/v1, kind: Function, name: bill}
"""
APP = "from eventing import function\n\n@function\ndef bill(event):\n    pass\n"


def eventing(
    *arguments: str, cwd: Path, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eventing", *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "wiring.yaml").write_text(WIRING)
    return tmp_path


def test_help_lists_every_command_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = """
import sys
sys.argv = ["eventing", "--help"]
from eventing.__main__ import main
try:
    main()
except SystemExit as stop:
    assert stop.code == 0
heavy = {"pydantic", "starlette", "uvicorn", "rich", "orjson", "yaml", "asyncio"}
print(sorted(heavy & set(sys.modules)))
"""
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    *help_text, heavy = told.stdout.splitlines()
    assert heavy == "[]"
    for command in ("up", "validate", "dead-letters", "init"):
        assert any(line.split()[:1] == [command] for line in help_text)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["vlaidate", "."], "did you mean 'validate'?"),
        (["send", "--tpye", "x"], "--type"),
        (["get", "triger"], "did you mean 'trigger'?"),
        (["get", "trigger", "a/b/c"], "neither a name nor namespace/name"),
        (["send"], "name it with --type"),
        (["send", "--type", "t", "--data", "1", "--data-file", "x"], "keep one of them"),
        (["send", "--type", "t", "--ext", "region"], "write it as NAME=VALUE"),
        (["send", "--type", "t", "--ext", "Region=eu"], "lower-case letters"),
        (["send", "--type", "t", "--data-file", "gone"], "gone can't be read: no such file"),
        (["send", "--type", "t", "--wait", "--timeout", "soon"], "no duration such as 90s"),
        (["replay", "bill", "--since", "yesterday"], "2026-01-31T12:00:00Z"),
        (["replay", "bill", "--since", "1h", "--from", "3"], "keep one of them"),
        (["dead-letters", "show", "first"], "12, or namespace/broker:12"),
        (["dead-letters", "redrive"], "give their ids, or --all"),
        (["get", "--admin", "ftp://x"], "write it like http://127.0.0.1:8081"),
    ],
)
def test_a_mistake_is_told_with_its_remedy_and_exit_status_2(
    arguments: list[str], told: str, tmp_path: Path
) -> None:
    ran = eventing(*arguments, cwd=tmp_path)
    assert ran.returncode == 2
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""


def test_without_a_node_it_says_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    ran = eventing("get", "--admin", "http://127.0.0.1:1", cwd=tmp_path)
    assert ran.returncode == 3
    assert "no node answers at http://127.0.0.1:1" in ran.stderr
    assert "eventing up" in ran.stderr


def test_a_node_that_was_killed_is_told_as_gone(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / ".eventing").mkdir()
    where = {"pid": ended.pid, "ingress": "http://127.0.0.1:1", "admin": "http://127.0.0.1:1"}
    (tmp_path / ".eventing" / "node.json").write_text(json.dumps(where))
    ran = eventing("tail", cwd=tmp_path)
    assert ran.returncode == 3
    assert f"process {ended.pid}, is gone" in ran.stderr


def test_a_projects_own_packages_of_our_names_are_not_met(tmp_path: Path) -> None:
    for name in ("functions", "brokers", "triggers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong package')")
    (tmp_path / "app.py").write_text(APP)
    ran = eventing("validate", "app.py", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert (ran.returncode, ran.stderr) == (0, "valid: 0 resources and 1 function, 0 warnings\n")


def test_the_shell_completes_commands_and_kinds(tmp_path: Path) -> None:
    def completed(words: str) -> set[str]:
        ran = eventing(
            cwd=tmp_path,
            _EVENTING_COMPLETE="bash_complete",
            COMP_WORDS=words,
            COMP_CWORD=str(len(words.split()) - 1),
        )
        return {line.partition(",")[2] for line in ran.stdout.splitlines()}

    assert completed("eventing dea") == {"dead-letters"}
    assert completed("eventing get tri") == {"triggers"}
    assert "--subject" in completed("eventing send --su")


# init


def test_init_writes_a_project_that_is_valid_and_whose_test_passes(tmp_path: Path) -> None:
    assert eventing("init", "hello", cwd=tmp_path).returncode == 0
    hello = tmp_path / "hello"
    assert eventing("validate", ".", cwd=hello).returncode == 0
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=hello,
        capture_output=True,
        text=True,
    )
    assert tested.returncode == 0, tested.stdout
    assert ".eventing/" in (hello / ".gitignore").read_text().splitlines()


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("mine")
    ran = eventing("init", ".", cwd=tmp_path)
    assert ran.returncode == 2
    assert "app.py already" in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["app.py"]
    assert (tmp_path / "app.py").read_text() == "mine"


# validate


def test_validate_accepts_a_sound_project(project: Path) -> None:
    ran = eventing("validate", ".", cwd=project)
    assert ran.returncode == 0
    assert "valid: 1 resource and 1 function" in ran.stderr


def test_validate_tells_every_problem_of_all_files_by_place(project: Path) -> None:
    (project / "bad.yaml").write_text(WIRING.replace("prefix", "prefx"))
    (project / "worse.yaml").write_text(
        WIRING.replace("bill", "b2").replace("exact: {type: order.placed}", 'cesql: "type ="')
    )
    ran = eventing("validate", ".", cwd=project)
    assert ran.returncode == 2
    errors = [line for line in ran.stdout.splitlines() if ": error: " in line]
    assert any(line.startswith("bad.yaml:8:7: error: ") and '"prefix"' in line for line in errors)
    assert any(line.startswith("worse.yaml:7:21: error: ") for line in errors)


def test_validate_finds_code_that_does_not_import(project: Path) -> None:
    (project / "app.py").write_text("from eventing import function\nimport no_such_module\n")
    ran = eventing("validate", ".", cwd=project)
    assert ran.returncode == 2
    assert "app.py:2" in ran.stdout
    assert "no_such_module" in ran.stdout
    assert "will not be ready" not in ran.stdout


def test_validate_warns_of_what_is_named_and_not_there(project: Path) -> None:
    (project / "more.yaml").write_text(
        WIRING.replace("name: bill}", "name: lost}", 1).replace("name: bill", "name: nobody")
    )
    ran = eventing("validate", ".", "-o", "json", cwd=project)
    found = json.loads(ran.stdout)
    assert (ran.returncode, found["valid"]) == (0, True)
    [warning] = found["warnings"]
    assert (warning["file"], warning["line"]) == ("more.yaml", 10)
    assert "there is no Function/default/nobody" in warning["message"]


def test_validate_names_a_path_that_is_not_there(tmp_path: Path) -> None:
    ran = eventing("validate", "gone", cwd=tmp_path)
    assert ran.returncode == 2
    assert "gone: error: there is no such file or folder" in ran.stdout


# explain without a node


def test_explain_reads_files_and_names_the_clause_that_failed_with_its_place(
    project: Path,
) -> None:
    flags = ("--type", "order.placed", "--subject", "us/7")
    ran = eventing("explain", "-f", "wiring.yaml", *flags, cwd=project)
    assert ran.returncode == 1
    assert '"eu/"' in ran.stdout
    assert 'subject is "us/7"' in ran.stdout
    assert "wiring.yaml:8:25" in ran.stdout
    assert "0 of 1 trigger would take it" in ran.stdout


def test_explain_exits_0_where_the_trigger_matches(project: Path) -> None:
    event = {"specversion": "1.0", "id": "1", "source": "/me", "type": "order.placed"}
    (project / "event.json").write_text(json.dumps(event))
    ran = eventing(
        *("explain", "-f", ".", "--event", "event.json", "--subject", "eu/7"),
        *("--trigger", "bill", "-o", "json"),
        cwd=project,
    )
    assert ran.returncode == 0
    assert json.loads(ran.stdout)["triggers"][0]["matches"] is True


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--trigger", "bil"], "did you mean 'bill'?"),
        (["--broker", "other"], "there is no broker default/other"),
        (["-f", "gone.yaml"], "gone.yaml: there is no such file"),
    ],
)
def test_explain_names_what_is_not_there(project: Path, arguments: list[str], told: str) -> None:
    ran = eventing("explain", "-f", "wiring.yaml", "--type", "t", *arguments, cwd=project)
    assert ran.returncode == 2
    assert told in ran.stderr


def test_explain_tells_of_an_event_file_that_is_no_event(project: Path) -> None:
    ran = eventing("explain", "-f", ".", "--event", "-", cwd=project, stdin='{"id": "1"}')
    assert ran.returncode == 2
    assert "stdin" in ran.stderr
    assert "specversion" in ran.stderr
