"""Pip's own settings on this machine, for the builds that need the same index, proxy or authority.

They hold credentials, so they go to a build as secrets and stay in no layer.
"""

import configparser
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eventing.errors import UserError

PASSED = (
    "index-url",
    "extra-index-url",
    "no-index",
    "find-links",
    "trusted-host",
    "proxy",
    "cert",
    "client-cert",
    "timeout",
    "retries",
    "pre",
    "prefer-binary",
    "only-binary",
    "no-binary",
)
"""Options that decide where packages come from and which; by their long names."""
_FILES = {"cert": "pip-ca.pem", "client-cert": "pip-client.pem"}
MOUNT = Path("/run/secrets")
"""Where a build finds secrets."""


@dataclass(frozen=True, slots=True)
class PipSettings:
    """`values` as pip.conf has them, `not_passed` those that hold for this machine alone."""

    values: Mapping[str, str] = field(default_factory=dict)
    not_passed: tuple[str, ...] = ()

    def write_into(self, folder: Path) -> dict[str, Path]:
        """The secrets of a build, as files by their ids; none where nothing is set."""
        if not self.values:
            return {}
        secrets = {}
        lines = ["[global]"]
        for name, value in self.values.items():
            file = _FILES.get(name)
            if file is not None:
                secrets[file] = Path(value)
                value = str(MOUNT / file)
            lines.append(f"{name} = " + "\n    ".join(value.split()))
        path = folder / "pip.conf"
        path.touch(mode=0o600)
        path.write_text("\n".join(lines) + "\n")
        return {"pip.conf": path, **secrets}


def pip_settings(environment: Mapping[str, str], home: Path) -> PipSettings:
    """What pip's files and variables say: files of the system, of the user, of this environment,
    PIP_CONFIG_FILE, variables, the later before the earlier. Raises UserError."""
    found: dict[str, str] = {}
    for file in _config_files(environment, home):
        found |= _file_values(file)
    for variable, value in environment.items():
        if variable.startswith("PIP_") and value:
            found[_name(variable.removeprefix("PIP_"))] = value
    values: dict[str, str] = {}
    not_passed = []
    for name in PASSED:
        value = found.get(name, "")
        if name == "find-links":
            local = [each for each in value.split() if "://" not in each]
            if local:
                not_passed.append(f"find-links {' '.join(local)}")
            value = " ".join(each for each in value.split() if "://" in each)
        if name in _FILES and value and not Path(value).is_file():
            raise UserError(f"pip's setting {name} names {value}, which is no file")
        if value:
            values[name] = value
    if found.get("constraint"):
        not_passed.append(f"constraint {found['constraint']}")
    return PipSettings(values, tuple(not_passed))


def _config_files(environment: Mapping[str, str], home: Path) -> Iterator[Path]:
    own = environment.get("PIP_CONFIG_FILE", "")
    if own == os.devnull:
        return
    system = environment.get("XDG_CONFIG_DIRS") or "/etc/xdg"
    for folder in reversed(system.split(os.pathsep)):
        yield Path(folder, "pip", "pip.conf")
    yield Path("/etc/pip.conf")
    yield home / ".pip" / "pip.conf"
    yield Path(environment.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf")
    yield Path(sys.prefix, "pip.conf")
    if own:
        yield Path(own)


def _file_values(file: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(file.read_text(encoding="utf-8"), str(file))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise UserError(f"pip's settings can't be read: {' '.join(str(error).split())}") from None
    values: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            values |= {_name(name): " ".join(v.split()) for name, v in parser.items(section)}
    return values


def _name(option: str) -> str:
    return option.lower().replace("_", "-")
