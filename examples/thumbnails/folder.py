"""Files named by strangers, written so that nobody ever sees half of one."""

import hashlib
import os
import tempfile
from pathlib import Path

LONGEST = 120
"""Bytes of a name; file systems take 255, and suffixes must fit as well."""


def file_name(name: str) -> str:
    """`name` as one file's name that can't leave its folder nor hide in it.

    Letters and digits of any language, "-", "_", "." and spaces stay. What had to be changed gets
    a digest of the whole, so that two names never become one.
    """
    kept = "".join(c if c.isalnum() or c in "-_. " else "_" for c in name).strip(". ")
    kept = kept.encode()[:LONGEST].decode(errors="ignore")
    if kept and kept == name:
        return kept
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:10]
    return f"{digest}-{kept}" if kept else digest


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path` by way of a file beside it: readers see all of it or what was there
    before. Writing the same again changes nothing, so an event may come twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
