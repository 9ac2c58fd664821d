"""Which image a name means on this engine, pulled as the pull policy says.

Those who ask for the same image at the same time share one pull.
"""

import asyncio

from functions.containers.engine import Engine
from functions.containers.engine_error import EngineAway, EngineError
from functions.containers.pull_failure import PullFailed, registry_of, why_not_pulled
from functions.containers.spec import Pull


class Images:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pulls: dict[str, asyncio.Task[None]] = {}

    async def resolve(self, image: str, pull: Pull) -> str:
        """The id of the image, which then is on this engine. Raises PullFailed where it can't be
        had, EngineError where the engine fails."""
        if pull != "Always":
            id = await self._find(image)
            if id is not None:
                return id
            if pull == "Never":
                raise PullFailed(
                    f"the image {image} is not on this machine, and its pull policy is Never: build"
                    " or pull it, or give imagePullPolicy: IfNotPresent"
                )
        await self._pulled(image)
        id = await self._find(image)
        if id is None:
            raise PullFailed(f"the image {image} was pulled, and the engine does not have it")
        return id

    async def close(self) -> None:
        """Nobody waits for a pull any more; the engine may go on with it."""
        for task in self._pulls.values():
            task.cancel()
        await asyncio.gather(*self._pulls.values(), return_exceptions=True)

    async def _find(self, image: str) -> str | None:
        try:
            id = await self._engine.image_id(image)
        except EngineAway:
            raise
        except EngineError as error:
            raise PullFailed(why_not_pulled(image, str(error))) from None
        if id is None and "/" not in image and registry_of(image) != "localhost":
            # What Podman and Buildah have built here has this host's name before its own.
            id = await self._engine.image_id(f"localhost/{image}")
        return id

    async def _pulled(self, image: str) -> None:
        task = self._pulls.get(image)
        if task is None:
            task = asyncio.get_running_loop().create_task(
                self._engine.pull(image), name=f"pull {image}"
            )
            self._pulls[image] = task
            task.add_done_callback(lambda ended: self._forget(image, ended))
        # One who gives up does not end it for the others.
        await asyncio.shield(task)

    def _forget(self, image: str, task: "asyncio.Task[None]") -> None:
        self._pulls.pop(image, None)
        if not task.cancelled():
            task.exception()  # Whoever waited was told; there may be nobody left.
