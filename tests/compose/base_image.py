"""The image that compose/Dockerfile is built on: pulled where a registry is at hand, else a Debian
with Python put together by debootstrap, once, and kept in the user's cache folder.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from image_engines import BUILD_SECONDS, ImageEngine
from server_process import ServerUnavailable

_SUITE = "bookworm"
_PACKAGES = "python3,python3-venv,ca-certificates"
_AUTHORITIES = Path("etc/ssl/certs/ca-certificates.crt")


def base_image(engine: ImageEngine, wanted: str) -> str:
    """`wanted`, or the name of an image that is as good. Raises ServerUnavailable."""
    if engine.pull(wanted):
        return wanted
    engine.load("localhost/eventing-test-python", _debian())
    return "localhost/eventing-test-python"


def _debian() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eventing-servers"
    system = cache / f"debian-{_SUITE}-python.tar"
    if system.exists():
        return system
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        raise ServerUnavailable(
            "the image to build on can't be pulled, and putting one together needs root and "
            "debootstrap: apt install debootstrap"
        )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="debian-") as temporary:
        root, made = Path(temporary) / "root", Path(temporary) / system.name
        _run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, str(root))
        _trust_as_here(root)
        _run("tar", "--create", f"--directory={root}", f"--file={made}", ".")
        made.rename(system)
    return system


def _trust_as_here(root: Path) -> None:
    """Who is between this machine and the package index is between the image and it as well."""
    here = Path("/") / _AUTHORITIES
    if here.exists():
        shutil.copyfile(here, root / _AUTHORITIES)
    settings = Path("/etc/pip.conf")
    if settings.exists():
        shutil.copyfile(settings, root / "etc/pip.conf")


def _run(*command: str) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS)
    if ran.returncode != 0:
        said = (ran.stdout + ran.stderr).strip()[-1_500:]
        raise ServerUnavailable(f"{command[0]} failed and said:\n{said}")
