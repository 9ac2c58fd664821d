"""`eventing`: the group of commands, what they share, and how their errors show."""

import os
import sys
import traceback
from difflib import get_close_matches
from importlib import import_module

import click

from eventing.errors import EventingError, UserError

COMMANDS = {
    "up": "Run a node from files and folders.",
    "validate": "Check files without running them.",
    "apply": "Add or change resources of a running node.",
    "get": "List resources and how they are.",
    "describe": "Show everything about one resource.",
    "delete": "Remove a resource that was applied.",
    "send": "Send an event, and follow it to its end.",
    "fire": "Have a PingSource send its event now.",
    "tail": "Watch events on their way.",
    "explain": "Say which triggers would take an event, and why not.",
    "dead-letters": "List, show, redrive and drop dead letters.",
    "replay": "Deliver events of the log to a trigger again.",
    "rollout": "Move a function's calls to a new revision in steps.",
    "rollback": "Send a function's calls to the revision before.",
    "logs": "Show what functions print and log.",
    "usage": "Show what functions use, as a bill.",
    "export": "Write what runs here for another system.",
    "init": "Write a small working project.",
    "build": "Build a container image of a function.",
}
"""Every command with its line of help: `--help` imports none of them."""

INTERRUPTED = 130
"""As shells tell of a process that Ctrl-C has ended."""


class _ReaderGone(Exception):
    """Whoever read the output has seen enough."""


class Commands(click.Group):
    """A group that imports a command when it is used, and knows what a typo meant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"eventing.node.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise unknown_command(ctx, args[0], list(COMMANDS))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Click would end the process with status 1.
            raise _ReaderGone from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def unknown_command(ctx: click.Context, name: str, known: list[str]) -> click.UsageError:
    near = get_close_matches(name, known, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known)}"
    return click.UsageError(f"There is no command {name!r}; {remedy}", ctx)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="eventing-runtime", prog_name="eventing")
def main() -> None:
    """Sources emit events, brokers keep them, triggers pick them, functions handle them.

    Begin with `eventing init hello`, then `eventing up hello`.
    """


def run() -> int:
    """Run the command line; returns the exit status.

    0: fine. 1: a result that is no success (an event that failed, no trigger that matches).
    2: a mistake in what was asked or in a file. 3: a fault of the node or of its machine, or no
    node. 130: interrupted. These are the same for all commands.
    """
    try:
        status = _run()
        sys.stdout.flush()
    except (_ReaderGone, BrokenPipeError):
        # Python flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _run() -> int:
    try:
        result = main.main(prog_name="eventing", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return 2
    except EventingError as error:
        click.echo(f"eventing: {error}", err=True)
        return 2 if isinstance(error, UserError) else 3
    except (_ReaderGone, BrokenPipeError):
        raise
    except OSError as error:
        click.echo(f"eventing: {error}", err=True)
        return 3
    except Exception:
        traceback.print_exc()
        click.echo("eventing: this is a mistake in eventing itself; please report it", err=True)
        return 3
    return result if isinstance(result, int) else 0
