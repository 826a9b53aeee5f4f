"""What a start of a study says when it stops, or ends without a champion."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from c2c_search.errors import C2CError
from c2c_search.errors import NoChampionError
from c2c_search.errors import StudyStoppedError
from c2c_search.host.urls import without_password
from c2c_search.study.finalists import FinalEvaluation


def command(options: Mapping[str, object]) -> str:
    """The command line of a study, with the options that are given."""
    given = {name: value for name, value in options.items() if value is not None}
    words = (
        word
        for name, value in given.items()
        for word in (f"--{name}", without_password(str(value)))
    )
    return shlex.join(["c2c-search", "study", *words])


def no_champion(study: str, final: FinalEvaluation) -> C2CError:
    """Why nothing was promoted: a verdict only on what was measured."""
    if not final.verdicts:
        return StudyStoppedError(
            f"Study {study!r} measured nothing that could be judged, so there is no verdict: "
            f"{final.unmeasured}",
            hint="Remove the cause and run the same command again; failed trials count, so raise "
            "--trials if too few are left.",
        )
    present = any(verdict.passed for verdict in final.verdicts)
    others = "all its controls and the present champion" if present else "all its controls"
    if any(all(one.beaten for one in each.others) and not each.passed for each in final.verdicts):
        others = "all its controls and owes enough of its gain to what is said"
    if any(verdict.harmful for verdict in final.verdicts):
        others += " without harm elsewhere"
    return NoChampionError(
        "\n".join(
            [
                f"No fuser of study {study!r} that was judged beats {others} on test; "
                "nothing was promoted.",
                *final.not_judged,
            ]
        ),
        hint="The table says by how much each one misses. More steps, more trials or another "
        "pair may do it.",
    )
