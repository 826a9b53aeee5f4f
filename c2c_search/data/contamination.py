"""Which items of a test set were learnt from: the same question, 13 words, the same cluster."""

from __future__ import annotations

from collections import Counter
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.data.schema import Row
from c2c_search.data.texts import Text
from c2c_search.data.texts import learnt_text
from c2c_search.data.words import question_key
from c2c_search.data.words import words


NGRAM = 13
# An n-gram in more than both of these is a template's and says nothing about an item.
_BOILERPLATE_ITEMS = 5
_BOILERPLATE_SHARE = 0.1
_EXAMPLES = 5

LeftOut = Literal["nothing", "examples", "items"]


# --- What is found -----------------------------------------------------------------------------


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Match(_Frozen):
    """An item, and the first example that it overlaps with.

    Args:
        item: Id of the item.
        example: Id of the example.
        ngram: Words that both have; empty where the question as a whole is the same.
        cluster: The cluster that both are of, where that is all that they share.
    """

    item: str
    example: str
    ngram: str = ""
    cluster: str = ""


class SetOverlap(_Frozen):
    """What of one test set was learnt from.

    Args:
        items: Items of the set.
        exact: Those whose question an example asks too.
        ngram: Those of which an example has an n-gram; the exact ones may be among them.
        cluster: Those of an example's cluster; the others may be among them.
    """

    items: int
    exact: tuple[Match, ...]
    ngram: tuple[Match, ...]
    cluster: tuple[Match, ...] = ()

    @property
    def first(self) -> tuple[Match, ...]:
        """One match of each item that overlaps in any way."""
        found: dict[str, Match] = {}
        for match in (*self.exact, *self.ngram, *self.cluster):
            found.setdefault(match.item, match)
        return tuple(found.values())

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the items that overlap in any way."""
        return tuple(match.item for match in self.first)

    def finding(self, name: str, n: int) -> str:
        """How many of the set's items overlap, and how."""
        ways = [
            f"{len(self.exact)} by the same question",
            f"{len(self.ngram)} by {n} words in a row",
        ]
        if self.cluster:
            ways.append(f"{len(self.cluster)} by cluster")
        return f"{len(self.ids)} of {self.items} {name} items ({', '.join(ways)})"


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
        what: What the examples are called.
    """

    n: int
    examples: int
    overlapping: tuple[str, ...]
    sets: dict[str, SetOverlap]
    boilerplate: int
    boilerplate_examples: tuple[str, ...]
    left_out: LeftOut = "nothing"
    what: str = "examples"

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
                f"None of {self.examples} {self.what} overlaps with any of {sizes} items (the "
                f"same question, or {self.n} words in a row)."
            )
        parts = [each.finding(name, self.n) for name, each in self.sets.items() if each.ids]
        count = len(self.overlapping)
        return f"{count} of {self.examples} {self.what} overlap with {_listed(parts)}."

    def listing(self, most: int) -> str:
        """At most so many overlaps of each set, one line each."""
        lines = []
        for name, each in self.sets.items():
            for match in each.first[:most]:
                lines.append(f"  {match.example} and {name} item {match.item} {_how(match)}")
            if len(each.first) > most:
                lines.append(f"  ... and {len(each.first) - most} more {name} items")
        return "\n".join(lines)


def _how(match: Match) -> str:
    if match.cluster:
        return f"are of cluster '{match.cluster}'"
    return f"share '{match.ngram}'" if match.ngram else "ask the same"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


# --- The comparison ----------------------------------------------------------------------------


def overlap(
    train: Iterable[Text],
    tests: Mapping[str, Sequence[Text]],
    *,
    n: int = NGRAM,
    what: str = "examples",
) -> Contamination:
    """Find the test items that examples overlap with, and these examples.

    An item is *exact* if its question, without case, punctuation and spaces, is an example's,
    however short. It is found *by cluster* if it is said to be of an example's cluster. It is
    found *by n-gram* if any n words in a row of its question and answers stand in an example, as
    GPT-3's authors did it (Brown et al. 2020, arXiv 2005.14165, appendix C: n = 13, lower-cased
    words without punctuation).

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
        what: What reports call the examples.
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
        what=what,
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


def _key(question: str) -> str:
    # Of a question that is nothing but punctuation, every mark counts.
    return question_key(question) or question


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
        self.clusters: dict[str, list[int]] = defaultdict(list)
        # Most n-grams have one owner, and a bare number is smaller than a list.
        self.ngrams: dict[int, int | list[int]] = {}
        self._scopes: list[tuple[tuple[str, ...], ...]] = []
        for name, texts in tests.items():
            self.sets[name] = range(len(self.items), len(self.items) + len(texts))
            for text in texts:
                self._add(text, name)
        self.questions.pop("", None)
        self.clusters.pop("", None)
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
            self.questions[_key(question)].append(number)
        self.clusters[text.cluster].append(number)
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
        self._related: dict[int, Match] = {}

    def read(self, example: Text) -> None:
        self.examples += 1
        asks = [self._asks(question, example) for question in example.questions]
        related = self._is_of_a_cluster(example)
        if self._shares(example) or related or any(asks):
            self.overlapping.append(example.id)

    def overlap(self, numbers: Sequence[int]) -> SetOverlap:
        return SetOverlap(
            items=len(numbers),
            exact=tuple(self._exact[number] for number in numbers if number in self._exact),
            ngram=tuple(self._shared[number] for number in numbers if number in self._shared),
            cluster=tuple(self._related[number] for number in numbers if number in self._related),
        )

    def _asks(self, question: str, example: Text) -> bool:
        numbers = self._index.questions.get(_key(question), ())
        for number in numbers:
            match = Match(item=self._index.items[number].id, example=example.id)
            self._exact.setdefault(number, match)
        return bool(numbers)

    def _is_of_a_cluster(self, example: Text) -> bool:
        numbers = self._index.clusters.get(example.cluster, ())
        for number in numbers:
            item = self._index.items[number].id
            match = Match(item=item, example=example.id, cluster=example.cluster)
            self._related.setdefault(number, match)
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
