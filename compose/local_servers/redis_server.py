"""Redis or Valkey as a local process, for tests, the demo and benchmarks.

    with RedisServer() as redis:                    # an append-only file, synced at every write
        Redis.from_url(redis.url)
        redis.kill(); redis.start()                 # also stop(), pause(), resume(), restart()

    RedisServer(program="valkey-server")
    RedisServer(appendfsync=None)                   # keeps nothing over a restart
    RedisServer(cluster=True)                       # a Redis Cluster of one node
    RedisServer(replica_of=another)
    RedisServer(password="secret", options={"maxmemory": "20mb"})

Port and data stay the same from the first start to close(), which removes the data.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import redis
from server_process import HOST, ServerFailed, ServerProcess, ServerUnavailable, free_port

_START_SECONDS = 30.0
_LEAST_VERSION = 7


class RedisServer:
    """`appendfsync`: when the append-only file is synced; None keeps no file at all. `options`
    are added to its redis.conf. `pem`: a private key with its certificate chain; it then speaks
    TLS alone. Raises ServerUnavailable where the program is missing or older than Redis 7."""

    def __init__(
        self,
        *,
        program: str = "redis-server",
        appendfsync: Literal["always", "everysec", "no"] | None = "always",
        password: str = "",
        cluster: bool = False,
        replica_of: "RedisServer | None" = None,
        pem: str = "",
        options: Mapping[str, str] | None = None,
    ) -> None:
        path = _installed(program)
        self._repair = _beside(path, program.replace("server", "check-aof")) if appendfsync else ""
        self.port = free_port()
        self.password = password
        self._cluster = cluster
        self._replica = replica_of is not None
        self._tls = bool(pem)
        self._temporary = tempfile.TemporaryDirectory(prefix="redis-", ignore_cleanup_errors=True)
        self._folder = Path(self._temporary.name)
        lines = {
            "bind": HOST,
            "port": "0" if pem else str(self.port),
            "dir": str(self._folder),
            "save": '""',
            "appendonly": "no" if appendfsync is None else "yes",
            "appendfsync": appendfsync or "no",
            # See _mend.
            "aof-load-truncated": "no",
            # A replica is served at once instead of after 5 s in which others might join it.
            "repl-diskless-sync-delay": "0",
        }
        if pem:
            file = self._write("server.pem", pem)
            lines |= {"tls-port": str(self.port), "tls-auth-clients": "no"}
            lines |= {"tls-cert-file": str(file), "tls-key-file": str(file)}
        if password:
            lines["requirepass"] = password
        if cluster:
            lines |= {"cluster-enabled": "yes", "cluster-port": str(free_port())}
        if replica_of is not None:
            lines["replicaof"] = f"{HOST} {replica_of.port}"
            if replica_of.password:
                lines["masterauth"] = replica_of.password
        lines |= options or {}
        settings = self._write("redis.conf", "".join(f"{k} {v}\n" for k, v in lines.items()))
        self._process = ServerProcess(program, [path, str(settings)], self._folder)

    @property
    def url(self) -> str:
        """Its address with the password in it."""
        credentials = f":{self.password}@" if self.password else ""
        scheme = "rediss" if self._tls else "redis"
        return f"{scheme}://{credentials}{HOST}:{self.port}"

    @property
    def output(self) -> Path:
        """The file of all that the server printed."""
        return self._process.output

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.running

    def start(self) -> None:
        """Returns once it serves: its data is loaded, its cluster or its link to the primary is
        up. Raises ServerFailed with the end of what it printed."""
        self._mend()
        self._process.launch()
        self._process.wait_until(self._serves, _START_SECONDS)

    def stop(self) -> None:
        """SIGTERM: it writes what it has to and ends."""
        self._process.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def pause(self) -> None:
        """SIGSTOP."""
        self._process.pause()

    def resume(self) -> None:
        """SIGCONT."""
        self._process.resume()

    def restart(self) -> None:
        """Stop it in order and start it with the data it kept."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End it at once and remove its data."""
        self.kill()
        self._temporary.cleanup()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _mend(self) -> None:
        """Cut off the write in whose middle it was killed. Redis 7 leaves the beginning of a
        transaction in its file, and at the start after the next one counts what follows to it
        (docs/redis.md)."""
        manifest = self._folder / "appendonlydir" / "appendonly.aof.manifest"
        if not manifest.exists():
            return
        ran = subprocess.run(
            [self._repair, "--fix", str(manifest)], input="y\n", capture_output=True, text=True
        )
        if ran.returncode != 0:
            raise ServerFailed(f"{self._repair} can't mend {manifest}: {ran.stdout[-4000:]}")

    def _write(self, name: str, text: str) -> Path:
        file = self._folder / name
        file.touch(mode=0o600)
        file.write_text(text)
        return file

    def _serves(self) -> bool:
        checks = {"ssl_cert_reqs": "none"} if self._tls else {}
        client = redis.Redis.from_url(
            self.url, socket_timeout=2, socket_connect_timeout=2, decode_responses=True, **checks
        )
        try:
            if self._cluster:
                return _has_all_slots(client)
            if self._replica:
                return client.info("replication")["master_link_status"] == "up"
            return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):  # Still loading its data is one, too.
            return False
        finally:
            client.close()


def _has_all_slots(client: redis.Redis) -> bool:
    told = client.execute_command("CLUSTER INFO")
    if told["cluster_slots_assigned"] == "0":
        client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16_383)
    return bool(told["cluster_state"] == "ok")


def _beside(server: str, program: str) -> str:
    found = shutil.which(program) or shutil.which(program, path=Path(server).parent)
    if found is None:
        raise ServerUnavailable(f"{program} is not installed: it comes with {server}")
    return found


def _installed(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise ServerUnavailable(f"{program} is not installed: apt install {program}")
    told = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30).stdout
    found = re.search(r"v=(\d+)", told)
    if found is None or int(found[1]) < _LEAST_VERSION:
        raise ServerUnavailable(f"{path} is too old, {_LEAST_VERSION} is needed: {told.strip()}")
    return path
