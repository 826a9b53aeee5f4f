"""What every system of the register must hold, as tests of a plug-in of one's own."""

from __future__ import annotations

from typing import Any
from typing import ClassVar
from typing import get_args

import pytest
import torch

from c2c_search.config.pipeline import EvaluationConfig
from c2c_search.config.training import TrainingConfig
from c2c_search.config.trial import TrialConfig
from c2c_search.data.schema import DataConfig
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.items import Question
from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult
from c2c_search.evaluation.systems import SYSTEMS
from c2c_search.evaluation.systems import Decoding
from c2c_search.evaluation.systems import Materials
from c2c_search.evaluation.systems import System
from c2c_search.evaluation.systems import SystemEntry
from c2c_search.evaluation.systems.prompts import QuestionPrompts
from c2c_search.evaluation.systems.registry import Kind
from c2c_search.evaluation.systems.registry import Need
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.inference.loading import cache_shape
from c2c_search.inference.model import C2CModel
from c2c_search.models.loading import LoadedModel
from c2c_search.models.pair import PairSpec
from c2c_search.testing.tiny_models import random_model
from c2c_search.tokenization.templates import Message


GREEDY = Decoding(max_new_tokens=5)
SAMPLED = Decoding(max_new_tokens=5, temperature=1.0, top_p=0.9, seed=4)


class SystemConformance:
    """Puts a system through what every one must hold, on tiny models.

    In a test file::

        class TestMine(SystemConformance):
            plugin = "my_package.my_module.MySystem"
    """

    plugin: ClassVar[str]
    """Name or dotted path of the system."""

    @pytest.fixture
    def entry(self) -> SystemEntry:
        """The system's row."""
        return SYSTEMS[self.plugin]

    @pytest.fixture
    def pair(self) -> C2CModel:
        """Receiver and sharer, of different families and sizes."""
        return make_pair()

    @pytest.fixture
    def questions(self) -> tuple[Question, ...]:
        """What is asked."""
        return make_questions()

    @pytest.fixture
    def materials(self, entry: SystemEntry, pair: C2CModel) -> Materials:
        """Exactly what the row says that the system needs."""
        return make_materials(entry, pair)

    @pytest.fixture
    def system(self, entry: SystemEntry, materials: Materials) -> System:
        """The system, built."""
        if entry.derivation is not None:
            pytest.skip("its answers follow from those of others")
        return entry.build(materials)

    def test_its_row_says_what_it_is(self, entry: SystemEntry) -> None:
        assert entry.title
        assert entry.reference
        assert entry.suffix
        assert entry.kind in get_args(Kind)
        assert entry.needs <= set(get_args(Need))
        assert (entry.builder is None) == (entry.derivation is not None)
        if entry.recipe is not None:
            assert entry.recipe.variant(make_trial()).hash()

    def test_it_is_built_of_what_it_needs(self, entry: SystemEntry, system: System) -> None:
        assert system.name == entry.name

    def test_every_option_is_scored_in_the_order_asked(
        self, system: System, pair: C2CModel, questions: tuple[Question, ...]
    ) -> None:
        chosen = system.choose(QuestionPrompts(pair, questions))
        # The tokenizer has a token for every byte, and a space stands before the option.
        assert [each.lengths for each in chosen] == [
            tuple(len(option) + 1 for option in question.options) for question in questions
        ]
        backwards = system.choose(QuestionPrompts(pair, questions[::-1]))
        for one, other in zip(chosen, backwards[::-1], strict=True):
            assert one.likelihoods == pytest.approx(other.likelihoods, abs=1e-3)

    def test_likelihoods_do_not_depend_on_the_batch(
        self, system: System, pair: C2CModel, questions: tuple[Question, ...]
    ) -> None:
        together = system.choose(QuestionPrompts(pair, questions))
        one_by_one = system.choose(QuestionPrompts(pair, questions, batch_size=1))
        for one, other in zip(together, one_by_one, strict=True):
            assert one.likelihoods == pytest.approx(other.likelihoods, rel=1e-4, abs=1e-3)

    def test_likelihoods_do_not_depend_on_what_is_asked_beside(
        self, system: System, pair: C2CModel, questions: tuple[Question, ...]
    ) -> None:
        whole = QuestionPrompts(pair, questions)
        together = system.choose(whole)
        for question, one in zip(questions, together, strict=True):
            (alone,) = system.choose(QuestionPrompts(pair, [question], whole=whole))
            assert alone.likelihoods == pytest.approx(one.likelihoods, rel=1e-4, abs=1e-3)

    def test_progress_ends_with_all_questions(
        self, system: System, pair: C2CModel, questions: tuple[Question, ...]
    ) -> None:
        told: list[tuple[int, int]] = []
        system.choose(
            QuestionPrompts(pair, questions, batch_size=1),
            lambda done, total: told.append((done, total)),
        )
        assert told[-1] == (len(questions), len(questions))
        assert told == sorted(told)

    @pytest.mark.parametrize("decoding", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
    def test_what_is_written_does_not_depend_on_the_batch(
        self,
        decoding: Decoding,
        system: System,
        pair: C2CModel,
        questions: tuple[Question, ...],
    ) -> None:
        together = system.write(QuestionPrompts(pair, questions), decoding)
        apart = QuestionPrompts(pair, questions[::-1], batch_size=1)
        backwards = system.write(apart, decoding)[::-1]
        assert [one.text for one in together] == [one.text for one in backwards]
        for one, other in zip(together, backwards, strict=True):
            assert one.likelihood == pytest.approx(other.likelihood, abs=1e-3)

    def test_derived_answers_are_to_every_item_in_order(
        self, entry: SystemEntry, questions: tuple[Question, ...]
    ) -> None:
        if entry.derivation is None:
            pytest.skip("it answers itself")
        fitted = entry.derivation.fit(
            *(_answers(each, "validation", questions) for each in entry.derivation.of)
        )
        found = entry.derivation.derive(
            *(_answers(each, "test", questions) for each in entry.derivation.of), fitted
        )
        assert found.split == "test"
        assert [item.id for item in found.items] == [each.item.id for each in questions]


def make_pair() -> C2CModel:
    """A receiver of three layers and a sharer of two, without a fuser; caches in float32."""
    return C2CModel(
        random_model("qwen3", layers=3, heads=2, head_dim=8, seed=1),
        random_model("llama", layers=2, heads=1, head_dim=12, seed=2),
        None,
        cache_dtype=torch.float32,
    )


def make_fuser(pair: C2CModel, **fields: Any) -> Fuser:
    """A fuser for a pair, with random weights that are large enough to matter.

    Args:
        pair: Receiver and sharer.
        fields: Of `FuserConfig`.
    """
    torch.manual_seed(0)
    config = FuserConfig(**{"width": 8, "normalisation": "none", **fields})
    receiver = cache_shape(pair.receiver, adapted=config.lora_rank > 0)
    sharer = cache_shape(pair.receiver if config.sharer == "self" else pair.sharer)
    fuser = Fuser(config, receiver, sharer).eval()
    with torch.no_grad():
        for parameter in fuser.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return fuser


def make_entries(pair: C2CModel, count: int = 3) -> torch.Tensor:
    """A KV prefix of the receiver, ``(2, layers, entries, size)``, random."""
    shape = cache_shape(pair.receiver)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, shape.layers, count, shape.size, generator=generator)


