"""How many trials train at once, where a space leaves it to a measurement.

Twice as many are tried as long as a trial's step then takes a tenth less, memory for twice as many
is surely there, and the search has at least so many trials still to come: what trains at once
learns nothing from each other.
"""

from __future__ import annotations

from dataclasses import replace

from c2c_search.config.trial import TrialConfig
from c2c_search.space.candidates import enqueued_trials
from c2c_search.space.candidates import first_trial
from c2c_search.space.schema import Space
from c2c_search.study.session import Session
from c2c_search.study.shortened import shortened
from c2c_search.study.sizes import make_fits
from c2c_search.training.protocol import Failed
from c2c_search.training.protocol import Pace


AT_ONCE = "trials_at_once"
"""User attribute of the study: its number, the same at every start."""

_STEPS = 16  # of each training, all its stages together; the second half is timed
_GAIN = 0.1
_SHARE = 0.5  # of the memory there is: other trials, and validation, take more than a step


def with_trials_at_once(session: Session) -> Session:
    """The session, whose space says how many trials train at once in a worker.

    Where it says `auto`, the first driver that comes here measures it, with the first trial of the
    first pair and one worker, while the others wait.
    """
    if session.space.search.trials_per_device != "auto":
        return session
    with session.drivers.asking(session.study):
        count = session.study.user_attrs.get(AT_ONCE)
        if count is None:
            session.view.phase("prepare", message="how many trials at once")
            count = session.alone(_measured)
            session.study.set_user_attr(AT_ONCE, count)
    return replace(session, space=_at_once(session.space, count))


def _at_once(space: Space, count: int) -> Space:
    search = space.search.model_copy(update={"trials_per_device": count})
    return space.model_copy(update={"search": search})


def _measured(session: Session) -> int:
    space = session.space
    first = first_trial(space, next(iter(space.pairs.values())))
    best, fastest, told = 1, float("inf"), list[str]()
    counts, config = _candidates(space, first), shortened(first, _STEPS)
    if counts:  # the first training of all reads its prompts from the disk: it does not count
        session.trainer.pace(Pace(config=config, together=1))
    for count in counts:
        paced = session.trainer.pace(Pace(config=config, together=count))
        if isinstance(paced, Failed):
            told.append(f"{count}: {paced.message}")
            break
        seconds = paced.seconds / count
        told.append(f"{count}: {seconds:.3g} s")
        if seconds > (1 - _GAIN) * fastest:
            break
        best, fastest = count, seconds
        if 2 * paced.taken > _SHARE * (paced.free + paced.taken):
            break
    why = f"measured, a trial's step by how many: {', '.join(told)}" if told else "no more fit"
    session.view.note(f"Trials at once: {best}; {why}.")
    return best


def _candidates(space: Space, first: TrialConfig) -> list[int]:
    """1, 2, 4 and so on, as far as the search is long enough and the space's limits allow it.

    Nothing where there is no choice.
    """
    allowed = [1 << power for power in range((space.search.trials // 2).bit_length())]
    for count in allowed[1:]:
        fits = make_fits(_at_once(space, count))
        if fits is not None and not all(map(fits, (first, *enqueued_trials(space)))):
            allowed = [each for each in allowed if each < count]
            break
    return allowed if len(allowed) > 1 else []
