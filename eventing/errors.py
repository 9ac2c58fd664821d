"""The errors of the project: one small tree.

`UserError` is a mistake its maker can mend: its message says what, where and how.
`OperationError` names a component that failed and what happens to the events meanwhile.
"""


class EventingError(Exception):
    """Every error this project raises on purpose."""


class UserError(EventingError):
    """A mistake in what a user wrote or sent. Shown as its message alone, never as a traceback."""


class InvalidEvent(UserError):
    """Bytes that are no valid CloudEvent; the message says which rule is broken and by what."""


class EventTooLarge(UserError):
    """An event over the configured limit of its way in (HTTP 413)."""


class InvalidExpression(UserError):
    """A filter or transform expression that does not parse.

    `position` is the offset in characters from the start of the expression, or None where the
    parser could not say.
    """

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.position = position


class OperationError(EventingError):
    """A component failed; the message says which, and what happens to the events meanwhile."""


class StorageError(OperationError):
    """The broker could not store; nothing of the request was kept (HTTP 503).

    `reason` is one CamelCase word for programs, such as "EngineUnreachable".
    """

    def __init__(self, message: str, reason: str = "StorageFailed") -> None:
        super().__init__(message)
        self.reason = reason


class BrokerFull(OperationError):
    """A backlog or disk limit is reached (HTTP 429). `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SubscriptionInUse(OperationError):
    """A subscription can't be removed while another node has it open."""
