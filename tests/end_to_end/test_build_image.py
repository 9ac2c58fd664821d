"""`eventing build` for real: the thumbnails example as an image, built where an engine is at hand,
run, sent a picture; and what a later build keeps of it.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "compose"))

from base_image import base_image  # noqa: E402
from container_service import DockerEngine, PodmanEngine, own_containers  # noqa: E402
from docker_engine import engine_answers  # noqa: E402
from image_engines import BUILD_SECONDS, Buildah, Docker  # noqa: E402
from node_process import NodeProcess, request, wait_for, write_project  # noqa: E402
from server_process import HOST, ServerUnavailable  # noqa: E402
from service_rule import needed, unavailable  # noqa: E402

from eventing.event import Event  # noqa: E402
from eventing.http_encoding import decode_http  # noqa: E402
from eventing.node.images.builders import Builder  # noqa: E402
from eventing.node.images.pip_settings import pip_settings  # noqa: E402
from eventing.node.images.project_image import python_image  # noqa: E402

THUMBNAILS = ROOT / "examples" / "thumbnails"
TAG = "localhost/eventing-test-thumbnail:one"
MARK = "only-for-pip.example"
"""In pip's settings of the build, and nowhere else."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.service("containers"),
    pytest.mark.timeout(2 * BUILD_SECONDS),
]


@dataclass(frozen=True)
class Engine:
    """What builds, by its name for --engine, and what runs: the engine's API."""

    builder: str
    service: DockerEngine | PodmanEngine
    base: str

    def build(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "eventing", "build", *arguments, "--engine", self.builder],
            cwd=ROOT,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
        )

    def image(self, tag: str) -> Any:
        with closing(self.service.client()) as client:
            return client.images.get(tag)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """With the image to build on."""
    wanted = python_image(None)
    if engine_answers():
        with needed():
            yield Engine("docker", DockerEngine(), base_image(Docker(), wanted))
        return
    with own_containers() as podman, pytest.MonkeyPatch.context() as patch:
        for name, value in podman.environment.items():
            patch.setenv(name, value)
        # What builds has neither cgroups nor a network of its own, so that it works everywhere.
        patch.setenv("BUILDAH_ISOLATION", "chroot")
        try:
            base = base_image(Buildah(), wanted)
        except ServerUnavailable as error:
            unavailable(str(error))
        yield Engine("podman", podman, base)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's code, with what has no place in an image beside it."""
    folder = tmp_path_factory.mktemp("thumbnails")
    for name in ("app.py", "picture.py", "focus.py", "folder.py", "pyproject.toml"):
        shutil.copy(THUMBNAILS / name, folder)
    write_project(
        folder, {".env": "PASSWORD=x", "server.key": "x", ".git/HEAD": "x", "out.pyc": ""}
    )
    return folder


@pytest.fixture(scope="module")
def image(engine: Engine, project: Path) -> Any:
    arguments = [str(project), "--handler", "app:thumbnail", "--tag", TAG, "--base", engine.base]
    ran = engine.build(*arguments, PIP_TRUSTED_HOST=MARK)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == f"{TAG}\n"
    assert "server.key looks like a secret and stays out" in ran.stderr
    return engine.image(TAG)


class Container:
    """One of the image, at work."""

    def __init__(self, container: Any) -> None:
        self.container = container
        self.address = ""

    def ready(self) -> bool:
        self.container.reload()
        assert self.container.status in ("created", "running"), self.log
        (published,) = self.container.ports["8080/tcp"]
        self.address = f"{HOST}:{published['HostPort']}"
        try:
            return request(self.address, "GET", "/healthz")[0] == 200
        except OSError:
            return False

    @property
    def log(self) -> str:
        text: str = self.container.logs().decode()
        return text

    def inside(self, *command: str) -> tuple[int, str]:
        ran = self.container.exec_run(list(command))
        return ran.exit_code, ran.output.decode()


@contextmanager
def running(engine: Engine, tag: str, command: list[str] | None = None) -> Iterator[Container]:
    """As a careful operator runs it: without rights, writing to /tmp alone."""
    with closing(engine.service.client()) as client:
        container = client.containers.run(
            tag,
            command,
            detach=True,
            ports={"8080/tcp": (HOST, None)},
            read_only=True,
            tmpfs={"/tmp": ""},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
        )
        try:
            made = Container(container)
            wait_for(made.ready, "the container is ready")
            yield made
        finally:
            container.remove(force=True)


def send(address: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, list[Event]]:
    import http.client

    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("POST", "/", body, dict(headers))
    answer = connection.getresponse()
    data = answer.read()
    raw = [(name.encode(), value.encode()) for name, value in answer.getheaders()]
    connection.close()
    return answer.status, decode_http(raw, data) if answer.status == 200 else []


