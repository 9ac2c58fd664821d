"""What makes an image of a Dockerfile: docker, podman or buildah, whichever answers."""

import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eventing.errors import EventingError, OperationError, UserError

NAMES: Final = ("docker", "podman", "buildah")
_ANSWER_SECONDS = 20
_LAST_LINES = 25
_PROXY_VARIABLES = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)

_ASK = {
    "docker": ("docker", "info", "--format", "{{.ServerVersion}}"),
    "podman": ("podman", "info", "--format", "{{.Version.Version}}"),
    "buildah": ("buildah", "info"),
}


class BuildFailed(EventingError):
    """The engine was there and could not build or push; the message has its last lines."""


@dataclass(frozen=True, slots=True)
class Builder:
    """One of them. `secrets`: it can give a build files that stay in no layer."""

    name: str
    secrets: bool = True

    def build(
        self,
        context: Path,
        dockerfile: Path,
        tags: Sequence[str],
        *,
        secrets: Mapping[str, Path],
        platform: str = "",
        on_line: Callable[[str], None],
    ) -> str:
        """Build, and return the image's id. Raises BuildFailed."""
        told = dockerfile.parent / "image-id"
        command = [self.name, "build", "--file", str(dockerfile), "--iidfile", str(told)]
        for tag in tags:
            command += ["--tag", tag]
        for id, file in secrets.items():
            command += ["--secret", f"id={id},src={file}"]
        if platform:
            command += ["--platform", platform]
        environment = dict(os.environ)
        if self.name == "docker":
            environment["DOCKER_BUILDKIT"] = "1" if self.secrets else "0"
            if self.secrets:
                command += ["--progress", "plain", "--load"]
            # The others pass them by themselves. By name alone: values stay off the command line.
            for variable in _PROXY_VARIABLES:
                if os.environ.get(variable):
                    command += ["--build-arg", variable]
        else:
            command.append("--layers")  # so that what has not changed is not built again
        _run([*command, str(context)], environment, on_line, "the image was not built")
        return told.read_text().strip()

    def push(self, tag: str, on_line: Callable[[str], None]) -> None:
        """Raises BuildFailed."""
        _run([self.name, "push", tag], dict(os.environ), on_line, f"{tag} was not pushed")


def find_builder(wanted: str | None, *, secrets: Collection[str] = ()) -> Builder:
    """The one that is wanted, else the first that answers, and can keep `secrets` (settings by
    their names) out of the image. Raises UserError, or OperationError which says of each why not.
    """
    reasons = []
    for name in [wanted] if wanted else NAMES:
        reason = _why_not(name)
        if reason is None:
            keeps = name != "docker" or _answers("docker", "buildx", "version") is None
            if keeps or not secrets:
                return Builder(name, keeps)
            reason = (
                f"has no buildx, which keeps pip's settings ({', '.join(secrets)}) out of the "
                "image; install docker-buildx"
            )
        reasons.append(f"{name} {reason}")
    if wanted:
        raise UserError(f"{reasons[0]}; leave --engine out to take what is there")
    raise OperationError(
        f"nothing here builds images: {', '.join(reasons)}. Install one (on Debian and Ubuntu: "
        "apt install buildah), or take the Dockerfile elsewhere: --print shows it, --context DIR "
        "writes it with all it needs"
    )


def _why_not(name: str) -> str | None:
    if shutil.which(name) is None:
        return "is not installed"
    reason = _answers(*_ASK[name])
    return None if reason is None else f"does not answer ({reason})"


def _answers(*command: str) -> str | None:
    """None where the command succeeds, else what it says."""
    try:
        ran = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"not within {_ANSWER_SECONDS} s"
    except OSError as error:
        return str(error.strerror)
    if ran.returncode == 0:
        return None
    lines = [line.strip() for line in ran.stderr.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {ran.returncode}"


def _run(
    command: list[str],
    environment: Mapping[str, str],
    on_line: Callable[[str], None],
    failed: str,
) -> None:
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                line = line.rstrip()
                if line:
                    last.append(line)
                    on_line(line)
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        said = "\n".join(f"  {line}" for line in last)
        raise BuildFailed(f"{failed}: {command[0]} exited with {process.returncode}:\n{said}")
