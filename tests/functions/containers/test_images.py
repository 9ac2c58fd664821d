"""Where a container's image comes from, and what is said where it can't be had."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from docker.errors import NotFound
from registry_service import RegistryServer, own_registry


@pytest.fixture
def registry(container_engine: Any) -> Any:
    with own_registry(container_engine.registry_port) as server:
        yield server


@pytest.fixture
def published(registry: RegistryServer, container_engine: Any, sdk: Any) -> Any:
    """The name of an image that only the registry has."""
    name = f"{registry.address}/tests/server"
    sdk.images.get(container_engine.image).tag(name, "1")
    for line in sdk.images.push(
        name, "1", auth_config=registry.credentials, stream=True, decode=True
    ):
        assert "error" not in line, line
    sdk.images.remove(f"{name}:1")
    yield f"{name}:1"
    with suppress(NotFound):
        sdk.images.remove(f"{name}:1", force=True)


@pytest.fixture
def logged_in(registry: RegistryServer, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(registry.docker_config(tmp_path / "docker")))


@pytest.fixture
def logged_out(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


def test_an_image_that_must_not_be_pulled_has_to_be_there(run_containers):
    async def body(house):
        function = house.launch(house.spec(image="localhost/eventing-test-nowhere:1"))
        reason = await function.end()
        assert "localhost/eventing-test-nowhere:1 is not on this machine" in reason
        assert "Never" in reason and "IfNotPresent" in reason

    run_containers(body)


def test_the_name_of_an_image_built_here_is_found_without_its_host(run_containers, sdk):
    async def body(house):
        function = house.launch(house.spec(image="eventing-test-server:one"))
        function.call(1, "echo")
        await function.told()

    run_containers(body)


def test_a_registry_that_cannot_be_reached_is_named(run_containers):
    async def body(house):
        function = house.launch(house.spec(image="127.0.0.1:1/nobody/nothing:1", pull="Always"))
        reason = await function.end()
        assert "the registry 127.0.0.1:1 can't be reached" in reason
        assert "127.0.0.1:1/nobody/nothing:1" in reason

    run_containers(body)


def test_a_name_that_is_none_is_said(run_containers):
    async def body(house):
        function = house.launch(house.spec(image="Not A Name", pull="IfNotPresent"))
        assert "'Not A Name' is no image name" in await function.end()

    run_containers(body)


def test_a_pull_that_is_denied_says_how_to_log_in(run_containers, published, logged_out):
    async def body(house):
        function = house.launch(house.spec(image=published, pull="IfNotPresent"))
        reason = await function.end()
        assert f"{published} may not be pulled" in reason
        assert f"docker login {published.partition('/')[0]}" in reason

    run_containers(body)


def test_an_image_the_registry_does_not_have_is_said(run_containers, published, logged_in):
    async def body(house):
        function = house.launch(house.spec(image=f"{published}23", pull="Always"))
        reason = await function.end()
        assert f"{published}23 was not found in the registry" in reason

    run_containers(body)


def test_an_image_is_pulled_with_the_users_credentials_and_once_for_all(
    run_containers, published, logged_in, monkeypatch
):
    from functions.containers.engine import Engine

    pulls = []
    pull = Engine.pull

    async def counted(self: Engine, image: str) -> None:
        pulls.append(image)
        await pull(self, image)

    monkeypatch.setattr(Engine, "pull", counted)

    async def body(house):
        spec = house.spec(image=published, pull="IfNotPresent")
        functions = [
            house.launch(launcher=house.launcher(spec, service=f"s{number}"))
            for number in (1, 2, 3)
        ]
        for function in functions:
            function.call(1, "echo")
        await asyncio.gather(*(function.told() for function in functions))
        assert pulls == [published]
        again = house.launch(launcher=functions[0].launcher)
        await again.until_ready()
        assert pulls == [published]

    run_containers(body)


def test_a_revision_keeps_its_image_when_the_tag_moves(
    run_containers, published, logged_in, container_engine, sdk
):
    from container_service import load_image

    async def body(house):
        launcher = house.launcher(house.spec(image=published, pull="Always"))
        first = house.launch(launcher=launcher)
        await first.until_ready()
        # The same server, and another image: it has another setting of its own.
        load_image(sdk, published, ('ENTRYPOINT ["/server", "new"]',))
        second = house.launch(launcher=launcher)
        second.call(1, "echo")
        assert (await second.told())["arguments"] == []

    run_containers(body)


def test_an_image_that_was_removed_is_looked_up_again(run_containers, sdk, container_engine):
    name = "localhost/eventing-test-fleeting"

    async def body(house):
        sdk.images.get(container_engine.image).tag(name, "1")
        launcher = house.launcher(house.spec(image=f"{name}:1"))
        first = house.launch(launcher=launcher)
        await first.until_ready()
        launcher._image = "sha256:" + "0" * 64  # What a prune leaves: an id of nothing.
        second = house.launch(launcher=launcher)
        second.call(1, "echo")
        await second.told()
        sdk.images.remove(f"{name}:1")

    run_containers(body)
