"""Grades mathematical expressions, by their value."""

from __future__ import annotations

import logging
import threading

from c2c_search.evaluation.grading.grader import Graded
from c2c_search.evaluation.grading.grader import grader
from c2c_search.evaluation.grading.optional import optional
from c2c_search.evaluation.items import Item


_REQUIREMENT = "math-verify[antlr4_13_2]"
_SECONDS = 5


@grader("math", reference="Math-Verify, https://github.com/huggingface/Math-Verify")
def math(item: Item, text: str) -> Graded:
    """1 if the answer's last expression equals a reference, as `math_verify` finds; else 0.

    Args:
        item: With references in LaTeX, without dollar signs.
        text: An answer in words, LaTeX or both.

    Raises:
        ConfigError: math-verify is not installed.
    """
    library = optional("math_verify", _REQUIREMENT)
    # The library's time limit is a signal, which only the main thread can wait for.
    seconds = _SECONDS if threading.current_thread() is threading.main_thread() else None
    if seconds is None:
        # It warns that nothing limits it, once in every process.
        for name in ("math_verify.parser", "math_verify.grader"):
            logging.getLogger(name).setLevel(logging.ERROR)
    found = library.parse(text, parsing_timeout=seconds)
    if not found:
        return Graded(0.0, None)
    right = any(
        library.verify(
            library.parse(f"${reference}$", parsing_timeout=seconds),
            found,
            timeout_seconds=seconds,
        )
        for reference in item.references
    )
    # A parsed expression, then the characters that it was read from.
    return Graded(float(right), str(found[-1]))
