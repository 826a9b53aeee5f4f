"""Published checkpoints changed in any way: a fuser of finite numbers, or a refusal."""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.errors import C2CError
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.gate_config import GateConfig
from c2c_search.fuser.rosetta import writing
from c2c_search.fuser.shapes import CacheShape


LONG = int(os.environ.get("C2C_SEARCH_FUZZ", "0"))
QUICK = 150
RECEIVER = CacheShape(layers=2, heads=2, head_dim=4)
SHARER = CacheShape(layers=3, heads=1, head_dim=6)
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 9, 65, 10**9, 10**30, 0.5, 1e308, math.nan, math.inf),
    *("", "0", "C2CProjector", "os.system", "\x1b[2J", "\ud800", [], {}, [[0, 0]], [[2, 1]]),
    *([[0.0, 0]], [["0", 0]], {"0": [[0, 0]]}, {"00": [[0, 0]]}),
]
NUMBERS = (math.nan, math.inf, 0.0, -1.0, 1e-60, 1e300)
CHANGES: dict[str, Any] = {
    "int": lambda tensor: tensor.to(torch.int32),
    "float8": lambda tensor: tensor.to(torch.float8_e4m3fn),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "half": lambda tensor: tensor.half(),
    "sparse": lambda tensor: tensor.to_sparse(),
    "meta": lambda tensor: tensor.to("meta"),
    "cut": lambda tensor: tensor[..., :-1] if tensor.ndim else tensor[None],
    "object": lambda tensor: "a tensor",
    **{f"{one}": lambda tensor, one=one: torch.full_like(tensor.double(), one) for one in NUMBERS},
}
_SPOILT = (pickle.UnpicklingError, EOFError)
_index = st.integers(0, 10**6)
EDITS = st.one_of(
    st.tuples(
        st.just("json"), _index, _index, st.sampled_from(["put", "drop"]), st.sampled_from(VALUES)
    ),
    st.tuples(st.just("tensor"), _index, _index, st.sampled_from(sorted(CHANGES)), st.none()),
    st.tuples(st.just("bytes"), _index, _index, st.just(""), st.binary(max_size=8)),
    st.tuples(st.just("pickle"), _index, _index, st.just(""), st.none()),
    st.tuples(st.just("remove"), _index, _index, st.just(""), st.none()),
)

counts: Counter[str] = Counter()


class Marker:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def _places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from _places(value, (*path, key))


def _change_json(path: Path, at: int, how: str, value: Any) -> None:
    content = json.loads(path.read_text())
    places = list(_places(content))
    *above, last = places[at % len(places)]
    parent = content
    for key in above:
        parent = parent[key]
    if how == "drop":
        del parent[last]
    else:
        parent[last] = value
    path.write_text(json.dumps(content))


def _apply(folder: Path, marker: Path, edit: tuple[str, int, int, str, Any]) -> None:
    kind, which, at, how, value = edit
    ending = {"json": ".json", "tensor": ".pt", "pickle": ".pt"}.get(kind, "")
    files = sorted(path for path in folder.iterdir() if path.name.endswith(ending))
    if not files:
        return
    path = files[which % len(files)]
    try:
        if kind == "json":
            _change_json(path, at, how, value)
        elif kind == "tensor":
            state = torch.load(path, weights_only=True)
            name = sorted(state)[at % len(state)]
            torch.save({**state, name: CHANGES[how](state[name])}, path)
        elif kind == "bytes":
            content = path.read_bytes()
            start = at % (len(content) + 1)
            path.write_bytes(content[:start] + value + content[start + len(value) :])
        elif kind == "pickle" and at % 2:
            torch.save({"key_in.weight": Marker(marker)}, path)
        elif kind == "pickle":
            path.write_bytes(pickle.dumps(Marker(marker)))
        else:
            path.unlink()
    except (ValueError, LookupError, ArithmeticError, RuntimeError, TypeError, *_SPOILT):
        return  # an edit before this one has spoilt the file


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    torch.manual_seed(0)
    config = FuserConfig(
        width=4,
        normalisation="none",
        input_activation=False,
        token_alignment="longest",
        gate=GateConfig(granularity="layer", rule="hard", initial_logit=0.5),
    )
    folder = tmp_path_factory.mktemp("published") / "final"
    writing.write(Fuser(config, RECEIVER, SHARER).eval(), folder)
    yield folder
    print(f"\n{dict(counts)}")


@settings(
    max_examples=LONG or QUICK,
    derandomize=not LONG,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(edits=st.lists(EDITS, min_size=1, max_size=3))
def test_a_changed_checkpoint_is_read_or_refused(
    published: Path, edits: list[tuple[str, int, int, str, Any]]
) -> None:
    folder, marker = published.with_name("copy"), published.with_name("PWNED")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(published, folder)
    for edit in edits:
        _apply(folder, marker, edit)
    fuser, error = None, None
    try:
        fuser = writing.read(folder, RECEIVER, SHARER)
    except C2CError as refusal:
        error = refusal
    counts["refused" if error else "read"] += 1
    assert not set("\x1b\x07\x9b") & set(str(error))
    tensors = [] if fuser is None else fuser.state_dict().values()
    assert all(bool(each.isfinite().all()) for each in tensors)
    assert not marker.exists()