def make_questions() -> tuple[Question, ...]:
    """Questions with two or three options, in two groups of two."""
    asked = {
        "long": ("colour", "Which colour has the sky on a very clear day?", ("blue", "red")),
        "red": ("colour", "Colour of blood?", ("blue", "dark red", "red")),
        "two": ("number", "One and one?", ("two", "three")),
        "six": ("number", "Two times three?", ("five", "six")),
    }
    return tuple(
        Question(
            item=Item(name, group, name, (_said("user", text),), options, 0),
            messages=(_said("user", text),),
            options=options,
        )
        for name, (group, text, options) in asked.items()
    )


def make_trial() -> TrialConfig:
    """The trial that trained the fuser which is evaluated."""
    return TrialConfig(
        pair=PairSpec(receiver="path:receiver", sharer="path:sharer"),
        fuser=FuserConfig(width=8, normalisation="none"),
        training=TrainingConfig(),
        data=DataConfig(),
        evaluation=EvaluationConfig(),
        seed=0,
    )


def make_materials(entry: SystemEntry, pair: C2CModel) -> Materials:
    """What a row says that its system needs, and nothing else.

    Args:
        entry: The row.
        pair: Receiver and sharer.
    """
    exemplars = [
        (_said("user", "Colour of grass?"), _said("assistant", "green")),
        (_said("user", "Two and two?"), _said("assistant", "four")),
    ]
    trained: Fuser | LoadedModel | torch.Tensor | None = None
    if "trial" in entry.needs and entry.recipe is not None:
        if entry.recipe.learner == "lora":
            trained = random_model("qwen3", layers=3, heads=2, head_dim=8, seed=3)
        elif entry.recipe.learner == "cartridge":
            trained = make_entries(pair)
        else:
            config = entry.recipe.variant(make_trial()).fuser
            trained = make_fuser(pair, **config.model_dump())
    return Materials(
        pair=pair,
        fuser=make_fuser(pair) if "fuser" in entry.needs else None,
        exemplars=exemplars if "exemplars" in entry.needs else (),
        trained=trained,
    )


def _said(role: str, content: str) -> Message:
    return Message(role=role, content=content)


def _answers(system: str, split: str, questions: tuple[Question, ...]) -> SystemResult:
    """Answers of a system, which ones depends on its name."""
    likely = -float(sum(system.encode()) % 7) / 7
    items = tuple(
        ItemResult(
            id=each.item.id,
            group=each.item.group,
            cluster=each.item.cluster,
            answer=0,
            chosen=0,
            scores=(likely / (row + 1), -1.0),
        )
        for row, each in enumerate(questions)
    )
    return SystemResult(system=system, split=split, items=items)
