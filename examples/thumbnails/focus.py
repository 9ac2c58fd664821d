"""Where to look in a picture: the square that shows what matters.

Faces decide where there are any (a Haar cascade, whose model file OpenCV's wheel brings along);
elsewhere the place with the most detail does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import cv2.data
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Gray = NDArray[np.uint8]

LOOK_AT = 480
"""Pixels of the longer side at which a picture is looked at: larger finds no more, only slower."""
FACE_ROOM = 2.2
"""How many times the faces' extent the square spans: a face alone is no portrait."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels, from its upper left corner."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Crop:
    """A square within a picture, in pixels, and what it was chosen for."""

    left: int
    top: int
    side: int
    found: Literal["face", "energy"]


class FaceDetector:
    """Finds faces that look at the camera. Loading takes about 10 ms: do it once a process."""

    def __init__(self) -> None:
        model = Path(cv2.data.haarcascades, "haarcascade_frontalface_default.xml")
        self._cascade = cv2.CascadeClassifier(str(model))
        if self._cascade.empty():
            raise RuntimeError(f"{model} could not be read: install opencv-python-headless 4.x")
        # One picture at a time a worker: more workers, not more threads, use the other cores.
        cv2.setNumThreads(1)

    def faces(self, gray: Gray) -> list[Box]:
        """The faces in `gray`, each at least an eighth of its shorter side wide."""
        smallest = max(24, min(gray.shape) // 8)
        found = self._cascade.detectMultiScale(
            cv2.equalizeHist(gray), scaleFactor=1.1, minNeighbors=6, minSize=(smallest, smallest)
        )
        return [Box(*map(float, face)) for face in found]


def choose_crop(picture: Image.Image, detector: FaceDetector) -> Crop:
    """The square of `picture` to show, whole within it."""
    gray, scale = _look(picture)
    faces = [
        Box(face.left * scale, face.top * scale, face.width * scale, face.height * scale)
        for face in detector.faces(gray)
    ]
    if faces:
        return crop_around(faces, *picture.size)
    return crop_of_most_energy(gray, *picture.size)


def crop_around(faces: Sequence[Box], width: int, height: int) -> Crop:
    """A square around all `faces`, with room, no smaller than half the picture's shorter side."""
    left = min(face.left for face in faces)
    top = min(face.top for face in faces)
    right = max(face.left + face.width for face in faces)
    bottom = max(face.top + face.height for face in faces)
    short = min(width, height)
    side = round(min(short, max(short / 2, FACE_ROOM * max(right - left, bottom - top))))
    return Crop(
        left=_within((left + right) / 2, side, width),
        top=_within((top + bottom) / 2, side, height),
        side=side,
        found="face",
    )


def crop_of_most_energy(gray: Gray, width: int, height: int) -> Crop:
    """The largest square, moved along the longer side to where most detail lies.

    `gray` shows the same picture at a size of its own. Where everything is alike, the middle.
    """
    side = min(width, height)
    wide = width >= height
    values = gray.astype(np.float32)
    detail = np.hypot(
        cv2.Sobel(values, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(values, cv2.CV_32F, 0, 1, ksize=3)
    )
    profile = detail.sum(axis=0 if wide else 1, dtype=np.float64)
    # A flat floor under the profile: noise in a plain picture must not pull the square aside.
    profile += profile.mean() * 0.1 + 1.0
    centre = float((profile * (np.arange(profile.size) + 0.5)).sum() / profile.sum())
    span = profile.size * side / max(width, height)
    start = _window_of_most(profile, round(span), around=centre)
    place = (start + span / 2) * max(width, height) / profile.size
    return Crop(
        left=_within(place, side, width) if wide else 0,
        top=0 if wide else _within(place, side, height),
        side=side,
        found="energy",
    )


def _window_of_most(profile: NDArray[np.float64], span: int, around: float) -> int:
    """Where the window of `span` values with the largest sum starts; of equals, the one whose
    middle is nearest to `around`."""
    sums = np.convolve(profile, np.ones(span), mode="valid")
    best = np.flatnonzero(sums >= sums.max() * (1 - 1e-9))
    return int(best[np.abs(best + span / 2 - around).argmin()])


def _within(centre: float, side: int, length: int) -> int:
    """Where a stretch of `side` around `centre` starts, pushed into 0..length."""
    return int(min(max(round(centre - side / 2), 0), length - side))


def _look(picture: Image.Image) -> tuple[Gray, float]:
    """The picture in gray at no more than LOOK_AT pixels, and what one of its pixels spans."""
    scale = max(1.0, max(picture.size) / LOOK_AT)
    size = (max(1, round(picture.width / scale)), max(1, round(picture.height / scale)))
    seen = picture
    if picture.mode == "RGBA":
        # What is transparent shows as white paper, never as whatever colour lies beneath.
        seen = Image.new("RGBA", picture.size, "white")
        seen.alpha_composite(picture)
    small = seen.convert("L").resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(small, dtype=np.uint8), scale
