"""What a model card says of a champion that asks its sharer only where it is unsure."""

from __future__ import annotations

from collections.abc import Iterator

from c2c_search.inference.manifest import Manifest


def saved_compute(manifest: Manifest) -> Iterator[str]:
    """A section of the card, its head and its text; nothing for one that always listens."""
    if (listening := manifest.listening) is None:
        return
    yield "## When it listens"
    yield (
        f"Where the receiver is sure by itself, the sharer is not asked: on test, "
        f"{100 * listening.skipped:.1f} % of the questions were answered without it and without "
        "its prefill, and what was measured above are the answers of both kinds together. It is "
        "sure where its doubt is below a limit that was fitted on validation: 1 minus the lead of "
        f"the likeliest option's probability over the second's, below {listening.choices:.3f}; "
        "for an answer in words, 1 minus the geometric mean of its tokens' probabilities, below "
        f'{listening.words:.3f}. `C2CModel.from_pretrained(..., listening="always")`, or '
        "`c2c-search ask --listening always`, hears the sharer on every question."
    )
