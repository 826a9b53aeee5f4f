"""Whether a study goes on with the models, data and prompts that it began with."""

from __future__ import annotations

from c2c_search.errors import DataError
from c2c_search.training.protocol import Prepared


_OTHER = {
    "weights": "other weights",
    "config": "another configuration",
    "tokenizer": "another tokenizer",
    "tokenization": "another way of cutting text into tokens",
}


def check_unchanged(pair: str, before: Prepared, now: Prepared) -> None:
    """Refuse to compare what was measured on other models or other data.

    Raises:
        DataError: The models' weights, the data or the prompts made of it are not those that the
            study began with.
    """
    changed = [split for split in before.data if before.data[split] != now.data.get(split)]
    if changed:
        raise DataError(
            "A study's data must stay as it was, but these splits have changed.",
            value=", ".join(changed),
            hint="Restore the data files, or begin another study: give the space another name "
            "under `study:`.",
        )
    for role, model in before.models.items():
        model_now = now.models.get(role, {})
        for what, other in _OTHER.items():
            known = model.get(f"{what}_sha256")
            if known is not None and known != model_now.get(f"{what}_sha256"):
                raise DataError(
                    f"A study's models must stay as they were; the {role} of pair {pair} has "
                    f"{other} now.",
                    value=model.get("source"),
                    hint="Name the revision that the study began with, or begin another study: "
                    "give the space another name under `study:`.",
                )
    if before.prompts and now.prompts and before.prompts != now.prompts:
        raise DataError(
            f"A study's prompts must stay as they were; pair {pair} reads the same data in other "
            "words now.",
            hint="A chat template that changes by itself cannot be studied: set data.template to "
            "plain, or begin another study: give the space another name under `study:`.",
        )
