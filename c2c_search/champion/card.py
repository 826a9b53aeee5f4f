"""The model card, README.md, that says what a champion is and is not."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import yaml

from c2c_search.champion.message_words import message_in_words
from c2c_search.champion.saved_compute import saved_compute
from c2c_search.champion.verdict import Comparison
from c2c_search.champion.verdict import Verdict
from c2c_search.evaluation.pairing import LEGEND
from c2c_search.host.names import fit
from c2c_search.host.wording import in_bytes
from c2c_search.host.wording import in_words
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.size import Size
from c2c_search.models.identity import NO_TOKENIZER


_TAGS = ["cache-to-cache", "kv-cache", "model-communication"]
_PAPER = "[Cache-to-Cache](https://arxiv.org/abs/2510.03215)"
_NOTHING_MEASURED = (
    "Nothing, by c2c-search: this fuser was imported, not trained and judged by a study. Whether "
    "it makes the receiver better, and at what, is not known here. Ask its makers what they "
    "measured, and measure it against the receiver alone, and against the sharer alone, before "
    "you rely on it."
)


def model_card(manifest: Manifest, size: Size) -> str:
    """Write a champion's README.md: Markdown with YAML front matter.

    Args:
        manifest: Of the champion; its ``verdict``, if it has one, is a `Verdict`.
        size: Of the fuser.

    Raises:
        pydantic.ValidationError: The manifest's verdict is not one.
    """
    verdict = None if manifest.verdict is None else Verdict.model_validate(manifest.verdict)
    sections = [
        _front_matter(manifest, verdict),
        f"# {_text(manifest.name)}",
        _what_it_is(manifest, size),
        "## Ask it",
        _usage(manifest),
        "## What was measured",
        _NOTHING_MEASURED if verdict is None else _measured(verdict),
        *saved_compute(manifest),
        "## Limits",
        _limits(manifest, verdict),
        "## Licences",
        _licences(manifest),
        "## Where it comes from",
        _origin(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(manifest: Manifest, verdict: Verdict | None) -> str:
    content: dict[str, Any] = {
        "library_name": "c2c-search",
        "pipeline_tag": "text-generation",
        # The fuser's own terms are its maker's to choose; those of the models are listed below.
        "license": "other",
        "license_name": "see-licences",
        "tags": _TAGS,
    }
    # The hub takes only what lies on it.
    pair = manifest.pair
    sources = [each.source for each in (pair.receiver, pair.sharer)]
    if repos := [
        source.removeprefix("hf:").partition("@")[0]
        for source in sources
        if source.startswith("hf:")
    ]:
        content["base_model"] = repos
    if verdict is not None:
        content["model-index"] = [_results(manifest, verdict)]
    return f"---\n{yaml.safe_dump(content, sort_keys=False)}---"


def _results(manifest: Manifest, verdict: Verdict) -> dict[str, Any]:
    """What was measured, as the hub shows it beside a model."""
    source = str((manifest.trial or {}).get("data", {}).get("source", "local"))
    dataset = {
        "type": source,
        "name": f"{source}, {verdict.items} items",
        "split": verdict.split,
    }
    accuracy = {"type": "accuracy", "value": round(verdict.accuracy.value, 4)}
    task = {"type": "text-generation"}
    result = {"task": task, "dataset": dataset, "metrics": [accuracy]}
    return {"name": fit(manifest.name), "results": [result]}


def _what_it_is(manifest: Manifest, size: Size) -> str:
    receiver, sharer = manifest.pair.receiver, manifest.pair.sharer
    relative = ""
    if manifest.receiver_size is not None:
        parameters = size.parameters / manifest.receiver_size.parameters
        stored = size.bytes / manifest.receiver_size.bytes
        relative = (
            f": {100 * parameters:.1f} % of the receiver's parameters and {100 * stored:.1f} % of "
            "its bytes"
        )
    return (
        f"A fuser for {_PAPER}: it lets {_code(sharer.source)} (the sharer) speak to "
        f"{_code(receiver.source)} (the receiver) through its prompt cache. The receiver answers "
        f"from the fused cache; both models' weights stay as they are."
        f"{_adapted(manifest)}{message_in_words(manifest)}\n\n"
        f"The fuser holds {in_words(size.parameters)} numbers "
        f"({in_bytes(size.bytes)}){relative}. It works only between these two models, which "
        "loading checks, and contains the weights of neither."
    )


def _adapted(manifest: Manifest) -> str:
    """That the receiver is not the frozen one while it answers, if so."""
    rank = (manifest.trial or {}).get("fuser", {}).get("lora_rank", 0)
    if not rank:
        return ""
    return (
        f" A low-rank update (LoRA) of rank {rank} of the receiver's attention is part of the "
        "fuser, and active while the receiver answers from the fused cache."
    )


def _usage(manifest: Manifest) -> str:
    reads_text = NO_TOKENIZER not in (
        manifest.pair.receiver.tokenizer_sha256,
        manifest.pair.sharer.tokenizer_sha256,
    )
    if reads_text:
        code, command = _example(manifest)
        rest = (
            f"With c2c-search installed, `{command}` shows the answers of receiver, sharer and "
            "fuser side by side."
        )
    else:
        code = "print(model.generate(receiver_input_ids=..., sharer_input_ids=...))"
        rest = "A model of this pair has no tokenizer: give token ids, one row a prompt."
    return (
        "`c2c-search package . --wheel` makes a wheel that needs no workbench; where c2c-search "
        "is installed, or this folder's `runtime/`, which comes with `c2c-search export`:\n\n"
        "```python\n"
        "from c2c_search import C2CModel\n\n"
        'model = C2CModel.from_pretrained(".")\n'
        f"{code}\n"
        f"```\n\n{rest}"
    )


def _example(manifest: Manifest) -> tuple[str, str]:
    """How the first recorded question is asked, in Python, and the command that asks another."""
    command = "c2c-search ask . QUESTION"
    first = manifest.questions[0] if manifest.questions else None
    question = "Which country is it?" if first is None else first.question
    if first is None or first.sharer_context is None:
        return f"print(model.generate({question!r}))", command
    code = (
        "# What the sharer alone has read: a document and, below it, the question.\n"
        f"context = {first.sharer_context!r}\n"
        f"print(model.generate_batch([{question!r}], [context])[0])"
    )
    return code, f"{command} --context FILE"


def _measured(verdict: Verdict) -> str:
    rows = [(_text(verdict.name), str(verdict.accuracy), "", "")]
    others = verdict.others
    rows += [
        (_text(one.control), str(one.accuracy), str(one.difference), f"{one.p:.2g}")
        for one in others
    ]
    covers = f"{100 * (1 - verdict.judged_level):.4g} %"
    head = ("system", "accuracy [95 %]", f"champion minus it [{covers}]", "p")
    return "\n\n".join(
        [
            f"Accuracy on {verdict.items} items of the {verdict.split} split, about "
            f"{verdict.clusters} facts, none of which any trial was trained or chosen on.",
            _table(head, rows),
            "Intervals of differences resample whole facts (bootstrap-t, "
            f"{verdict.resamples} resamples); p is two-sided, of the exact McNemar test on items "
            f"or, where answers are means, of permuted facts. Judged at {verdict.share}.",
            *_pairing(verdict),
            *_harm(verdict),
            _text_of_lines(verdict.explain()),
            "By group:",
            _table(
                ("group", _text(verdict.name), *(_text(one.control) for one in others)),
                _by_group(verdict, others),
            ),
        ]
    )


def _pairing(verdict: Verdict) -> Iterable[str]:
    """Whether the message matters, where that was measured."""
    if (found := verdict.pairing) is not None:
        covers = f"{100 * (1 - found.gain.level):.4g} %"
        yield f"Does the message matter? {LEGEND}"
        yield _table(("", f"value [{covers}]"), found.rows())


def _harm(verdict: Verdict) -> Iterable[str]:
    """What it does to its receiver on other tasks, where that was asked."""
    if not verdict.harm:
        return
    covers = f"{100 * (1 - verdict.judged_level):.4g} %"
    head = ("other task", "items", "champion [95 %]", "receiver alone [95 %]")
    rows = [
        (
            _text(one.task),
            str(one.items),
            str(one.fused),
            str(one.receiver),
            str(one.difference),
            f"{one.p:.2g}",
        )
        for one in verdict.harm
    ]
    margin = f"{100 * verdict.harm[0].margin:.3g} points"
    yield _table((*head, f"difference [{covers}]", f"p of worse by {margin}"), rows)


def _by_group(verdict: Verdict, others: Sequence[Comparison]) -> Iterable[Sequence[str]]:
    for group, accuracy in verdict.by_group.items():
        yield _text(group), f"{accuracy:.3f}", *(f"{one.by_group[group]:.3f}" for one in others)


def _limits(manifest: Manifest, verdict: Verdict | None) -> str:
    beyond = "measure it on your own questions against the receiver first."
    if verdict is None:
        points = [
            "Not tested by c2c-search, on anything.",
            "That it was trained between the two models named here is the word of whoever "
            "imported it: the checkpoint names none, and only the sizes were checked.",
            f"Prompts are written by template {_code(manifest.template)}, which may not be the "
            "one it was trained with.",
            f"It may make the receiver worse than it is alone: {beyond}",
        ]
        caches = f"It answers from prompt caches in {manifest.cache_dtype}"
    else:
        points = [
            _tested(manifest, verdict),
            f"Not tested: other tasks{' than these' if verdict.harm else ''}, other languages "
            "than the groups name, long or many-turn prompts, and free answers beyond the few "
            "questions that `manifest.json` lists.",
            "Beyond its training data it may make the receiver worse than it is alone: " + beyond,
        ]
        caches = f"Trained on prompt caches in {manifest.cache_dtype}"
        if manifest.dtype is not None:
            caches += f", and measured with both models in {manifest.dtype}"
    points += [
        "It inherits the errors and biases of both models; no safety evaluation was made.",
        f"{caches}; another precision or device can change single answers.",
    ]
    return "\n".join(f"- {point}" for point in points)


def _tested(manifest: Manifest, verdict: Verdict) -> str:
    trial = manifest.trial or {}
    data: dict[str, Any] = trial.get("data", {})
    evaluation: dict[str, Any] = trial.get("evaluation", {})
    return (
        f"Tested on data of source {_code(data.get('source', 'unknown'))}, groups "
        f"{', '.join(_code(group) for group in verdict.by_group)}, prompts by template "
        f"{_code(manifest.template)}, answers scored by "
        f"{_code(evaluation.get('method', 'unknown'))}."
    )


def _licences(manifest: Manifest) -> str:
    rows = []
    for side in ("receiver", "sharer"):
        model = getattr(manifest.pair, side)
        link = f" ({_text(model.licence_url)})" if model.licence_url else ""
        rows.append((side, _code(model.source), f"{_text(model.licence)}{link}"))
    if manifest.provenance is not None:
        rows.append(("fuser", _code(manifest.provenance.folder), "not stated: ask its makers"))
    rows += [
        ("data", _text(name), _text(licence))
        for name, licence in sorted(manifest.licences.items())
    ]
    return _table(("what", "name", "licence"), rows) + (
        "\n\nUsing the champion means using both models, under their terms."
    )


def _origin(manifest: Manifest) -> str:
    models = [
        (
            side,
            _code(model.source),
            _text(model.revision or ""),
            _code(model.weights_sha256),
        )
        for side, model in (
            ("receiver", manifest.pair.receiver),
            ("sharer", manifest.pair.sharer),
        )
    ]
    table = _table(("model", "source", "revision", "SHA-256 of the weights"), models)
    sums = "`SHA256SUMS` covers every file: `sha256sum -c SHA256SUMS`."
    made = f"c2c-search {manifest.c2c_search_version}"
    if manifest.git_commit:
        made += f" (commit {manifest.git_commit})"
    versions = ", ".join(f"{name} {number}" for name, number in manifest.versions.items())
    if (origin := manifest.provenance) is not None:
        read = [(_code(name), _code(digest)) for name, digest in origin.files.items()]
        return "\n\n".join(
            [
                f"Imported by {made} on {origin.imported:%Y-%m-%d} from the folder "
                f"{_code(origin.folder)}, in the layout {_code(origin.layout)} of the published "
                f"C2C code, with {versions}.",
                table,
                _table(("file that was read", "SHA-256"), read),
                sums,
            ]
        )
    splits = [(_text(split), _code(digest)) for split, digest in manifest.data.items()]
    return "\n\n".join(
        [
            f"Made by {made} on {manifest.created:%Y-%m-%d}, trial {_code(manifest.trial_hash)}, "
            f"with {versions}. `manifest.json` holds the whole TrialConfig: "
            "`c2c-search trial run DIR`, with this folder, repeats it.",
            table,
            _table(("split", "SHA-256 of the data"), splits),
            sums,
        ]
    )


def _text(text: str) -> str:
    """Foreign text on one line, which Markdown and HTML show as it is."""
    return re.sub(r"([\\`*\[\]<>#])", r"\\\1", " ".join(text.split()))


def _text_of_lines(text: str) -> str:
    """Our own sentences with foreign names in them: no HTML comes of those."""
    return text.replace("<", "&lt;")


def _code(text: object) -> str:
    """Foreign text as code, of which it cannot break out."""
    return f"`{' '.join(str(text).split()).replace('`', chr(39))}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )
