"""Packages of npm for tests: installed once as a package-lock.json pins them, checked against the
sums that stand there, and kept in the user's cache folder.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from server_process import ServerUnavailable

FETCH_SECONDS = 300
NODE = 18
_PINNED = ("package.json", "package-lock.json")
_INSTALL = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
# So that a registry that is out of reach is told soon.
_SOON = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=1000")
# What a package asks for is tried with the Node.js that is there.
_ANY_NODE = "--no-engine-strict"
_refused: dict[Path, str] = {}


def npm_packages(pinned: Path) -> Path:
    """The node_modules folder with what the package-lock.json in the folder `pinned` names. Read
    it, do not write to it: others share it.

    npm's own settings (its registry, a proxy) are honoured; no script of a package is run;
    several processes may ask at once. Raises ServerUnavailable with what to install, or with what
    npm said, and then does not try again in this process.
    """
    digest = hashlib.sha256(b"".join((pinned / name).read_bytes() for name in _PINNED)).hexdigest()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eventing-servers"
    folder = caches / f"npm-{digest[:16]}"
    _check_programs()
    if not folder.is_dir():
        if folder in _refused:
            raise ServerUnavailable(_refused[folder])
        try:
            _install(pinned, folder)
        except ServerUnavailable as error:
            _refused[folder] = str(error)
            raise
    return folder / "node_modules"


def _check_programs() -> None:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise ServerUnavailable(
                f"{program} is not installed, and tests need packages of npm: apt install npm"
            )
    told = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=60)
    version = told.stdout.strip()
    found = re.match(r"v(\d+)\.", version)
    if found is None or int(found[1]) < NODE:
        raise ServerUnavailable(
            f"packages of npm need Node.js {NODE} or newer, and node is "
            f"{version or 'of no known version'}"
        )


def _install(pinned: Path, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="installing-") as temporary:
        packages = Path(temporary) / "packages"
        packages.mkdir()
        for name in _PINNED:
            shutil.copy(pinned / name, packages)
        try:
            ran = subprocess.run(
                [*_INSTALL, *_SOON, _ANY_NODE],
                cwd=packages,
                capture_output=True,
                text=True,
                timeout=FETCH_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise ServerUnavailable(
                f"npm did not install what {pinned} pins within {FETCH_SECONDS} s"
            ) from None
        if ran.returncode != 0 or not (packages / "node_modules").is_dir():
            said = (ran.stderr + ran.stdout).strip()[-1_500:]
            raise ServerUnavailable(f"npm could not install what {pinned} pins; it said:\n{said}")
        try:
            packages.rename(folder)
        except OSError:
            # Another process was faster; what it put there is as good.
            if not folder.is_dir():
                raise
