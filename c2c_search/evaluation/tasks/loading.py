"""A task's items and exemplars, from the hub, a local copy, or a user's file."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from c2c_search.data.schema import Row
from c2c_search.data.sources import Example
from c2c_search.data.sources import read_examples
from c2c_search.data.sources import rows_error
from c2c_search.data.sources import set_name
from c2c_search.data.splits import spread
from c2c_search.data.words import question_key
from c2c_search.errors import C2CError
from c2c_search.errors import ConfigError
from c2c_search.errors import DataError
from c2c_search.errors import Problem
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import canonical
from c2c_search.evaluation.tasks.columns import digest
from c2c_search.evaluation.tasks.rows import FORMATS
from c2c_search.evaluation.tasks.rows import Found
from c2c_search.evaluation.tasks.rows import copied_rows
from c2c_search.evaluation.tasks.rows import hub_rows
from c2c_search.evaluation.tasks.rows import is_copy
from c2c_search.evaluation.tasks.rows import numbered
from c2c_search.evaluation.tasks.task import TASKS
from c2c_search.evaluation.tasks.task import Task
from c2c_search.models.cache_dir import print_notice


_TEST_NAMES = ("test", "validation", "valid", "dev", "val")
_DOTTED = re.compile(r"\w+(\.\w+)+")
_HELD_OUT = 500
_HELD_OUT_SHARE = 5  # at most one cluster in five


@dataclass(frozen=True)
class LoadedTask:
    """A task with its items.

    Args:
        task: What it is.
        name: As in the report; of a user's file, the name of the file or of its folder.
        items: What is asked.
        exemplars: What few-shot prompts may show; shares no question and no cluster with the
            items. Empty where there is no split for it.
        source: Where the items come from: the hub, a path, or what they were made from.
        split: Which of its splits.
        sha256: Of the items, in canonical JSON.
    """

    task: Task
    name: str
    items: tuple[Item, ...]
    exemplars: tuple[Item, ...]
    source: str
    split: str
    sha256: str


@dataclass(frozen=True)
class _Read:
    """Everything that a source holds, before a limit."""

    items: Sequence[Item]
    exemplars: Sequence[Item]
    source: str
    split: str


def load_tasks(
    specs: Sequence[str], *, limit: int | None = None, seed: int = 0
) -> list[LoadedTask]:
    """Load several tasks, in the order given; the arguments are those of `load_task`.

    Raises:
        ConfigError: Unknown or repeated tasks, and whatever else is wrong with the others.
        DataError: Data that cannot be read or does not fit, of all tasks together.
    """
    loaded: list[LoadedTask] = []
    errors: list[C2CError] = []
    for spec in specs:
        try:
            found = load_task(spec, limit=limit, seed=seed)
        except (ConfigError, DataError) as error:
            errors.append(error)
            continue
        if any(found.name == other.name for other in loaded):
            errors.append(
                ConfigError(
                    f"A task must be given once; {spec} is called {found.name} like another.",
                    hint="A file's task is called after the file, or after its folder.",
                )
            )
        loaded.append(found)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        kind = ConfigError if any(isinstance(e, ConfigError) for e in errors) else DataError
        raise kind(f"{len(errors)} problems:\n" + "\n".join(f"  {error}" for error in errors))
    return loaded


def load_task(spec: str, *, limit: int | None = None, seed: int = 0) -> LoadedTask:
    """Load a task.

    Args:
        spec: ``NAME`` (from the hub), ``NAME=PATH`` (a local copy: a file, a folder of split
            files, or a download of the whole repository), or ``FILE.jsonl`` (a user's own rows).
            A name may be a dotted path, ``my_package.my_module.my_task``.
        limit: At most this many items, spread evenly over the groups.
        seed: Decides which items a limit takes.

    Raises:
        ConfigError: There is no such task, or its module cannot be imported.
        DataError: The data cannot be read, or rows do not fit.
    """
    name, _, path = spec.partition("=")
    if _is_users_file(spec):
        task, read = _users(Path(spec))
    elif Path(spec).suffix in (".yaml", ".yml"):
        raise ConfigError(
            "A task file of lm-evaluation-harness is answered through the harness.",
            value=spec,
            hint=f"Give it as --lm-eval TASK --include-path {Path(spec).parent}, TASK being the "
            "`task:` that stands in it.",
        )
    else:
        task = _named(name)
        read = _local(task, Path(path)) if path else _published(task)
    if not read.items:
        raise DataError(f"{read.source} must have at least one item ({read.split}).")
    items = _limited(read.items, limit, seed)
    return LoadedTask(
        task=task,
        name=task.name,
        items=items,
        exemplars=_apart(read.exemplars, read.items),
        source=read.source,
        split=read.split,
        sha256=items_hash(items),
    )


def _is_users_file(spec: str) -> bool:
    """Whether a spec is a file of a user's own rows, and no task's name with a local copy.

    A file may have an equals sign in its name, so a misspelt name looks like one that is not
    there; a task's name holds no slash.
    """
    name, equals, _ = spec.partition("=")
    file = Path(spec)
    return file.suffix == ".jsonl" and (
        not equals or "/" in name or (name not in TASKS.names() and file.is_file())
    )


def _named(name: str) -> Task:
    dotted = _DOTTED.fullmatch(name) and not name.endswith(FORMATS)
    if dotted or name in TASKS.names():
        return TASKS[name]
    near = get_close_matches(name, TASKS, n=1)
    raise ConfigError(
        f"A task must be one of {', '.join(sorted(TASKS))}, a dotted path, or a .jsonl file.",
        value=name,
        hint=f"Did you mean {near[0]}?" if near else "",
    )


def _published(task: Task) -> _Read:
    if task.built_in is not None:
        test = _items(task, numbered(task, "test", task.built_in("test")))
        train = _items(task, numbered(task, "train", task.built_in("train")))
        return _Read(test, train, f"built in: {task.reference}", "test")
    if task.hub is None:
        raise DataError(
            f"{task.name} must be read from a file; it has no data set of its own.",
            hint=f"Give it as {task.name}=PATH.",
        )
    return _from_repository(task, None)


def _from_repository(task: Task, copy: str | None) -> _Read:
    """From the hub, or from a copy of a whole repository with its README.md."""
    hub = task.hub
    assert hub is not None
    items = _items(task, hub_rows(task, hub, hub.split, copy))
    shown = hub_rows(task, hub, hub.exemplars, copy) if hub.exemplars else []
    source = copy or f"https://huggingface.co/datasets/{hub.repository}"
    return _Read(items, _items(task, shown), source, hub.split)


def _local(task: Task, path: Path) -> _Read:
    if path.is_dir():
        return _folder(task, path)
    if not path.is_file():
        raise DataError(
            f"{task.name}: a local copy must exist.",
            value=str(path),
            hint=f"Relative paths start at {Path.cwd()}.",
        )
    return _Read(_file(task, path), (), str(path), path.stem)


def _folder(task: Task, folder: Path) -> _Read:
    own = () if task.hub is None else (task.hub.split,)
    shown = () if task.hub is None or task.hub.exemplars is None else (task.hub.exemplars,)
    test = _first(folder, (*own, *_TEST_NAMES))
    train = _first(folder, [name for name in (*shown, "train") if name != test])
    if test is None and train is None:
        if task.hub is not None and (folder / "README.md").is_file():
            return _from_repository(task, str(folder))
        raise DataError(
            f"{task.name}: a folder must have a file of a split: "
            f"{', '.join(_TEST_NAMES)} or train, with one of {', '.join(FORMATS)}; or be a "
            "download of the whole repository.",
            value=sorted(entry.name for entry in folder.iterdir()),
        )
    source = str(folder)
    exemplars = [] if train is None else _split(task, folder, train)
    if test is not None:
        return _Read(_split(task, folder, test), exemplars, source, test)
    held, rest = _hold_out(exemplars)
    return _Read(held, rest, source, f"{train}, held out")


def _first(folder: Path, splits: Iterable[str]) -> str | None:
    return next((split for split in splits if _files(folder, split)), None)


def _files(folder: Path, split: str) -> list[Path]:
    """A split's file, or its parts as the hub names them (``test-00000-of-00002.parquet``)."""
    for suffix in FORMATS:
        if (whole := folder / f"{split}{suffix}").is_file():
            return [whole]
    return sorted(part for part in folder.glob(f"{split}-*-of-*") if part.suffix in FORMATS)


def _split(task: Task, folder: Path, split: str) -> list[Item]:
    return [item for path in _files(folder, split) for item in _file(task, path)]


def _file(task: Task, path: Path) -> list[Item]:
    if is_copy(task.hub, path):
        return _items(task, copied_rows(task, path))
    return _own_items(task, read_examples({"test": [str(path)]}, notify=print_notice)["test"])


def _users(path: Path) -> tuple[Task, _Read]:
    """A user's own rows, and the task that they make."""
    examples = read_examples({"test": [str(path)]}, notify=print_notice)["test"]
    written = [example for example in examples if not example.row["choices"]]
    if written and len(written) < len(examples):
        raise DataError(
            f"{path}: either all rows of a task must have choices, or none; {len(written)} of "
            f"{len(examples)} have none.",
            value=[example.where for example in written[:3]],
            hint="Make two files of them.",
        )
    task = Task(
        name=set_name(path),
        reference=str(path),
        hub=None,
        convert=canonical,
        methods=("generate",) if written else ("cloze", "letter", "generate"),
        metric="exact_match" if written else "accuracy",
    )
    return task, _Read(_own_items(task, examples), (), str(path), path.stem)


def _own_items(task: Task, examples: Sequence[Example]) -> list[Item]:
    """Items of the workbench's own rows, with what else their lines say."""
    made = []
    for example in examples:
        item = Item.of_row(example.row)
        scalars = str | int | float | bool
        facts = {key: each for key, each in example.extra.items() if isinstance(each, scalars)}
        references = item.references
        if references and isinstance(others := example.extra.get("answers"), list):
            references = tuple(dict.fromkeys([*references, *map(str, others)]))
        made.append((example.where, replace(item, references=references, facts=facts)))
    return _checked(task, made, [])


def _items(task: Task, found: Sequence[Found]) -> list[Item]:
    """Items of rows in the hub's columns; those that the task leaves out are not there."""
    made: list[tuple[str, Item]] = []
    problems: list[Problem] = []
    for each in found:
        try:
            item = task.convert(each.row, each.id)
        except KeyError as error:
            problems.append(Problem(each.where, f"The column {error} is missing."))
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            problems.append(Problem(each.where, str(error)))
        else:
            if item is not None:
                made.append((each.where, item))
    return _checked(task, made, problems)


def _checked(task: Task, made: Sequence[tuple[str, Item]], problems: list[Problem]) -> list[Item]:
    """The items as the task asks them, if all fit.

    Raises:
        DataError: The problems found before, and those that are found here.
    """
    chosen = "cloze" in task.methods or "letter" in task.methods
    seen: dict[str, str] = {}
    items = []
    for where, item in made:
        if chosen and not item.choices:
            problems.append(Problem(where, f"An item of {task.name} must have choices."))
        if not chosen and not item.references:
            rule = f"An item of {task.name} must be answered in words."
            problems.append(Problem(where, rule, item.choices))
        if task.split_evidence and not item.sharer_messages:
            rule = f"An item of {task.name} must have evidence for the sharer (sharer_context)."
            problems.append(Problem(where, rule))
        if item.id in seen:
            rule = f"An id must be unique; {seen[item.id]} has it too."
            problems.append(Problem(where, rule, item.id))
        seen[item.id] = where
        items.append(item)
    if problems:
        raise rows_error(problems)
    return items if task.adapt is None else [task.adapt(item) for item in items]


def _asked(item: Item) -> str:
    return "\n".join(turn["content"] for turn in item.messages)


def _hold_out(items: Sequence[Item]) -> tuple[list[Item], list[Item]]:
    """A test split where there is only train: whole clusters, by the hash of a question of each.

    Neither a seed nor the order of the file changes which.
    """
    keys: dict[str, str] = {}
    for item in items:
        key = digest(_asked(item))
        keys[item.cluster] = min(key, keys.get(item.cluster, key))
    count = min(_HELD_OUT, max(1, len(keys) // _HELD_OUT_SHARE))
    held = set(sorted(keys, key=lambda cluster: keys[cluster])[:count])
    return (
        [item for item in items if item.cluster in held],
        [item for item in items if item.cluster not in held],
    )


def _apart(exemplars: Sequence[Item], items: Sequence[Item]) -> tuple[Item, ...]:
    """Exemplars that give no item away: of no item's cluster, and with no item's question."""
    clusters = {item.cluster for item in items}
    asked = {question_key(_asked(item)) for item in items}
    return tuple(
        each
        for each in exemplars
        if each.cluster not in clusters and question_key(_asked(each)) not in asked
    )


def _limited(items: Sequence[Item], limit: int | None, seed: int) -> tuple[Item, ...]:
    if limit is not None and limit < 1:
        raise ConfigError("A limit must be at least one item.", value=limit)
    rows = [
        Row(
            id=item.id,
            group=item.group,
            cluster=item.cluster,
            messages=[],
            sharer_messages=[],
            response="",
            choices=[],
            answer=-1,
        )
        for item in items
    ]
    kept = {row["id"] for row in spread(rows, limit, seed)}
    return tuple(item for item in items if item.id in kept)


def items_hash(items: Sequence[Item]) -> str:
    """sha256 of items, one canonical JSON line each."""
    hashed = hashlib.sha256()
    for item in items:
        line = json.dumps(
            item.columns(), sort_keys=True, ensure_ascii=False, separators=(",", ":")
        )
        hashed.update(line.encode() + b"\n")
    return hashed.hexdigest()
