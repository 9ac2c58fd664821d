"""For the demo: whether everything went as it should, and if not, what did not."""

import json
from collections.abc import Iterator
from pathlib import Path

from folder import file_name
from journeys import Journey, Ledger, Upload
from picture import SIZES
from PIL import Image


def faults(ledger: Ledger, thumbnails: Path, quarantine: Path) -> Iterator[str]:
    """Everything that is not as it should be, one line each."""
    for name, journey in ledger.journeys.items():
        upload = journey.upload
        if journey.ending is None:
            yield f"{name}: came to no end; {journey.reason or 'nothing is known of it'}"
        elif journey.ending == "dead letter":
            yield f"{name}: given up: {journey.reason}"
        elif upload.ending not in (None, journey.ending):
            yield f"{name}: ended as {journey.ending}, not as {upload.ending}: {journey.reason}"
        else:
            yield from _of_attempts(journey)
            if journey.ending == "thumbnails":
                yield from _of_thumbnails(journey, thumbnails / file_name(name))
            elif journey.ending == "quarantine":
                yield from _of_quarantine(upload, quarantine / file_name(name))
    if ledger.missed:
        yield f"{ledger.missed} records of what happened were missed"


def _of_attempts(journey: Journey) -> Iterator[str]:
    expected = 0 if journey.ending == "refused" else journey.upload.attempts
    if journey.attempts != expected:
        yield f"{journey.upload.name}: {journey.attempts} attempts, expected {expected}"


def _of_thumbnails(journey: Journey, folder: Path) -> Iterator[str]:
    name = journey.upload.name
    if not journey.found:
        yield f"{name}: nothing was logged of its crop"
    for size in SIZES:
        path = folder / f"{size}.webp"
        if not path.is_file():
            yield f"{name}: {path} is missing"
            continue
        with Image.open(path) as picture:
            if picture.size != (size, size):
                yield f"{name}: {path} has {picture.width} × {picture.height} pixels"


def _of_quarantine(upload: Upload, kept: Path) -> Iterator[str]:
    about = kept.with_name(f"{kept.name}.json")
    if not kept.is_file() or not about.is_file():
        yield f"{upload.name}: {kept} or {about} is missing"
        return
    if kept.read_bytes() != upload.path.read_bytes():
        yield f"{upload.name}: {kept} does not hold the bytes that were sent"
    told = json.loads(about.read_text())
    expected = {"knativeerrordest", "knativeerrorcode", "knativeerrordata"}
    lacking = expected - told["attributes"].keys()
    if lacking:
        yield f"{upload.name}: {about} lacks {', '.join(sorted(lacking))}"
    elif not told["reason"]:
        yield f"{upload.name}: {about} gives no reason"
