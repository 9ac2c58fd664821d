"""Scale to zero: a revision's last container comes to rest, and the next launch takes it up."""

import pytest


async def at_rest(house, launcher, states):
    await house.eventually(lambda: launcher.at_rest)
    assert house.states() == states


@pytest.mark.parametrize(
    ("how", "state", "handled"), [("stop", "exited", 1), ("pause", "paused", 3)]
)
def test_the_last_one_rests_and_is_taken_up(run_containers, how, state, handled):
    async def body(house):
        first = house.launch(house.spec(at_rest=how))
        first.call(1, "echo")
        first.call(2, "echo")
        await first.told(1)
        await first.told(2)
        (before,) = house.ids()
        first.worker.drain()
        assert await first.end() == "drained"
        await at_rest(house, first.launcher, [state])
        second = house.launch(launcher=first.launcher)
        second.call(1, "echo")
        # Paused, it goes on with the memory it had; stopped, it begins anew.
        assert (await second.told())["handled"] == handled
        assert house.ids() == {before}
        await house.logged("listening")
        # And once more, as the first rest is not the last.
        second.worker.drain()
        await second.end()
        await at_rest(house, first.launcher, [state])

    run_containers(body)


@pytest.mark.parametrize("how", ["stop", "pause"])
def test_what_is_in_flight_is_finished_before_it_rests(run_containers, how):
    async def body(house):
        function = house.launch(house.spec(at_rest=how))
        function.call(1, "wait.300ms")
        await function.until_ready()
        function.worker.drain()
        assert function.exit is None
        await function.told()
        assert await function.end() == "drained"
        await at_rest(house, function.launcher, ["exited" if how == "stop" else "paused"])

    run_containers(body)


def test_one_that_is_stopped_hears_sigterm(run_containers):
    async def body(house):
        function = house.launch()
        await function.until_ready()
        function.worker.drain()
        await house.logged("SIGTERM came")

    run_containers(body)


def test_only_the_last_one_rests(run_containers):
    async def body(house):
        one = house.launch(house.spec(at_rest="pause"))
        two = house.launch(launcher=one.launcher)
        await one.until_ready()
        await two.until_ready()
        one.worker.drain()
        await one.end()
        await house.eventually(lambda: house.states() == ["running"])
        two.worker.drain()
        await two.end()
        await house.eventually(lambda: house.states() == ["paused"])

    run_containers(body)


def test_a_launch_does_not_wait_for_one_that_is_slow_to_stop(run_containers):
    async def body(house):
        slow = house.launch(house.spec({"IGNORE_SIGTERM": "yes"}, grace=30.0))
        await slow.until_ready()
        slow.worker.drain()
        await slow.end()
        next_one = house.launch(launcher=slow.launcher)
        next_one.call(1, "echo")
        await next_one.told()
        assert house.states() == ["running", "running"]

    run_containers(body)


@pytest.mark.parametrize("how", ["stop", "pause"])
def test_one_that_was_removed_at_rest_is_made_anew(run_containers, how):
    async def body(house):
        first = house.launch(house.spec(at_rest=how))
        await first.until_ready()
        first.worker.drain()
        await first.end()
        await house.eventually(lambda: first.launcher.at_rest)
        (before,) = house.ids()
        house.sdk.api.remove_container(before, force=True)
        second = house.launch(launcher=first.launcher)
        second.call(1, "echo")
        await second.told()
        assert before not in house.ids()

    run_containers(body)


@pytest.mark.parametrize("how", ["stop", "pause"])
def test_a_revision_in_use_no_more_leaves_nothing_at_rest(run_containers, how):
    async def body(house):
        old = house.launch(house.spec(at_rest=how))
        resting = house.launch(launcher=house.launcher(house.spec(at_rest=how), service="another"))
        await old.until_ready()
        await resting.until_ready()
        resting.worker.drain()
        await resting.end()
        await house.eventually(lambda: resting.launcher.at_rest)
        kept = house.launcher(house.spec(at_rest=how), number=2)
        house.containers.retain([kept])
        await house.eventually(lambda: house.states() == ["running"])
        # What still has calls ends them first.
        old.call(1, "echo")
        await old.told()
        old.worker.drain()
        await old.end()
        await house.eventually(lambda: house.states() == [])

    run_containers(body)


def test_the_same_revision_has_the_same_launcher(run_containers):
    async def body(house):
        launcher = house.launcher()
        assert house.launcher() is launcher
        assert house.launcher(house.spec(grace=1.0)) is not launcher
        assert house.launcher(number=2) is not launcher
        house.containers.retain([])
        assert house.launcher() is not launcher

    run_containers(body)
