"""The terminal, on which foreign text is shown and never obeyed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich import console as rich
from rich.segment import Segment

from c2c_search.errors import shown


class Console(rich.Console):
    """A console that spells out control characters (`errors.shown`) and reads no markup.

    Names of models, studies and files, messages of errors, questions and answers all come from
    elsewhere. What styles a text is a `rich.text.Text`, or the ``style`` of what is printed.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, **options})

    def render(
        self, renderable: rich.RenderableType, options: rich.ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Segments of something to print, whatever is nested in it."""
        for segment in super().render(renderable, options):
            if segment.control or (text := shown(segment.text)) == segment.text:
                yield segment
            else:
                yield Segment(text, segment.style)
