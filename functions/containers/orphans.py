"""Whether a killed node may have left containers, asked without the SDK: it takes long to import,
and most nodes run no container at all.
"""

import asyncio
import json
import os
from typing import Final
from urllib.parse import quote

from functions.containers.engine_error import EngineAway
from functions.containers.engine_place import find_engine, usable_socket
from functions.containers.labels import node_label

_TIMEOUT: Final = 5.0
_MOST: Final = 1 << 20


async def may_have_containers(url: str | None, node: str) -> bool:
    """False where there is no engine, or it has none of this node. Also for engines that are not
    on a socket of this machine: theirs are found once a container is to run."""
    try:
        place = find_engine(url, os.environ, usable_socket)
    except EngineAway:
        return False
    if place.socket is None:
        return False
    filters = quote(json.dumps({"label": [node_label(node)]}))
    request = (
        f"GET /containers/json?all=1&limit=1&filters={filters} HTTP/1.0\r\nhost: engine\r\n\r\n"
    )
    try:
        async with asyncio.timeout(_TIMEOUT):
            reader, writer = await asyncio.open_unix_connection(place.socket)
            try:
                writer.write(request.encode())
                answer = await reader.read(_MOST)
                while piece := await reader.read(_MOST):
                    answer += piece
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    head, _, body = answer.partition(b"\r\n\r\n")
    try:
        return head.split(b" ", 2)[1] == b"200" and bool(json.loads(body))
    except (IndexError, ValueError):
        return False
