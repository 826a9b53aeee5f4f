"""Numbers and times in sentences, and answers that say nothing."""

from __future__ import annotations


EMPTY = "(empty)"
"""What a reader sees where a model wrote nothing: a blank could be anything."""


def shown(text: str) -> str:
    """What a model wrote, for a reader; `EMPTY` where that is nothing but blanks."""
    return text.strip() or EMPTY


def counted(number: int, noun: str) -> str:
    """A number with its noun: ``1 finalist``, ``1,200 trials``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def in_words(number: int) -> str:
    """A large number as one says it: ``950``, ``12.5 thousand``, ``10.9 million``."""
    for size, word in ((1_000_000_000, "billion"), (1_000_000, "million"), (10_000, "thousand")):
        if number >= size:
            return f"{number / (1000 if word == 'thousand' else size):.4g} {word}"
    return f"{number:,}"


def in_bytes(size: int) -> str:
    """A size as one says it, in powers of ten: ``250 bytes``, ``12.5 kB``, ``41.6 MB``."""
    for unit, name in ((1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return counted(size, "byte")


def about(seconds: float) -> str:
    """An estimate, no finer than it can be: ``5 s``, ``12 min``, ``3 h 20 min``, ``6 days``."""
    if seconds < 57:
        return f"{max(1, round(seconds) if seconds < 9.5 else 5 * round(seconds / 5))} s"
    minutes = round(seconds / 60)
    if minutes < 20:
        return f"{minutes} min"
    if minutes < 58:
        return f"{5 * round(minutes / 5)} min"
    if minutes < 590:
        hours, rest = divmod(10 * round(minutes / 10), 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    hours = round(minutes / 60)
    return f"{hours} h" if hours < 48 else f"{round(hours / 24)} days"
