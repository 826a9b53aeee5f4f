"""A champion of the version before the folders were renamed still opens, and answers the same.

Pair, fuser and champion were made with commit 088de08, on random models of a few kilobytes; what
it computed lies in ``recorded.safetensors``. Its models are named relative to the working folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from c2c_search import C2CModel
from c2c_search.champion.card import model_card
from c2c_search.champion.verdict import Verdict
from c2c_search.config.trial import TrialConfig
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.manifest import read_manifest
from c2c_search.inference.size import Size
from c2c_search.inference.sums import check_sums
from c2c_search.models.cache_dir import CACHE_VARIABLE


FOLDER = Path(__file__).parent / "assets" / "champion_before_the_move"
CHAMPION = FOLDER / "champion"
CLOSE = {"rtol": 1e-6, "atol": 1e-6}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[C2CModel]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(FOLDER)
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield C2CModel.from_pretrained(CHAMPION, device="cpu")


@pytest.fixture(scope="module")
def recorded() -> dict[str, torch.Tensor]:
    return load_file(FOLDER / "recorded.safetensors")


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    check_sums(CHAMPION)
    return read_manifest(CHAMPION)


def test_its_trial_and_its_verdict_are_read(manifest: Manifest) -> None:
    trial = TrialConfig.model_validate(manifest.trial)
    assert trial.hash() == manifest.trial_hash
    verdict = Verdict.model_validate(manifest.verdict)
    assert verdict.passed
    # It was judged before its deranged self was, and is told so in the words of today.
    assert verdict.deranged is not None
    assert verdict.deranged.control == "mismatched sharer"
    assert verdict.pairing is None
    assert "It beats every control" in verdict.explain()
    card = model_card(manifest, Size.measure([CHAMPION / "fuser.safetensors"]))
    assert "| mismatched sharer |" in card
    assert "P/G" not in card


def test_it_answers_as_it_did(model: C2CModel, manifest: Manifest) -> None:
    assert len(manifest.questions) == 2
    for asked in manifest.questions:
        found = model.generate(asked.question, max_new_tokens=asked.max_new_tokens)
        assert found == asked.answer
        assert found != model.receiver_alone(asked.question, max_new_tokens=asked.max_new_tokens)


def test_its_scores_are_the_same(
    model: C2CModel, manifest: Manifest, recorded: dict[str, torch.Tensor]
) -> None:
    asked = [[{"role": "user", "content": each.question}] for each in manifest.questions]
    options = [[" Germany", " in"], [" morning", " x"]]
    scores = model.score(model.batch(model.prompts(asked)), options)
    found = torch.stack([each for each, _ in scores])
    torch.testing.assert_close(found, recorded["scores"], **CLOSE)


def test_its_fused_cache_is_the_same(model: C2CModel, recorded: dict[str, torch.Tensor]) -> None:
    output = model(
        receiver_input_ids=recorded["receiver_input_ids"],
        sharer_input_ids=recorded["sharer_input_ids"],
    )
    torch.testing.assert_close(output.logits[:, 0], recorded["logits"], **CLOSE)
    for number, layer in enumerate(output.past_key_values.layers):
        torch.testing.assert_close(layer.keys, recorded[f"key.{number}"], **CLOSE)
        torch.testing.assert_close(layer.values, recorded[f"value.{number}"], **CLOSE)
