"""How much commands say beside what they were asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Verbosity:
    """Of this process.

    Args:
        quiet: Whether neither what begins is told nor how far it is.
        verbose: Whether errors come with the lines of code that raised them.
    """

    quiet: bool = False
    verbose: bool = False


VERBOSITY = Verbosity()
