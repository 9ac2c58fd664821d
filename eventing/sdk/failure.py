"""How a handler fails: `Retry`, `Reject`, and what the node is told of any other exception."""

import math
import traceback
from datetime import timedelta
from pathlib import Path
from types import TracebackType

BODY_LIMIT = 1024
"""Characters of a traceback that become `knativeerrordata`."""

_OURS = str(Path(__file__).parent) + "/"


class Retry(Exception):
    """Raised by a handler: this attempt failed, try again, not before `after`.

    `after` is seconds or a timedelta; None leaves the time to the trigger's backoff. The node
    sees status 503 with `Retry-After`: the larger of it and the backoff counts, up to the
    trigger's `retryAfterMax`. It spends an attempt like every failure.
    """

    def __init__(self, after: float | timedelta | None = None, reason: str = "") -> None:
        seconds = after.total_seconds() if isinstance(after, timedelta) else after
        if seconds is not None:
            if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
                raise TypeError(f"Retry(after=…) takes seconds or a timedelta, not {after!r}")
            if not math.isfinite(seconds) or seconds < 0:
                raise ValueError(f"Retry(after=…) takes seconds from 0 on, not {after!r}")
            seconds = float(seconds)
        super().__init__(reason or "the handler asked for a retry")
        self.after = seconds


class Reject(Exception):
    """Raised by a handler: this event can never be handled; no retry, dead letter at once.

    The node sees status 400; `reason` becomes `knativeerrordata`.
    """

    def __init__(self, reason: str = "the handler rejected the event") -> None:
        super().__init__(reason)


def one_line(error: BaseException) -> str:
    """`ValueError: the message's first line`."""
    name = type(error).__name__
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # the user's own __str__
        return name
    return f"{name}: {lines[0][:500]}" if lines else name


def user_traceback(error: BaseException) -> str:
    """The traceback as Python prints it, from the first frame of the user's code on."""
    seen: set[int] = set()
    chained: BaseException | None = error
    while chained is not None and id(chained) not in seen:
        seen.add(id(chained))
        chained.__traceback__ = _users(chained.__traceback__)
        chained = chained.__cause__ or chained.__context__
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # the user's own __str__ or __repr__
        return type(error).__name__ + "\n"


def last_lines(text: str, limit: int = BODY_LIMIT) -> str:
    """The end of `text`, whole lines where they fit, at most `limit` characters."""
    text = text.rstrip("\n")
    if len(text) <= limit:
        return text
    kept = text[-(limit - 2) :]
    cut = kept.find("\n")
    return "…\n" + (kept[cut + 1 :] if 0 <= cut < len(kept) - 1 else kept)


def place(error: BaseException) -> str:
    """`app.py:12`, the innermost line of the user's own traceback; "" where there is none."""
    every = list(traceback.extract_tb(_users(error.__traceback__)))
    frames = [frame for frame in every if "site-packages" not in frame.filename] or every
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _users(tb: TracebackType | None) -> TracebackType | None:
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_OURS):
        tb = tb.tb_next
    return tb
