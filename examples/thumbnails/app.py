"""The functions of the example: an image comes in, thumbnails and dead letters come out.

    com.example.image.uploaded ─► thumbnail ─► 3 × com.example.image.thumbnail ─► store
                                      └─ dead letter ─► quarantine

wiring.yaml says which event goes where; picture.py, focus.py and folder.py hold what is done.
"""

import json
import os
from base64 import b64decode
from pathlib import Path

from focus import FaceDetector, choose_crop
from folder import file_name, write_whole
from picture import SIZES, Unreadable, make_thumbnail, open_picture

from eventing import CloudEvent, Context, Reject, Retry, function

THUMBNAIL = "com.example.image.thumbnail"

detector: FaceDetector


@function(timeout=30, concurrency=1, scale=(0, 4), memory="512Mi")
def thumbnail(event: CloudEvent, context: Context) -> list[CloudEvent]:
    """Answer a picture with its thumbnails, one event a size. What is no picture is rejected: no
    retry would make it one."""
    return thumbnails_of(event, context)


@function(timeout=30, concurrency=1, scale=(0, 1), memory="512Mi")
def flaky(event: CloudEvent, context: Context) -> list[CloudEvent]:
    """For demonstrations only: `thumbnail`, after as many failures as `failtimes` asks for."""
    asked = str(event.get_extension("failtimes"))
    if not asked.isdecimal():
        raise Reject(f"the extension failtimes is {asked!r}, not a number of failures")
    failures = int(asked)
    if context.attempt <= failures:
        raise Retry(after=0.2, reason=f"asked to fail {failures} times, this is {context.attempt}")
    return thumbnails_of(event, context)


@thumbnail.on_start
@flaky.on_start
def load_detector() -> None:
    """Load the model, once a worker and before its first event."""
    global detector
    detector = FaceDetector()


def thumbnails_of(event: CloudEvent, context: Context) -> list[CloudEvent]:
    """One event a size; their ids come from the picture's, so that handling it twice makes no
    others. `size` is a thumbnail's side, `width` and `height` are the picture's, `found` is what
    the crop was chosen for."""
    try:
        picture = open_picture(event_bytes(event))
    except Unreadable as error:
        raise Reject(str(error)) from error
    crop = choose_crop(picture, detector)
    place = f"{crop.side} px square at {crop.left}, {crop.top}"
    context.logger.info(f"{image_name(event)}: {place} for its {crop.found}")
    return [
        context.event(
            THUMBNAIL,
            make_thumbnail(picture, crop, size),
            subject=image_name(event),
            datacontenttype="image/webp",
            size=size,
            found=crop.found,
            width=picture.width,
            height=picture.height,
        )
        for size in SIZES
    ]


@function(timeout=10, scale=(0, 1))
def store(event: CloudEvent) -> None:
    """Write a thumbnail to its image's folder in THUMBNAILS_DIR; twice the same is once."""
    size = str(event.get_extension("size"))
    if size not in map(str, SIZES):
        raise Reject(f"the extension size is {size!r}, not one of {SIZES}")
    folder = Path(os.environ.get("THUMBNAILS_DIR", "out/thumbnails"))
    write_whole(folder / file_name(image_name(event)) / f"{size}.webp", event_bytes(event))


@function(timeout=10, scale=(0, 1))
def quarantine(event: CloudEvent) -> None:
    """Keep what failed for good: its bytes as they came, and beside them why it failed."""
    folder = Path(os.environ.get("QUARANTINE_DIR", "out/quarantine"))
    kept = folder / file_name(image_name(event))
    attributes = {name: str(value) for name, value in event.get_attributes().items()}
    reason = b64decode(attributes.get("knativeerrordata", "")).decode(errors="replace")
    about = json.dumps({"reason": reason, "attributes": attributes}, indent=2, ensure_ascii=False)
    write_whole(kept, event_bytes(event))
    write_whole(kept.with_name(f"{kept.name}.json"), about.encode())


def event_bytes(event: CloudEvent) -> bytes:
    """The event's data as it is stored, whatever its content type made of it."""
    data = event.get_data()
    if isinstance(data, bytes):
        return data
    if isinstance(data, str):
        return data.encode()
    return b"" if data is None else json.dumps(data).encode()


def image_name(event: CloudEvent) -> str:
    """The image's name: the event's subject, or its id where it has none."""
    return event.get_subject() or event.get_id()
