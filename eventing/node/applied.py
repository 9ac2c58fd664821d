"""Resources that came by `eventing apply`, kept in the data folder: they outlive the node."""

import json
import os
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from eventing.errors import StorageError
from eventing.resources import Identity, Loaded, Resource, load


class AppliedResources:
    """One file a resource in `folder`; Secrets stand in it as they are, so the folder is the
    owner's alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self) -> Loaded:
        # Named one by one: of a folder only YAML files would be taken.
        return load(sorted(self._folder.glob("*.json")))

    def holds(self, identity: Identity) -> bool:
        return self._file(identity).exists()

    def save(self, resource: Resource) -> None:
        """Write or replace the resource's file. Raises StorageError."""
        document = {"apiVersion": resource.api_version, "kind": resource.kind} | (
            resource.model_dump(by_alias=True, exclude_unset=True, exclude_none=True)
        )
        text = json.dumps(document, indent=2, default=_revealed)
        file = self._file(resource.identity)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = file.with_suffix(".new")
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(file)
        except OSError as error:
            raise StorageError(f"{resource.identity} could not be kept: {error}") from error

    def delete(self, identity: Identity) -> None:
        self._file(identity).unlink(missing_ok=True)

    def _file(self, identity: Identity) -> Path:
        return self._folder / f"{'.'.join(part for part in identity if part)}.json"


def _revealed(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    raise TypeError(f"{type(value).__name__} is nothing a resource holds")
