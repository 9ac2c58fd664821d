"""`eventing`: the group of commands, what they share, and how their errors show."""

import sys
from importlib import import_module

import click

from eventing.errors import EventingError

COMMANDS = {
    "up": "Run a node from files and folders.",
    "validate": "Check files without running them.",
    "apply": "Add or change resources of a running node.",
    "get": "List resources and how they are.",
    "describe": "Show everything about one resource.",
    "delete": "Remove a resource that was applied.",
    "send": "Send an event, and follow it to its end.",
    "tail": "Watch events on their way.",
    "explain": "Say which triggers would take an event, and why not.",
    "dead-letters": "List, show, redrive and drop dead letters.",
    "replay": "Deliver events of the log to a trigger again.",
    "logs": "Show what functions print and log.",
    "init": "Write a small working project.",
}
"""Every command with its line of help: `--help` imports none of them."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"eventing.node.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="eventing-runtime", prog_name="eventing")
def main() -> None:
    """Sources emit events, brokers keep them, triggers pick them, functions handle them.

    Begin with `eventing init hello`, then `eventing up hello`.
    """


def run() -> int:
    """Run the command line; returns the exit status: 0 fine, 1 a result that is no success, 2 a
    mistake in what was asked or in a file, 3 a fault of the node or of its machine."""
    try:
        result = main.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        print("aborted", file=sys.stderr)  # noqa: T201
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except EventingError as error:
        from eventing.errors import UserError

        print(f"eventing: {error}", file=sys.stderr)  # noqa: T201
        return 2 if isinstance(error, UserError) else 3
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        return 0
    return result if isinstance(result, int) else 0
