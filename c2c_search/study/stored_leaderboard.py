"""A study's leaderboard from its stores alone, whether it runs or has ended."""

from __future__ import annotations

from c2c_search.host.names import tails
from c2c_search.report.leaderboard import Duel
from c2c_search.report.leaderboard import Leaderboard
from c2c_search.report.leaderboard import MeasuredRow
from c2c_search.report.leaderboard import SearchRow
from c2c_search.study.findings import Findings
from c2c_search.study.overview import TrialRow
from c2c_search.study.study_page import verdict_sentence


def stored_leaderboard(found: Findings) -> Leaderboard:
    """What is known by now, on one page."""
    measured = {}
    for verdict in found.verdicts.values():
        measured[verdict.name] = MeasuredRow(verdict.name, "finalist", verdict.accuracy)
        for one in verdict.others:
            measured[one.control] = MeasuredRow(one.control, "control", one.accuracy)
    duels = [
        Duel(verdict.name, one.control, one.difference, one.p, one.beaten)
        for verdict in found.verdicts.values()
        for one in verdict.others
    ]
    leading = found.leading
    return Leaderboard(
        study=found.row.called,
        search=[_row(found, trial) for trial in found.trials],
        test=list(measured.values()),
        duels=duels,
        pairings={
            name: each.pairing for name, each in found.verdicts.items() if each.pairing is not None
        },
        verdict=verdict_sentence(found),
        champion=leading.name if leading is not None and leading.leads else None,
        looks=max((each.look for each in found.verdicts.values()), default=1),
        objective=found.objective,
        front=found.front,
        beyond={each.name: each.beyond for each in found.trials if each.beyond},
    )


def _row(found: Findings, trial: TrialRow) -> SearchRow:
    pairs = {
        f"{each['receiver']} <- {each['sharer']}": name
        for name, each in found.identity.get("pairs", {}).items()
    }
    parts = {name: name.split(".") for name in trial.params}
    short = {name: tail.replace("_", " ") for name, tail in tails(parts, " ").items()}
    return SearchRow(
        name=trial.name,
        kind="trial",
        state=trial.state,
        accuracy=trial.accuracy,
        pair=pairs.get(trial.pair or "", ""),
        parameters=trial.parameters,
        settings={short[name]: each for name, each in trial.params.items() if name != "pair"},
        deranged=trial.deranged,
        receiver=found.receivers.get(trial.name),
        objective=None if found.objective == "accuracy" else trial.objective,
        measures=trial.measures,
    )
