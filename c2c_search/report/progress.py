"""How far an evaluation is, on the terminal or as lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from c2c_search.host.terminal import Console


_SECONDS_BETWEEN_LINES = 30.0

Tell = Callable[[str, int, int], None]
"""Hears what is going on, how much is done, and how much there is in all (0: unknown)."""


@contextmanager
def watch(console: Console) -> Iterator[Tell]:
    """Show what an evaluation tells: a bar with an estimate, or each new stage as a line."""
    if not console.is_terminal:
        yield _lines(console)
        return
    from rich.progress import BarColumn
    from rich.progress import MofNCompleteColumn
    from rich.progress import Progress
    from rich.progress import SpinnerColumn
    from rich.progress import TextColumn
    from rich.progress import TimeElapsedColumn
    from rich.progress import TimeRemainingColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("")
        shown = 0

        def tell(text: str, done: int, total: int) -> None:
            nonlocal shown
            if total != shown:  # another stage, with an estimate of its own
                progress.reset(bar)
                shown = total
            progress.update(bar, description=text, completed=done, total=total or None)

        yield tell


def _lines(console: Console) -> Callable[[str, int, int], None]:
    last, told = "", 0.0

    def tell(text: str, done: int, total: int) -> None:
        nonlocal last, told
        stage, now = text.partition(",")[0], time.monotonic()
        if stage != last or now - told > _SECONDS_BETWEEN_LINES:
            last, told = stage, now
            share = f" {done}/{total}" if total else ""
            console.print(f"{text}{share}", highlight=False)

    return tell
