"""Whether the finalist that leads leaves its receiver as good as it is, on other tasks."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

from c2c_search.champion.verdict import Verdict
from c2c_search.config.trial import canonical_hash
from c2c_search.evaluation.guard import REPORT
from c2c_search.evaluation.harm import Harm
from c2c_search.evaluation.harm import measure_harm
from c2c_search.evaluation.harm_tasks import task_name
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.systems.registry import SUBJECT
from c2c_search.host.names import fit
from c2c_search.study.finalist import Finalist
from c2c_search.study.session import Session
from c2c_search.study.when_unsure import Answers
from c2c_search.study.when_unsure import as_heard
from c2c_search.training.protocol import Evaluate


_RECEIVER = "receiver"


def refuse_harmful(
    session: Session,
    judged: Sequence[Finalist],
    verdicts: dict[str, Verdict],
    answers_of: Callable[[Finalist], Answers],
) -> None:
    """Measure harm where the pipeline asks, of the finalist that would lead; change its verdict.

    One that is not shown to do no harm on every task does not lead, and the next is measured.
    "No harm anywhere" is an intersection-union test like "beats all controls": every task is
    tested at the finalist's own level, without correction.

    Args:
        session: Of the study.
        judged: Finalists in their order.
        verdicts: By finalist.
        answers_of: What the systems of a finalist answer on the study's own splits.

    Raises:
        C2CError: A system cannot be measured.
    """
    if not session.space.pipeline.champion.harmless_on:
        return
    for one in judged:
        if not verdicts[one.name].leads:
            continue
        harm = tuple(_measure(session, one, verdicts[one.name], answers_of(one)))
        verdicts[one.name] = verdicts[one.name].model_copy(update={"harm": harm})
        if verdicts[one.name].leads:
            return


def harm_question(session: Session) -> list[str]:
    """What harm is asked of a finalist, as far as it makes judging it another question."""
    rules = session.space.pipeline.champion
    if not rules.harmless_on:
        return []
    names = sorted(map(task_name, rules.harmless_on))
    return [*names, f"margin {rules.harm_margin:g}", f"limit {rules.harm_limit}"]


def _measure(session: Session, one: Finalist, verdict: Verdict, own: Answers) -> Iterator[Harm]:
    rules = session.space.pipeline.champion
    fuser = f"{session.request(one.config).directory}/{one.trained.best_dir}"
    pair = canonical_hash(one.config.pair.model_dump())
    for number, spec in enumerate(rules.harmless_on):
        task = task_name(spec)
        session.view.phase("harm", number, len(rules.harmless_on), f"{one.name} on {task}")
        asked = f"harm/{fit(task)}-{canonical_hash([spec, rules.harm_limit])}"

        def answers(
            system: str, of: str, fuser: str | None, spec: str = spec, asked: str = asked
        ) -> SystemResult:
            request = Evaluate(
                system=system, pair=one.config.pair, split=REPORT, fuser_dir=fuser, task=spec
            )
            return session.alone(lambda each: each.trainer.measure(f"{asked}-{of}", request))

        found = answers(SUBJECT, one.config.hash(), fuser)
        alone = answers(_RECEIVER, f"{pair}-{_RECEIVER}", None)
        yield measure_harm(
            task,
            as_heard(session, own, found, alone),
            alone,
            level=verdict.judged_level,
            margin=rules.harm_margin / 100,
            resamples=verdict.resamples,
            seed=verdict.seed,
        )
