"""How a container ended, in words, with the last it printed. Pure."""

import signal
from collections.abc import Sequence

LINES = 10
"""Lines of its output that go with the reason."""
_BYTES = 1024


def how_it_ended(
    exit_code: int, *, out_of_memory: bool | None, memory: int | None, error: str = ""
) -> str:
    """`out_of_memory`: whether it was killed for that; None = nobody could tell. `memory`: its
    limit in bytes. `error`: what the engine had to say of its end."""
    killed = exit_code == 128 + signal.SIGKILL
    if killed and out_of_memory:
        limit = f"its memory limit of {size(memory)}" if memory else "the machine's memory"
        return f"killed, over {limit} (OOM)"
    if killed and memory and out_of_memory is None:
        return f"killed by SIGKILL: most likely for its memory limit of {size(memory)} (OOM)"
    if 128 < exit_code <= 128 + 64:
        try:
            text = f"killed by {signal.Signals(exit_code - 128).name}"
        except ValueError:
            text = f"killed by signal {exit_code - 128}"
    else:
        text = f"exited with status {exit_code}"
    return f"{text} ({error})" if error else text


def with_last_lines(reason: str, lines: Sequence[str]) -> str:
    """One line: the reason, then the end of the output."""
    told = [line.strip() for line in lines[-LINES:] if line.strip()]
    if not told:
        return f"{reason}; it printed nothing"
    text = " | ".join(told)
    if len(text) > _BYTES:
        text = f"…{text[-_BYTES:]}"
    return f"{reason}; its last lines: {text}"


def size(count: int) -> str:
    return f"{count >> 20} MiB" if count % (1 << 20) == 0 else f"{count} bytes"
