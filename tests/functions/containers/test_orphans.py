"""What a killed node has left is found by its label when a node of that name starts again."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def start_node(node, engine, at_rest, state):
    """Another process that has a container; returns when it is as was asked for."""
    script = Path(__file__).with_name("node_process.py")
    process = subprocess.Popen(
        [sys.executable, str(script), node, engine.url, engine.image, at_rest, state],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    return process


def kill(process):
    process.kill()
    process.communicate()


@pytest.fixture
def killed_node(container_engine, node):
    """`killed_node(at_rest, state, node)`: it has had a container, and was killed."""

    def run(at_rest="stop", state="busy", name=node):
        kill(start_node(name, container_engine, at_rest, state))

    return run


@pytest.mark.parametrize("state", ["busy", "drained"])
@pytest.mark.parametrize(("at_rest", "resting"), [("stop", "exited"), ("pause", "paused")])
def test_of_the_same_revision_it_is_reused(run_containers, killed_node, state, at_rest, resting):
    killed_node(at_rest, state)

    async def body(house):
        (before,) = house.ids()
        assert house.states() == ["running" if state == "busy" else resting]
        launcher = house.launcher(house.spec(at_rest=at_rest))
        house.containers.retain([launcher])
        await house.eventually(lambda: launcher.at_rest)
        assert house.states() == [resting]
        function = house.launch(launcher=launcher)
        function.call(1, "echo")
        await function.told()
        assert house.ids() == {before}
        # What it printed for the killed node is not told again; started anew, it prints anew.
        if at_rest == "stop":
            await house.logged("listening")
        assert sum(line.text == "starting" for line in house.logs) == (at_rest == "stop")

    run_containers(body)


def test_of_other_revisions_it_is_removed(run_containers, killed_node):
    killed_node()

    async def body(house):
        new_code = house.launcher(house.spec({"NEW": "yes"}))
        house.containers.retain([new_code])
        await house.eventually(lambda: house.states() == [])

    run_containers(body)


def test_it_is_removed_where_no_function_runs_in_a_container_any_more(run_containers, killed_node):
    killed_node()

    async def body(house):
        house.containers.retain([])
        await house.eventually(lambda: house.states() == [])

    run_containers(body)


def test_of_several_one_is_reused(run_containers, killed_node):
    killed_node("stop", "drained")
    # The second finds the first, and takes it up; beside it another is made.
    killed_node("stop", "busy")

    async def body(house):
        launcher = house.launcher()
        house.containers.retain([launcher])
        await house.eventually(lambda: house.states() == ["exited"] and launcher.at_rest)

    run_containers(body)


def test_other_nodes_are_left_alone(run_containers, container_engine, sdk, node):
    other = f"{node}-2"
    process = start_node(other, container_engine, "stop", "busy")

    async def body(house):
        house.containers.retain([])
        function = house.launch()
        await function.until_ready()
        label = {"label": f"eventing.node={other}"}
        assert len(house.sdk.api.containers(filters=label)) == 1

    try:
        run_containers(body)
    finally:
        kill(process)
        for each in sdk.api.containers(all=True, filters={"label": f"eventing.node={other}"}):
            sdk.api.remove_container(each["Id"], force=True)


def test_an_image_built_anew_is_not_mistaken_for_the_old(
    run_containers, killed_node, sdk, container_engine
):
    from container_service import load_image

    killed_node("stop", "drained")
    old = sdk.images.get(container_engine.image)
    load_image(sdk, container_engine.image, ('ENTRYPOINT ["/server", "new"]',))

    async def body(house):
        launcher = house.launcher()
        house.containers.retain([launcher])
        function = house.launch(launcher=launcher)
        function.call(1, "echo")
        assert (await function.told())["arguments"] == ["new"]
        await house.eventually(lambda: house.states() == ["running"])

    try:
        run_containers(body)
    finally:
        repository, _, tag = container_engine.image.rpartition(":")
        old.tag(repository, tag)
