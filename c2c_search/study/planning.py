"""A plan with all that can be told of it on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from c2c_search.fuser.cost import parameters
from c2c_search.space.plan import Plan
from c2c_search.space.plan import plan
from c2c_search.space.plan import shapes_messages
from c2c_search.study.estimate import Reading
from c2c_search.study.estimate import estimate
from c2c_search.study.memory import lengths_of_pairs
from c2c_search.study.memory import memory_of_trials
from c2c_search.study.messages import Messages
from c2c_search.study.pace_meter import FAILURES
from c2c_search.study.pace_meter import measure_pace
from c2c_search.study.prompt_lists import PromptLists
from c2c_search.study.sizes import make_fits
from c2c_search.study.sizes import shapes
from c2c_search.study.surroundings import check_surroundings
from c2c_search.study.trial_work import counted_work


if TYPE_CHECKING:
    from c2c_search.config.trial import TrialConfig
    from c2c_search.space.forecast import CachePlan
    from c2c_search.space.forecast import Forecast
    from c2c_search.space.schema import Space


Tell = Callable[[str], None]


@dataclass(frozen=True)
class Planned:
    """What a study will do and take.

    Args:
        plan: What it will do.
        caches: The prompt caches that it reads.
        forecast: How long it takes; None where nothing was measured.
        notices: What a user should know.
    """

    plan: Plan
    caches: CachePlan
    forecast: Forecast | None
    notices: tuple[str, ...]


def plan_at_hand(
    space: Space, *, workers: int = 1, quick: bool = False, tell: Tell = lambda _: None
) -> Planned:
    """Plan a study whose models are at hand; they are fetched if they are not.

    Args:
        space: The space.
        workers: That will train and measure side by side.
        quick: Whether no time is measured.
        tell: Told what is going on.

    Raises:
        C2CError: A model cannot be had, or the data does not fit.
    """
    check_surroundings()
    shape_of = shapes(space)
    sources = {source for pair in space.pairs.values() for _, source in pair}
    geometries = {source: shape_of(source) for source in sorted(sources)}
    tell("Reading the prompts")
    notices = lengths_of_pairs(space)
    prompts = PromptLists(space)
    tell("Rehearsing the memory of trials")
    memory = memory_of_trials(space)

    def size(trial: TrialConfig) -> int:
        return parameters(trial.fuser, *(shape_of(source) for _, source in trial.pair))

    work = counted_work(prompts.sizes, prompts.lengths, size, len(prompts.rows["validation"]))
    made = plan(
        space,
        geometries=geometries,
        parameters=parameters,
        memory=lambda trial: asdict(memory(trial)),
        messages=Messages(space, shape_of) if shapes_messages(space) else None,
        work=work,
    )
    caches = prompts.plan()
    if quick:
        return Planned(made, caches, None, tuple(notices))
    fits = make_fits(space, shape_of) if space.limits.max_memory_gb is None else None
    try:
        pace = measure_pace(
            space, prompts, size, fits=fits, tell=lambda what: tell(f"Measuring: {what}")
        )
    except FAILURES as error:
        notices.append(f"No time was measured, as the study's own work fails: {error}")
        return Planned(made, caches, None, tuple(notices))
    reading = Reading(
        {name: len(of) for name, of in prompts.rows.items()}, caches, prompts.private
    )
    forecast = estimate(space, made, reading, pace, workers=workers, fits=fits)
    return Planned(made, caches, forecast, tuple(notices))