PICTURE = {
    "ce-specversion": "1.0",
    "ce-id": "1",
    "ce-source": "/test",
    "ce-type": "com.example.image.uploaded",
    "ce-subject": "astronaut.jpg",
    "content-type": "image/jpeg",
}


def test_a_picture_sent_to_the_container_comes_back_as_thumbnails(engine, image) -> None:
    with running(engine, TAG) as container:
        picture = (THUMBNAILS / "images" / "astronaut.jpg").read_bytes()
        status, replies = send(container.address, picture, PICTURE)
        assert status == 200
        assert {reply.attributes["type"] for reply in replies} == {"com.example.image.thumbnail"}
        for reply in replies:
            made = Image.open(BytesIO(reply.data or b""))
            assert (made.format, made.width) == ("WEBP", int(reply.attributes["size"]))
        broken = (THUMBNAILS / "images" / "broken.jpg").read_bytes()
        assert send(container.address, broken, PICTURE)[0] == 400
        # Then it ends in order.
        container.container.kill("SIGTERM")
        assert container.container.wait(timeout=60)["StatusCode"] == 0


CONTAINERS = """
apiVersion: functions/v1
kind: Function
metadata: {{name: thumbnail}}
spec:
  image: {image}
  imagePullPolicy: Never
  concurrency: 1
  scaleToZero: pause
  scale: {{initial: 0, window: PT6S}}
---
apiVersion: functions/v1
kind: Function
metadata: {{name: flaky}}
spec:
  image: {image}
  imagePullPolicy: Never
  args: [app:flaky]
  scale: {{initial: 0, window: PT6S}}
"""


def test_the_example_runs_with_its_thumbnails_made_in_containers(engine, image, tmp_path) -> None:
    """Beside `store` and `quarantine`, which run as processes; from zero, to zero, and back."""
    project = tmp_path / "project"
    shutil.copytree(THUMBNAILS, project, ignore=shutil.ignore_patterns("out", "*.yaml"))
    wiring = (THUMBNAILS / "wiring.yaml").read_text().split("\n---\n")
    triggers = [each for each in wiring if "kind: Function\n" not in each]
    (project / "wiring.yaml").write_text("\n---\n".join([*triggers, CONTAINERS.format(image=TAG)]))
    thumbnails, quarantine = tmp_path / "thumbnails", tmp_path / "quarantine"
    node = NodeProcess(
        project,
        data=tmp_path / "data",
        log=tmp_path / "node.log",
        arguments=("--scale-to-zero-grace", "0", "--max-event-bytes", "16777216"),
        environment={
            "THUMBNAILS_DIR": str(thumbnails),
            "QUARANTINE_DIR": str(quarantine),
            "EVENTING_CONTAINER_ENGINE": engine.service.url,
        },
    ).start()

    def upload(name: str, subject: str, **attributes: str) -> None:
        headers = PICTURE | {f"ce-{key}": value for key, value in attributes.items()}
        headers |= {"ce-id": subject, "ce-subject": subject}
        picture = (THUMBNAILS / "images" / name).read_bytes()
        assert request(node.ingress, "POST", "/default/default", picture, headers)[0] == 202

    def made(subject: str) -> bool:
        return (thumbnails / subject).is_dir() and len(list((thumbnails / subject).iterdir())) == 3

    def instances(name: str) -> int:
        status = node.resource("Function", name)["status"]
        return int(status["ready"] + status["starting"] + status["draining"])

    try:
        assert instances("thumbnail") == 0
        upload("astronaut.jpg", "first.jpg")
        upload("astronaut.jpg", "fails-twice.jpg", failtimes="2")
        upload("broken.jpg", "broken.jpg")
        wait_for(lambda: made("first.jpg"), "the thumbnails are there", 120)
        wait_for(lambda: made("fails-twice.jpg"), "those of the third attempt too", 120)
        kept = quarantine / "broken.jpg.json"
        wait_for(kept.exists, "what is no picture is in quarantine", 120)
        assert "broken.jpg" in kept.read_text()
        wait_for(lambda: instances("thumbnail") == 0, "it is at zero", 120)
        upload("astronaut.jpg", "second.jpg")
        wait_for(lambda: made("second.jpg"), "it is back", 120)
        status = node.resource("Function", "thumbnail")["status"]
        assert status["image"] == TAG and status["coldStarts"] >= 2
        assert node.stop() == 0, node.last_words()
        with closing(engine.service.client()) as client:
            assert client.containers.list(all=True) == []
    finally:
        node.kill()


def test_another_handler_is_another_command(engine, image) -> None:
    with running(engine, TAG, ["app:store"]) as container:
        status, _ = send(container.address, b"", PICTURE | {"ce-id": "2"})
        assert status == 400  # it wants a thumbnail's size
        assert "the extension size is" in container.log


