"""The reference-style step computes what ours computes."""

from __future__ import annotations

import pytest
import torch

from c2c_search.errors import ConfigError
from c2c_search.fuser.calibration_part import CalibrationPart
from c2c_search.inference.scoring import response_logits
from c2c_search.tokenization.continuations import response_ids


QUESTIONS = ["one", "two three", "four five six seven", "eight"]
ANSWERS = ["yes", "no", "maybe so", "x"]


@pytest.fixture(scope="module")
def reference(program):
    return program("reference")


@pytest.fixture(scope="module")
def examples(make_pair):
    """Prompts and responses of several lengths."""
    pair = make_pair()
    prompts = pair.prompts([[{"role": "user", "content": text}] for text in QUESTIONS])
    return prompts, [ids_of(pair, text) for text in ANSWERS]


def ids_of(model, text):
    return response_ids([None], [[text]], "plain", model.receiver.text_tokenizer)[0][0]


def style_of(reference, model):
    layer_loop = reference.LayerLoopFuser(model.fuser).train(model.fuser.training)
    return reference.ReferenceStyle(model.receiver.model, model.sharer.model, layer_loop)


def our_loss(model, prompts, responses):
    batch = prompts.batch(range(len(prompts)))
    answers = [[response] for response in responses]
    logits = response_logits(model.receiver.model, model.fuse(batch), batch.last_ids, answers)
    targets = torch.tensor([token for response in responses for token in response])
    return torch.nn.functional.cross_entropy(logits, targets)


def gradients(stacked, plain, group):
    """Pairs of gradients of one layer: of a stacked module, and of its plain counterpart."""
    if isinstance(plain, torch.nn.Linear):
        yield stacked.weight.grad[group].T, plain.weight.grad
        if plain.bias is not None:
            yield stacked.bias.grad[group, 0], plain.bias.grad
    elif isinstance(plain, torch.nn.RMSNorm):
        yield stacked.weight.grad[group, 0], plain.weight.grad
    else:
        for name, part in plain.named_children():
            if any(True for _ in part.parameters()):
                yield from gradients(getattr(stacked, name), part, group)


VARIANTS = {
    "published": {"input_activation": False, "initialisation": "random"},
    "calibrated": {"normalisation": "calibrated"},
    "rms": {"normalisation": "rms", "intermediate": 12},
    "shallow": {"depth": 1},
    "two deep": {"depth": 2, "weight_granularity": "value"},
    "deep": {"depth": 4, "weight_granularity": "token", "activation": "silu"},
    "unweighted": {"dynamic_weight": False},
    "some layers": {"layer_share": 0.6, "layer_alignment": "proportional"},
}


@pytest.mark.parametrize("fields", VARIANTS.values(), ids=VARIANTS.keys())
def test_loss_and_gradients_are_ours(reference, make_pair, examples, fields):
    model = make_pair(**fields)
    prompts, responses = examples
    batch = prompts.batch(range(len(prompts)))
    model.fuser.calibrate(lambda: [CalibrationPart(batch.receiver, batch.sharer)])
    model.fuser.train()
    style = style_of(reference, model)
    loss, its = our_loss(model, prompts, responses), style.loss(prompts.encoded, responses)
    torch.testing.assert_close(its, loss, rtol=1e-5, atol=0)
    loss.backward()
    its.backward()
    projector, count = model.fuser.projector, len(model.fuser.layers)
    for place, kinds in enumerate(style.fuser.projectors):
        for kind, plain in enumerate(kinds):
            group = kind * count + place
            compress = torch.cat(
                [projector.from_sharer.weight.grad, projector.from_receiver.weight.grad], dim=1
            )[group].T
            compared = [
                (compress, plain.compress.weight.grad),
                (projector.from_sharer.bias.grad[group, 0], plain.compress.bias.grad),
                *gradients(projector.projection, plain.projection, group),
            ]
            if plain.weight is not None:
                compared += gradients(projector.weight, plain.weight, group)
            if model.fuser.config.depth > 1:
                compared += gradients(projector.trunk, plain.trunk, group)
            for ours, theirs in compared:
                torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-6)


def test_it_has_as_many_parameters(reference, make_pair):
    fuser = make_pair().fuser
    layer_loop = reference.LayerLoopFuser(fuser)
    ours = sum(parameter.numel() for parameter in fuser.parameters())
    assert sum(parameter.numel() for parameter in layer_loop.parameters()) == ours


def test_options_have_our_likelihoods(reference, make_pair, examples):
    model = make_pair()
    prompts, _ = examples
    style = style_of(reference, model)
    options = ["yes", "or no"]
    ours = model.score(prompts.batch(range(len(prompts))), [options] * len(prompts))
    for prompt, (scores, _) in zip(prompts.encoded, ours, strict=True):
        theirs = [style.score(prompt, ids_of(model, option)) for option in options]
        assert theirs == pytest.approx(scores.tolist(), abs=1e-4)


def test_an_untrained_fuser_changes_nothing(reference, make_pair, examples):
    model = make_pair(trained=False)
    prompts, _ = examples
    prompt = prompts.encoded[2]
    ids = [*prompt.receiver_ids, *ids_of(model, "yes")]
    logits = model.receiver.model(torch.tensor([ids])).logits[0].log_softmax(dim=-1)
    first = len(prompt.receiver_ids)
    alone = sum(float(logits[place - 1, ids[place]]) for place in range(first, len(ids)))
    scored = style_of(reference, model).score(prompt, ids[first:])
    assert scored == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize(
    "fields",
    [
        {"projector": "linear"},
        {"keys": "unrotated"},
        {"injection": "replace"},
        {"sources_per_layer": 2},
        {"layer_alignment": "learned"},
        {"gate": {"granularity": "layer"}},
        {"lora_rank": 2},
    ],
)
def test_other_fusers_are_refused(reference, make_pair, fields):
    with pytest.raises(ConfigError, match="imitates one family"):
        reference.LayerLoopFuser(make_pair(**fields).fuser)


def test_rows_are_padded_behind(reference):
    padded, mask = reference.right_padded([[5, 6, 7], [8]])
    assert padded.tolist() == [[5, 6, 7], [8, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
