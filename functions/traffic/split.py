"""Choosing a revision by weights: at random a call, or always the same one for a key.

Pure but for which revisions are out, which `refresh` is told of.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate
from math import log
from typing import Generic, NamedTuple, TypeVar
from zlib import crc32

T = TypeVar("T")

REMEMBERED = 4096

_BITS = (1 << 64) - 1


class Share(NamedTuple, Generic[T]):
    """A revision's weight, relative to the others', and what a choice of it gives."""

    revision: str
    weight: float
    value: T


class Split(Generic[T]):
    """Shares of the calls; those of weight 0 get none, whatever becomes of the rest.

    `pick` gives each revision its share of the draws. `pick_for` gives each its share of the keys
    by weighted rendezvous hashing: every revision has a score for the key, the highest wins. So
    the choice depends on names, weights and the key alone; it is the same on every node and after
    a restart, whatever the order of the shares. A revision whose weight grows beside the others
    keeps the keys it has; moving 1 % of the weight between two moves 1 % of the keys; and where one
    is out only its keys go elsewhere, and come back with it. The choices for the REMEMBERED keys
    met last are kept.
    """

    __slots__ = ("_all", "_bounds", "_in", "_scored", "pick_for")

    def __init__(self, shares: Iterable[Share[T]]) -> None:
        self._all = [share for share in shares if share.weight > 0]
        self.pick_for = lru_cache(REMEMBERED)(self._choose)
        """The revision of a key; None where all are out."""
        self.refresh(lambda value: False)

    @property
    def values(self) -> list[T]:
        """What has a weight, whether it is out or not."""
        return [share.value for share in self._all]

    def refresh(self, is_out: Callable[[T], bool]) -> None:
        """Leave out those for which `is_out` holds, and take back the others."""
        kept = [share for share in self._all if not is_out(share.value)]
        total = sum(share.weight for share in kept)
        self._in = [share.value for share in kept]
        # The last bound is left out: a sum of floats may fall short of 1, a draw may not.
        self._bounds = [each / total for each in accumulate(share.weight for share in kept)][:-1]
        # By name, so that of equal scores, as the tiniest weights have, the same one is the first.
        kept.sort(key=lambda share: share.revision)
        self._scored = [(_salt(share.revision), share.weight, share.value) for share in kept]
        self.pick_for.cache_clear()

    def pick(self, draw: float) -> T | None:
        """By a draw of at least 0 and below 1; None where all are out."""
        if self._bounds:
            return self._in[bisect_right(self._bounds, draw)]
        return self._in[0] if self._in else None

    def _choose(self, key: str) -> T | None:
        scored = self._scored
        if len(scored) < 2:
            return scored[0][2] if scored else None
        digest = crc32(key.encode("utf-8", "surrogatepass"))
        best, chosen = -1.0, None
        for salt, weight, value in scored:
            # Of the smaller of two exponential waiting times, so the shares come out exactly.
            score = weight / -log(_fraction(digest ^ salt))
            if score > best:
                best, chosen = score, value
        return chosen


def _salt(revision: str) -> int:
    return int.from_bytes(blake2b(revision.encode(), digest_size=8).digest())


def _fraction(bits: int) -> float:
    """64 bits, well mixed, as a number above 0 and below 1 (the finalizer of SplitMix64)."""
    bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & _BITS
    bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & _BITS
    return (((bits ^ (bits >> 31)) >> 12) + 0.5) * 2.0**-52
