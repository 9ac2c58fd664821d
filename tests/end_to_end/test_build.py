"""`eventing build` without an engine: what it prints and writes, and what it says of mistakes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from node_process import write_project

APP = """
    from eventing import CloudEvent, function

    @function
    def price(event: CloudEvent) -> None: ...
"""
TWO = """
    from eventing import CloudEvent, function

    @function
    def store(event: CloudEvent) -> None: ...

    @function
    def resize(event: CloudEvent) -> None: ...
"""


def build(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eventing", "build", *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_print_is_the_dockerfile_and_nothing_else(tmp_path):
    write_project(tmp_path, {"app.py": APP, "requirements.txt": "numpy\n"})
    ran = build(tmp_path, "--print", "--python", "3.13", PATH="/nonexistent")
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert "FROM docker.io/library/python:3.13-slim AS dependencies" in lines
    assert 'CMD ["app:price"]' in lines
    assert 'COPY ["requirements.txt", "/build/requirements/requirements.txt"]' in lines


def test_context_is_all_that_the_dockerfile_copies(tmp_path):
    project, context = tmp_path / "project", tmp_path / "context"
    write_project(project, {"app.py": APP, "requirements.txt": "numpy\n", ".env": "SECRET=1"})
    ran = build(project, "--context", str(context), PATH="/nonexistent")
    assert (ran.returncode, ran.stdout) == (0, f"{context}\n"), ran.stderr
    files = {path.relative_to(context).as_posix() for path in context.rglob("*") if path.is_file()}
    (wheel,) = (context / ".eventing-build").iterdir()
    assert files == {
        "Dockerfile",
        "app.py",
        "requirements.txt",
        f".eventing-build/{wheel.name}",
    }
    assert f'COPY [".eventing-build/{wheel.name}", ' in (context / "Dockerfile").read_text()


def test_requirements_may_be_elsewhere(tmp_path):
    project, context = tmp_path / "project", tmp_path / "context"
    write_project(project, {"app.py": APP})
    write_project(tmp_path / "pins", {"all.txt": "-c more.txt\n", "more.txt": "numpy==2.0\n"})
    arguments = ["--context", str(context), "--requirements", "../pins/all.txt"]
    ran = build(project, *arguments)
    assert ran.returncode == 0, ran.stderr
    beside = context / ".eventing-build" / "requirements"
    assert {path.name for path in beside.iterdir()} == {"all.txt", "more.txt"}
    assert '"/build/requirements/more.txt"' in (context / "Dockerfile").read_text()


def test_the_only_function_is_found_and_of_several_one_has_to_be_named(tmp_path):
    write_project(tmp_path, {"shop/__init__.py": "", "shop/images.py": TWO})
    ran = build(tmp_path, "--print")
    assert ran.returncode == 2
    assert "--handler shop.images:store\n  --handler shop.images:resize" in ran.stderr
    ran = build(tmp_path, "--print", "--handler", "shop.images:resize")
    assert ran.returncode == 0 and 'CMD ["shop.images:resize"]' in ran.stdout


def test_a_file_is_a_project_as_well(tmp_path):
    write_project(tmp_path, {"app.py": APP, "other.py": TWO})
    ran = build(tmp_path, "app.py", "--print")
    assert ran.returncode == 0 and 'CMD ["app:price"]' in ran.stdout


def test_a_named_handler_needs_no_import_here(tmp_path):
    write_project(tmp_path, {"app.py": f"    import only_in_the_image\n{APP}"})
    ran = build(tmp_path, "--print")
    assert ran.returncode == 2 and "No module named 'only_in_the_image'" in ran.stderr
    assert "--handler names one without" in ran.stderr
    assert build(tmp_path, "--print", "--handler", "app:price").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere: there is no such file or folder"),
        (["--handler", "app"], "write it as module:name"),
        (["--handler", "ap:price"], "the image would have no ap.py; did you mean 'app'?"),
        (["--python", "2.7"], "--python 2.7 is too old"),
        (["--python", "3.12", "--base", "python"], "leave --python out"),
        (["--requirements", "nothing.txt"], "nothing.txt: there is no such file"),
        (["--engine", "kaniko"], "'kaniko'"),
        (["--push"], "--push needs --tag"),
        (["--print", "--context", "x"], "choose one"),
        (["--context", "."], ". is not empty"),
        (["--context", "copy"], "copy is in the project"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(tmp_path, arguments, says):
    write_project(tmp_path, {"app.py": APP})
    ran = build(tmp_path, *arguments)
    assert ran.returncode == 2
    assert says in ran.stderr and "Traceback" not in ran.stderr


def test_a_folder_without_functions_is_told(tmp_path):
    ran = build(tmp_path)
    assert ran.returncode == 2 and "has no Python file" in ran.stderr
    write_project(tmp_path, {"app.py": "x = 1\n"})
    ran = build(tmp_path)
    assert ran.returncode == 2 and "holds no function: mark a handler with @function" in ran.stderr


def test_without_an_engine_it_says_what_there_is_to_do(tmp_path):
    write_project(tmp_path, {"app.py": APP})
    ran = build(tmp_path, PATH="/nonexistent")
    assert ran.returncode == 3
    assert "docker is not installed" in ran.stderr and "apt install buildah" in ran.stderr
