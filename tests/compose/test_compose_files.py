"""The compose files: valid, on loopback alone, with health checks and volumes, and their engines'
settings start real servers.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from kafka_jars import VERSION
from kafka_server import KafkaServer
from redis_service import StartRedis, break_off_a_transaction
from service_rule import needed, unavailable

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose"
FILES = ["kafka.yaml", "redis.yaml"]
NODES = {"node", "second-node"}
SERVICE_KEYS = {
    *("image", "build", "entrypoint", "command", "environment", "hostname", "init", "profiles"),
    *("tmpfs", "ports", "volumes", "depends_on", "healthcheck", "restart", "stop_grace_period"),
    *("read_only", "cap_drop", "security_opt"),
}
"""Those of the Compose specification that are used here; another one is a slip of the pen."""

DURATION = re.compile(r"(\d+(us|ms|s|m|h))+")


def loaded(file: str) -> dict[str, Any]:
    text: dict[str, Any] = yaml.safe_load((COMPOSE / file).read_text())
    return text


def services(file: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = loaded(file)["services"]
    return found


def engine(file: str) -> dict[str, Any]:
    return services(file)[file.removesuffix(".yaml")]


def compose() -> list[str]:
    """The program that understands Compose files; it needs no engine to look at one."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            version = [*command, "version", "--short"]
            if subprocess.run(version, capture_output=True).returncode == 0:
                return command
    return unavailable("neither docker compose nor docker-compose is installed")


def understood(file: str, command: list[str], folder: Path) -> Path:
    """The file itself, or for Debian's docker-compose 1.29 one without `name`, which it does not
    know yet."""
    version = [*command, "version", "--short"]
    told = subprocess.run(version, capture_output=True, text=True, check=True).stdout
    if not told.startswith("1."):
        return COMPOSE / file
    lines = (COMPOSE / file).read_text().splitlines(keepends=True)
    older = folder / file
    older.write_text("".join(line for line in lines if not line.startswith("name:")))
    return older


@pytest.mark.parametrize("profile", [[], ["--profile", "two"]])
@pytest.mark.parametrize("file", FILES)
def test_docker_compose_finds_it_valid(file: str, profile: list[str], tmp_path: Path) -> None:
    command = compose()
    where = ["--file", str(understood(file, command, tmp_path)), "--project-directory", str(ROOT)]
    ran = subprocess.run(
        [*command, *where, *profile, "config", "--quiet"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert not ran.stderr


@pytest.mark.parametrize("file", FILES)
def test_its_parts_are_those_of_the_compose_specification(file: str) -> None:
    whole = loaded(file)
    assert {key for key in whole if not key.startswith("x-")} == {"name", "services", "volumes"}
    for name, service in services(file).items():
        assert service.keys() <= SERVICE_KEYS, name
        assert all(isinstance(each, str) for each in service.get("environment", {}).values()), name
        assert DURATION.fullmatch(service["stop_grace_period"]), name
        for other, how in service.get("depends_on", {}).items():
            assert "healthcheck" in services(file)[other], f"{name} waits for {other}"
            assert how == {"condition": "service_healthy"}
    build = services(file)["node"]["build"]
    context = (COMPOSE / build["context"]).resolve()
    assert (context / build["dockerfile"]).is_file() and (context / "pyproject.toml").is_file()


@pytest.mark.parametrize("file", FILES)
def test_every_port_is_on_loopback_and_named_once(file: str) -> None:
    ports = [port for service in services(file).values() for port in service["ports"]]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len(ports) == len(set(ports))


@pytest.mark.parametrize("file", FILES)
def test_every_service_keeps_its_data_in_a_volume_of_its_own(file: str) -> None:
    used = [
        volume.partition(":")[0]
        for service in services(file).values()
        for volume in service["volumes"]
        if not volume.startswith(("$", ".", "/"))
    ]
    assert sorted(used) == sorted(loaded(file)["volumes"]) == sorted(services(file))


@pytest.mark.parametrize("file", FILES)
def test_every_service_has_a_health_check_and_comes_back(file: str) -> None:
    image = (COMPOSE / "Dockerfile").read_text()
    for name, service in services(file).items():
        assert service["restart"] == "unless-stopped", name
        if name in NODES:
            assert "HEALTHCHECK" in image and "/readyz" in image
        else:
            check = service["healthcheck"]
            assert check["test"][0] == "CMD" and check["retries"] > 0, name
            assert all(
                DURATION.fullmatch(check[key]) for key in ("interval", "timeout", "start_period")
            )


@pytest.mark.parametrize("file", FILES)
def test_a_node_has_no_more_rights_than_it_needs(file: str) -> None:
    for name in NODES:
        node = services(file)[name]
        assert node["read_only"] and node["cap_drop"] == ["ALL"]
        assert node["security_opt"] == ["no-new-privileges:true"]
        assert all(each.endswith(":ro") for each in node["volumes"] if "/app" in each)


def test_the_project_they_run_is_valid() -> None:
    command = [sys.executable, "-m", "eventing", "validate", str(COMPOSE / "project")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.service("kafka")
def test_kafka_starts_with_the_settings_of_its_file() -> None:
    """All but names and addresses, which are a container's."""
    service = engine("kafka.yaml")
    assert service["image"] == f"apache/kafka:{VERSION}"
    places = ("node.id", "process.roles", "log.dirs")
    properties = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in service["environment"].items()
        if name.startswith("KAFKA_")
    }
    settings = {
        name: value
        for name, value in properties.items()
        if name not in places and "listener" not in name and "quorum" not in name
    }
    with needed():
        server = KafkaServer(properties=settings, cluster=service["environment"]["CLUSTER_ID"])
    with server:
        admin = AdminClient({"bootstrap.servers": server.bootstrap_servers})
        (asked,) = admin.describe_configs([ConfigResource(ResourceType.BROKER, "1")]).values()
        known = asked.result(30)
        assert {name: known[name].value for name in settings} == settings


def test_redis_starts_with_the_settings_of_its_file(start_redis: StartRedis) -> None:
    program, *arguments = engine("redis.yaml")["command"]
    assert program == "redis-server"
    names = [name.removeprefix("--") for name in arguments[::2]]
    settings = dict(zip(names, arguments[1::2], strict=True))
    server = start_redis(options={name: value or '""' for name, value in settings.items()})
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        assert {name: client.config_get(name)[name] for name in settings} == settings


def test_redis_is_started_behind_what_was_written_whole(
    start_redis: StartRedis, tmp_path: Path
) -> None:
    server = start_redis()
    with redis.Redis.from_url(server.url) as client:
        client.set("kept", "yes")
    server.kill()
    folder = server.output.parent
    (file,) = folder.glob("appendonlydir/*.incr.aof")
    whole = file.read_bytes()
    break_off_a_transaction(folder)

    # In the image's place: it says what it was asked for.
    image = tmp_path / "docker-entrypoint.sh"
    image.write_text('#!/bin/sh\necho "$@"\n')
    image.chmod(0o755)
    service = engine("redis.yaml")
    command = [*service["entrypoint"], *service["command"]]
    ran = subprocess.run(
        [word.replace("$$", "$") for word in command],  # Compose takes $$ for $.
        cwd=folder,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == " ".join(service["command"])
    assert file.read_bytes() == whole
