"""Where the receiver is sure by itself the sharer reads nothing; elsewhere C2C answers."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.inference.doubt import ALL_SKIPPED
from c2c_search.inference.doubt import Listening
from c2c_search.inference.doubt import doubt_of_choice
from c2c_search.inference.listening import ConfidentModel
from c2c_search.inference.listening import as_asked
from c2c_search.inference.model import C2CModel
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.testing.systems import make_fuser
from c2c_search.testing.systems import make_pair


QUESTIONS = ["Which sea is it?", "Who?", "What colour has a plum, a very ripe one?"]
OPTIONS = [["red", "grey"], ["a", "b", "c"], ["plum", "teal"]]
Read = list[tuple[str, int]]


def limits(**given: Any) -> Listening:
    return Listening(**{"choices": 0.0, "words": 0.0, "skipped": 0.5, **given})


def made(injection: str = "residual", **fields: Any) -> C2CModel:
    pair = make_pair()
    return C2CModel(
        pair.receiver,
        pair.sharer,
        make_fuser(pair, injection=injection, **fields),
        cache_dtype=torch.float32,
    )


@pytest.fixture(params=["residual", "replace", "append", "hidden", "drafted"])
def model(request: pytest.FixtureRequest) -> C2CModel:
    if request.param == "drafted":
        more = {"slots": 3, "reads_from": "all", "source": "hidden"}
        return made("side", message="both", draft_tokens=5, **more)
    return made(source="hidden") if request.param == "hidden" else made(request.param)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[[C2CModel], Read]:
    """Watch which model reads how many prompts."""

    def watch(model: C2CModel) -> Read:
        found: Read = []
        compute = PromptCaches.compute

        def spied(loaded: Any, prompts: Any, *rest: Any, **more: Any) -> PromptCaches:
            who = "sharer" if loaded is model.sharer.model else "receiver"
            found.append((who, len(prompts)))
            return compute(loaded, prompts, *rest, **more)

        monkeypatch.setattr(PromptCaches, "compute", spied)
        return found

    return watch


def chosen(model: C2CModel) -> list[list[float]]:
    """Log-likelihoods per token of all options."""
    scored = model.score(model.batch(model.prompts(_asked())), OPTIONS)
    return [
        [float(total) / length for total, length in zip(each, lengths, strict=True)]
        for each, lengths in scored
    ]


def _asked() -> list[list[Any]]:
    return [[{"role": "user", "content": text}] for text in QUESTIONS]


def test_the_sharer_is_never_run_where_all_is_sure(
    model: C2CModel, read: Callable[[C2CModel], Read]
) -> None:
    expected = [model.receiver_alone(text, max_new_tokens=6) for text in QUESTIONS]
    sure = limits(choices=ALL_SKIPPED, words=ALL_SKIPPED, length_normalised=True)
    confident, found = ConfidentModel(model, sure), read(model)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the sharer is run")

    model.sharer.model.forward = refuse
    assert confident.generate_batch(QUESTIONS, max_new_tokens=6) == expected
    assert confident.generate(QUESTIONS[0], max_new_tokens=6) == expected[0]
    assert len(confident.choose(QUESTIONS, OPTIONS)) == 3
    assert {who for who, _ in found} == {"receiver"}


def test_without_a_doubt_that_is_small_it_answers_as_it_always_does(model: C2CModel) -> None:
    confident = ConfidentModel(model, limits(length_normalised=True))
    always = model.generate_batch(QUESTIONS, max_new_tokens=6)
    assert confident.generate_batch(QUESTIONS, max_new_tokens=6) == always
    best = [max(range(len(each)), key=each.__getitem__) for each in chosen(model)]
    assert confident.choose(QUESTIONS, OPTIONS) == best


def test_only_what_is_unsure_is_asked(read: Callable[[C2CModel], Read]) -> None:
    model = made()
    alone = C2CModel(model.receiver, model.receiver, None, cache_dtype=torch.float32)
    own, heard = chosen(alone), chosen(model)
    doubts = sorted(doubt_of_choice(each) for each in own)
    limit = (doubts[0] + doubts[1]) / 2
    confident = ConfidentModel(model, limits(choices=limit, length_normalised=True))
    found = read(model)
    expected = [
        max(range(len(scores)), key=scores.__getitem__)
        for scores in (
            mine if doubt_of_choice(mine) < limit else theirs
            for mine, theirs in zip(own, heard, strict=True)
        )
    ]
    assert confident.choose(QUESTIONS, OPTIONS) == expected
    assert found == [("receiver", 3), ("sharer", 2)]


def test_options_are_compared_as_they_were_when_it_was_fitted() -> None:
    confident = ConfidentModel(made(), limits(length_normalised=False))
    assert confident._compared(torch.tensor([-4.0, -6.0]), [2, 6]) == [-4.0, -6.0]
    per_token = ConfidentModel(made(), limits(length_normalised=True))
    assert per_token._compared(torch.tensor([-4.0, -6.0]), [2, 6]) == [-2.0, -1.0]


def champion(listening: Listening | None) -> SimpleNamespace:
    model = made()
    names = ("receiver", "sharer", "fuser", "template", "cache_dtype", "date")
    return SimpleNamespace(**{name: getattr(model, name) for name in names}, listening=listening)


@pytest.mark.parametrize(
    ("stored", "asked", "confident"),
    [
        (False, None, False),
        (False, "always", False),
        (True, None, True),
        (True, "always", False),
        (True, "confident", True),
    ],
)
def test_a_champion_listens_as_asked_or_as_measured(
    stored: bool, asked: Any, confident: bool
) -> None:
    fitted = limits(length_normalised=True) if stored else None
    found = as_asked(C2CModel, champion(fitted), asked)  # type: ignore[arg-type]
    assert isinstance(found, ConfidentModel) == confident


def test_a_champion_that_was_never_fitted_always_listens() -> None:
    with pytest.raises(ConfigError, match="must have been fitted on validation") as caught:
        as_asked(C2CModel, champion(None), "confident")  # type: ignore[arg-type]
    assert "champion.listening: confident" in caught.value.hint
