"""From a file's bytes to a picture, and from a picture to thumbnails.

Whatever the bytes are, `open_picture` ends in a picture of mode RGB or RGBA, upright, or in an
`Unreadable` that says why.
"""

from importlib import import_module
from io import BytesIO

import numpy as np
from focus import Crop
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""What is decoded. Pillow knows many more, some of which start other programs."""
# Their decoders are loaded with this module, not by the first picture a worker meets.
Image.preinit()
for plugin in ("TiffImagePlugin", "WebPImagePlugin"):
    import_module(f"PIL.{plugin}")
MAX_PIXELS = 50_000_000
"""A picture of more is refused before it is decoded: it would take over 200 MB of memory."""
SIZES = (64, 160, 320)
"""Sides of the thumbnails, in pixels."""
SUFFICIENT = 4 * max(SIZES)
"""A JPEG is decoded to no less than this many pixels a side, and not much more: faster."""


class Unreadable(ValueError):
    """These bytes are no picture that can be shown; the message is the reason."""


def open_picture(data: bytes) -> Image.Image:
    """Decode `data`: the first frame, turned as its EXIF orientation says, RGB or RGBA.

    Raises Unreadable for what is no image, is of another format, is broken or truncated, or has
    more than MAX_PIXELS pixels.
    """
    if not data:
        raise Unreadable("the event carries no bytes")
    try:
        picture = Image.open(BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise Unreadable(
            f"{len(data)} bytes that are no image of a known format ({known})"
        ) from None
    except Image.DecompressionBombError as error:
        raise Unreadable(str(error)) from None
    except Exception as error:
        raise _broken("image", error) from error
    kind = picture.format or "image"
    if picture.width * picture.height > MAX_PIXELS:
        pixels = f"{picture.width} × {picture.height} pixels"
        raise Unreadable(f"{kind} of {pixels}; at most {MAX_PIXELS:,} are decoded")
    try:
        picture.draft(picture.mode, (SUFFICIENT, SUFFICIENT))
        picture.load()
        upright = ImageOps.exif_transpose(picture)
        return _as_rgb(upright)
    except MemoryError:
        raise
    except Exception as error:
        # A decoder that is fed garbage may raise anything; all of it is the bytes' fault.
        raise _broken(kind, error) from error


def make_thumbnail(picture: Image.Image, crop: Crop, size: int) -> bytes:
    """The square `crop` of `picture` at `size` × `size` pixels, as WebP; transparency is kept."""
    box = (crop.left, crop.top, crop.left + crop.side, crop.top + crop.side)
    small = picture.resize((size, size), Image.Resampling.LANCZOS, box=box, reducing_gap=3.0)
    file = BytesIO()
    profile = picture.info.get("icc_profile")
    small.save(file, "WEBP", quality=82, method=4, icc_profile=profile or b"")
    return file.getvalue()


def _as_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in ("RGB", "RGBA"):
        return picture
    if picture.mode.startswith(("I", "F")):
        picture = _in_eight_bits(picture)
    converted = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    # A colour profile describes the channels there were, and these are others.
    converted.info.pop("icc_profile", None)
    return converted


def _in_eight_bits(picture: Image.Image) -> Image.Image:
    """Gray of 16 or 32 bits or of floats, stretched so that its darkest is black, its lightest
    white: Pillow's own conversion would cut everything above 255 off."""
    values = np.nan_to_num(np.asarray(picture).astype(np.float64), posinf=0.0, neginf=0.0)
    darkest, lightest = values.min(), values.max()
    spread = (values - darkest) * (255.0 / max(lightest - darkest, 1e-9))
    return Image.fromarray(spread.astype(np.uint8))


def _broken(kind: str, error: Exception) -> Unreadable:
    reason = str(error) or type(error).__name__
    return Unreadable(f"broken {kind}: {reason}")
