"""The fenced code blocks of a Markdown file, with what their info strings say.

An info string is a language and settings: ```sh terminal=1, ```python title=app.py, ```text exit=1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = "```"


@dataclass(frozen=True, slots=True)
class Block:
    """`line` is that of the fence that opens it; `settings` are the words behind the language."""

    file: Path
    line: int
    language: str
    settings: Mapping[str, str]
    text: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}"


def read_blocks(file: Path) -> list[Block]:
    """All blocks of a file, in order. Fails where one is not closed or has a malformed setting."""
    blocks = []
    opened: tuple[int, str] | None = None
    body: list[str] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if opened is None:
            if line.startswith(_FENCE):
                opened, body = (number, line.removeprefix(_FENCE)), []
        elif line == _FENCE:
            language, *words = opened[1].split() or [""]
            assert all("=" in word for word in words), f"{file}:{opened[0]}: {opened[1]}"
            settings = dict(word.split("=", 1) for word in words)
            text = "\n".join([*body, ""])
            blocks.append(Block(file, opened[0], language, settings, text))
            opened = None
        else:
            body.append(line)
    assert opened is None, f"{file}:{opened}: this block has no end"
    return blocks
