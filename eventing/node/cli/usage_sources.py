"""Where a bill's lines come from: the nodes of one engine, or the file of a stopped one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eventing.errors import EventingError, OperationError, UserError
from eventing.node.cli import terminal
from eventing.node.cli.names import did_you_mean, short
from eventing.node.cli.node_address import NodeAddress
from eventing.node.cli.node_client import NodeClient
from eventing.node.usage_file import FILE, UsageFile
from eventing.node.usage_query import Lines, UsageQuery, read_lines, together

_ANSWERS_WITHIN = 5.0


@dataclass(frozen=True, slots=True)
class Found:
    """Lines that answer a query; the `nodes` whose they are, or the `folder` they stand in; and the
    nodes (with the address they tell) that are there and not reached from here."""

    lines: Lines
    nodes: tuple[str, ...] = ()
    folder: str = ""
    unreached: tuple[tuple[str, str], ...] = ()

    @property
    def whose(self) -> str:
        """For people."""
        if self.folder:
            return f"in {self.folder}"
        return f"on node{'s' if len(self.nodes) > 1 else ''} {', '.join(self.nodes)}"


def ask_nodes(node: NodeClient, query: UsageQuery) -> Found:
    """Of `node` and of all it shares an engine with. Raises UserError for a function that nothing
    is known of."""
    own = str(node.get("/api/v1/node")["name"])
    answers = {own: _ask(node, query)}
    unreached = []
    for item in _nodes(node, own):
        name, url = item["name"], item["admin"]
        if name == own:
            continue
        client = NodeClient(NodeAddress(url, ""), _ANSWERS_WITHIN)
        try:
            # A loopback address of another machine may be that of some other node here.
            if client.get("/api/v1/node")["name"] != name:
                raise OperationError("it is another node")
            answers[name] = _ask(client, query)
        except EventingError:
            unreached.append((name, url))
    lines = together(read_lines(answer["items"]) for answer in answers.values())
    if not lines and query.function is not None:
        functions = node.get("/api/v1/resources")["items"]
        known = {f"{item['namespace']}/{item['name']}" for item in functions if _runs(item)}
        known |= {name for answer in answers.values() for name in answer.get("known", ())}
        _check_known(query.function, known)
    return Found(lines, tuple(answers), unreached=tuple(unreached))


def read_folder(folder: Path, query: UsageQuery) -> Found:
    """Of the node that keeps its data in `folder`, as far as it has been stored."""
    file = UsageFile.opened_to_read(folder / FILE)
    try:
        lines = file.read(query)
        if not lines and query.function is not None:
            _check_known(query.function, set(file.functions()))
    finally:
        file.close()
    return Found(lines, folder=str(folder))


def _ask(node: NodeClient, query: UsageQuery) -> dict[str, Any]:
    answer = node.get(
        "/api/v1/usage",
        since=str(query.since),
        until=str(query.until),
        by=query.by,
        revisions="true" if query.by_revision else "false",
        function=query.function,
    )
    assert isinstance(answer, dict)
    return answer


def _nodes(node: NodeClient, own: str) -> list[dict[str, Any]]:
    try:
        items: list[dict[str, Any]] = node.get("/api/v1/nodes")["items"]
    except OperationError as error:
        terminal.warning(f"this is the usage of node {own} alone; of other nodes: {error}")
        return []
    return items


def _runs(item: dict[str, Any]) -> bool:
    return item["kind"] in ("Function", "Service", "InferenceService")


def _check_known(function: str, known: set[str]) -> None:
    if function not in known:
        hint = did_you_mean(short(function), sorted(map(short, known)))
        raise UserError(f"there is no usage of {short(function)}; {hint}")
