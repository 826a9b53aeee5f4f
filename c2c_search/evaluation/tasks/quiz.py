"""The built-in quiz about countries, which needs no download."""

from __future__ import annotations

from c2c_search.data.quiz import quiz_rows
from c2c_search.data.schema import SplitGroups
from c2c_search.data.schema import SplitName
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import canonical
from c2c_search.evaluation.tasks.task import HubRow
from c2c_search.evaluation.tasks.task import task


def rows(split: SplitName) -> list[HubRow]:
    """The groups that a pipeline takes when it names none."""
    return [dict(row) for row in quiz_rows(getattr(SplitGroups(), split), split)]


@task(
    "quiz",
    reference="c2c-search, from CLDR and GeoNames (see c2c_search.data.quiz)",
    hub=None,
    built_in=rows,
)
def convert(row: HubRow, fallback_id: str) -> Item | None:
    """Facts about one country are one cluster."""
    return canonical(row, fallback_id)
