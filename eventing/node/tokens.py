"""Who may send events: bearer tokens of a file, each for some brokers or for all."""

import hmac
from collections.abc import Mapping
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Literal

from eventing.errors import UserError

SHORTEST = 16
"""Characters of a token: shorter ones are guessed."""


class Tokens:
    """Decides for the ingress: None lets a request in, 401 is no or an unknown token, 403 one that
    is not for this broker. Only hashes of the tokens are kept."""

    def __init__(self, brokers_by_hash: Mapping[bytes, tuple[str, ...]]) -> None:
        self._brokers_by_hash = brokers_by_hash

    def authorize(
        self, namespace: str, name: str, headers: Mapping[bytes, bytes]
    ) -> Literal[401, 403] | None:
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return 401
        given = sha256(token.strip()).digest()
        for known, patterns in self._brokers_by_hash.items():
            if hmac.compare_digest(known, given):
                broker = f"{namespace}/{name}"
                return None if any(fnmatchcase(broker, each) for each in patterns) else 403
        return 401


def read_tokens(file: Path) -> Tokens:
    """Read a file with one token a line, then the brokers it is for: `namespace/name`, `*` for any
    part; without brokers it is for all. Empty lines and those that begin with `#` count for
    nothing. Raises UserError, which never shows a token.
    """
    try:
        text = file.read_text(encoding="utf-8")
        exposed = file.stat().st_mode & 0o007
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: the tokens can't be read: {error}") from None
    if exposed:
        raise UserError(f"{file}: everybody on this machine may read it; chmod 600 {file}")
    brokers: dict[bytes, tuple[str, ...]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        token, *patterns = words
        if len(token) < SHORTEST or not token.isascii():
            raise UserError(
                f"{file}:{number}: a token has {SHORTEST} ASCII characters or more; "
                "`openssl rand -hex 32` makes a good one"
            )
        for pattern in patterns:
            if pattern.count("/") != 1:
                raise UserError(f"{file}:{number}: {pattern} is no broker, as namespace/name")
        key = sha256(token.encode()).digest()
        if key in brokers:
            raise UserError(f"{file}:{number}: the same token stands further up")
        brokers[key] = tuple(patterns) or ("*/*",)
    if not brokers:
        raise UserError(f"{file}: it holds no token, so nobody could send an event")
    return Tokens(brokers)
