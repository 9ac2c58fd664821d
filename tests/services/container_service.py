"""A container engine for tests. In a test:

    def test_shared(container_engine: ContainerEngine) -> None:
        url, image = container_engine.url, container_engine.image    # one for all tests
    def test_own(start_container_engine: StartContainerEngine) -> None:
        engine = start_container_engine()               # a PodmanEngine, closed after the test

The shared one is Docker where it answers, else Podman's service as a local process; engines of
one's own are always that, since tests stop and start them. `image` is a small CloudEvents server
(tests/functions/containers/server.go), on an empty root, so that no registry is needed. Who shares
an engine needs nodes of names of their own.
"""

import hashlib
import io
import json
import os
import secrets
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from docker_engine import engine_answers
from server_process import HOST, ServerFailed, ServerUnavailable, free_port
from service_rule import needed

IMAGE = "localhost/eventing-test-server:one"
_SOURCE = Path(__file__).parents[1] / "functions" / "containers" / "server.go"
_START_SECONDS = 30
_PROGRAMS = ("podman", "runc", "conmon", "iptables")
_NETWORK_TOOLS = ("/usr/lib/podman", "/usr/libexec/podman")
# Ends what is left of an engine when the process that holds the other end of its input is gone.
_WATCHDOG = """
read -r _
podman rm --all --force --time 0
kill -KILL "$1"
umount -l "$2"/graph/overlay "$2"/run/*/*/*/shm
rm -rf "$2"
"""


class ContainerEngine(Protocol):
    """`url` of its API, and `image`, which it has. At `registry_port` of loopback it accepts a
    registry without TLS."""

    url: str
    image: str
    registry_port: int

    def client(self) -> Any:
        """A docker.DockerClient of it, to be closed."""


class StartContainerEngine(Protocol):
    def __call__(self) -> "PodmanEngine": ...


class DockerEngine:
    """The one that DOCKER_HOST or the well-known socket names."""

    def __init__(self) -> None:
        import docker

        with closing(docker.from_env()) as client:
            self.url = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
            self.image = load_image(client)
        # Docker accepts one at any port of loopback.
        self.registry_port = free_port()

    def client(self) -> Any:
        import docker

        return docker.DockerClient(base_url=self.url, version="auto")


