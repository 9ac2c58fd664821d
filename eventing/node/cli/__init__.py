"""The command line: one module a command, imported when it is used."""

from eventing.node.cli.main import run

__all__ = ["run"]
