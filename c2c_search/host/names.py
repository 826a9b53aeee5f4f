"""Names made of data, fit for every store that takes names: files, artifacts, metrics, keys."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence


LONGEST = 100  # bytes; with an ending and a neighbour's name it stays below every store's limit
_LONGEST_COMPONENT = 150  # bytes of a name with such an ending

_DIGITS = 10  # hexadecimal, of the text's SHA-256: 40 bits between texts that look alike
_LONGEST_PATH = 200  # bytes; MLflow takes 250 characters, and has a prefix before these
# Lower case and ASCII: some stores fold case, accents, or the ways of composing a letter.
_PLAIN = re.compile(r"[a-z0-9_]+([ .-][a-z0-9_]+)*", re.ASCII)
_MARKED = re.compile(rf"(.*-)?[0-9a-f]{{{_DIGITS}}}", re.DOTALL)
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.DOTALL)

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""What a user may call what becomes a file's name and a key of every store."""

REGISTERED = r"^[^/:\s.]([^/:]*[^/:\s])?$"
"""What a user may call a model of MLflow's registry."""

IN_WORDS = {
    NAME: "Letters, digits, dots, dashes and underscores of ASCII; the first is a letter or a "
    "digit.",
    REGISTERED: "Neither `/` nor `:`, no dot at the start, no space at either end.",
}
"""What is told of a text that does not match a pattern."""


def fit(text: str) -> str:
    """A name for any text, one component of a path, that no other text gets in any store.

    Words of lower-case ASCII letters, digits and underscores, joined by single blanks, dots and
    dashes, stay as they are. Everything else keeps what can be read of it, and ends in a dash and
    10 digits of its hash: what is long, has capitals or other letters (file systems and databases
    fold them), is empty, a device's name on Windows, or looks like what this function returns.

    Returns:
        At most `LONGEST` bytes in UTF-8 of letters, digits, underscores, single blanks, dots and
        dashes; neither first nor last is a blank, dot or dash, and no two dots follow each other.
    """
    plain = _PLAIN.fullmatch(text) and not _RESERVED.fullmatch(text)
    if plain and len(text) <= LONGEST and not _MARKED.fullmatch(text):
        return text
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    words = re.findall(r"[^\W_]+|[_.]", unicodedata.normalize("NFC", text))
    readable = re.sub(r"-*([_.])[-_.]*", r"\1", "-".join(words)).strip("-_.")
    if _RESERVED.fullmatch(readable.lower()):
        readable = readable.replace(".", "-")
    kept = readable.encode()[: LONGEST - _DIGITS - 1].decode(errors="ignore").rstrip("-_.")
    return f"{kept}-{mark}" if kept else mark


def fit_path(text: str) -> str:
    """The same with slashes kept, for metrics and keys that a store shows in sections.

    Every part between slashes is made fit, so none is empty or climbs; what is long in all becomes
    a single part.
    """
    path = "/".join(map(fit, text.split("/")))
    return path if len(path.encode()) <= _LONGEST_PATH else fit(text)


def tails(parts: Mapping[str, Sequence[str]], joint: str) -> dict[str, str]:
    """The shortest ends of paths that tell them apart; a whole key where none does.

    Args:
        parts: Components of each path, by what it is the path of.
        joint: Stands between components.
    """
    names = {key: key for key in parts}
    for count in range(max(map(len, parts.values()), default=0), 0, -1):
        shorter = {key: joint.join(path[-count:]) for key, path in parts.items()}
        times = Counter(shorter.values())
        names |= {key: name for key, name in shorter.items() if times[name] == 1}
    return names


def is_fit(text: str) -> bool:
    """Whether a text is safe as a component of a path, as what `fit` returns is."""
    words = re.fullmatch(r"\w+([ .-]\w+)*", text)
    reserved = _RESERVED.fullmatch(text.lower())
    return (
        bool(words) and not reserved and len(text.encode("utf-8", "replace")) <= _LONGEST_COMPONENT
    )
