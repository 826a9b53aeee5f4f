"""URLs as they may be shown."""

from __future__ import annotations

import re


_USER = re.compile(r"(://[^:/@\s]*):[^/\s]*@")
_QUERY = re.compile(r"([?&](?:password|passwd|token)=)[^&\s]*", re.IGNORECASE)


def without_password(text: str) -> str:
    """A URL, or a text with URLs in it, with stars for passwords."""
    return _QUERY.sub(r"\1***", _USER.sub(r"\1:***@", text))
