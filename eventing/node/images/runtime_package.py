"""How eventing itself comes into an image: by name from the index, or as a wheel made here."""

import json
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from eventing.errors import OperationError

NAME = "eventing-runtime"
_WHEEL_SECONDS = 300


@dataclass(frozen=True, slots=True)
class RuntimePackage:
    """`requirement` for pip. `wheel`: the file's name, where it is not a release of the index, so
    that a wheel made here has to go along."""

    requirement: str
    wheel: str = ""


def runtime_package() -> RuntimePackage:
    """As it is installed here: a release by its version, everything else as the same code."""
    try:
        distribution = metadata.distribution(NAME)
    except metadata.PackageNotFoundError:
        return RuntimePackage(str(_checkout()), _wheel("0"))
    text = distribution.read_text("direct_url.json")
    if text is None:
        return RuntimePackage(f"{NAME}=={distribution.version}")
    told = json.loads(text)
    url = told["url"]
    if url.startswith("file:"):
        return RuntimePackage(unquote(urlsplit(url).path), _wheel(distribution.version))
    if "vcs_info" in told:
        vcs = told["vcs_info"]
        url = f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
    return RuntimePackage(f"{NAME} @ {url}", _wheel(distribution.version))


def _wheel(version: str) -> str:
    return f"{NAME.replace('-', '_')}-{version}-py3-none-any.whl"


def _checkout() -> Path:
    """The folder this runs from, without having been installed."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "pyproject.toml").is_file():
        raise OperationError(
            f"{NAME} runs from {root} without having been installed, so nobody can say how to "
            f"install it into an image; install it with pip"
        )
    return root


def put_wheel(package: RuntimePackage, folder: Path) -> str:
    """Make its wheel in `folder`; the file's name. Raises OperationError."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    try:
        ran = subprocess.run(
            [*command, str(folder), "--", package.requirement],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_WHEEL_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise OperationError(
            f"a wheel of {package.requirement} was not made within {_WHEEL_SECONDS} s"
        ) from None
    if ran.returncode != 0:
        said = ran.stderr.strip()
        if "No module named pip" in said:
            said = f"{sys.executable} has no pip; `{sys.executable} -m ensurepip` installs it"
        raise OperationError(f"no wheel of {package.requirement} could be made:\n{said}")
    (wheel,) = folder.glob("*.whl")
    return wheel.name
