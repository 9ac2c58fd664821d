"""For the demo: which pictures are posted, and what became of each by the node's live record."""

import mimetypes
import re
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from picture import SIZES

OWN = Path(__file__).resolve().parent / "images"

Ending = Literal["thumbnails", "quarantine", "refused", "dead letter"]

# Python 3.11 and 3.12 do not know it.
mimetypes.add_type("image/webp", ".webp")


@dataclass(frozen=True, slots=True)
class Upload:
    """A picture to post, how it has to end (None = in whatever way, only its maker knows what it
    is) and after how many attempts."""

    name: str
    path: Path
    type: str
    ending: Ending | None
    attempts: int = 1
    extensions: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Journey:
    """What is known of one upload so far. `stored` are the ids of the thumbnails written, `nodes`
    those that worked on it. `entered` is the seconds from its first hand-out to a worker's handler,
    `found` what its crop was chosen for."""

    upload: Upload
    trigger: str = ""
    attempts: int = 0
    stored: set[str] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)
    ending: Ending | None = None
    found: str = ""
    reason: str = ""
    entered: float | None = None


def uploads(folder: Path | None) -> list[Upload]:
    """The pictures of `folder`, or the example's own, and then the two that go wrong."""
    broken, lucky = OWN / "broken.jpg", OWN / "cat.webp"
    chosen = [
        Upload(
            # A folder's name before its pictures' keeps them apart from the two of our own.
            name=path.relative_to(folder.parent if folder else OWN).as_posix(),
            path=path,
            type=content_type(path),
            ending=None if folder else "thumbnails",
        )
        for path in sorted((folder or OWN).rglob("*"))
        if content_type(path).startswith("image/") and path.is_file() and path != broken
    ]
    return [
        *chosen,
        Upload("broken.jpg", broken, "image/jpeg", ending="quarantine"),
        Upload(
            name="fails-twice.webp",
            path=lucky,
            type="image/webp",
            ending="thumbnails",
            attempts=3,
            extensions={"failtimes": "2"},
        ),
    ]


def content_type(path: Path) -> str:
    return mimetypes.guess_type(path.name)[0] or ""


class Ledger:
    """The journey of every upload. Threads, one a node, tell it the records, another reads; `news`
    is notified at each. What a node did and was killed before settling, another tells again."""

    def __init__(self, pictures: list[Upload]) -> None:
        self.journeys = {picture.name: Journey(picture) for picture in pictures}
        self.news = threading.Condition()
        self.missed = 0
        """Records that the node had to drop: what they told is not known."""

    def take(self, record: dict[str, Any], node: str) -> None:
        with self.news:
            match record.get("record"):
                case "attempt":
                    self._take_attempt(record, node)
                case "log":
                    self._take_log(record)
                case "dropped":
                    self.missed += record["count"]
            self.news.notify_all()

    def ended(self) -> int:
        """How many uploads have come to their end."""
        return sum(journey.ending is not None for journey in self.journeys.values())

    def _take_attempt(self, record: dict[str, Any], node: str) -> None:
        journey = self.journeys.get(record["event"].get("subject", ""))
        if journey is None:
            return
        journey.nodes.add(node)
        trigger = record["trigger"].rpartition("/")[2]
        function = "quarantine" if record["stage"] == "dead_letter" else trigger
        done = record["outcome"] == "done"
        if record["outcome"] == "dead":
            journey.ending, journey.reason = "dead letter", f"{function}: {record['reason']}"
            return
        if function == "store":
            if done:
                journey.stored.add(record["event"]["id"])
            if len(journey.stored) == len(SIZES):
                journey.ending = "thumbnails"
        elif function == "quarantine":
            if done:
                journey.ending = "quarantine"
        else:
            journey.trigger = trigger
            journey.attempts = record["attempt"]
            journey.reason = record["reason"] or journey.reason
            if journey.entered is None:
                journey.entered = record["started"]

    def _take_log(self, record: dict[str, Any]) -> None:
        said = re.search(r"(\S.*): \d+ px square at .* for its (\w+)", record["text"])
        if said and said[1] in self.journeys:
            self.journeys[said[1]].found = said[2]
