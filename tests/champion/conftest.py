"""A champion to be: a fuser's two files, a verdict and a manifest, without any model."""

from __future__ import annotations

import json
from datetime import UTC
from datetime import datetime
from pathlib import Path

import pytest

from c2c_search.champion.gate import judge
from c2c_search.champion.verdict import Verdict
from c2c_search.evaluation.results import ItemResult
from c2c_search.evaluation.results import SystemResult
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.manifest import PairIdentity
from c2c_search.inference.manifest import Provenance
from c2c_search.inference.manifest import RecordedQuestion
from c2c_search.inference.size import Size
from c2c_search.models.identity import ModelIdentity


def _system(name: str, wrong_every: int) -> SystemResult:
    items = tuple(
        ItemResult(
            id=f"q{i}",
            group=f"country/{'zh' if i % 2 else 'ja'}",
            cluster=f"c{i // 4}",
            answer=0,
            chosen=int(i % wrong_every == 0),
            scores=(),
        )
        for i in range(120)
    )
    return SystemResult(system=name, split="test", items=items)


@pytest.fixture
def verdict() -> Verdict:
    controls = {name: _system(name, 2) for name in ("receiver", "sharer", "no-sharer twin")}
    return judge(
        "trial 7",
        _system("c2c", 11),
        controls,
        level=0.01,
        resamples=2000,
        seed=0,
        finalists=3,
        receiver="receiver",
        deranged=_system("deranged", 2),
    )


@pytest.fixture
def manifest(verdict: Verdict) -> Manifest:
    def model(name: str, licence: str) -> ModelIdentity:
        return ModelIdentity(
            source=f"pypi:{name}",
            revision="1.0",
            architecture="LlamaForCausalLM",
            weights_sha256=f"{name}-weights",
            tokenizer_sha256=f"{name}-tokenizer",
            config_sha256=f"{name}-config",
            licence=licence,
            licence_url=f"https://example.org/{name}",
        )

    return Manifest(
        name="c2c-fuser",
        created=datetime(2026, 9, 1, tzinfo=UTC),
        c2c_search_version="0.1.0",
        git_commit="c0ffee",
        pair=PairIdentity(
            receiver=model("small", "Apache-2.0"), sharer=model("other", "LicenseRef-Gemma")
        ),
        receiver_size=Size(parameters=60, bytes=1000),
        template="plain",
        cache_dtype="bfloat16",
        data={"train": "aaa", "test": "bbb"},
        trial={"data": {"source": "quiz"}, "evaluation": {"method": "cloze"}},
        trial_hash="12762bd9507b9337",
        verdict=verdict.model_dump(mode="json"),
        controls={one.control: one.accuracy.value for one in verdict.others},
        versions={"python": "3.11.7", "torch": "2.13.0"},
        licences={"GeoNames": "CC-BY-4.0"},
        questions=(
            RecordedQuestion(question="Which country is called 'Deutschland'?", answer=" Germany"),
            RecordedQuestion(question="And 'Österreich'?", answer=" Austria", max_new_tokens=3),
        ),
    )


@pytest.fixture
def imported(manifest: Manifest) -> Manifest:
    """Of the same pair, and made elsewhere."""
    nothing = {"data", "trial", "trial_hash", "verdict", "controls", "licences", "questions"}
    provenance = Provenance(
        layout="rosetta",
        folder="final",
        files={"projector_0.pt": "aaaa", "projector_config.json": "bbbb"},
        imported=datetime(2026, 9, 2, tzinfo=UTC),
    )
    content = manifest.model_dump(exclude=nothing) | {"provenance": provenance}
    return Manifest.model_validate(content | {"name": "rosetta-final", "cache_dtype": "float32"})


@pytest.fixture
def fuser_dir(tmp_path: Path) -> Path:
    return _write_fuser(tmp_path / "fuser", b"\x01")


@pytest.fixture
def other_fuser_dir(tmp_path: Path) -> Path:
    return _write_fuser(tmp_path / "other_fuser", b"\x02")


def _write_fuser(folder: Path, byte: bytes) -> Path:
    """A safetensors file of six float32 numbers, and a configuration."""
    folder.mkdir()
    tensor = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    header = json.dumps(tensor).encode()
    content = len(header).to_bytes(8, "little") + header + byte * 24
    (folder / "fuser.safetensors").write_bytes(content)
    (folder / "fuser_config.json").write_text("{}")
    (folder / "optimizer.pt").write_bytes(b"not part of a champion")
    return folder
