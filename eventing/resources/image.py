"""The name of a container image, and when it is pulled where nobody says."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator

Pull = Literal["Always", "IfNotPresent", "Never"]

_PART = r"[a-z0-9]+(?:(?:\.|__|_|-+)[a-z0-9]+)*"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_IMAGE = re.compile(
    rf"(?:{_REGISTRY}/)?{_PART}(?:/{_PART})*"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(?:@(?P<digest>[A-Za-z][A-Za-z0-9]*(?:[+._-][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}))?",
    re.ASCII,
)
_LONGEST = 1024
_EXAMPLE = "registry.example/shop/thumbnail:1.2"
_PLACEHOLDER = re.compile(r"\{[^}]*\}|<[^>]*>|\$\w+")


def default_pull(image: str) -> Pull:
    """Kubernetes' imagePullPolicy where it is left out: a tag that moves is asked for each time."""
    match = _IMAGE.fullmatch(image)
    if match is None or match["digest"] is not None:
        return "IfNotPresent"
    return "Always" if match["tag"] in (None, "latest") else "IfNotPresent"


def _check(image: str) -> str:
    if not _is_image(image):
        shown = image if len(image) <= 80 else f"{image[:80]}…"
        raise ValueError(f'"{shown}" is no name of an image such as "{_EXAMPLE}"{_mend(image)}')
    return image


def _is_image(text: str) -> bool:
    return len(text) <= _LONGEST and _IMAGE.fullmatch(text) is not None


def _mend(image: str) -> str:
    if len(image) > _LONGEST:
        return f"; it is longer than {_LONGEST} characters"
    scheme, separator, rest = image.partition("://")
    if separator and _is_image(rest):
        return f'; leave out "{scheme}://"'
    placeholder = _PLACEHOLDER.search(image)
    if placeholder is not None:
        return f'; put your own name in place of "{placeholder[0]}"'
    if _is_image(image.strip()):
        return "; leave out the white space"
    return f'; did you mean "{image.lower()}"?' if _is_image(image.lower()) else ""


Image = Annotated[str, AfterValidator(_check)]
"""[registry/]name[:tag][@digest], as the OCI distribution specification has it."""
