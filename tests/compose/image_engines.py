"""What builds an image and runs it on the host's network: a Docker engine, or buildah alone."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

BUILD_SECONDS = 480


class ImageEngine(Protocol):
    """Builds one image, of `tag`, and runs it once, under `name`."""

    def build(self, tag: str, file: Path, folder: Path, arguments: Mapping[str, str]) -> None: ...

    def load(self, tag: str, system: Path) -> None:
        """Make an image of a tar file of a whole system."""

    def pull(self, image: str) -> bool:
        """Whether the image is here, or could be fetched."""

    def config(self, tag: str) -> dict[str, Any]:
        """What the image says of itself, in Docker's words."""

    def run(
        self, tag: str, name: str, mounts: Mapping[Path, str], arguments: Sequence[str]
    ) -> subprocess.Popen[bytes]:
        """Its entry point with these arguments, without rights, writing to its volumes alone."""

    def inside(self, name: str, command: Sequence[str]) -> int:
        """The exit status of a command beside what runs."""

    def terminate(self, running: subprocess.Popen[bytes]) -> None:
        """SIGTERM to what runs."""

    def remove_container(self, name: str) -> None: ...

    def remove_image(self, tag: str) -> None: ...


def image_engine() -> ImageEngine | None:
    """The one that is at hand on this machine."""
    if shutil.which("docker") and _status("docker", "info") == 0:
        return Docker()
    if shutil.which("buildah") and os.geteuid() == 0:
        return Buildah()
    return None


class Docker:
    def build(self, tag: str, file: Path, folder: Path, arguments: Mapping[str, str]) -> None:
        options = ["--network", "host", "--tag", tag, "--file", str(file)]
        _call("docker", "build", *options, *_build_arguments(arguments), str(folder))

    def load(self, tag: str, system: Path) -> None:
        _call("docker", "import", str(system), tag)

    def pull(self, image: str) -> bool:
        return _status("docker", "image", "inspect", image) == 0 or not _status(
            "docker", "pull", "--quiet", image
        )

    def config(self, tag: str) -> dict[str, Any]:
        (told,) = json.loads(_call("docker", "image", "inspect", tag))
        config: dict[str, Any] = told["Config"]
        return config

    def run(
        self, tag: str, name: str, mounts: Mapping[Path, str], arguments: Sequence[str]
    ) -> subprocess.Popen[bytes]:
        options = ["--rm", "--name", name, "--network", "host", "--read-only", "--tmpfs", "/tmp"]
        options += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", *_mounts(mounts)]
        return subprocess.Popen(["docker", "run", *options, tag, *arguments])

    def inside(self, name: str, command: Sequence[str]) -> int:
        return _status("docker", "exec", name, *command)

    def terminate(self, running: subprocess.Popen[bytes]) -> None:
        running.terminate()

    def remove_container(self, name: str) -> None:
        _status("docker", "rm", "--force", name)

    def remove_image(self, tag: str) -> None:
        _status("docker", "image", "rm", tag)


class Buildah:
    """Without a service and without cgroups: what it runs is in a root folder of its own, and
    shares the rest with the host."""

    _CHROOT = ("--isolation", "chroot")

    def build(self, tag: str, file: Path, folder: Path, arguments: Mapping[str, str]) -> None:
        options = [*self._CHROOT, "--format", "docker", "--tag", tag, "--file", str(file)]
        _call("buildah", "build", *options, *_build_arguments(arguments), str(folder))

    def load(self, tag: str, system: Path) -> None:
        container = _call("buildah", "from", "scratch").strip()
        try:
            _call("buildah", "add", container, str(system), "/")
            _call("buildah", "commit", container, tag)
        finally:
            _call("buildah", "rm", container)

    def pull(self, image: str) -> bool:
        return not _status("buildah", "pull", "--policy", "missing", image)

    def config(self, tag: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(_call("buildah", "inspect", "--type", "image", tag))
        config: dict[str, Any] = told["Docker"]["config"]
        return config

    def run(
        self, tag: str, name: str, mounts: Mapping[Path, str], arguments: Sequence[str]
    ) -> subprocess.Popen[bytes]:
        _call("buildah", "from", "--pull-never", "--name", name, tag)
        command = [*self.config(tag)["Entrypoint"], *arguments]
        options = [*self._CHROOT, *_mounts(mounts), name]
        return subprocess.Popen(["buildah", "run", *options, "--", *command])

    def inside(self, name: str, command: Sequence[str]) -> int:
        return _status("buildah", "run", *self._CHROOT, name, "--", *command)

    def terminate(self, running: subprocess.Popen[bytes]) -> None:
        # buildah itself would kill what it runs.
        pid = running.pid
        while Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"buildah"):
            (pid,) = map(int, _children(pid))
        os.kill(pid, signal.SIGTERM)

    def remove_container(self, name: str) -> None:
        _status("buildah", "rm", name)

    def remove_image(self, tag: str) -> None:
        _status("buildah", "rmi", tag)


def _children(pid: int) -> list[str]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [child for task in tasks for child in task.read_text().split()]


def _build_arguments(arguments: Mapping[str, str]) -> list[str]:
    return [f"--build-arg={name}={value}" for name, value in arguments.items()]


def _mounts(mounts: Mapping[Path, str]) -> list[str]:
    return [f"--volume={folder}:{place}:ro" for folder, place in mounts.items()]


def _status(*command: str) -> int:
    return subprocess.run(command, capture_output=True, timeout=BUILD_SECONDS).returncode


def _call(*command: str) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS)
    assert ran.returncode == 0, f"{' '.join(command)}\n{ran.stdout[-4_000:]}{ran.stderr[-4_000:]}"
    return ran.stdout
