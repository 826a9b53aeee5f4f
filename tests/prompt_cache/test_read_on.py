"""Prompts that are read on from what is kept are what they are when they are read whole."""

from __future__ import annotations

import pytest
import torch

from c2c_search.prompt_cache import read_on as module
from c2c_search.prompt_cache.caches import PromptCaches
from c2c_search.prompt_cache.prefix_cache import PrefixCache
from c2c_search.prompt_cache.read_on import read_on
from tests.architectures import ARCHITECTURES


DOCUMENT = [*range(3, 21)]  # longer than all windows
QUESTIONS = [[*DOCUMENT, 30, 31], [*DOCUMENT, 32], [*DOCUMENT, 30, 33, 34]]


def counting(**options):
    counts = []
    return PrefixCache(told=lambda *count: counts.append(count), **options), counts


def same(model, prompts, found, source="kv"):
    whole = PromptCaches.compute(model, prompts, torch.float32, source=source)
    positions = [torch.arange(len(ids)) for ids in prompts]
    rows = range(len(prompts))
    torch.testing.assert_close(
        found.packed(rows, positions), whole.packed(rows, positions), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_another_question_about_a_document_reads_the_question_alone(name):
    model = ARCHITECTURES[name]()
    kept, counts = counting()
    for ids in QUESTIONS:
        same(model, [ids], read_on(model, [ids], torch.float32, kept))
    assert counts == [(20, 0), (1, 18), (2, 19)]
    same(model, QUESTIONS, read_on(model, QUESTIONS, torch.float32, kept))
    assert counts[3:] == [(0, 20 + 19 + 21)]


def test_questions_that_come_together_read_a_document_once(monkeypatch):
    model = ARCHITECTURES["gemma3"]()
    kept, counts = counting()
    monkeypatch.setattr(module, "TOKENS_TO_BEGIN", 4)
    other = [[*range(40, 55), last] for last in (1, 2)]
    prompts = [QUESTIONS[0], other[0], [5, 6], QUESTIONS[1], other[1], [7], QUESTIONS[0]]
    same(model, prompts, read_on(model, prompts, torch.float32, kept))
    read = 18 + 2 + 1 + 15 + 2 + 3
    assert counts == [(read, sum(map(len, prompts)) - read)]
    # One of them is there, and a further one shares more with those that come.
    more = [[*QUESTIONS[2], 1, 2, 3, 4, 5, 6, last] for last in (7, 8, 9)]
    same(model, more, read_on(model, more, torch.float32, kept))
    assert counts[1][0] == 2 + 6 + 3


def test_what_is_short_does_not_part_those_that_are_read_together(monkeypatch):
    model = ARCHITECTURES["llama"]()
    kept, _ = counting()
    passes = []
    run = module.Prefill.run
    monkeypatch.setattr(
        module.Prefill, "run", lambda self, n: (passes.append(self.prompts), run(self, n))[1]
    )
    read_on(model, [[*range(3, 13), 1]], torch.float32, kept)
    prompts = [[*range(3, 13), 2], [*range(3, 13), 3], [60, 61]]
    same(model, prompts, read_on(model, prompts, torch.float32, kept))
    assert [len(each) for each in passes[:2]] == [1, 3]


def test_what_layers_put_out_is_kept_of_whole_prompts():
    model = ARCHITECTURES["gemma3"]()
    kept, counts = counting()
    for prompts in (QUESTIONS[:1], QUESTIONS[:2], QUESTIONS[:2]):
        same(model, prompts, read_on(model, prompts, torch.float32, kept, "hidden"), "hidden")
    assert counts == [(20, 0), (19, 20), (0, 39)]
    read_on(model, QUESTIONS[:1], torch.float32, kept)
    assert counts[3] == (20, 0)  # keys and values are something else


def test_without_room_everything_is_read():
    model = ARCHITECTURES["llama"]()
    kept, counts = counting(most_bytes=0)
    for _ in range(2):
        same(model, QUESTIONS[:1], read_on(model, QUESTIONS[:1], torch.float32, kept))
    assert counts == [(20, 0), (20, 0)]


def test_a_model_in_another_dtype_reads_anew():
    model = ARCHITECTURES["llama"]()
    kept, counts = counting()
    read_on(model, QUESTIONS[:1], torch.float32, kept)
    read_on(model.to(torch.bfloat16), QUESTIONS[:1], torch.bfloat16, kept)
    assert [read for read, _ in counts] == [20, 20]


def test_what_is_not_finite_spoils_nothing_else():
    model = ARCHITECTURES["llama"]()
    kept, counts = counting()
    weight = model.model.layers[0].self_attn.k_proj.weight
    before = weight.clone()
    weight[0, 0] = torch.inf
    read_on(model, QUESTIONS[:1], torch.float32, kept)
    weight.copy_(before)
    same(model, QUESTIONS[:1], read_on(model, QUESTIONS[:1], torch.float32, kept))
    assert counts == [(20, 0), (20, 0)]
