"""Whether a finalist is better than every control, on items no trial has seen.

A control is beaten when the difference in accuracy is above 0, the exact McNemar p-value is
below the level, and the cluster bootstrap's interval at that level lies above 0. McNemar is
exact but takes items for independent; the bootstrap is approximate but resamples whole
clusters. Each guards where the other is weak.

The finalist with other items' messages is such a control. Its answers are means over
derangements, against which a sign test would count an item that is right with every message
but one as a win; there p is of the sign-flip permutation of clusters, which weighs by how
much. Of the gain over the receiver, ``min_pairing_share`` must be owed to the right message
(P/G, see `pairing`).

"Beats all controls" is an intersection-union test: every one of its tests must reject, so
together they keep the level of each without correction (Berger 1982, Technometrics 24,
295-300). "One of k finalists passes" is a union, and every one of them is measured on the
same split: each is judged at ``level / k`` (Bonferroni; Dunn 1961, J. American Statistical
Association 56, 52-64), so that the chance that any is promoted by luck stays below ``level``.
Holm's procedure would begin with the same bound and gain only for a second champion, of which
there is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping

from c2c_search.champion.verdict import USUAL_PAIRING_SHARE
from c2c_search.champion.verdict import Comparison
from c2c_search.champion.verdict import Verdict
from c2c_search.champion.verdict import judged_level
from c2c_search.errors import ConfigError
from c2c_search.evaluation.guard import refuse_selection_split
from c2c_search.evaluation.pairing import pairing
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.statistics import DESCRIPTIVE_LEVEL
from c2c_search.evaluation.statistics import accuracy_interval
from c2c_search.evaluation.statistics import minimum_detectable_difference
from c2c_search.evaluation.statistics import paired_bootstrap
from c2c_search.evaluation.statistics import paired_sign_test
from c2c_search.evaluation.statistics import permutation_test
from c2c_search.evaluation.statistics.clusters import differences


POWER = 0.8
"""Of what a comparison calls detectable."""


def judge(
    name: str,
    candidate: SystemResult,
    controls: Mapping[str, SystemResult],
    *,
    receiver: str,
    deranged: SystemResult,
    level: float,
    resamples: int,
    seed: int,
    finalists: int = 1,
    look: int = 0,
    min_pairing_share: float = USUAL_PAIRING_SHARE,
) -> Verdict:
    """Judge one finalist: it passes only if it beats every control, and by what it hears.

    The head of this file says how, and why so.

    Args:
        name: What the verdict calls the finalist.
        candidate: Its answers on the test split.
        controls: Answers of every single model of the study and of the finalist's own no-sharer
            twin, by name.
        receiver: The control that is the finalist's receiver alone.
        deranged: Answers of the finalist with other items' messages.
        level: Chance of a false promotion that the study accepts.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
        finalists: How many finalists are tried in this look at the split.
        look: Which look at the split it is, from 1: it spends ``level / 2**look``. 0 spends all.
        min_pairing_share: Least P/G of a champion.

    Raises:
        DataError: The systems did not answer the same items in the same order, or not those of
            the test split.
        ConfigError: The receiver is no control, or level and resamples do not fit.
    """
    if receiver not in controls or finalists < 1:
        raise ConfigError(
            "A verdict needs the receiver among the controls, and at least one finalist.",
            value=f"receiver {receiver}, controls {', '.join(controls) or 'none'}, "
            f"{finalists} finalists",
        )
    refuse_selection_split(candidate, *controls.values(), deranged)

    at = judged_level(level, look, finalists)

    def against(control: str, other: SystemResult) -> Comparison:
        return paired_comparison(
            candidate, control, other, level=at, resamples=resamples, seed=seed
        )

    comparisons = tuple(against(*control) for control in controls.items())
    itself = against(f"{name} deranged", deranged)
    found = pairing(
        candidate,
        deranged,
        controls[receiver],
        # Where the receiver is beaten, the gain's interval lies above 0 at this level too.
        level=max(DESCRIPTIVE_LEVEL, at),
        resamples=resamples,
        seed=seed,
    )
    beaten = all(one.beaten for one in (*comparisons, itself))
    listens = found.share is not None and found.share.value >= min_pairing_share
    return Verdict(
        name=name,
        split=candidate.split,
        items=len(candidate.items),
        clusters=len({item.cluster for item in candidate.items}),
        level=level,
        finalists=finalists,
        resamples=resamples,
        seed=seed,
        accuracy=accuracy_interval(candidate, level=DESCRIPTIVE_LEVEL),
        by_group=candidate.accuracy_by_group(),
        comparisons=comparisons,
        deranged=itself,
        pairing=found,
        min_pairing_share=min_pairing_share,
        passed=beaten and listens,
        look=look,
    )


def oppose(
    verdict: Verdict,
    candidate: SystemResult,
    present: str,
    answers: SystemResult,
    forced: str = "",
) -> Verdict:
    """Set a finalist that passed against the champion that its study has.

    Args:
        verdict: On the finalist.
        candidate: Its answers on the test split.
        present: Name of the champion.
        answers: The champion's, to the same items.
        forced: Why the finalist takes its place even if it does not beat it.
    """
    found = paired_comparison(
        candidate,
        f"the present champion, {present}",
        answers,
        level=verdict.judged_level,
        resamples=verdict.resamples,
        seed=verdict.seed,
    )
    return verdict.model_copy(update={"present": found, "forced": "" if found.beaten else forced})


def first_passing(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The champion's verdict: the first that passed and may lead; None when none does.

    Verdicts come in the order of `finalists`, best on validation first. Taking the highest test
    score instead would choose on test, and the champion's own number would look better than it is.
    """
    return next((verdict for verdict in verdicts if verdict.leads), None)


def paired_comparison(
    candidate: SystemResult,
    control: str,
    other: SystemResult,
    *,
    level: float,
    resamples: int,
    seed: int,
) -> Comparison:
    """Set a finalist against another system; it is beaten as the head of this file says.

    Raises:
        DataError: They did not answer the same items in the same order.
    """
    difference = paired_bootstrap(candidate, other, level=level, resamples=resamples, seed=seed)
    averaged = candidate.averaged or other.averaged
    if averaged:
        p = permutation_test(candidate, other, resamples=resamples, seed=seed)
    else:
        p = paired_sign_test(candidate, other)
    apart = differences(candidate, other)
    detectable = minimum_detectable_difference(
        len(apart), float((apart**2).mean()), level=level, power=POWER
    )
    return Comparison(
        control=control,
        accuracy=accuracy_interval(other, level=DESCRIPTIVE_LEVEL),
        by_group=other.accuracy_by_group(),
        difference=difference,
        p=p,
        test="permutation" if averaged else "mcnemar",
        detectable=detectable if detectable <= 1 else None,
        beaten=difference.value > 0 and p < level and difference.low > 0,
    )
