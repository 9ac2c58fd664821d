"""The README's walk-through, pasted word for word: every file, command and output it shows."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
from markdown_blocks import ROOT, Block, read_blocks
from pasted import Terminal, by_form, network, paste

PORTS = (8080, 8081)


def walk_through() -> list[Block]:
    """The blocks of the README from its first file on, but for those that need another server, and
    YAML that belongs to no file."""
    blocks = [
        block
        for block in read_blocks(ROOT / "README.md")
        if "needs" not in block.settings and (block.language != "yaml" or "title" in block.settings)
    ]
    first = next(index for index, block in enumerate(blocks) if "title" in block.settings)
    return blocks[first:]


def test_the_walk_through_of_the_readme_works_word_for_word(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    folder = tmp_path / "shop"
    folder.mkdir()
    blocks = walk_through()
    terminals: dict[str, Terminal] = {}
    with ExitStack() as stack:
        prefix = stack.enter_context(network(*PORTS))
        for index, block in enumerate(blocks):
            window = block.settings.get("terminal")
            if "title" in block.settings:
                (folder / block.settings["title"]).write_text(block.text)
            elif block.language == "text":
                if window is not None:
                    terminals[window].wait_for(block.text)
            elif window is not None:
                command = [*prefix, *block.text.split()]
                terminals[window] = Terminal(command, folder, tmp_path / f"terminal-{window}")
                stack.callback(terminals[window].end)
                if blocks[index + 1].settings.get("terminal") != window:
                    terminals[window].say_anything()
            else:
                shown = blocks[index + 1] if index + 1 < len(blocks) else None
                held_to(block, shown, folder, prefix)
        assert len(terminals) == 2
        assert terminals["1"].end() == 0


def held_to(block: Block, shown: Block | None, folder: Path, prefix: list[str]) -> None:
    """Paste it; its output and exit status have to be what is shown."""
    ran = paste(block, folder, prefix)
    expected, status = "", 0
    if shown is not None and shown.language == "text" and "terminal" not in shown.settings:
        expected, status = shown.text, int(shown.settings.get("exit", "0"))
    assert by_form(ran.stdout) == by_form(expected), f"{block}:\n{ran.stdout}"
    assert ran.returncode == status, f"{block}:\n{ran.stdout}"
