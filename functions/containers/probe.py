"""When a container is ready: its port accepts, its path answers, or its command succeeds."""

import asyncio
from collections.abc import Awaitable, Callable

from functions.containers.configuration import LOOPBACK
from functions.containers.host_process import Listener
from functions.containers.spec import Probe

SETTLED = 0.02
"""Seconds a connection has to last to count where the engine's own proxy may have accepted it: that
ends it at once when nothing listens behind."""
FIRST_PERIOD = 0.004
"""Seconds between the first attempts, doubled up to the probe's period: most servers are up at
once."""

SAY_AFTER = 5.0
"""Seconds without readiness before the log is told why."""

_MOST_HEAD = 4096


async def until_ready(
    probe: Probe, attempt: Callable[[], Awaitable[str]], say: Callable[[str], None]
) -> None:
    """Return when `attempt`, which tells why not, has told nothing for `probe.success` times in a
    row. `say` hears, once, why not when that takes over SAY_AFTER seconds and `probe.failure`
    attempts in a row have failed.

    The probe's period is a bound, not a rule: the first attempts come sooner.
    """
    if probe.initial_delay:
        await asyncio.sleep(probe.initial_delay)
    loop = asyncio.get_running_loop()
    quiet_until = loop.time() + SAY_AFTER
    well = badly = 0
    said = False
    pause = min(FIRST_PERIOD, probe.period)
    while True:
        why_not = await attempt()
        if not why_not:
            well, badly = well + 1, 0
            if well >= probe.success:
                return
        else:
            well, badly = 0, badly + 1
            if not said and badly >= probe.failure and loop.time() >= quiet_until:
                said = True
                say(why_not)
        await asyncio.sleep(pause)
        pause = min(pause * 2, probe.period)


async def accepts(published: int, port: int, listeners: list[Listener] | None) -> str:
    """Why nothing can connect to `port`, published as `published`; "" where it can.

    `listeners`: what the container is known to listen on, None where that can't be told.
    """
    if listeners is not None:
        why_not = not_listening(port, listeners)
        if why_not:
            return why_not
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, published)
    except OSError as error:
        return f"nothing accepts connections on port {port}: {error.strerror or error}"
    try:
        if listeners is None:
            async with asyncio.timeout(SETTLED):
                if not await reader.read(1):
                    return f"nothing accepts connections on port {port}"
    except TimeoutError:
        pass  # It has lasted.
    except OSError:
        return f"nothing accepts connections on port {port}"
    finally:
        writer.close()
    return ""


def not_listening(port: int, listeners: list[Listener]) -> str:
    """Why `port` can't be reached from outside of the container, and what can; "" where it can."""
    there = [each for each in listeners if each.port == port]
    if any(each.open for each in there):
        return ""
    if there:
        return (
            f"it listens on {there[0]} alone, which only its own processes can reach: have it"
            f" listen on 0.0.0.0:{port}"
        )
    reachable = sorted({each.port for each in listeners if each.open})
    if not reachable:
        return f"nothing in it listens on port {port}"
    others = " and ".join(str(each) for each in reachable)
    return (
        f"nothing in it listens on port {port}, it listens on {others}: have it listen on $PORT, or"
        f" name that port in its ports"
    )


async def answers(published: int, probe: Probe, port: int) -> str:
    """Why GET `probe.path` does not answer 200 to 399; "" where it does."""
    try:
        reader, writer = await asyncio.open_connection(LOOPBACK, published)
    except OSError as error:
        return f"nothing accepts connections on port {port}: {error.strerror or error}"
    place = f"GET {probe.path} on port {port}"
    try:
        headers = {"host": f"{LOOPBACK}:{port}", "user-agent": "eventing-probe", "accept": "*/*"}
        headers |= {name.lower(): value for name, value in probe.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(
            f"GET {probe.path} HTTP/1.1\r\n{lines}connection: close\r\n\r\n".encode("latin-1")
        )
        await writer.drain()
        line = await reader.readline()
        version, _, rest = line[:_MOST_HEAD].partition(b" ")
        status = rest[:3].decode(errors="replace")
        if not version.startswith(b"HTTP/1.") or not status.isdigit():
            return f"{place} was answered with no HTTP" if line else f"{place} was not answered"
        return "" if 200 <= int(status) < 400 else f"{place} answered {status}"
    except (OSError, ValueError) as error:
        return f"{place} was not answered: {error}"
    finally:
        writer.close()
