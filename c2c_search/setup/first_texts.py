"""The texts of a first space and pipeline, each line explained."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from c2c_search.models.at_hand import config_at_hand
from c2c_search.models.geometry import cache_shape
from c2c_search.setup.data_check import DataReport
from c2c_search.setup.wishes import BATCH
from c2c_search.setup.wishes import Wishes
from c2c_search.setup.wishes import is_private
from c2c_search.setup.wishes import steps_for


SPACE, PIPELINE, SCHEMAS = "space.yaml", "pipeline.yaml", "schemas"

_COUNTS = (4, 10, 16)  # layers that read a side memory
_USUAL = 10


def _quoted(text: str) -> str:
    """A word of YAML whatever is in it."""
    return json.dumps(text, ensure_ascii=False)


def _listed(folder: Path, paths: Sequence[Path]) -> str:
    """Paths relative to the folder, so that it can be moved along with its data."""
    named = []
    for path in paths:
        try:
            named.append(os.path.relpath(path.absolute(), folder.absolute()))
        except ValueError:  # on another drive
            named.append(str(path.absolute()))
    return "[" + ", ".join(map(_quoted, named)) + "]"


def _data_section(folder: Path, wishes: Wishes, data: DataReport | None) -> str:
    if data is None:
        return """\
data:
  # The built-in quiz: which country a name in another script means. `source: jsonl` with `files`
  # takes your own rows; docs/evaluation.md says how they are written.
  source: quiz
"""
    given = {split: paths for split, paths in wishes.files.items() if paths}
    lines = [f"    {split}: {_listed(folder, paths)}" for split, paths in given.items()]
    counts = ", ".join(f"{count:,} to {_USES[split]}" for split, count in data.splits.items())
    held = "" if len(given) == len(_USES) else _HELD_OUT
    return f"""\
data:
  # Your own rows: {counts}.
  source: jsonl
  files:
{chr(10).join(lines)}
{held}"""


_USES = {"train": "train on", "validation": "compare trials on", "test": "prove a champion on"}
_HELD_OUT = """\
  # What has no file is held out of train, multiple-choice rows alone; rows of one `cluster`, or
  # that ask the same, stay together.
  holdout: {validation: 0.1, test: 0.2}
"""


def pipeline_text(folder: Path, wishes: Wishes, data: DataReport | None) -> str:
    """The pipeline file of a folder."""
    private = is_private(data)
    steps, rungs = steps_for(wishes, data), "[0.3, 1.0]" if private else "[0.4, 1.0]"
    controls = "[text_relay, routing]" if private else "[routing]"
    return f"""\
# yaml-language-server: $schema={SCHEMAS}/pipeline.json
# How every trial of {wishes.study} is trained and judged.
#
#   c2c-search validate {SPACE}     checks this file together with its space
#
# What is searched stands in {SPACE} and takes the place of the value given here. Left-out
# settings have their defaults; an editor that reads the schema above shows them all.

name: {_quoted(wishes.study)}

{_data_section(folder, wishes, data)}\
  # plain: "Question: ... Answer:"; chat: the models' chat templates, where both have one.
  template: plain
  # Training rows that ask a validation or test question, or share 13 words in a row with one, are
  # left out. report: they are kept and told; refuse: the study does not start.
  contamination: exclude

training:
  # Longer trials end better, and cost time in proportion.
  steps: {steps}
  # Examples of a step.
  batch_size: {BATCH}
  # Peak rate; the space searches it.
  learning_rate: 2.0e-3
  # After these shares of the steps a trial is validated, and may be stopped.
  rungs: {rungs}

evaluation:
  # The option whose text is most likely after the prompt is the answer. true: per token, so that
  # short options do not win for being short.
  length_normalised: {"false" if private else "true"}

champion:
  # Beside every model alone and a fuser that hears nothing, a champion must beat these: routing
  # answers with the surer of both models{
        "; text_relay has the sharer write to the receiver" if private else ""
    }.
  controls: {controls}
  # So many of the best trials are measured on test, once. Each costs a full training more, of its
  # twin without a sharer.
  finalists: 1
  # Chance of a false champion.
  level: 0.01
  # Its name in the model registry.
  registered_name: {_quoted("c2c-" + wishes.study.replace(".", "-"))}
"""


_DIMENSIONS_OF_EXAM = """\
  # How the message reaches the receiver. replace: its cache is moved towards what the sharer's
  # becomes, token by token; side: a second attention beside its own reads the message.
  fuser.injection:
    choices: [replace, side]

  # Layers that read a side memory. Fewer are a smaller fuser.
  fuser.layer_count:
    choices: {counts}
    when: {{fuser.injection: side}}
