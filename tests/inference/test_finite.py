"""What is no number is an error that names whose fault it is, never an answer."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from c2c_search.errors import NotFiniteError
from c2c_search.inference.model import C2CModel
from c2c_search.inference.multi_sharer import MultiSharerModel
from c2c_search.prompt_cache.store import PromptCacheStore
from c2c_search.tokenization.templates import asked


ASKED = [asked("Which?"), asked("And which now?")]


def broken(loaded, *, layer: int = 0):
    """A copy with a NaN; in the last layer's MLP it is in no cache."""
    model = copy.deepcopy(loaded.model)
    with torch.no_grad():
        model.model.layers[layer].mlp.down_proj.weight[0, 0] = float("nan")
    identity = loaded.identity.model_copy(update={"source": "path:broken"})
    return replace(loaded, model=model, identity=identity)


@pytest.fixture(params=["receiver", "receiver's last layer", "sharer", "fuser"])
def case(request, make_pair):
    """A pair with a fault, and how the fault is named."""
    pair = make_pair()
    role = request.param.partition("'")[0]
    if role == "fuser":
        with torch.no_grad():
            next(pair.fuser.parameters()).fill_(float("nan"))
    else:
        layer = -1 if "last" in request.param else 0
        loaded = broken(getattr(pair, role), layer=layer)
        pair = make_pair(**{role: loaded})
    name = f"The {role}'s .*{'path:' if role == 'fuser' else 'path:broken'}"
    return pair, name


def test_options(case):
    pair, named = case
    with pytest.raises(NotFiniteError, match=named):
        pair.score(pair.batch(pair.prompts(ASKED)), [["a", "b"]] * 2)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_answers_in_words(case, temperature):
    pair, named = case
    with pytest.raises(NotFiniteError, match=named):
        pair.generate("Which?", max_new_tokens=3)
    batch = pair.batch(pair.prompts(ASKED))
    with pytest.raises(NotFiniteError, match=named):
        pair.write(batch, max_new_tokens=3, temperature=temperature, seeds=[1, 2])


def test_token_ids(case):
    pair, named = case
    ids = torch.tensor([[1, 2, 3]])
    with pytest.raises(NotFiniteError, match=named):
        pair(ids, ids)
    with pytest.raises(NotFiniteError, match=named):
        pair.generate(receiver_input_ids=ids, sharer_input_ids=ids, max_new_tokens=2)


def test_a_model_alone(make_pair):
    pair = make_pair()
    alone = broken(pair.receiver, layer=-1)
    with pytest.raises(NotFiniteError, match=r"The model's .*path:broken"):
        C2CModel(alone, alone, None).generate("Which?")


def test_one_of_several_sharers(make_pair):
    pair = make_pair()
    other = make_pair(sharer=broken(pair.sharer))
    with pytest.raises(NotFiniteError, match=r"The sharer's .*path:broken"):
        MultiSharerModel([pair, other]).generate("Which?")


def test_nothing_that_is_no_number_is_stored(make_pair, tmp_path):
    store = PromptCacheStore(tmp_path, dtype=torch.float32)
    loaded = broken(make_pair().receiver)
    with pytest.raises(NotFiniteError, match=r"prompt caches must be finite.*path:broken"):
        store.get(loaded, [[1, 2, 3]])


def test_what_is_finite_is_answered_as_before(make_pair):
    pair = make_pair()
    ((scores, lengths), _) = pair.score(pair.batch(pair.prompts(ASKED)), [["a", "bc"]] * 2)
    assert scores.isfinite().all()
    assert lengths == [2, 3]


def test_equal_options_are_exactly_equally_likely(make_pair):
    pair = make_pair()
    batch = pair.batch(pair.prompts(ASKED))
    options = [["abc", "d", "abc", "abc"], ["x", "abc"]]
    (first, _), _ = pair.score(batch, options)
    assert first[0] == first[2] == first[3]
