"""Which items of a test set were learnt from, as the same question or as 13 words."""

from __future__ import annotations

from collections import Counter
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.data.schema import Message
from c2c_search.data.schema import Row
from c2c_search.data.words import question_key
from c2c_search.data.words import words


NGRAM = 13
# An n-gram in more than both of these is a template's and says nothing about an item.
_BOILERPLATE_ITEMS = 5
_BOILERPLATE_SHARE = 0.1
_EXAMPLES = 5

LeftOut = Literal["nothing", "examples", "items"]


# --- What is compared --------------------------------------------------------------------------


@dataclass(frozen=True)
class Text:
    """An example, or an item of a test set, as it is compared.

    Args:
        id: Of the example or item.
        questions: What it asks, in every form that may equal another's question.
        text: Everything in it that is searched for n-grams.
        group: What it is reported under; a template is often one group's.
    """

    id: str
    questions: tuple[str, ...]
    text: str
    group: str = ""


def learnt_text(row: Row) -> Text:
    """A row that is trained or selected on: all of it.

    Every turn of the user counts as a question, and so does the whole conversation.
    """
    asked = [turn["content"] for turn in row["messages"] if turn["role"] == "user"]
    turns = [turn["content"] for turn in (*row["messages"], *row["sharer_messages"])]
    return Text(
        id=row["id"],
        questions=tuple(dict.fromkeys([_conversation(row["messages"]), *asked])),
        text="\n".join([*turns, *row["choices"], row["response"]]),
        group=row["group"],
    )


def judged_text(row: Row) -> Text:
    """A row that is judged on: its question, and its choices or its answer in words."""
    answers = row["choices"] or [row["response"]]
    return item_text(row["id"], row["messages"], answers, group=row["group"])


def item_text(
    id: str, messages: Iterable[Message], answers: Iterable[str], *, group: str = ""
) -> Text:
    """An item of any task.

    What a sharer reads in its place is a source and no question, and is left out.

    Args:
        id: Of the item.
        messages: The conversation that asks it; the system's turns are left out.
        answers: Its choices or, without any, its right answers in words.
        group: What it is reported under.
    """
    question = _conversation(messages)
    return Text(id, (question,), "\n".join([question, *answers]), group)


def _conversation(messages: Iterable[Message]) -> str:
    return "\n".join(turn["content"] for turn in messages if turn["role"] != "system")


# --- What is found -----------------------------------------------------------------------------


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Match(_Frozen):
    """An item, and the first example that it overlaps with.

    Args:
        item: Id of the item.
        example: Id of the example.
        ngram: Words that both have; empty where the question as a whole is the same.
    """

    item: str
    example: str
    ngram: str = ""


