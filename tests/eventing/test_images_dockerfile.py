"""The Dockerfile of a project's image, and who could build it."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from eventing.errors import OperationError, UserError
from eventing.node.images.builders import Builder, BuildFailed, find_builder
from eventing.node.images.dependencies import Dependencies
from eventing.node.images.dockerfile import Recipe, dockerfile
from eventing.node.images.project_image import python_image

RECIPE = Recipe(
    handler="app:thumbnail",
    base="python:3.13-slim",
    build_base="",
    dependencies=Dependencies(
        "pyproject.toml", inline=("numpy>=2; python_version > '3'", "pillow")
    ),
    runtime="eventing-runtime==0.1.0",
    wheel="",
    requirements_beside=False,
)


def test_a_release_needs_nothing_but_the_projects_folder():
    text = dockerfile(RECIPE)
    copied = [line for line in text.splitlines() if line.startswith("COPY")]
    assert copied == [
        "COPY . .",
        "COPY --from=dependencies /function /function",
        "COPY --from=code /app /app",
    ]
    assert "        eventing-runtime==0.1.0 \\\n" in text
    assert """        'numpy>=2; python_version > '"'"'3'"'"'' \\\n""" in text


def test_the_code_is_the_last_layer_and_its_user_no_root():
    last = dockerfile(RECIPE).rpartition("\nFROM ")[2].splitlines()
    assert last[-1] == "COPY --from=code /app /app"
    assert "USER 10001:10001" in last and "STOPSIGNAL SIGTERM" in last
    assert 'ENTRYPOINT ["/function/bin/python", "-m", "eventing.serve"]' in last
    assert 'CMD ["app:thumbnail"]' in last


def test_dependencies_may_be_installed_on_another_image():
    text = dockerfile(replace(RECIPE, build_base="python:3.13"))
    froms = [line for line in text.splitlines() if line.startswith("FROM")]
    assert froms == [
        "FROM python:3.13 AS dependencies",
        "FROM dependencies AS code",
        "FROM python:3.13-slim",
    ]


def test_requirements_files_are_copied_before_the_code():
    files = ((Path("/p/requirements/prod.txt"), "requirements/prod.txt"), (Path("/p/c d"), "c d"))
    text = dockerfile(replace(RECIPE, dependencies=Dependencies("x", files=files)))
    assert 'COPY ["requirements/prod.txt", "/build/requirements/requirements/prod.txt"]' in text
    assert 'COPY ["c d", "/build/requirements/c d"]' in text
    assert "        -r \\\n        /build/requirements/requirements/prod.txt \\\n" in text
    beside = replace(RECIPE, dependencies=Dependencies("x", files=files), requirements_beside=True)
    assert 'COPY [".eventing-build/requirements/c d", ' in dockerfile(beside)


def test_with_hashes_eventing_is_installed_on_its_own():
    files = ((Path("/p/requirements.txt"), "requirements.txt"),)
    hashed = Dependencies("x", files=files, hashed=True)
    assert dockerfile(RECIPE).count("bin/pip --python") == 1
    assert dockerfile(replace(RECIPE, dependencies=hashed)).count("bin/pip --python") == 2


def test_a_builder_without_secrets_gets_no_mounts():
    assert "--mount=type=secret,id=pip.conf" in dockerfile(RECIPE)
    assert "--mount" not in dockerfile(replace(RECIPE, secrets=False))


def test_the_handler_is_imported_in_the_build_unless_that_is_unwanted():
    assert '"--check", "app:thumbnail"]' in dockerfile(RECIPE)
    assert "--check" not in dockerfile(replace(RECIPE, check=False))


@pytest.mark.parametrize(
    ("version", "image"),
    [
        ("3.13", "docker.io/library/python:3.13-slim"),
        ("3.12.4", "docker.io/library/python:3.12.4-slim"),
    ],
)
def test_a_version_of_python_is_an_image(version, image):
    assert python_image(version) == image


@pytest.mark.parametrize("version", ["3.10", "2.7", "3", "three", "3.13-slim", ""])
def test_another_one_is_refused(version):
    with pytest.raises(UserError, match="--python"):
        python_image(version)


# Who builds


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Programs of these names, and no other, that do what a shell line says."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def put(name: str, line: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(stat.S_IRWXU)

    return put


def test_the_first_that_answers_builds(programs):
    programs("docker", 'echo "Cannot connect to the daemon" >&2; exit 1')
    programs("podman", "exit 0")
    programs("buildah", "exit 0")
    assert find_builder(None) == Builder("podman")
    assert find_builder("buildah") == Builder("buildah")


def test_none_says_of_each_why_not_and_what_to_do(programs):
    programs("docker", 'echo "Cannot connect to the daemon" >&2; exit 1')
    with pytest.raises(OperationError) as told:
        find_builder(None)
    text = str(told.value)
    assert "docker does not answer (Cannot connect to the daemon)" in text
    assert "podman is not installed" in text and "apt install buildah" in text
    assert "--print" in text and "--context" in text


def test_the_one_that_is_wanted_is_not_replaced(programs):
    programs("podman", "exit 0")
    with pytest.raises(UserError, match="buildah is not installed; leave --engine out"):
        find_builder("buildah")


def test_docker_without_buildx_builds_only_what_has_no_secrets(programs):
    programs("docker", '[ "$1" = info ]')
    assert find_builder(None) == Builder("docker", secrets=False)
    programs("podman", "exit 0")
    assert find_builder(None, secrets=["index-url"]) == Builder("podman")
    with pytest.raises(UserError, match=r"docker has no buildx.*index-url.*docker-buildx"):
        find_builder("docker", secrets=["index-url"])


def test_a_build_that_fails_ends_with_its_last_lines(programs, tmp_path):
    programs("buildah", "i=0; while [ $i -lt 60 ]; do i=$((i+1)); echo line $i; done; exit 3")
    heard: list[str] = []
    with pytest.raises(BuildFailed) as told:
        Builder("buildah").build(
            tmp_path, tmp_path / "Dockerfile", ["a"], secrets={}, on_line=heard.append
        )
    text = str(told.value)
    assert text.startswith("the image was not built: buildah exited with 3:\n")
    assert text.endswith("\n  line 60") and "line 35\n" not in text
    assert len(heard) == 60


def test_credentials_of_a_proxy_stay_off_the_command_line(programs, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://user:password@proxy")
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    programs("docker", f'echo "$@" > {tmp_path}/said; echo id > {tmp_path}/image-id')
    id = Builder("docker").build(
        tmp_path,
        tmp_path / "Dockerfile",
        ["a", "b"],
        secrets={"pip.conf": Path("/secret")},
        platform="linux/arm64",
        on_line=lambda line: None,
    )
    said = (tmp_path / "said").read_text()
    assert id == "id" and "--build-arg HTTPS_PROXY" in said and "password" not in said
    assert "--tag a --tag b" in said and "--secret id=pip.conf,src=/secret" in said
    assert "--platform linux/arm64" in said and "HTTP_PROXY" not in said.replace("HTTPS_", "")