"""

_DIMENSIONS_OF_PRIVATE = """\
  # How the message reaches a receiver whose own tokens have no counterparts in it. side: a second
  # attention beside its own reads it, in a few layers; append: further cache entries, everywhere.
  fuser.injection:
    choices: [side, append]

  # Layers that read a side memory. More of them learn sooner, and are a larger fuser.
  fuser.layer_count:
    choices: {counts}
    when: {{fuser.injection: side}}
"""


_KNOWN_TO_WORK = """\
    fuser.initialisation: ridge
    fuser.rank: null
    fuser.layer_alignment: {alignment}
    training.learning_rate: 2.0e-3
"""


def _layer_counts(receiver: str) -> list[int]:
    """How many of the receiver's layers may read a side memory, as far as it is at hand."""
    config = config_at_hand(receiver)
    layers = max(_COUNTS) if config is None else cache_shape(config).layers
    return [count for count in _COUNTS if count <= layers] or [layers]


def _relative(source: str, folder: Path) -> str:
    """A source as a file in the folder names it; what is on this machine is told from here."""
    scheme, _, rest = source.partition(":")
    if scheme not in ("path", "gguf") or not rest or rest.startswith("~") or os.path.isabs(rest):
        return source
    return f"{scheme}:{os.path.relpath(Path(rest).absolute(), folder.absolute())}"


def space_text(folder: Path, wishes: Wishes, data: DataReport | None) -> str:
    """The space file of a folder."""
    private = is_private(data)
    counts = _layer_counts(wishes.receiver)
    usual = _USUAL if _USUAL in counts else counts[-1]
    # Of documents terminal learns several times sooner (docs/fusers.md).
    alignment = "terminal" if private else "proportional"
    beside = f"fuser.injection: side\n    fuser.layer_count: {usual}\n"
    beside += _KNOWN_TO_WORK.format(alignment=alignment)
    other = f"fuser.injection: {'append' if private else 'replace'}\n"
    other += _KNOWN_TO_WORK.format(alignment="proportional")
    first, second = (beside, other) if private else (other, beside)
    # No more settings can be tried first than there are trials.
    also = f"  - {second}" if wishes.trials > 1 else ""
    return f"""\
# yaml-language-server: $schema={SCHEMAS}/space.json
# What is searched, and between which models.
#
#   c2c-search validate {SPACE}              every mistake in this file and in {PIPELINE}
#   c2c-search plan --space {SPACE}          what it will take, before anything is spent
#   c2c-search study --space {SPACE}         the search; the same command goes on where it stopped

study: {_quoted(wishes.study)}

# How every trial is trained and judged; the path is relative to this file.
pipeline: {PIPELINE}

# receiver: answers.  sharer: speaks to it through its KV-cache. Both stay frozen.
# pypi:NAME, hf:REPO@REVISION, path:FOLDER or gguf:FILE. Further pairs go below; then `pair` is
# searched, or fixed, too.
pairs:
  pair:
    receiver: {_quoted(_relative(wishes.receiver, folder))}
    sharer: {_quoted(_relative(wishes.sharer, folder))}

search:
  # More trials find more, and cost time in proportion.
  trials: {wishes.trials}
  # Learns from the trials before (TPE) once a quarter of them were by chance.
  sampler: auto
  # At each rung one trial in three goes on. none: all run to the end.
  pruner: halving
  # Above the best of what does not communicate, on validation.
  objective: margin
  seed: 0

# The same in every trial.
fixed:
  # Each channel standardised by what it does on calibration prompts: models differ in loudness.
  fuser.normalisation: calibrated
  # Positions (RoPE) are taken off the keys before they are projected, and put back after.
  fuser.keys: unrotated
  # One affine map a layer; `joint` and `c2c` are larger networks, which learn later.
  fuser.projector: linear

# What is searched: choices, or a range as int or float: [lowest, highest]; `when` says under
# which values of others. docs/fusers.md has all that can be.
dimensions:
{(_DIMENSIONS_OF_PRIVATE if private else _DIMENSIONS_OF_EXAM).format(counts=counts)}
  # Where training starts. ridge: the closed-form map of calibration prompts; zero: says nothing.
  fuser.initialisation:
    choices: [ridge, zero]

  # Numbers that a sharer's token becomes on its way; null: no bottleneck.
  fuser.rank:
    choices: [null, 32]

  # Which sharer layer feeds which receiver layer.
  fuser.layer_alignment:
    choices: [proportional, terminal]

  # Too low: nothing is learned in so few steps. Too high: the rows are learned, and no more.
  training.learning_rate:
    float: [5.0e-4, 4.0e-3]
    log: true

# Tried first, so that the search begins with what is known to work.
enqueue:
  - {first}{also}"""