class SetOverlap(_Frozen):
    """What of one test set was learnt from.

    Args:
        items: Items of the set.
        exact: Those whose question an example asks too.
        ngram: Those of which an example has an n-gram; the exact ones may be among them.
    """

    items: int
    exact: tuple[Match, ...]
    ngram: tuple[Match, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the items that overlap in either way."""
        return tuple(dict.fromkeys(match.item for match in (*self.exact, *self.ngram)))


class Contamination(_Frozen):
    """Overlap of what was learnt from with test sets; JSON round trip.

    Args:
        n: Words of an n-gram.
        examples: How many examples were compared.
        overlapping: Ids of the examples that overlap with any item, in their order.
        sets: What was found in each test set, by name.
        boilerplate: How many n-grams of the items were taken for a template's.
        boilerplate_examples: The most frequent of them.
        left_out: What was left out because of it.
    """

    n: int
    examples: int
    overlapping: tuple[str, ...]
    sets: dict[str, SetOverlap]
    boilerplate: int
    boilerplate_examples: tuple[str, ...]
    left_out: LeftOut = "nothing"

    @property
    def found(self) -> bool:
        """Whether anything overlaps."""
        return bool(self.overlapping)

    def sentence(self) -> str:
        """Say what was found, and what was left out because of it."""
        ends = {
            "nothing": " All are kept.",
            "examples": " These examples are left out.",
            "items": " These items are left out.",
        }
        return self.finding() + (ends[self.left_out] if self.found else "")

    def finding(self) -> str:
        """Say what was found."""
        if not self.found:
            sizes = _listed([f"{each.items} {name}" for name, each in self.sets.items()])
            return (
                f"None of {self.examples} examples overlaps with any of {sizes} items (the same "
                f"question, or {self.n} words in a row)."
            )
        parts = [
            f"{len(each.ids)} of {each.items} {name} items ({len(each.exact)} by the same "
            f"question, {len(each.ngram)} by {self.n} words in a row)"
            for name, each in self.sets.items()
            if each.ids
        ]
        count = len(self.overlapping)
        return f"{count} of {self.examples} examples overlap with {_listed(parts)}."

    def listing(self, most: int) -> str:
        """At most so many overlaps of each set, one line each."""
        lines = []
        for name, each in self.sets.items():
            known = {match.item for match in each.exact}
            all_ = [*each.exact, *(match for match in each.ngram if match.item not in known)]
            for match in all_[:most]:
                how = f"share '{match.ngram}'" if match.ngram else "ask the same"
                lines.append(f"  {match.example} and {name} item {match.item} {how}")
            if len(all_) > most:
                lines.append(f"  ... and {len(all_) - most} more {name} items")
        return "\n".join(lines)


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


# --- The comparison ----------------------------------------------------------------------------


def overlap(
    train: Iterable[Text], tests: Mapping[str, Sequence[Text]], *, n: int = NGRAM
) -> Contamination:
    """Find the test items that examples overlap with, and these examples.

    An item is *exact* if its question, without case, punctuation and spaces, is an example's,
    however short. It is found *by n-gram* if any n words in a row of its question and answers
    stand in an example, as GPT-3's authors did it (Brown et al. 2020, arXiv 2005.14165, appendix
    C: n = 13, lower-cased words without punctuation).

    They ignored n-grams in more than 10 training documents. That would also pardon an item for
    being copied often, so here the items alone say what is boilerplate: an n-gram in more than 5
    and more than a tenth of them, be it of all items, of one set or of one group. (A passage that
    so many items of a set quote falls under it too.) No text that is added without these words
    can remove a finding.

    The items' n-grams are kept (about 100 bytes for each word of the items), the examples are
    streamed. N-grams are compared by their 64-bit hashes.

    Args:
        train: Examples, read once.
        tests: Items of each test set, by its name.
        n: Words of an n-gram.
    """
    index = _Index(tests, n)
    search = _Search(index)
    for example in train:
        search.read(example)
    return Contamination(
        n=n,
        examples=search.examples,
        overlapping=tuple(search.overlapping),
        sets={name: search.overlap(numbers) for name, numbers in index.sets.items()},
        boilerplate=index.boilerplate,
        boilerplate_examples=index.boilerplate_examples,
    )


def seen(
    trained_on: Iterable[Row],
    selected_on: Iterable[Row],
    items: Sequence[Text],
    *,
    name: str = "test",
) -> Contamination:
    """Find the items that overlap with what a fuser was trained on, or was selected on."""
    rows = (row for rows in (trained_on, selected_on) for row in rows)
    return overlap(map(learnt_text, rows), {name: items})


def _grams(spoken: Sequence[str], n: int) -> Iterator[int]:
    """Hash of every n words in a row."""
    return map(hash, zip(*(spoken[start:] for start in range(n)), strict=False))


class _Index:
    """The items of all test sets by question and by n-gram, boilerplate left out."""

    def __init__(self, tests: Mapping[str, Sequence[Text]], n: int) -> None:
        self.n = n
        self.items: list[Text] = []
        self.sets: dict[str, range] = {}
        self.questions: dict[str, list[int]] = defaultdict(list)
        # Most n-grams have one owner, and a bare number is smaller than a list.
        self.ngrams: dict[int, int | list[int]] = {}
        self._scopes: list[tuple[tuple[str, ...], ...]] = []
        for name, texts in tests.items():
            self.sets[name] = range(len(self.items), len(self.items) + len(texts))
            for text in texts:
                self._add(text, name)
        self.questions.pop("", None)
        self._drop_boilerplate()

    def new_owners(self, gram: int) -> Sequence[int]:
        """Items that have an n-gram, once: later finds of it are no news."""
        owners = self.ngrams[gram]
        self.ngrams[gram] = []
        return [owners] if isinstance(owners, int) else owners

    def _add(self, text: Text, name: str) -> None:
        number = len(self.items)
        self.items.append(text)
        self._scopes.append(((), (name,), (name, text.group)))
        for question in text.questions:
            self.questions[question_key(question)].append(number)
        for gram in dict.fromkeys(_grams(words(text.text), self.n)):
            owners = self.ngrams.setdefault(gram, number)
            if isinstance(owners, list):
                owners.append(number)
            elif owners != number:
                self.ngrams[gram] = [owners, number]

    def _drop_boilerplate(self) -> None:
        sizes = Counter(scope for scopes in self._scopes for scope in scopes)
        frequent: list[tuple[int, int, int]] = []
        for gram, owners in self.ngrams.items():
            if isinstance(owners, int) or len(owners) <= _BOILERPLATE_ITEMS:
                continue
            counts = Counter(scope for number in owners for scope in self._scopes[number])
            if any(
                count > max(_BOILERPLATE_ITEMS, _BOILERPLATE_SHARE * sizes[scope])
                for scope, count in counts.items()
            ):
                frequent.append((-len(owners), owners[0], gram))
        for _, _, gram in frequent:
            del self.ngrams[gram]
        self.boilerplate = len(frequent)
        frequent.sort(key=lambda found: found[:2])
        shown = (self._spelt(number, gram) for _, number, gram in frequent[:_EXAMPLES])
        self.boilerplate_examples = tuple(shown)

    def _spelt(self, number: int, gram: int) -> str:
        spoken = words(self.items[number].text)
        start = next(at for at, found in enumerate(_grams(spoken, self.n)) if found == gram)
        return " ".join(spoken[start : start + self.n])


class _Search:
    """What is found while examples are read, one after the other."""

    def __init__(self, index: _Index) -> None:
        self.examples = 0
        self.overlapping: list[str] = []
        self._index = index
        self._exact: dict[int, Match] = {}
        self._shared: dict[int, Match] = {}

    def read(self, example: Text) -> None:
        self.examples += 1
        asks = [self._asks(question, example) for question in example.questions]
        if self._shares(example) or any(asks):
            self.overlapping.append(example.id)

    def overlap(self, numbers: Sequence[int]) -> SetOverlap:
        return SetOverlap(
            items=len(numbers),
            exact=tuple(self._exact[number] for number in numbers if number in self._exact),
            ngram=tuple(self._shared[number] for number in numbers if number in self._shared),
        )

    def _asks(self, question: str, example: Text) -> bool:
        numbers = self._index.questions.get(question_key(question), ())
        for number in numbers:
            match = Match(item=self._index.items[number].id, example=example.id)
            self._exact.setdefault(number, match)
        return bool(numbers)

    def _shares(self, example: Text) -> bool:
        index, spoken = self._index, words(example.text)
        # Most examples share nothing, and this tells it fastest.
        if index.ngrams.keys().isdisjoint(_grams(spoken, index.n)):
            return False
        for start, gram in enumerate(_grams(spoken, index.n)):
            if gram in index.ngrams:
                ngram = " ".join(spoken[start : start + index.n])
                for number in index.new_owners(gram):
                    item = index.items[number].id
                    match = Match(item=item, example=example.id, ngram=ngram)
                    self._shared.setdefault(number, match)
        return True
