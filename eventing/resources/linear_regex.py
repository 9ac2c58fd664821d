"""Regular expressions that take time linear in the text, whatever the expression, as RE2's do.

Attributes come from whoever sends events, and are looked at on the event loop: an expression that
backtracks could be made to hold up a whole node.
"""

from collections.abc import Iterable

from eventing.resources.regex_syntax import (
    Characters,
    Choice,
    Edge,
    Expression,
    Repeat,
    Sequence,
    parse,
)

_MOST_KEPT = 4_000
"""Transitions that are remembered; beyond it all are forgotten and found anew."""


class Pattern:
    """A compiled expression; equal to another of the same text. Raises InvalidRegex for what is
    none (see eventing/resources/regex_syntax.py)."""

    __slots__ = ("_automaton", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._automaton = _Automaton(parse(text))

    def fullmatch(self, text: str) -> str | None:
        """The text where it matches all of it, else None; as `re` has it, without groups."""
        return text if self._automaton.matches(text) else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"


_Step = tuple[Characters | Edge | None, tuple[int, ...]]
"""What has to be there (None = nothing at all), and the steps that may follow."""


class _Automaton:
    """The steps of an expression, all that are possible taken at once; which ones are possible
    behind which character is found out once and remembered."""

    def __init__(self, expression: Expression) -> None:
        self._steps: list[_Step] = [(None, ())]
        first = self._add(expression, 0)
        self._start = self._reached((first,), at_start=True)
        self._known: dict[frozenset[int], dict[str, frozenset[int]]] = {}
        self._kept = 0

    def matches(self, text: str) -> bool:
        at = self._start
        for character in text:
            following = self._known.get(at, {}).get(character)
            at = self._behind(at, character) if following is None else following
            if not at:
                return False
        return 0 in at or self._ends(at, at_start=not text)

    def _behind(self, at: frozenset[int], character: str) -> frozenset[int]:
        following: list[int] = []
        for index in at:
            needed, after = self._steps[index]
            if isinstance(needed, Characters) and needed.take(character):
                following.extend(after)
        reached = self._reached(following)
        if self._kept >= _MOST_KEPT:
            self._known.clear()
            self._kept = 0
        self._known.setdefault(at, {})[character] = reached
        self._kept += 1
        return reached

    def _reached(
        self, steps: Iterable[int], *, at_start: bool = False, at_end: bool = False
    ) -> frozenset[int]:
        """The steps that wait for a character, or for the end, when these are next."""
        seen: set[int] = set()
        waiting = list(steps)
        found: set[int] = set()
        while waiting:
            index = waiting.pop()
            if index in seen:
                continue
            seen.add(index)
            needed, after = self._steps[index]
            if index == 0 or isinstance(needed, Characters):
                found.add(index)
            elif needed is None or (at_start if needed.end == "start" else at_end):
                waiting.extend(after)
            elif needed.end == "end":
                found.add(index)
        return frozenset(found)

    def _ends(self, at: frozenset[int], *, at_start: bool) -> bool:
        return 0 in self._reached(at, at_start=at_start, at_end=True)

    def _add(self, expression: Expression, after: int) -> int:
        """The step with which the expression begins, when `after` follows it."""
        match expression:
            case Characters() | Edge():
                return self._step(expression, after)
            case Sequence(parts):
                for part in reversed(parts):
                    after = self._add(part, after)
                return after
            case Choice(branches):
                return self._step(None, *(self._add(branch, after) for branch in branches))
            case Repeat(part, least, most):
                if most is None:
                    again = self._step(None)
                    within = self._add(part, again)
                    self._steps[again] = (None, (within, after))
                    after = again
                else:
                    for _ in range(most - least):
                        after = self._step(None, self._add(part, after), after)
                for _ in range(least):
                    after = self._add(part, after)
                return after

    def _step(self, needed: Characters | Edge | None, *after: int) -> int:
        self._steps.append((needed, after))
        return len(self._steps) - 1
