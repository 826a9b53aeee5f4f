"""Both ways of scoring find the same likelihoods."""

from __future__ import annotations

import pytest

from c2c_search.inference.model import C2CModel


def test_shared_caches_change_no_likelihood(program, tiny_model):
    import torch

    evaluate = program("evaluate")
    loaded = tiny_model()
    model = C2CModel(loaded, loaded, None, cache_dtype=torch.float32)
    questions = evaluate.four_option_questions(3)
    shared = evaluate.shared(model, questions, 2)
    assert evaluate.furthest(shared, evaluate.one_by_one(model, questions)) < 1e-3


def test_the_furthest_likelihood_counts(program):
    assert program("evaluate").furthest([[1.0, 2.0]], [[1.5, 2.1]]) == pytest.approx(0.5)
