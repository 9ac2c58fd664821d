"""CloudEvents SQL v1: every case of the specification's own suite.

The cases are read from ../shared/conformance/cesql_tck beside the repository, or from the folder
that CESQL_TCK names. Its events are typed (Integer and Boolean extensions), and so they are given
to the evaluator; timestamps are given in their canonical string form, as CESQL has no such type.
"""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from eventing.errors import InvalidExpression
from triggers.cesql import Expression, FaultKind

FOLDER = Path(
    os.environ.get("CESQL_TCK")
    or Path(__file__).resolve().parents[2] / "../shared/conformance/cesql_tck"
)
ANY_EVENT = {"specversion": "1.0", "id": "1", "source": "/tests", "type": "tests.any"}


class AsWritten(yaml.SafeLoader):
    """Keeps timestamps and expressions as they are written: `expression: -10` is a text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for key, value in node.value:
            if key.value == "expression" or value.tag == "tag:yaml.org,2002:timestamp":
                value.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


def cases() -> list[Any]:
    return [
        pytest.param(case, id=f"{path.stem}: {case['name']}")
        for path in sorted(FOLDER.glob("*.yaml"))
        for case in yaml.load(path.read_text(), AsWritten)["tests"]
    ]


def test_the_suite_is_there() -> None:
    if not cases():
        pytest.skip(f"no CESQL conformance cases in {FOLDER}; name their folder in CESQL_TCK")


@pytest.mark.parametrize("case", cases())
def test_cesql_conformance(case: dict[str, Any]) -> None:
    event = case.get("event", ANY_EVENT) | case.get("eventOverrides", {})

    if case.get("error") == "parse":
        with pytest.raises(InvalidExpression):
            Expression(case["expression"])
        return

    result = Expression(case["expression"], missing_functions=True).evaluate(event)

    assert result.error == (FaultKind(case["error"]) if "error" in case else None)
    if "result" in case:
        assert (type(result.value), result.value) == (type(case["result"]), case["result"])
