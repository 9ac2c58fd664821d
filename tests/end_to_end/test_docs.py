"""The documentation is held to the code: its blocks run, load and parse, and it leaves nothing out.

A block with `title=` is a file of its page's project; one with `in=Trigger` is part of a trigger's
spec. The walk-through of the README has a test of its own.
"""

import json
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import click
import pytest
from markdown_blocks import ROOT, Block, read_blocks
from pydantic import BaseModel

import eventing
from eventing.node.checks import check
from eventing.node.cli.main import COMMANDS, main
from eventing.resources import load_text
from eventing.resources.broker_config import LIMITS
from eventing.resources.function import ScaleSpec
from eventing.resources.kinds import KINDS
from eventing.resources.scaling import _READERS as ANNOTATIONS
from eventing.sdk.context import Context
from functions.autoscaler import ScaleConfig

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [block for page in PAGES for block in read_blocks(page)]
LANGUAGES = {"sh", "console", "python", "yaml", "ini", "text", ""}

_TRIGGER = """\
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: example}
spec:
  broker: default
"""
_SUBSCRIBER = "  subscriber: {uri: 'http://localhost:9000/'}\n"


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands below a heading, up to the next of its level or above."""
    level = heading.split()[0]
    _, found, rest = text.partition(f"\n{heading}\n")
    assert found, f"there is no heading {heading!r}"
    return re.split(rf"\n#{{1,{len(level)}}} ", rest, maxsplit=1)[0]


# Blocks


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_is_of_a_language_that_is_checked(block: Block) -> None:
    assert block.language in LANGUAGES


@pytest.mark.parametrize("block", of("yaml"), ids=str)
def test_yaml_loads_without_a_complaint(block: Block) -> None:
    text = block.text
    if block.settings.get("in") == "Trigger":
        text = f"{_TRIGGER}{_SUBSCRIBER}{textwrap.indent(text, '  ')}"
    loaded = load_text(text, "block.yaml")
    findings = check(loaded.resources)
    said = [*loaded.errors, *loaded.warnings, *findings.errors, *findings.warnings]
    assert [str(problem) for problem in said] == []
    assert loaded.resources


def test_every_python_block_is_a_file_of_its_pages_project() -> None:
    assert [str(block) for block in of("python") if "title" not in block.settings] == []


WITH_FILES = [path for path in PAGES if any("title" in each.settings for each in read_blocks(path))]


@pytest.mark.parametrize("path", WITH_FILES, ids=lambda path: path.name)
def test_python_is_a_project_that_loads_and_whose_tests_pass(path: Path, tmp_path: Path) -> None:
    for block in read_blocks(path):
        if "title" not in block.settings:
            continue
        file = tmp_path / block.settings["title"]
        file.parent.mkdir(exist_ok=True)
        file.write_text(block.text)
    paths = [".", *{f"{file.parent.name}" for file in tmp_path.glob("*/func.py")}]
    command = [sys.executable, "-m", "eventing", "validate", *paths, "-o", "json"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    told = json.loads(ran.stdout)
    assert told["valid"] and not told["warnings"] and told["functions"], told
    if list(tmp_path.glob("test_*.py")):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("block", of("ini"), ids=str)
def test_settings_files_parse(block: Block) -> None:
    ConfigParser(interpolation=None).read_string(block.text)


def commands(block: Block) -> Iterator[list[str]]:
    """The words of every `eventing` command of a block; those behind a pipe, too."""
    text = block.text.replace("\\\n", " ")
    if block.language == "console":
        lines = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    else:
        lines = text.splitlines()
    for line in lines:
        words = shlex.split(line, comments=True)
        for index, word in enumerate(words):
            if word == "eventing" and (index == 0 or words[index - 1] == "|"):
                yield words[index + 1 :]


@pytest.mark.parametrize("block", of("sh", "console"), ids=str)
def test_commands_and_their_options_exist(block: Block) -> None:
    for words in commands(block):
        command: click.Command = main
        context = click.Context(main, info_name="eventing")
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            name, *words = words
            found = command.get_command(context, name)
            assert found is not None, f"{block}: there is no command {name}"
            command = found
            context = click.Context(command, parent=context, info_name=name)
        try:
            # The parser alone: what options stand for (files, a node) need not be there.
            _, left, _ = command.make_parser(context).parse_args(list(words))
        except click.UsageError as error:
            pytest.fail(f"{block}: {error.format_message()}")
        assert not left, f"{block}: {left} is too much"


# Completeness


def test_the_page_of_commands_has_every_command_and_option() -> None:
    text = page("docs/cli.md")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    context = click.Context(main, info_name="eventing")
    for name in COMMANDS:
        heading = next((each for each in headings if name in each.split(", ")), None)
        assert heading is not None, f"docs/cli.md has no heading for {name}"
        own = section(text, f"## {heading}")
        command = main.get_command(context, name)
        parts = [command]
        if isinstance(command, click.Group):
            parts = list(command.commands.values())
            assert all(f"eventing {name} {part}" in own for part in command.commands)
        for part in parts:
            assert part is not None
            for parameter in part.params:
                for option in parameter.opts if isinstance(parameter, click.Option) else ():
                    # Those every command has stand above all of them.
                    assert f"{option}" in own or option in ("--admin", "--data-dir"), (name, option)


def fields(model: type[BaseModel], above: tuple[type, ...] = ()) -> Iterator[str]:
    """The names, as documents have them, of a model's fields and of those within."""
    for name, field in model.model_fields.items():
        if field.exclude:
            continue
        yield field.alias or name
        for part in models(field.annotation):
            if part not in above:
                yield from fields(part, (*above, part))


def models(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from models(part)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_of_yaml_has_every_kind_and_field(kind: str) -> None:
    text = page("docs/yaml.md") + page("docs/traffic.md")
    words = set(re.findall(r"\w+", text))
    assert kind in words
    missing = set(fields(KINDS[kind], (KINDS[kind],))) - words
    assert missing == set()


def test_the_page_of_yaml_has_every_limit_of_a_broker_and_no_other() -> None:
    table = section(page("docs/yaml.md"), "### Limits of a broker")
    assert set(re.findall(r"^\| `([a-z.]+)` \|", table, re.MULTILINE)) == set(LIMITS)


def test_the_table_of_autoscaling_has_every_setting_with_its_default() -> None:
    table = section(page("docs/functions.md"), "## Autoscaling")
    rows = re.findall(r"^\| `([a-z-]+)` \| `(\w+)` \| ([^|]+) \|", table, re.MULTILINE)
    assert {annotation for annotation, _, _ in rows} == set(ANNOTATIONS)
    aliases = {field.alias: name for name, field in ScaleSpec.model_fields.items()}
    assert {field for _, field, _ in rows} == set(aliases)
    defaults = ScaleConfig()
    for _, field, told in rows:
        name = aliases[field].replace("scale_to_zero_pod_retention_period", "retention")
        value = getattr(defaults, name)
        shown = "—" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
        assert told.strip().removesuffix(" s") == shown, field


def test_the_page_of_functions_has_every_option_and_every_word_of_a_context() -> None:
    text = page("docs/functions.md")
    options = re.findall(r"^\| `(\w+)` \|", section(text, "## `@function` options"), re.MULTILINE)
    assert set(options) == set(eventing.function.__kwdefaults__)
    public = {name for name in dir(Context) if not name.startswith("_")}
    takes = section(text, "## What a handler takes")
    assert {name for name in public if not re.search(rf"`{name}\b", takes)} == set()


# Links


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in found}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_within_the_project_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        linked = path.parent / name if name else path
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target
