"""The embedded broker: a durable log in one SQLite file, written by group commit."""

from brokers.embedded.broker import EmbeddedBroker

__all__ = ["EmbeddedBroker"]