class PodmanEngine:
    """Podman's service with settings, storage and a network of its own, all in one folder.

    Its containers outlive `stop`, as they do where an engine is restarted; `close` removes all.
    Raises ServerUnavailable where it is not installed or may not be run.
    """

    def __init__(self) -> None:
        missing = [program for program in _PROGRAMS if shutil.which(program) is None]
        if missing or not any(Path(folder, "netavark").exists() for folder in _NETWORK_TOOLS):
            raise ServerUnavailable(
                "Podman is not installed: apt install podman runc conmon netavark iptables"
            )
        if os.geteuid() != 0:
            raise ServerUnavailable("Podman's containers with limits and ports need root here")
        # Sockets have short paths.
        self.folder = Path(tempfile.mkdtemp(prefix="evpod-"))
        self.url = f"unix://{self.folder}/podman.sock"
        self.environment = {
            **os.environ,
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf"),
            # Its own, so that nobody's systemd has to answer.
            "XDG_RUNTIME_DIR": str(self.folder),
        }
        self.registry_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._configure()
        try:
            self.start()
            with closing(self.client()) as client:
                self.image = load_image(client)
        except BaseException:
            self.close()
            raise

    def client(self) -> Any:
        import docker

        return docker.DockerClient(base_url=self.url, version="auto", timeout=60)

    def start(self) -> None:
        """Run the service; returns when it answers."""
        with (self.folder / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                ["podman", "system", "service", "--time", "0", self.url],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "watchdog", str(self._process.pid), str(self.folder)],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "output.log").read_text()[-4_000:]
                self.stop()
                raise ServerFailed(f"Podman's service does not answer; it said:\n{said}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End the service at once, and its socket; its containers go on."""
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        (self.folder / "podman.sock").unlink(missing_ok=True)

    def pause(self) -> None:
        """SIGSTOP to the service: its connections stay, nothing answers."""
        assert self._process is not None, "the service does not run"
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        assert self._process is not None, "the service does not run"
        self._process.send_signal(signal.SIGCONT)

    def podman(self, *arguments: str) -> str:
        """What a command of Podman's prints."""
        ran = subprocess.run(
            ["podman", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    def close(self) -> None:
        """Remove all containers, and with the last one their network."""
        try:
            self.podman("rm", "--all", "--force", "--time", "0")
        finally:
            self.stop()
            for mount in _mounts_below(self.folder):
                subprocess.run(["umount", "-l", mount], check=False)
            shutil.rmtree(self.folder, ignore_errors=True)

    def _configure(self) -> None:
        folder = self.folder
        mark = secrets.token_hex(4)
        network = f"ev{mark}"
        # Several engines side by side: each with a bridge, a subnet and locks of its own.
        subnet = f"10.{128 + secrets.randbelow(120)}.{secrets.randbelow(256)}"
        settings = f"""
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[network]
default_network = "{network}"
network_config_dir = "{folder}/networks"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "{folder}/tmp"
"""
        storage = f"""
[storage]
driver = "{_storage_driver(folder)}"
runroot = "{folder}/run"
graphroot = "{folder}/graph"
"""
        (folder / "containers.conf").write_text(settings)
        (folder / "storage.conf").write_text(storage)
        (folder / "registries.conf").write_text(
            f'[[registry]]\nlocation = "{HOST}:{self.registry_port}"\ninsecure = true\n'
        )
        (folder / "networks").mkdir()
        definition = {
            "name": network,
            "id": hashlib.sha256(mark.encode()).hexdigest(),
            "driver": "bridge",
            "network_interface": network,
            "created": "2025-01-01T00:00:00Z",
            "subnets": [{"subnet": f"{subnet}.0/24", "gateway": f"{subnet}.1"}],
            "ipv6_enabled": False,
            "internal": False,
            "dns_enabled": False,
            "ipam_options": {"driver": "host-local"},
        }
        (folder / "networks" / f"{network}.json").write_text(json.dumps(definition))

    def _answers(self) -> bool:
        from docker.errors import DockerException

        try:
            with closing(self.client()) as client:
                return bool(client.ping())
        except (DockerException, OSError):
            return False


@contextmanager
def shared_containers() -> Iterator[ContainerEngine]:
    """One that all tests may share; skips or fails the test where there is none."""
    if engine_answers():
        with needed():
            engine = DockerEngine()
        yield engine
        return
    with own_containers() as own:
        yield own


@contextmanager
def own_containers() -> Iterator[PodmanEngine]:
    """One of one's own, started; skips or fails the test where that cannot be."""
    with needed():
        engine = PodmanEngine()
    try:
        yield engine
    finally:
        engine.close()


def test_server() -> Path:
    """The server's static binary, built once from its source."""
    source = _SOURCE.read_bytes()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eventing-servers"
    built = caches / f"test-server-{hashlib.sha256(source).hexdigest()[:16]}"
    if built.exists():
        return built
    if shutil.which("go") is None:
        raise ServerUnavailable("go builds the server in the containers: apt install golang-go")
    caches.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=caches, prefix="building-") as folder:
        new = Path(folder) / "server"
        ran = subprocess.run(
            ["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", str(new), str(_SOURCE)],
            cwd=folder,
            env={**os.environ, "CGO_ENABLED": "0", "GO111MODULE": "off", "GOFLAGS": ""},
            capture_output=True,
            text=True,
            timeout=300,
        )
        if ran.returncode != 0:
            raise ServerFailed(f"the containers' server can't be built:\n{ran.stderr}")
        new.rename(built)
    return built


def load_image(
    client: Any, name: str = IMAGE, changes: Sequence[str] = ('ENTRYPOINT ["/server"]',)
) -> str:
    """Give the engine an image of the server alone, under this name."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(test_server(), "server")
    repository, _, tag = name.rpartition(":")
    answer = client.api.import_image_from_data(
        archive.getvalue(), repository=f"{repository}-import", changes=list(changes)
    )
    told = json.loads(answer.strip().splitlines()[-1])
    # Podman heeds no tag at import.
    client.images.get(told["status"]).tag(repository, tag)
    return name


def _storage_driver(folder: Path) -> str:
    """Overlays, where the file system below bears them: else every container is a whole copy."""
    kind = subprocess.run(
        ["stat", "--file-system", "--format", "%T", str(folder)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    bears = (
        kind in ("ext2/ext3", "xfs", "btrfs") and "overlay" in Path("/proc/filesystems").read_text()
    )
    return "overlay" if bears else "vfs"


def _mounts_below(folder: Path) -> list[str]:
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return sorted((each for each in mounts if each.startswith(f"{folder}/")), reverse=True)
