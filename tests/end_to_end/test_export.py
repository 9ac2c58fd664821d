"""`eventing export knative`: a project as files for a cluster, and what it says of the rest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eventing.resources import load

ROOT = Path(__file__).parents[2]
APP = """\
from eventing import function


@function(timeout=7, memory="64Mi")
def make_bill(event):
    pass
"""
WIRING = """\
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata:
  name: bill
  annotations: {eventing.dev/start: earliest}
spec:
  broker: default
  subscriber:
    ref: {apiVersion: functions/v1, kind: Function, name: make-bill}
  delivery: {deadLetterSink: {uri: "https://there.example/"}}
---
apiVersion: v1
kind: Secret
metadata: {name: db}
stringData: {password: hunter2}
"""


def exported(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eventing", "export", "knative", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
        timeout=60,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "app.py").write_text(APP)
    (folder / "wiring.yaml").write_text(WIRING)
    return folder


def test_a_project_becomes_one_text_that_names_where_all_of_it_is_from(project: Path) -> None:
    ran = exported(".", "--registry", "registry.example/shop", cwd=project)
    assert ran.returncode == 0, ran.stderr
    assert "# From app.py:4\n# Its image: eventing build --handler app:make_bill" in ran.stdout
    assert "# From wiring.yaml:1\napiVersion: eventing.knative.dev/v1\nkind: Trigger" in ran.stdout
    assert "image: registry.example/shop/make-bill" in ran.stdout
    assert "hunter2" not in ran.stdout + ran.stderr


def test_what_has_no_counterpart_is_told_on_stderr_and_with_strict_is_a_failure(
    project: Path,
) -> None:
    arguments = (".", "--image", "make-bill=registry.example/bill:1")
    ran = exported(*arguments, cwd=project)
    assert ran.returncode == 0
    told = [line for line in ran.stderr.splitlines() if line.startswith("no counterpart: ")]
    assert any("wiring.yaml:5:37: Trigger/default/bill: a trigger" in line for line in told)
    assert any("Secret/default/db: its values" in line for line in told)
    strict = exported(*arguments, "--strict", cwd=project)
    assert strict.returncode == 1
    assert (strict.stdout, strict.stderr) == (ran.stdout, ran.stderr)


def test_with_a_folder_there_is_a_file_for_each_kind(project: Path) -> None:
    ran = exported(".", "--registry", "r.example", "-o", "../out/k8s", cwd=project)
    assert ran.returncode == 0, ran.stderr
    out = project.parent / "out" / "k8s"
    names = sorted(path.name for path in out.iterdir())
    assert [name.partition("-")[2] for name in names] == [
        *("secret.yaml", "broker.yaml", "service.yaml", "trigger.yaml")
    ]
    assert [line.split()[0] for line in ran.stdout.splitlines()] == ["wrote"] * 4
    loaded = load([out])
    assert loaded.errors == []
    assert sorted(each.kind for each in loaded.resources) == ["Broker", "Service", "Trigger"]


def test_a_second_export_leaves_nothing_of_the_first_and_nothing_else_touched(
    project: Path,
) -> None:
    arguments = (".", "--registry", "r.example", "-o", "../out")
    assert exported(*arguments, cwd=project).returncode == 0
    out = project.parent / "out"
    (out / "mine.yaml").write_text("kind: Mine\n")
    (project / "wiring.yaml").unlink()
    ran = exported(*arguments, cwd=project)
    assert ran.returncode == 0, ran.stderr
    names = {path.name.partition("-")[2] or path.name for path in out.iterdir()}
    assert names == {"service.yaml", "mine.yaml"}
    assert len([line for line in ran.stdout.splitlines() if line.startswith("removed ")]) == 3


def test_a_file_of_somebody_else_is_not_written_over(project: Path) -> None:
    out = project.parent / "out"
    assert exported(".", "--registry", "r.example", "-o", "../out", cwd=project).returncode == 0
    (service,) = out.glob("*-service.yaml")
    service.write_text("kind: Mine\n")
    (trigger,) = out.glob("*-trigger.yaml")
    before = trigger.read_text()
    ran = exported(".", "--registry", "other.example", "-o", "../out", cwd=project)
    assert ran.returncode == 2
    assert "is not of an export; choose another folder" in ran.stderr
    assert service.read_text() == "kind: Mine\n"
    assert trigger.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["."], 2, "--image make-bill=registry.example/make-bill:1"),
        ([".", "--image", "bill"], 2, "is not FUNCTION=IMAGE"),
        ([".", "--image", "make_bil=x"], 2, 'did you mean "make-bill"'),
        ([".", "--registry", "https://r.example"], 2, "no place for images"),
        ([".", "--broker-class", "Rabbit"], 2, "MTChannelBasedBroker"),
        ([".", "--registry", "r", "--namespace", "Live"], 2, '"live" would do'),
        ([".", "--registry", "r", "-o", "app.py"], 2, "app.py is a file; -o takes a folder"),
        (["gone"], 2, "gone: there is no such file or folder"),
        (["../empty"], 2, "there is nothing to export"),
        ([], 2, "PATHS"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(
    arguments: list[str], status: int, told: str, project: Path
) -> None:
    (project.parent / "empty").mkdir()
    ran = exported(*arguments, cwd=project)
    assert ran.returncode == status
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""


def test_files_with_mistakes_are_not_exported(project: Path) -> None:
    (project / "bad.yaml").write_text(WIRING.replace("broker:", "brokr:").replace("bill", "b2"))
    ran = exported(".", "--registry", "r.example", cwd=project)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "error: bad.yaml:7:3: " in ran.stderr


def test_code_that_does_not_load_is_not_exported(project: Path) -> None:
    (project / "app.py").write_text("import no_such_module\n" + APP)
    ran = exported(".", "--registry", "r.example", cwd=project)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "no_such_module" in ran.stderr


def test_the_example_is_exported_whole() -> None:
    example = ROOT / "examples" / "thumbnails"
    ran = exported(".", "--registry", "registry.example/shop", cwd=example)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("\nkind: Service\n") == 4
    assert ran.stdout.count("\nkind: Trigger\n") == 3
