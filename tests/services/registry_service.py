"""A registry of images on loopback, whose one user has to log in: Debian's docker-registry.

with own_registry(port) as registry:
    registry.address, registry.credentials
"""

import base64
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from server_process import HOST, ServerProcess, ServerUnavailable
from service_rule import needed

USER = "somebody"
PASSWORD = "let me in"
# Of the password, as bcrypt makes it.
_HASH = "$2b$04$Opk8yDJjJyFn.zhS1Zmvz.BEWhdJflkSf89Ak7wFNAbUP2p13bqse"


class RegistryServer:
    """`address` is "host:port", the first part of its images' names."""

    def __init__(self, port: int) -> None:
        program = shutil.which("docker-registry") or shutil.which("registry")
        if program is None:
            raise ServerUnavailable("there is no registry of images: apt install docker-registry")
        self.address = f"{HOST}:{port}"
        self.folder = Path(tempfile.mkdtemp(prefix="registry-"))
        (self.folder / "users").write_text(f"{USER}:{_HASH}\n")
        settings = {
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "images")}},
            "http": {"addr": self.address},
            "auth": {"htpasswd": {"realm": "tests", "path": str(self.folder / "users")}},
        }
        # JSON is YAML.
        (self.folder / "config.yml").write_text(json.dumps(settings))
        command = [program, "serve", str(self.folder / "config.yml")]
        environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
        self._process = ServerProcess("docker-registry", command, self.folder, environment)

    @property
    def credentials(self) -> dict[str, str]:
        """As the Docker SDK takes them."""
        return {"username": USER, "password": PASSWORD}

    def docker_config(self, folder: Path) -> Path:
        """Make a DOCKER_CONFIG that is logged in here."""
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"auths": {self.address: {"auth": pair}}}))
        return folder

    def start(self) -> None:
        self._process.launch()
        self._process.wait_until(self._serves, 30)

    def close(self) -> None:
        self._process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _serves(self) -> bool:
        try:
            urlopen(f"http://{self.address}/v2/", timeout=5).close()
        except HTTPError as answer:
            return answer.code == 401
        except (URLError, OSError):
            return False
        return True


@contextmanager
def own_registry(port: int) -> Iterator[RegistryServer]:
    """One of one's own, started; skips or fails the test where that cannot be."""
    with needed():
        registry = RegistryServer(port)
    try:
        registry.start()
        yield registry
    finally:
        registry.close()
