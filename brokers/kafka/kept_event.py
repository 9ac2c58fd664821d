"""An event as a compacted topic keeps it: with facts of our own in headers beside.

In such a topic a null value removes: an event without data has an empty value, and a header that
says so.
"""

from collections.abc import Mapping, Sequence

from brokers.base import Failure
from eventing.errors import InvalidEvent
from eventing.event import Event
from eventing.kafka_encoding import Headers, decode_record, encode_record

Record = tuple[bytes, Headers, bytes | None]
"""Key, headers and value of a record to be produced."""
Facts = Mapping[str, bytes]
"""What stands beside the event, by name."""

_OWN = "eventing_"
_WITHOUT_DATA = "withoutdata"


def keep(key: bytes, event: Event, facts: Facts) -> Record:
    """The record of an event and its facts."""
    _, headers, value = encode_record(event)
    if value is None:
        headers.append((_OWN + _WITHOUT_DATA, b"true"))
    headers += ((_OWN + name, text) for name, text in facts.items())
    return key, headers, value or b""


def tombstone(key: bytes) -> Record:
    """The record that removes the one of this key."""
    return key, [], None


def kept(
    headers: Sequence[tuple[str, bytes | None]] | None, value: bytes | None
) -> tuple[Event, Facts]:
    """The event and the facts of a record. Raises InvalidEvent for a record of another kind."""
    if value is None:
        raise InvalidEvent("a record with a null value keeps no event: it removes one")
    facts = facts_of(headers)
    return decode_record(headers, None if _WITHOUT_DATA in facts else value), facts


def facts_of(headers: Sequence[tuple[str, bytes | None]] | None) -> Facts:
    """The facts alone."""
    start = len(_OWN)
    return {
        name[start:]: text
        for name, text in headers or ()
        if text is not None and name.startswith(_OWN)
    }


def failure_facts(failure: Failure) -> dict[str, bytes]:
    """A failure as facts."""
    return {
        "destination": encoded(failure.destination),
        "code": b"%d" % failure.code,
        "reason": encoded(failure.reason),
        "data": failure.data,
    }


def failure_of(facts: Facts) -> Failure:
    """The failure. Raises KeyError, ValueError."""
    return Failure(
        decoded(facts["destination"]),
        int(facts["code"]),
        decoded(facts["reason"]),
        facts["data"],
    )


def encoded(words: str) -> bytes:
    """As UTF-8, lone surrogates included: a reason may tell of them."""
    return words.encode(errors="surrogatepass")


def decoded(fact: bytes) -> str:
    """What was encoded. Raises ValueError."""
    return fact.decode(errors="surrogatepass")


def missing_fact(missing: KeyError) -> InvalidEvent:
    """The error of a record without one of its facts."""
    return InvalidEvent(f"header '{_OWN}{missing.args[0]}' is missing; every such record has it")
