"""A wire to a real server that can be cut, with answers lost on it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Wire:
    """Passes bytes on both ways. While `mute`, what the server answers is lost."""

    def __init__(self, port: int) -> None:
        self.mute = False
        self.port = 0
        self._to = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._joined, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Cut everything; may be opened again."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def cut(self) -> None:
        """Cut what there is; who connects again is let through."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _joined(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there = None
        try:
            server_reader, there = await asyncio.open_connection("127.0.0.1", self._to)
            ways = [
                asyncio.ensure_future(self._pass(reader, there, answers=False)),
                asyncio.ensure_future(self._pass(server_reader, writer, answers=True)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            if there is not None:
                there.close()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        while data := await reader.read(1 << 16):
            if not (answers and self.mute):
                writer.write(data)
                await writer.drain()


@contextlib.asynccontextmanager
async def wire(port: int) -> AsyncIterator[Wire]:
    """A wire to the server at this port, closed in the end."""
    made = Wire(port)
    await made.open()
    try:
        yield made
    finally:
        await made.close()
