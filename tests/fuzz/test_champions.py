"""Champions changed in any way, with the sums redone: they answer the same, or are refused.

`C2C_SEARCH_FUZZ=5000 pytest -n 0 -s tests/fuzz` tries so many, at random, and prints the counts.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from datetime import UTC
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load
from safetensors.torch import save_file

from c2c_search.champion.package import build
from c2c_search.champion.package import installed_versions
from c2c_search.config.pipeline import EvaluationConfig
from c2c_search.config.training import TrainingConfig
from c2c_search.config.trial import TrialConfig
from c2c_search.config.trial import canonical_hash
from c2c_search.data.schema import DataConfig
from c2c_search.errors import C2CError
from c2c_search.evaluator.target import find_target
from c2c_search.fuser import checkpoint
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.gate_config import GateConfig
from c2c_search.inference.loading import cache_shape
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.manifest import PairIdentity
from c2c_search.inference.manifest import RecordedQuestion
from c2c_search.inference.model import C2CModel
from c2c_search.inference.sums import write_sums
from c2c_search.models import loading
from c2c_search.models.pair import PairSpec


LONG = int(os.environ.get("C2C_SEARCH_FUZZ", "0"))
QUICK = 150

JSON_FILES = ("manifest.json", "fuser_config.json")
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3, 7, 10**9, 10**30, -(10**400)),
    *(0.5, 1.0, -0.0, 1e308, 1e-320, math.nan, math.inf, -math.inf),
    *("", "3", "true", "float32", "float16", "int8", "load", "chat", "plain", "relu", "append"),
    *("\x1b]0;owned\x07", "\ud800", "../..", "/etc/passwd", "a" * 5000, "path:/nowhere"),
    *("evil_plugin.Plugin", "evil_plugin", "os.system", "__class__"),
    *([], {}, [0], [1, 0], [[0], [0]], [[1], [2]], [-1], {"a": 1}, [[[[[[]]]]]]),
]
DTYPES = (torch.int32, torch.int8, torch.float16, torch.bfloat16, torch.float64, torch.complex64)
DTYPES = (*DTYPES, torch.float8_e4m3fn, torch.bool)
NUMBERS = (math.nan, math.inf, -math.inf, 0.0, -1.0, 1e-42, 3e38)
FILES = (
    *("runtime/torch.py", "torch.py", "evil.py", "sitecustomize.py", "c2c_search/__init__.py"),
    *("extra.pkl", "weights.pt", "pytorch_model.bin", "adapter_config.json", "config.json"),
    *("fuser.safetensors.index.json", "model.safetensors", "tokenizer.json", ".hidden"),
)

Edit = tuple[str, Any]
_SPOILT = (
    *(OSError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError),
    SafetensorError,
)
_index = st.integers(0, 10**6)
EDITS: st.SearchStrategy[Edit] = st.one_of(
    st.tuples(
        st.just("json"),
        st.tuples(
            st.sampled_from(JSON_FILES),
            _index,
            st.sampled_from(["replace", "replace", "replace", "delete", "insert", "twice"]),
            st.sampled_from(VALUES),
        ),
    ),
    st.tuples(
        st.just("tensor"),
        st.tuples(
            _index,
            st.sampled_from(["dtype", "number", "finite", "drop", "rename", "add", "cut"]),
            _index,
        ),
    ),
    st.tuples(st.just("header"), st.tuples(_index, st.sampled_from(VALUES))),
    st.tuples(st.just("bytes"), st.tuples(_index, _index, st.binary(max_size=8))),
    st.tuples(st.just("file"), st.tuples(st.sampled_from(FILES), st.booleans())),
    st.tuples(st.just("remove"), _index),
    st.tuples(st.just("sums"), st.sampled_from(["", "x", "0" * 64 + "  a", "0" * 64 + "  ../a"])),
)

counts: Counter[str] = Counter()


def _places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from _places(value, (*path, key))


def _edit_json(folder: Path, name: str, index: int, how: str, value: Any) -> None:
    path = folder / name
    content = json.loads(path.read_text())
    places = list(_places(content))
    *above, last = places[index % len(places)]
    parent = content
    for key in above:
        parent = parent[key]
    if how == "delete":
        del parent[last]
    elif how == "insert" and isinstance(parent, dict):
        parent["novelty"] = value
    else:
        parent[last] = value
    text = json.dumps(content)
    if how == "twice" and isinstance(last, str):
        spelled = json.dumps(last)
        text = text.replace(f"{spelled}: ", f"{spelled}: null, {spelled}: ", 1)
    path.write_text(text)
    if name == JSON_FILES[0] and above[:1] == ["trial"] and index % 2:
        content["trial_hash"] = canonical_hash(content["trial"])  # as one who lies would
        path.write_text(json.dumps(content))


def _edit_tensor(folder: Path, index: int, how: str, which: int) -> bool:
    """Change a tensor; whether it was a finite edit, which only a signature can tell."""
    path = folder / "fuser.safetensors"
    tensors = load(path.read_bytes())
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        metadata = json.loads(stream.read(length)).get("__metadata__")
    name = sorted(tensors)[index % len(tensors)]
    tensor = tensors[name]
    finite = how in ("finite", "number")
    if how == "dtype":
        tensors[name] = tensor.to(DTYPES[which % len(DTYPES)])
    elif how in ("number", "finite"):
        number = NUMBERS[which % len(NUMBERS)] if how == "number" else 0.25
        changed = tensor.double().flatten().clone()
        changed[which % max(len(changed), 1)] = number
        with_nan = changed.reshape(tensor.shape)
        tensors[name] = with_nan.to(tensor.dtype) if tensor.is_floating_point() else tensor + 1
    elif how == "drop":
        del tensors[name]
    elif how == "rename":
        tensors[f"{name}.more"] = tensors.pop(name)
    elif how == "add":
        tensors["more"] = torch.zeros(2)
    elif tensor.ndim:
        tensors[name] = tensor[:-1].clone()
    save_file(tensors, path, metadata=metadata)
    return finite and tensor.is_floating_point()


def _edit_header(folder: Path, index: int, value: Any) -> None:
    path = folder / "fuser.safetensors"
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
    except ValueError:  # another edit was before
        return
    places = list(_places(header))
    *above, last = places[index % len(places)]
    parent = header
    for key in above:
        parent = parent[key]
    parent[last] = value
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


def _apply(folder: Path, edit: Edit, payload: str) -> bool:
    """Apply an edit; whether other answers are to be expected of it."""
    kind, what = edit
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    try:
        if kind == "json":
            _edit_json(folder, *what)
        elif kind == "tensor":
            return _edit_tensor(folder, *what)
        elif kind == "header":
            _edit_header(folder, *what)
        elif kind == "bytes":
            path = files[what[0] % len(files)]
            content = path.read_bytes()
            at = what[1] % (len(content) + 1)
            path.write_bytes(content[:at] + what[2] + content[at + len(what[2]) :])
            return path.name == "fuser.safetensors"
        elif kind == "file":
            path = folder / what[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            if what[1]:
                path.write_text(payload)
            else:
                path.symlink_to(folder)
        elif kind == "remove":
            files[what % len(files)].unlink()
    except _SPOILT:
        return False  # an edit before this one has spoilt the file
    return False


class _Champion:
    """A champion, its answers, and a place for those that are made of it."""

    def __init__(self, folder: Path, work: Path) -> None:
        self.folder = folder
        self.work = work
        self.marker = work / "PWNED"
        self.payload = f"open({str(self.marker)!r}, 'w')\n"
        self.answers = self.ask(folder)

    def ask(self, folder: Path) -> list[torch.Tensor]:
        """Scores of one question's options, as ``C2CModel`` and then ``eval`` open the folder."""
        model = C2CModel.from_pretrained(folder, device="cpu")
        asked = [[{"role": "user", "content": "Which colour has the sky?"}]]
        batch = model.batch(model.prompts(asked))
        scores = [score for score, _ in model.score(batch, [["blue", "red"]])]
        target = find_target(str(folder), root=self.work / "runs")
        assert target.fuser() is not None
        return scores

    def copy(self) -> Path:
        """A fresh copy of the folder."""
        to = self.work / "copy"
        shutil.rmtree(to, ignore_errors=True)
        return Path(shutil.copytree(self.folder, to))


