"""The built-in private quiz: invented passages that only the sharer reads, and what they say.

Every name is made up, so that no model can know an answer, and no name is in two splits. The
receiver is asked the question alone; the sharer reads the passage and the question. Whatever is
answered better than by chance has been said.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from c2c_search.data.invented import BEFORE
from c2c_search.data.invented import BEHIND
from c2c_search.data.invented import KINDS
from c2c_search.data.invented import QUESTIONS
from c2c_search.data.invented import STATEMENTS
from c2c_search.data.invented import Attribute
from c2c_search.data.schema import PrivateQuiz
from c2c_search.data.schema import Row
from c2c_search.data.schema import SplitName
from c2c_search.tokenization.templates import asked
from c2c_search.tokenization.templates import asked_about


CHOICES = 4
_ONSETS, _VOWELS, _CODAS = (
    letters.split()
    for letters in (
        "b br c ch d dr f fl g gr h j k kl l m n p pr qu r s sh st t th tr v w z",
        "a e i o u ai ea ia io ou",
        "l ll m n nd r rd rn s ss st t th x",
    )
)
# Shares of all names that a split may use; a name's checksum says whose it is.
_SHARES: dict[SplitName, range] = {
    "train": range(6),
    "validation": range(6, 8),
    "test": range(8, 10),
}


T = TypeVar("T")


@dataclass(frozen=True)
class _Fact:
    """One sentence's worth: ``attribute`` of ``subject`` is ``value``, all of it invented."""

    kind: str
    subject: str
    attribute: Attribute
    value: str


def private_rows(config: PrivateQuiz, split: SplitName) -> list[Row]:
    """The questions of a split; more of them only add to the end.

    A row's cluster is its passage, its group says how many hops the question takes and of what
    kind its subject is, e.g. ``one-hop/country``.
    """
    used: set[str] = set()
    rows = []
    for number in range(getattr(config.passages, split)):
        # Only `random()` and `choice` of a str-seeded generator stay the same across Pythons.
        draw = random.Random(f"private quiz {config.seed}/{split}/{number}")
        rows.append(_row(config, split, number, _Names(split, draw, used)))
    return rows


def private_provenance() -> dict[str, str]:
    """What the questions are a function of, beside the pipeline."""
    return {"private_quiz": "1"}


class _Names:
    """Draws names of a split that no passage of it has yet."""

    def __init__(self, split: SplitName, draw: random.Random, used: set[str]) -> None:
        self.split, self.draw, self.used = split, draw, used

    def new(self) -> str:
        while True:
            syllables = range(self.draw.choice((2, 2, 3)))
            name = "".join(
                self.draw.choice(_ONSETS) + self.draw.choice(_VOWELS) for _ in syllables
            )
            name = (name + self.draw.choice(_CODAS)).capitalize()
            own = zlib.crc32(name.encode()) % 10 in _SHARES[self.split]
            if own and name not in self.used:
                self.used.add(name)
                return name


def _row(config: PrivateQuiz, split: SplitName, number: int, names: _Names) -> Row:
    draw = names.draw
    kind = draw.choice(sorted(config.kinds))
    chain, facts = _facts(config, kind, names)
    subject, last = chain[0].subject, chain[-1]
    bystanders = list(_bystanders(kind, config.sentences - len(facts), names))
    sentences = [_sentence(fact, config, draw) for fact in _shuffled([*facts, *bystanders], draw)]
    question = _question(chain, subject, config, draw)
    if config.wrong_choices == "same_passage":
        others = [fact.value for fact in [*facts, *bystanders] if fact.value != last.value]
        wrong = _shuffled(others, draw)[: CHOICES - 1]
    else:
        wrong = [names.new() for _ in range(CHOICES - 1)]
    choices = _shuffled([last.value, *wrong], draw)
    passage = " ".join(sentences)
    hops = "one-hop" if config.hops == 1 else "two-hop"
    return Row(
        id=f"{split}/{number}",
        group=f"{hops}/{kind}",
        cluster=f"{split}/{number} {subject}",
        messages=asked(question),
        sharer_messages=asked(asked_about(passage, question)),
        response=last.value,
        choices=choices,
        answer=choices.index(last.value),
    )


def _facts(config: PrivateQuiz, kind: str, names: _Names) -> tuple[tuple[_Fact, ...], list[_Fact]]:
    """The chain that is asked about, and every fact of those that are on it."""
    subject, count = names.new(), config.sentences - config.bystanders
    if config.hops == 1:
        attributes = _shuffled(KINDS[kind], names.draw)[:count]
        facts = [_Fact(kind, subject, each, names.new()) for each in attributes]
        return (names.draw.choice(facts),), facts
    link = names.draw.choice([each for each in KINDS[kind] if each.leads_to])
    others = [each for each in KINDS[kind] if each is not link]
    middle, beyond = names.new(), str(link.leads_to)
    first = _Fact(kind, subject, link, middle)
    half = (count - 1) // 2
    further = [
        _Fact(beyond, middle, each, names.new())
        for each in _shuffled(KINDS[beyond], names.draw)[: count - 1 - half]
    ]
    own = [
        _Fact(kind, subject, each, names.new()) for each in _shuffled(others, names.draw)[:half]
    ]
    return (first, names.draw.choice(further)), [first, *own, *further]


def _bystanders(kind: str, count: int, names: _Names) -> Iterator[_Fact]:
    """Sentences about others of the same kind, so that what is asked must be told apart."""
    while count > 0:
        subject = names.new()
        for attribute in _shuffled(KINDS[kind], names.draw)[: min(count, 4)]:
            yield _Fact(kind, subject, attribute, names.new())
            count -= 1


def _sentence(fact: _Fact, config: PrivateQuiz, draw: random.Random) -> str:
    attribute = fact.attribute
    ways = (*attribute.statements, *STATEMENTS)[: config.wordings]
    said = _worded(draw.choice(ways), attribute, fact.subject, fact.value)
    return _with_aside(said, draw) if config.asides else said


def _question(
    chain: Sequence[_Fact], subject: str, config: PrivateQuiz, draw: random.Random
) -> str:
    for link in chain[:-1]:
        subject = link.attribute.phrase.format(x=subject)
    last = chain[-1].attribute
    ways = (*last.questions, *QUESTIONS)[: config.wordings]
    return _worded(draw.choice(ways), last, subject)


def _worded(way: str, attribute: Attribute, subject: str, value: str = "") -> str:
    phrase = attribute.phrase.format(x=subject)
    return way.format(x=subject, v=value, phrase=phrase, Phrase=phrase[0].upper() + phrase[1:])


def _with_aside(sentence: str, draw: random.Random) -> str:
    """A sentence with an aside before it, behind it, or none."""
    before, behind = draw.choice((*BEFORE, "")), draw.choice((*BEHIND, ""))
    if before and draw.random() < 0.5:
        first, rest = sentence.split(" ", 1)
        return f"{before}{first.lower() if first in _NO_NAMES else first} {rest}"
    return f"{sentence.removesuffix('.')}{behind}."


def _shuffled(items: Sequence[T], draw: random.Random) -> list[T]:
    order = sorted((draw.random(), index) for index in range(len(items)))
    return [items[index] for _, index in order]


# What a sentence begins with that is no name.
_NO_NAMES = frozenset(("As", "Ask", "In", "It", "Most", "On", "People", "The", "When"))
