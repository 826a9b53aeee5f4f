from __future__ import annotations

from c2c_search.report.run_notes import escaped
from c2c_search.report.run_notes import note


def test_a_note_is_a_paragraph_and_a_table() -> None:
    text = note("A trial.", {"depth": 3, "learning rate": 0.00123456, "rank": None})
    assert text == (
        "A trial.\n\n| | |\n|---|---|\n| depth | 3 |\n| learning rate | 0.001235 |\n"
        "| rank | None |\n"
    )
    assert note("Nothing more.") == "Nothing more.\n"


def test_foreign_text_is_shown_and_not_obeyed() -> None:
    assert escaped("a|b\n<img src=x> [link](y) `c` *d*") == (
        r"a\|b \<img src=x\> \[link\](y) \`c\` \*d\*"
    )
