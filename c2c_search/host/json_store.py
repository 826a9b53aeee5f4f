"""A folder of JSON files that keeps finished work, so that nothing is measured twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from c2c_search.errors import StoreError
from c2c_search.host.files import write_text
from c2c_search.host.names import is_fit


Model = TypeVar("Model", bound=BaseModel)


class JsonStore:
    """Finished pieces of work as JSON files, each written whole or not at all.

    Args:
        folder: Made when the first piece is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """The file of a piece, whether it exists or not.

        Args:
            key: Names made by `host.names.fit`, between slashes.

        Raises:
            ValueError: It is not made of such names, and could lie outside the folder.
        """
        if not all(map(is_fit, key.split("/"))):
            raise ValueError(f"a key is made of fit names: {key!r}")
        return self.folder / f"{key}.json"

    def load(self, key: str, model: type[Model]) -> Model | None:
        """Read a piece; None if it isn't finished.

        Raises:
            StoreError: The file is there but isn't what was written.
        """
        path = self.path(key)
        try:
            return model.model_validate(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise StoreError(
                "A study's results must be as this version wrote them.",
                value=str(path),
                hint="Delete that file to measure this piece again.",
            ) from error

    def save(self, key: str, piece: BaseModel) -> Path:
        """Keep a piece.

        Raises:
            StoreError: The disk is full or the folder cannot be written.
        """
        path = self.path(key)
        try:
            # Not pydantic's own writer, which makes NaN a null that cannot be read back.
            write_text(path, json.dumps(piece.model_dump(mode="json"), indent=1) + "\n")
        except OSError as error:
            raise StoreError(
                "A study's results must be writable.", value=f"{path}: {error.strerror}"
            ) from error
        return path
