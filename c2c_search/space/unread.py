"""What a pipeline gives and no trial of the space would read."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterator

from c2c_search.config.document import Document
from c2c_search.config.pipeline import Pipeline
from c2c_search.errors import Problem
from c2c_search.fuser.presets import PRESETS
from c2c_search.space.declaration import PRESET
from c2c_search.space.declaration import Declaration


_MESSAGE = "fuser.message"


def unread(
    space: Declaration, pipeline: Pipeline, document: Document, unreadable: Collection[str]
) -> Iterator[Problem]:
    """A problem for everything of the pipeline that nothing reads.

    Args:
        space: Its readable part.
        pipeline: Its pipeline.
        document: Where problems are placed.
        unreadable: Names of dimensions and fixed values that could not be read.
    """
    named = {*space.fixed, *space.dimensions, *unreadable}
    files = pipeline.data.files.guard
    set_here = any(name.startswith("training.guard.") for name in named)
    if files and pipeline.training.guard is None and not set_here:
        yield document.problem(
            ("pipeline",),
            "Rows to guard (data.files.guard) need a training.guard, or nothing reads them.",
            value=list(files),
            hint="Set `training.guard: {}` in the pipeline, or drop data.files.guard.",
        )
    texts, stages = pipeline.data.files.reconstruction, pipeline.training.stages
    reads = any(stage.kind == "reconstruction" for stage in stages)
    if texts and not reads and "training.stages" not in named:
        yield document.problem(
            ("pipeline",),
            "Texts to reconstruct (data.files.reconstruction) need a reconstruction stage, or "
            "nothing reads them.",
            value=list(texts),
            hint="Add one to training.stages, or drop data.files.reconstruction.",
        )
    template = pipeline.data.draft_template
    if template is not None and not _drafts(space, unreadable):
        yield document.problem(
            ("pipeline",),
            "data.draft_template is what a sharer drafts in, and no fuser of this space has it "
            "draft.",
            value=template,
            hint="Search or fix fuser.message as draft or both, or drop data.draft_template.",
        )


def _drafts(space: Declaration, unreadable: Collection[str]) -> bool:
    """Whether some fuser of the space may have its sharer draft, as far as it is readable."""
    if not {_MESSAGE, PRESET}.isdisjoint(unreadable):
        return True

    def named(name: str) -> set[object]:
        dimension = space.dimensions.get(name)
        return {*(dimension.choices or ())} if dimension else {space.fixed.get(name)}

    messages = named(_MESSAGE)
    presets = named(PRESET)
    messages |= {each.fuser.get("message") for name, each in PRESETS.items() if name in presets}
    return not messages.isdisjoint(("draft", "both"))
