"""JSON files that somebody else may have written: one meaning, or an error."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from c2c_search.errors import IntegrityError


LARGEST = 64 * 2**20
"""Bytes of a JSON file that is read: a manifest with long questions has a few thousand."""


def read_object(path: Path, *, hint: str = "") -> dict[str, Any]:
    """Read a JSON object; a key twice, NaN and infinity have no meaning and are refused.

    Args:
        path: The file.
        hint: The way out, for the error.

    Raises:
        FileNotFoundError: There is no such file.
        IntegrityError: It is not a JSON object.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"it has more than {LARGEST:,} bytes")
        content = parse(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}")
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise IntegrityError(
            f"{path.name} must be a JSON object.", value=str(error), hint=hint
        ) from None
    return content


def parse(text: str | bytes) -> Any:
    """Parse JSON text.

    Raises:
        ValueError: It is none, or a key stands twice, or a number is none.
        RecursionError: It is nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)


def content_sha256(content: Any) -> str:
    """SHA-256 of JSON content, whatever the order of its keys, as lower-case hex.

    Raises:
        ValueError: A number is NaN or infinite.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return content


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")