@pytest.fixture(scope="module")
def champion(tiny_model: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Champion]:
    work = tmp_path_factory.mktemp("fuzz")
    patch = pytest.MonkeyPatch()
    patch.setenv("C2C_SEARCH_CACHE", str(work / "cache"))
    shapes = {"receiver": {"layers": 3, "seed": 1}, "sharer": {"layers": 2, "seed": 2}}
    for role, fields in shapes.items():
        made = tiny_model("llama", **fields)
        made.model.save_pretrained(work / role)
        made.tokenizer.save_pretrained(work / role)
    # Models are frozen and the same for every champion: loaded once.
    patch.setattr(loading, "load", cache(loading.load))
    receiver, sharer = (loading.load(f"path:{work / r}", device="cpu") for r in shapes)
    receiver, sharer = (
        loading.load(each.identity.source, device=torch.device("cpu"), dtype=torch.float32)
        for each in (receiver, sharer)
    )
    gate = GateConfig(granularity="head", initial_logit=0.5)
    config = FuserConfig(width=4, gate=gate, sources_per_layer=2, layer_share=0.67, lora_rank=1)
    torch.manual_seed(0)
    fuser = Fuser(config, cache_shape(receiver, adapted=True), cache_shape(sharer)).eval()
    with torch.no_grad():
        for parameter in fuser.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    checkpoint.save(fuser, work / "fuser")
    trial = TrialConfig(
        pair=PairSpec(receiver=receiver.identity.source, sharer=sharer.identity.source),
        fuser=config,
        training=TrainingConfig(),
        data=DataConfig(),
        evaluation=EvaluationConfig(),
        cache_dtype="float32",
        seed=0,
    )
    manifest = Manifest(
        name="tiny",
        created=datetime(2026, 9, 1, tzinfo=UTC),
        c2c_search_version="0.1.0",
        pair=PairIdentity(receiver=receiver.identity, sharer=sharer.identity),
        template="plain",
        cache_dtype="float32",
        dtype="float32",
        data={"test": "abc"},
        trial=trial.model_dump(mode="json", by_alias=True),
        trial_hash=trial.hash(),
        verdict={
            "trial": "trial-000",
            "level": 0.01,
            "passed": True,
            "accuracy": {"value": 0.9, "low": 0.8, "high": 0.95},
            "comparisons": [],
        },
        controls={"receiver": 0.3},
        versions=installed_versions(),
        questions=(RecordedQuestion(question="Which?", answer=" That."),),
    )
    # A card needs a verdict of the gate's; what it says is no concern here.
    patch.setattr("c2c_search.champion.package.model_card", lambda *_: "card\n")
    folder = build(work / "champion", fuser_dir=work / "fuser", manifest=manifest)
    champion = _Champion(folder, work)
    (work / "evil_plugin.py").write_text(champion.payload)
    patch.syspath_prepend(str(work))
    yield champion
    patch.undo()
    sys.modules.pop("evil_plugin", None)
    print(f"\n{dict(counts)}")


@settings(
    max_examples=LONG or QUICK,
    derandomize=not LONG,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(edits=st.lists(EDITS, min_size=1, max_size=3), redo=st.integers(0, 9).map(bool))
def test_a_changed_champion_answers_the_same_or_is_refused(
    champion: _Champion, edits: list[Edit], redo: bool
) -> None:
    folder = champion.copy()
    weights_changed = sum(_apply(folder, edit, champion.payload) for edit in edits) > 0
    if redo:
        write_sums(folder)
    for kind, what in edits:
        if kind == "sums" and (folder / "SHA256SUMS").exists():
            with (folder / "SHA256SUMS").open("a") as sums:
                sums.write(f"{what}\n")
    answers = error = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers = champion.ask(folder)
    except C2CError as refusal:
        error = refusal
    same = answers is not None and all(map(torch.equal, answers, champion.answers))
    ended = "refused" if error else "same" if same else "weights" if weights_changed else "other"
    counts[ended] += 1
    assert ended != "other"
    assert not set("\x1b\x07\x9b") & set(str(error))
    assert not champion.marker.exists()
