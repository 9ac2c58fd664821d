"""One resource named on the command line: KIND NAME with -n, KIND namespace/name, or KIND/NAME."""

import functools
from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from eventing.node.cli.names import (
    DEFAULT_NAMESPACE,
    KINDS,
    Kind,
    complete_names,
    did_you_mean,
    qualified,
)
from eventing.node.cli.node_client import NodeClient, NotThere

Command = Callable[..., Any]
Item = dict[str, Any]


def names_of_kind(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Completes a name of the kind that was typed before it."""
    kind = ctx.params.get("kind")
    return complete_names(kind, ctx, incomplete) if kind in KINDS else []


def with_resource(command: Command) -> Command:
    """Gives the command `kind`, `namespace` and `name`."""

    @click.argument("kind", type=Kind())
    @click.argument("name", shell_complete=names_of_kind)
    @click.option(
        "-n", "--namespace", default=DEFAULT_NAMESPACE, show_default=True, help="Where it is."
    )
    @functools.wraps(command)
    def wrapped(*args: Any, kind: str, name: str, namespace: str, **kwargs: Any) -> Any:
        namespace, name = split_name(kind, namespace, name)
        return command(*args, kind=kind, namespace=namespace, name=name, **kwargs)

    return wrapped


def split_name(kind: str, namespace: str, name: str) -> tuple[str, str]:
    """Namespace and name; a Namespace itself is in none. Raises click.UsageError."""
    try:
        namespace, _, bare = qualified(name, namespace).partition("/")
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return ("", name) if kind == "Namespace" else (namespace, bare)


def find_one(node: NodeClient, kind: str, namespace: str, name: str) -> Item:
    """The resource as `get` shows it. Raises NotThere, with the name that was probably meant."""
    items: list[Item] = node.get("/api/v1/resources", kind=kind)["items"]
    for item in items:
        if (item["namespace"], item["name"]) == (namespace, name):
            return item
    key = f"{namespace}/{name}" if namespace not in ("", DEFAULT_NAMESPACE) else name
    elsewhere = [f"{item['namespace']}/{name}" for item in items if item["name"] == name]
    if elsewhere:
        hint = f"there is {', '.join(elsewhere)}"
    else:
        hint = did_you_mean(name, sorted({item["name"] for item in items}))
    raise NotThere(f"there is no {kind.lower()} {key}; {hint}")