def test_it_runs_as_no_root_and_has_nothing_to_build_with(engine, image) -> None:
    config = image.attrs["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["/function/bin/python", "-m", "eventing.serve"]
    assert config["Cmd"] == ["app:thumbnail"] and list(config["ExposedPorts"]) == ["8080/tcp"]
    with running(engine, TAG) as container:
        assert container.inside("id", "-u") == (0, "10001\n")
        for program in ("cc", "gcc", "make"):
            assert container.inside("sh", "-c", f"command -v {program}")[0] != 0
        assert container.inside("test", "-e", "/build")[0] != 0
        assert container.inside("test", "-e", "/function/bin/pip")[0] != 0
        assert container.inside("test", "-w", "/app/app.py")[0] != 0


def test_the_projects_code_is_compiled_and_its_secrets_are_not_there(engine, image) -> None:
    with running(engine, TAG) as container:
        _, listed = container.inside("find", "/app", "-type", "f")
    files = {Path(line).relative_to("/app").as_posix() for line in listed.splitlines()}
    sources = {name for name in files if "__pycache__" not in name}
    assert sources == {"app.py", "picture.py", "focus.py", "folder.py", "pyproject.toml"}
    compiled = {name.partition(".")[0] for name in files - sources}
    assert compiled == {f"__pycache__/{name[:-3]}" for name in sources if name.endswith(".py")}


def test_pips_settings_are_in_no_layer(engine, image, tmp_path) -> None:
    assert MARK not in json.dumps(image.history()) + json.dumps(image.attrs)
    saved = tmp_path / "image.tar"
    with saved.open("wb") as file:
        for chunk in image.save():
            file.write(chunk)
    with tarfile.open(saved) as archive:
        for member in archive:
            stream = archive.extractfile(member)
            kept = b""
            while stream is not None and (chunk := stream.read(1 << 24)):
                assert MARK.encode() not in kept + chunk, member.name
                kept = chunk[-len(MARK) :]


def layers(image: Any) -> list[str]:
    found: list[str] = image.attrs["RootFS"]["Layers"]
    return found


def test_a_change_of_the_code_makes_one_small_layer(engine, image, project, tmp_path) -> None:
    context = tmp_path / "context"
    arguments = [str(project), "--handler", "app:thumbnail", "--base", engine.base]
    ran = engine.build(*arguments, "--context", str(context))
    assert (ran.returncode, ran.stdout) == (0, f"{context}\n"), ran.stderr
    secrets = pip_settings(os.environ, Path.home()).write_into(tmp_path)
    file = tmp_path / "Dockerfile"
    (context / "Dockerfile").rename(file)
    made = []
    for change in ("", "\n# Changed.\n"):
        with (context / "app.py").open("a") as app:
            app.write(change)
        tag = f"localhost/eventing-test-thumbnail:change-{len(made)}"
        builder = Builder(engine.builder)
        builder.build(context, file, [tag], secrets=secrets, on_line=lambda line: None)
        made.append(engine.image(tag))
    first, second = map(layers, made)
    assert first[:-1] == second[:-1] and first[-1] != second[-1]
    newest = made[1].history()[0]
    assert "/app" in newest["CreatedBy"] and newest["Size"] < 200_000


def test_built_again_by_another_engine_it_is_such_an_image_too(engine, image, project) -> None:
    """Buildah, beside Podman, whose layers it finds; Docker keeps its own to itself."""
    other = Engine({"podman": "buildah"}.get(engine.builder, "docker"), engine.service, engine.base)
    tag = "localhost/eventing-test-thumbnail:again"
    arguments = [str(project), "--handler", "app:thumbnail", "--base", engine.base]
    ran = other.build(*arguments, "--tag", tag, PIP_TRUSTED_HOST=MARK)
    assert (ran.returncode, ran.stdout) == (0, f"{tag}\n"), ran.stderr
    assert engine.image(tag).attrs["Config"]["User"] == "10001:10001"


def test_what_the_handler_lacks_fails_the_build_with_the_last_lines(
    engine, image, project, tmp_path
) -> None:
    # With the dependencies of the other image, whose layer is there.
    shutil.copy(project / "pyproject.toml", tmp_path)
    app = "import numpie\nfrom eventing import function\n\n@function\ndef f(event): pass\n"
    write_project(tmp_path, {"app.py": app})
    tag = "localhost/eventing-test-broken"
    ran = engine.build(str(tmp_path), "--handler=app:f", "--tag", tag, "--base", engine.base)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "No module named 'numpie'" in ran.stderr and "Traceback" not in ran.stderr


def test_an_image_that_is_not_there_fails_the_build(engine, tmp_path) -> None:
    write_project(tmp_path, {"app.py": "from eventing import function\n"})
    ran = engine.build(str(tmp_path), "--handler=app:f", "--base", "localhost/no-such-image:1")
    assert ran.returncode == 1 and "no-such-image" in ran.stderr
