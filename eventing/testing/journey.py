"""An event that was sent, and all that came of it: what tests ask and assert."""

from typing import TYPE_CHECKING, Literal

from cloudevents.core.v1.event import CloudEvent

from eventing.testing.records import Attributes, DeadLetter, Delivery, Verdict

if TYPE_CHECKING:
    from eventing.testing.running_node import Node

Name = tuple[str, str]
"""`source` and `id`, by which CloudEvents are told apart."""


class Journey:
    """The way of one event through a node, its replies' ways included.

    Followed by `source` and `id`: two events that share both share a journey, and what a
    transform renames on its way to a broker is another. Every `assert_…` waits first until all is
    at its end, and says what did happen where it fails.
    """

    def __init__(self, node: "Node", event: CloudEvent, broker: str) -> None:
        self.event = event
        self.broker = broker
        self._node = node

    def wait(self, timeout: float | None = None) -> "Journey":
        """As Node.wait, which this is; returns the journey."""
        __tracebackhide__ = True
        self._node.wait(timeout)
        return self

    @property
    def deliveries(self) -> list[Delivery]:
        """Those of the event and of all that came of it, in the order they began."""
        all_of_them = self._node.deliveries()
        names = self._names(all_of_them)
        return [delivery for delivery in all_of_them if _name(delivery.event) in names]

    @property
    def replies(self) -> list[CloudEvent]:
        """All events that came of this one, in the order they entered the brokers."""
        names = self._names(self._node.deliveries()) - {self._start}
        return [
            event for event in self._node.events() if (event.get_source(), event.get_id()) in names
        ]

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """Of the event and of all that came of it, those the brokers have given up."""
        names = self._names(self._node.deliveries())
        return [
            letter
            for letter in self._node.dead_letters()
            if (letter.event.get_source(), letter.event.get_id()) in names
        ]

    def explain(self) -> list[Verdict]:
        """Every trigger's verdict on the event."""
        return self._node.explain(self.event, self.broker)

    def assert_done(self) -> "Journey":
        """At least one trigger took the event, and every delivery of it and of all that came of
        it was done."""
        __tracebackhide__ = True
        self.wait()
        deliveries = self.deliveries
        if not deliveries:
            raise self._failure("no trigger took it")
        if any(delivery.outcome != "done" for delivery in deliveries):
            raise self._failure("not all of its deliveries were done")
        return self

    def assert_delivered(self, trigger: str, attempts: int | None = None) -> Delivery:
        """The trigger's subscriber took the event, or one that came of it, after `attempts` where
        that is given; returns the delivery, the latest where there are several."""
        __tracebackhide__ = True
        delivery = self._ended(trigger, "done", "was not delivered by")
        if attempts is not None and len(delivery.attempts) != attempts:
            count = len(delivery.attempts)
            raise self._failure(f"{trigger} took it after {count} attempts, not {attempts}")
        return delivery

    def assert_dead_lettered(self, trigger: str) -> Delivery:
        """The trigger's dead-letter sink took the event, or one that came of it."""
        __tracebackhide__ = True
        return self._ended(trigger, "dead_lettered", "did not reach the dead-letter sink of")

    def assert_dead(self, trigger: str, reason: str = "") -> DeadLetter:
        """The trigger gave the event up, or one that came of it, and the broker keeps it; `reason`
        stands in the dead letter's reason. Returns the dead letter."""
        __tracebackhide__ = True
        self._ended(trigger, "dead", "is no dead letter of")
        letters = [each for each in self.dead_letters if _is(each.trigger, trigger)]
        for letter in reversed(letters):
            if reason in letter.reason:
                return letter
        told = "; ".join(letter.reason for letter in letters)
        raise self._failure(f"died at {trigger} of another reason than {reason!r}: {told}")

    def assert_not_delivered(self, trigger: str) -> None:
        """Nothing of the journey was ever attempted by this trigger."""
        __tracebackhide__ = True
        self.wait()
        if any(_is(delivery.trigger, trigger) for delivery in self.deliveries):
            raise self._failure(f"was offered to {trigger}")

    def __str__(self) -> str:
        """The event, every delivery and attempt; where there is none, why each trigger left it."""
        deliveries = self.deliveries
        lines = [str(delivery) for delivery in deliveries]
        if not any(_name(delivery.event) == self._start for delivery in deliveries):
            verdicts = self.explain()
            lines += [str(verdict) for verdict in verdicts]
            if not verdicts:
                lines.append("the node has no trigger at all")
        return "\n".join(lines)

    @property
    def _start(self) -> Name:
        return self.event.get_source(), self.event.get_id()

    def _names(self, deliveries: list[Delivery]) -> set[Name]:
        """The event's name and those of all that came of it."""
        caused: dict[Name, set[Name]] = {}
        for delivery in deliveries:
            replies = caused.setdefault(_name(delivery.event), set())
            for attempt in delivery.attempts:
                replies.update(_name(reply) for reply in attempt.replies)
        found: set[Name] = set()
        new = {self._start}
        while new:
            found |= new
            new = {reply for name in new for reply in caused.get(name, ())} - found
        return found

    def _ended(
        self, trigger: str, outcome: Literal["done", "dead_lettered", "dead"], failure: str
    ) -> Delivery:
        __tracebackhide__ = True
        self.wait()
        for delivery in reversed(self.deliveries):
            if _is(delivery.trigger, trigger) and delivery.outcome == outcome:
                return delivery
        reasons = [str(each) for each in self.explain() if _is(each.trigger, trigger)]
        raise self._failure(f"{failure} {trigger}", reasons or [f"there is no trigger {trigger}"])

    def _failure(self, what: str, reasons: list[str] | None = None) -> AssertionError:
        lines = [f"the event {self.event.get_type()!r} {self.event.get_id()}: {what}"]
        told = str(self).splitlines()
        lines += [f"  {line}" for line in [*told, *(r for r in reasons or () if r not in told)]]
        return AssertionError("\n".join(lines))


def _name(attributes: Attributes) -> Name:
    return attributes["source"], attributes["id"]


def _is(key: str, name: str) -> bool:
    return key == (name if "/" in name else f"default/{name}")
