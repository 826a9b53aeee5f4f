"""What one's own data files hold, and what a pair of models makes of them, before any study."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Literal

from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.data.contamination import Contamination
from c2c_search.data.schema import SPLITS
from c2c_search.data.schema import ContaminationRule
from c2c_search.data.schema import DataConfig
from c2c_search.data.schema import Holdout
from c2c_search.data.schema import Row
from c2c_search.data.schema import SplitFiles
from c2c_search.data.schema import SplitName
from c2c_search.data.sources import read_files
from c2c_search.data.splits import split_rows
from c2c_search.data.words import asked_key
from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.evaluation.statistics.power import split_warning


if TYPE_CHECKING:
    from c2c_search.models.loading import LoadedModel
    from c2c_search.tokenization.templates import Role

Kind = Literal["multiple choice", "open", "private multiple choice", "private open"]

_WISHED = 0.05  # a difference in accuracy that a study would like to show
_LOPSIDED = 2.0  # times as often as by chance that one position holds the right option
_ENOUGH = 40  # rows of as many options, below which chance alone may look lopsided
_BY_LENGTH = 0.15  # share above chance of rows whose longest option is right


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Lengths(_Frozen):
    """Smallest, median, 95th percentile and largest of some lengths."""

    least: int
    median: int
    high: int
    most: int

    @classmethod
    def of(cls, values: Sequence[int]) -> Lengths:
        """Of at least one length."""
        ordered = sorted(values)
        high = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
        return cls(
            least=ordered[0],
            median=round(statistics.median(ordered)),
            high=high,
            most=ordered[-1],
        )


class Tokenized(_Frozen):
    """What one model's tokenizer makes of the rows.

    Args:
        role: ``receiver`` or ``sharer``.
        source: Of the model.
        prompt: Tokens of a prompt.
        answer: Tokens of an answer.
        context: Tokens that the model was made to read; None for any number.
        unknown: Rows with a token that stands for what the tokenizer does not know.
        ties: Ids of multiple-choice rows of which two options have the same tokens.
    """

    role: Literal["receiver", "sharer"]
    source: str
    prompt: Lengths
    answer: Lengths
    context: int | None
    unknown: int
    ties: tuple[str, ...]


class DataReport(_Frozen):
    """What data files hold.

    Args:
        files: Of each split that has some.
        rows: In all.
        kinds: Rows of each kind; ``private`` are those that the sharer alone reads a text of.
        groups: Rows of each group, the largest first.
        clusters: Sets of rows that belong together, which a split keeps together.
        prompt: Characters of a prompt.
        answer: Characters of an answer.
        chance: Accuracy of guessing, in the multiple-choice rows; None without any.
        positions: How often the right option stands at each position.
        longest_right: Share of multiple-choice rows whose longest option, and no other, is right.
        repeated: Rows that ask what an earlier row asks.
        tied: Multiple-choice rows of which two options are the same text.
        splits: Rows of each split, as a study would make them; empty if it could not.
        contamination: What overlaps, as a sentence for each split.
        tokenized: By each model that was named.
        notices: What is most likely a mistake, or what a study would be too small for.
        problems: What a study would refuse.
    """

    files: dict[str, tuple[str, ...]]
    rows: int
    kinds: dict[Kind, int]
    groups: dict[str, int]
    clusters: int
    prompt: Lengths
    answer: Lengths
    chance: float | None
    positions: dict[int, int]
    longest_right: float | None
    repeated: int
    tied: int
    splits: dict[str, int]
    contamination: tuple[str, ...]
    tokenized: tuple[Tokenized, ...] = ()
    notices: tuple[str, ...]
    problems: tuple[str, ...]


def check_data(
    files: SplitFiles,
    *,
    contamination: ContaminationRule = "exclude",
    seed: int = 0,
    tokenized: Callable[[Sequence[Row]], Sequence[Tokenized]] | None = None,
) -> DataReport:
    """Look at data files as a study would read them.

    Args:
        files: Of each split; what has none is held out of train.
        contamination: What becomes of rows that overlap with what is judged.
        seed: Decides what is held out.
        tokenized: Tells what models make of rows; see `tokenize`.

    Raises:
        DataError: Files that are missing, or rows that do not fit, all of them together.
    """
    notices: list[str] = []
    named = {split: getattr(files, split) for split in SPLITS if getattr(files, split)}
    read = read_files(named, notify=notices.append)
    rows = [row for of_split in read.values() for row in of_split]
    if not rows:
        raise DataError("A data file must hold at least one row.", value=list(files.train))
    scored = [row for row in rows if row["choices"]]
    config = DataConfig(
        source="jsonl", files=files, contamination=contamination, seed=seed, holdout=Holdout()
    )
    splits, found, problems = _split(config)
    notices += _about_choices(scored)
    notices += _about_power(splits)
    repeated = Counter(asked_key(row) for row in rows)
    return DataReport(
        files={split: tuple(paths) for split, paths in named.items()},
        rows=len(rows),
        kinds=dict(Counter(map(_kind, rows)).most_common()),
        groups=dict(Counter(row["group"] for row in rows).most_common()),
        clusters=len({row["cluster"] for row in rows}),
        prompt=Lengths.of([sum(len(turn["content"]) for turn in row["messages"]) for row in rows]),
        answer=Lengths.of([len(row["response"]) for row in rows]),
        chance=statistics.mean(1 / len(row["choices"]) for row in scored) if scored else None,
        positions=dict(sorted(Counter(row["answer"] for row in scored).items())),
        longest_right=_longest_right(scored),
        repeated=sum(repeated.values()) - len(repeated),
        tied=sum(len(set(row["choices"])) < len(row["choices"]) for row in scored),
        splits={split: len(of_split) for split, of_split in splits.items()},
        contamination=tuple(each.sentence() for each in found.values()),
        tokenized=tuple(tokenized(rows)) if tokenized else (),
        notices=tuple(notices),
        problems=tuple(problems),
    )


def _split(
    config: DataConfig,
) -> tuple[Mapping[SplitName, list[Row]], Mapping[SplitName, Contamination], list[str]]:
    try:
        return *split_rows(config), []
    except DataError as error:
        return {}, {}, [str(error)]


def _kind(row: Row) -> Kind:
    if row["sharer_messages"]:
        return "private multiple choice" if row["choices"] else "private open"
    return "multiple choice" if row["choices"] else "open"


def _longest_right(scored: Sequence[Row]) -> float | None:
    if not scored:
        return None
    longest = 0
    for row in scored:
        lengths = [len(option) for option in row["choices"]]
        own = lengths[row["answer"]]
        longest += own == max(lengths) and lengths.count(own) == 1
    return longest / len(scored)


def _about_choices(scored: Sequence[Row]) -> list[str]:
    """What a model could answer by without reading the question."""
    if len(scored) < _ENOUGH:
        return []
    told = []
    chance = statistics.mean(1 / len(row["choices"]) for row in scored)
    position, often = Counter(row["answer"] for row in scored).most_common(1)[0]
    if often / len(scored) > _LOPSIDED * chance or often == len(scored):
        told.append(
            f"The right option is number {position + 1} in {often} of {len(scored)} rows: options "
            "are scored one by one, so that this gives nothing away here, but it does to a model "
            "that answers by letter. Shuffle them."
        )
    share = _longest_right(scored) or 0.0
    if share > chance + _BY_LENGTH:
        told.append(
            f"The longest option is right in {share:.0%} of the rows, and by chance it would be "
            f"in about {chance:.0%}: length alone gives answers away. Make wrong options as long."
        )
    return told


def _about_power(splits: Mapping[SplitName, Sequence[Row]]) -> list[str]:
    if not (test := splits.get("test")):
        return []
    clusters = len({row["cluster"] for row in test})
    told = split_warning(len(test), clusters, level=0.05, wished=_WISHED)
    return [f"test: {told}"] if told else []


def tokenize(
    sources: Mapping[Role, str],
    *,
    template: Literal["plain", "chat"] = "plain",
    date: str | None = None,
) -> Callable[[Sequence[Row]], list[Tokenized]]:
    """Tells what models make of rows; they are fetched if they must be, no weights are loaded.

    Args:
        sources: Of the models, by role.
        template: Of the prompts.
        date: That dated chat templates write; today if None.
    """
    import datetime

    import torch

    from c2c_search.models.loading import resolve
    from c2c_search.training.memory.prediction import Rehearsal

    rehearsal = Rehearsal(torch.device("cpu"))
    loaded = {
        role: rehearsal.model(resolve(source), torch.float32) for role, source in sources.items()
    }
    day = date or datetime.date.today().isoformat()
    return lambda rows: [
        _tokenized(role, model, rows, template, day) for role, model in loaded.items()
    ]


def _tokenized(
    role: Role,
    model: LoadedModel,
    rows: Sequence[Row],
    template: Literal["plain", "chat"],
    day: str,
) -> Tokenized:
    from c2c_search.models.context_length import ContextLength
    from c2c_search.tokenization.continuations import response_ids
    from c2c_search.training.preparation import read_rows

    data = DataConfig(template=template)
    encoded = read_rows(model, model, data, rows, date=day)
    ids = [prompt.sharer_ids if role == "sharer" else prompt.receiver_ids for prompt in encoded]
    texts = [prompt.receiver_text for prompt in encoded]
    answers = response_ids(
        texts,
        [row["choices"] or [row["response"]] for row in rows],
        template,
        model.text_tokenizer,
    )
    unknown = model.text_tokenizer.unk_token_id
    limit = ContextLength.of(model.model).tokens
    return Tokenized(
        role=role,
        source=model.identity.source,
        prompt=Lengths.of([len(each) for each in ids]),
        answer=Lengths.of(
            [
                len(options[max(row["answer"], 0)])
                for row, options in zip(rows, answers, strict=True)
            ]
        ),
        context=limit,
        unknown=0 if unknown is None else sum(unknown in each for each in ids),
        ties=tuple(
            row["id"]
            for row, options in zip(rows, answers, strict=True)
            if len({tuple(option) for option in options}) < len(options)
        ),
    )


def files_of(train: Sequence[str], validation: Sequence[str], test: Sequence[str]) -> SplitFiles:
    """Data files by split.

    Raises:
        ConfigError: None is to train on.
    """
    if not train:
        raise ConfigError("data check takes at least one file to train on.")
    return SplitFiles(train=tuple(train), validation=tuple(validation), test=tuple(test))
