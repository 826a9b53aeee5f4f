"""What every token alignment must do, as tests to inherit.

from c2c_search.testing import TokenAlignmentConformance

class TestMine(TokenAlignmentConformance):
    plugin = "my_package.my_module.my_alignment"
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from tokenizers import Tokenizer
from tokenizers import models
from transformers import PreTrainedTokenizerFast

from c2c_search.errors import DataError
from c2c_search.fuser.config import FuserConfig
from c2c_search.testing.tokenizers import PAIRS
from c2c_search.testing.tokenizers import SCRIPTS
from c2c_search.testing.tokenizers import TEXTS
from c2c_search.testing.tokenizers import family
from c2c_search.tokenization.alignments import TOKEN_ALIGNMENTS
from c2c_search.tokenization.templates import Message
from c2c_search.tokenization.templates import Rendered
from c2c_search.tokenization.templates import Template
from c2c_search.tokenization.templates import asked
from c2c_search.tokenization.token_alignment import encode
from c2c_search.tokenization.token_alignment import encode_all
from c2c_search.tokenization.token_alignment import encode_rendered
from c2c_search.tokenization.token_alignment import one_to_one


every_template = pytest.mark.parametrize("template", ["plain", "chat"])
every_pair = pytest.mark.parametrize(("receiver", "sharer"), PAIRS)
# Several classes run the inherited tests, each for an alignment of its own.
some_texts = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.differing_executors]
)


def question(text: str) -> list[Message]:
    """A conversation of two turns, of which the second says ``text``."""
    return [Message(role="system", content="the country"), *asked(text)]


class TokenAlignmentConformance:
    """What training and answering ask of a token alignment; inherit from it and name yours."""

    plugin: str
    """Name or dotted path, as in YAML."""

    def test_it_has_a_name_and_a_reference(self) -> None:
        entry = TOKEN_ALIGNMENTS[self.plugin]
        assert TOKEN_ALIGNMENTS[entry.name] is entry
        assert entry.reference.strip()

    def test_a_fuser_can_be_configured_with_it(self) -> None:
        assert FuserConfig(token_alignment=self.plugin).token_alignment == self.plugin

    @every_template
    @every_pair
    @some_texts
    @given(text=TEXTS)
    def test_every_receiver_token_has_a_sharer_token(
        self, template: Template, receiver: str, sharer: str, text: str
    ) -> None:
        prompt = encode(question(text), template, family(receiver), family(sharer), self.plugin)
        assert len(prompt.alignment) == len(prompt.receiver_ids) > 0
        assert list(prompt.alignment) == sorted(prompt.alignment)
        assert all(0 <= index < len(prompt.sharer_ids) for index in prompt.alignment)
        assert all(0 <= token < len(family(sharer)) for token in prompt.sharer_ids)
        # The front says little, the end must be heard to its end: the answer follows it.
        assert prompt.alignment[-1] >= len(prompt.sharer_ids) - 2

    @every_template
    @every_pair
    def test_the_receiver_reads_its_own_tokens(
        self, template: Template, receiver: str, sharer: str
    ) -> None:
        for text in SCRIPTS[::4]:
            prompt = encode(
                question(text), template, family(receiver), family(sharer), self.plugin
            )
            alone = encode(question(text), template, family(receiver), family(receiver))
            assert prompt.receiver_ids == alone.receiver_ids

    @every_template
    @every_pair
    def test_many_are_encoded_as_one_by_one(
        self, template: Template, receiver: str, sharer: str
    ) -> None:
        conversations = [question(text) for text in ["", *SCRIPTS[::3]]]
        conversations.append(conversations[0][1:])
        tokenizers = family(receiver), family(sharer)
        together = encode_all(conversations, template, *tokenizers, self.plugin)
        one_by_one = tuple(
            encode(each, template, *tokenizers, self.plugin) for each in conversations
        )
        assert together == one_by_one
        assert encode_all([], template, *tokenizers, self.plugin) == ()

    @every_template
    @every_pair
    def test_a_sharer_that_reads_something_else(
        self, template: Template, receiver: str, sharer: str
    ) -> None:
        conversations = [question(text) for text in SCRIPTS[:6]]
        others = [question(text * 5)[1:] for text in reversed(SCRIPTS[-12:-6])]
        tokenizers = family(receiver), family(sharer)
        prompts = encode_all(
            conversations, template, *tokenizers, self.plugin, sharer_conversations=others
        )
        alone = encode_all(others, template, tokenizers[1], tokenizers[1])
        for prompt, other in zip(prompts, alone, strict=True):
            assert prompt.sharer_ids == other.receiver_ids
            assert len(prompt.alignment) == len(prompt.receiver_ids)
            assert list(prompt.alignment) == sorted(prompt.alignment)
            assert prompt.alignment[0] == 0
            assert prompt.alignment[-1] == len(prompt.sharer_ids) - 1

    @pytest.mark.parametrize("mute", ["receiver", "sharer"])
    def test_a_prompt_without_tokens_is_refused(self, mute: str) -> None:
        silent = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"x": 0}, [])))
        pair = (silent, family("bytes")) if mute == "receiver" else (family("bytes"), silent)
        with pytest.raises(DataError, match=f"none for the {mute}"):
            encode(question("?"), "plain", *pair, self.plugin)

    @every_pair
    def test_a_prompt_written_out_already_is_read_as_the_template_writes_it(
        self, receiver: str, sharer: str
    ) -> None:
        text = "Question: the country of Straße\nAnswer:"
        rendered = [Rendered(text, ((0, len(text)),), special=True)]
        tokenizers = family(receiver), family(sharer)
        found = encode_rendered(rendered, rendered, *tokenizers, self.plugin)
        expected = encode(asked("the country of Straße"), "plain", *tokenizers, self.plugin)
        assert found == (expected,)

    @every_pair
    def test_a_token_of_the_response_is_read_as_one_token(
        self, receiver: str, sharer: str
    ) -> None:
        tokenizers = family(receiver), family(sharer)
        ids = list(range(len(family(receiver))))
        read = one_to_one(ids, *tokenizers, self.plugin)
        assert len(read) == len(ids)
        assert all(0 <= token < len(family(sharer)) for token in read)
        # By itself: what stands around it is not known while it is written.
        assert read[-3:] == one_to_one(ids[-3:], *tokenizers, self.plugin)
