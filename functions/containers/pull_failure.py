"""Why an image could not be pulled, and what to do about it. Pure: engines' words in, ours out."""

from functions.containers.engine_error import EngineError

_NOT_FOUND = ("manifest unknown", "not found", "name unknown", "no such image", "does not exist")
_DENIED = ("denied", "unauthorized", "authentication required", "forbidden", "no basic auth")
_UNREACHABLE = (
    "connection refused",
    "no such host",
    "timeout",
    "timed out",
    "deadline exceeded",
    "dial tcp",
    "unreachable",
    "connection reset",
    "server misbehaving",
    "temporary failure in name resolution",
    "eof",
)
_UNTRUSTED = ("x509", "certificate", "server gave http response to https client")
_INVALID = ("invalid reference format", "repository name must be lowercase")

_KEPT = 300
"""Characters of the engine's own words."""
DOCKER_HUB = "docker.io"


class PullFailed(EngineError):
    """The image can't be had; the message says why and what to do."""


def why_not_pulled(image: str, words: str) -> str:
    """`words`: what the engine said. The most telling of them decide: a registry that can't be
    reached is also said to be "not found" here and there."""
    said = f"the engine said: {_cut(words)}"
    low = words.lower()
    registry = registry_of(image)
    if any(each in low for each in _INVALID):
        return f"{image!r} is no image name: write registry/name:tag; {said}"
    if any(each in low for each in _UNTRUSTED):
        return (
            f"the image {image} could not be pulled: the registry {registry} has no certificate the"
            f" engine trusts; add its CA to the engine's, or allow that registry as an insecure"
            f" one in the engine's settings; {said}"
        )
    if any(each in low for each in _UNREACHABLE):
        return (
            f"the image {image} could not be pulled: the registry {registry} can't be reached;"
            f" {said}"
        )
    denied = any(each in low for each in _DENIED)
    missing = any(each in low for each in _NOT_FOUND)
    if denied and missing:
        # Docker Hub does not tell a stranger which.
        return (
            f"the image {image} could not be pulled: the registry {registry} has no such"
            f" repository, or lets only others see it; check its name, or log in with"
            f" `{_login(registry)}`; {said}"
        )
    if denied:
        return (
            f"the image {image} may not be pulled from {registry}: log in with"
            f" `{_login(registry)}` as somebody who may; {said}"
        )
    if missing:
        return (
            f"the image {image} was not found in the registry {registry}: check its name and tag;"
            f" {said}"
        )
    return f"the image {image} could not be pulled from {registry}; {said}"


def registry_of(image: str) -> str:
    """The registry an image's name means: its first part where that looks like a host."""
    first, slash, _ = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return first
    return DOCKER_HUB


def _login(registry: str) -> str:
    return "docker login" if registry == DOCKER_HUB else f"docker login {registry}"


def _cut(words: str) -> str:
    text = " ".join(words.split())
    return text if len(text) <= _KEPT else f"{text[:_KEPT]}…"
