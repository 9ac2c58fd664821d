"""What can go wrong between the node and its container engine. Each message says what and where."""


class EngineError(Exception):
    """The engine refused something, in its own words. `missing`: there is no such container or
    image. `conflict`: it is not in a state for that."""

    def __init__(self, message: str, *, missing: bool = False, conflict: bool = False) -> None:
        super().__init__(message)
        self.missing = missing
        self.conflict = conflict


class EngineAway(EngineError):
    """There is no engine, it can't be reached, or it does not answer. Nothing is known of what
    was asked for: it may have been done."""
