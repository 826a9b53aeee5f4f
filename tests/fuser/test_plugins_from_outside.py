"""A plug-in of each kind in a module of somebody else's, named by its dotted path."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from copy import copy

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load
from safetensors.torch import save_file

from c2c_search.errors import ConfigError
from c2c_search.errors import IntegrityError
from c2c_search.fuser import checkpoint
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.families import PROJECTORS
from c2c_search.fuser.families import projector
from c2c_search.fuser.fuser import Fuser
from c2c_search.fuser.granularities import GATES
from c2c_search.fuser.injections import INJECTIONS
from c2c_search.fuser.injections import injection
from c2c_search.fuser.layer_alignment import LAYER_ALIGNMENTS
from c2c_search.plugins import ALLOWED
from c2c_search.testing.pairs import RECEIVER
from c2c_search.testing.pairs import SHARER


PROJECTOR = '''
"""Projector family `squashed`."""

import torch

from c2c_search.fuser.families import projector
from c2c_search.fuser.projectors import Projection
from c2c_search.fuser.projectors import Projector
from c2c_search.fuser.stacked import StackedLinear


@projector("squashed", reference="an affine map and a tanh, this test", twin="itself")
class Squashed(Projector):
    def __init__(self, config, shape):
        super().__init__(config, shape)
        self.hidden_size = shape.sharer_size + shape.receiver_size * self.reads_receiver
        sizes = (2 * shape.layers, self.hidden_size, shape.receiver_size)
        self.map = StackedLinear(*sizes, zero=config.initialisation == "zero")
        self.weight = self.weight_head(self.hidden_size) if config.weighted else None

    def forward(self, receiver, sharer):
        hidden = sharer.flatten(0, 1)
        if self.reads_receiver:
            hidden = torch.cat([hidden, receiver.flatten(0, 1)], dim=-1)
        weight = None if self.weight is None else self.weight(hidden)
        return Projection(self.map(hidden).tanh(), hidden, weight)
'''

GATE = '''
"""Gate `half_head`."""

from c2c_search.fuser.gates import Gate
from c2c_search.fuser.granularities import gate


@gate("half_head", reference="two gates a KV head, this test")
def half_head(config, shape, hidden_size):
    return Gate(config, shape, hidden_size, logits=2 * shape.receiver_heads)
'''

LAYER_ALIGNMENT = '''
"""Layer alignment `upside_down`."""

from c2c_search.fuser.layer_alignment import layer_alignment
from c2c_search.fuser.layer_alignment import nearest


@layer_alignment("upside_down", reference="last layer to first, this test")
def upside_down(receiver_layers, sharer_layers, count, similarity):
    centres = [max(0, sharer_layers - 1 - layer) for layer in range(receiver_layers)]
    return [nearest(centre, count, sharer_layers) for centre in centres]
'''

INJECTION = '''
"""Injection `halfway`."""

from c2c_search.fuser.injections import injection


@injection("halfway", reference="the mean of both, this test", projects="cache", twin="published")
def halfway(projected, receiver, normalisation):
    return (normalisation.restore(projected) - receiver) / 2
'''

PLUGINS = {
    "ProjectorConformance": (PROJECTOR, "Squashed", "projector"),
    "GateConformance": (GATE, "half_head", "gate.granularity"),
    "LayerAlignmentConformance": (LAYER_ALIGNMENT, "upside_down", "layer_alignment"),
    "InjectionConformance": (INJECTION, "halfway", "injection"),
}

CONFORMANCE = """
from c2c_search.testing import {suite}


class TestMine({suite}):
    plugin = "{path}"
"""


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """Where the modules lie, importable."""
    folder = tmp_path_factory.mktemp("outside")
    for suite, (source, *_) in PLUGINS.items():
        (folder / f"outside_{suite.lower()}.py").write_text(source)
    registers = (PROJECTORS, GATES, LAYER_ALIGNMENTS, INJECTIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        for register in registers:  # other tests find none of what is registered here
            for name in ("_entries", "_names", "_plugins"):
                patch.setattr(register, name, copy(getattr(register, name)))
        yield folder


@pytest.fixture(params=PLUGINS)
def suite(request) -> str:
    return request.param


@pytest.fixture
def path(suite) -> str:
    return f"outside_{suite.lower()}.{PLUGINS[suite][1]}"


@pytest.fixture
def config(suite, path) -> FuserConfig:
    *groups, field = PLUGINS[suite][2].split(".")
    fields = {field: path}
    for group in groups:
        fields = {group: fields}
    return FuserConfig.model_validate({"width": 8, **fields})


def conforms(folder, name: str, suite: str, path: str) -> int:
    """Run somebody's test file of three lines."""
    file = folder / f"test_{name}.py"
    file.write_text(CONFORMANCE.format(suite=suite, path=path))
    options = ["-q", "-x", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(folder)]
    return pytest.main([*options, "--import-mode=importlib", str(file)])


def test_it_passes_its_suite(folder, suite, path):
    assert conforms(folder, suite.lower(), suite, path) == pytest.ExitCode.OK


def test_a_fuser_is_built_of_it_and_comes_back_from_disk(config, path, tmp_path):
    fuser = Fuser(config, RECEIVER, SHARER)
    checkpoint.save(fuser, tmp_path)
    assert path in (tmp_path / checkpoint.CONFIG_NAME).read_text()
    again = checkpoint.load(tmp_path)
    assert again.config == config
    for name, tensor in fuser.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


STRANGE = 'import pathlib\n\npathlib.Path(__file__ + ".ran").touch()\n'


def rename(folder, old, new):
    """Change a name in a stored configuration; the weights no longer say which one they are of."""
    path = folder / checkpoint.CONFIG_NAME
    path.write_text(path.read_text().replace(old, new))
    weights = folder / checkpoint.WEIGHTS_NAME
    save_file(load(weights.read_bytes()), weights)


def test_a_strangers_checkpoint_imports_nothing_unasked(
    folder, suite, config, tmp_path, monkeypatch
):
    name = f"stranger_{suite.lower()}"
    source, attribute, _ = PLUGINS[suite]
    module = folder / f"{name}.py"
    module.write_text(source.replace('("', f'("{name}_', 1) + STRANGE)
    checkpoint.save(Fuser(config, RECEIVER, SHARER), tmp_path)
    rename(tmp_path, f"outside_{suite.lower()}", name)
    importlib.invalidate_caches()
    with pytest.raises(IntegrityError, match=rf"code to be run.*{name}\.{attribute}.*{ALLOWED}"):
        checkpoint.load(tmp_path)
    assert not module.with_name(f"{name}.py.ran").exists()
    assert name not in sys.modules
    monkeypatch.setenv(ALLOWED, name)
    checkpoint.load(tmp_path)
    assert module.with_name(f"{name}.py.ran").exists()


def test_a_study_reads_its_own_checkpoints_in_a_process_that_has_not_trained(folder, tmp_path):
    (folder / "outside_own.py").write_text(INJECTION.replace("halfway", "halfway_again"))
    config = FuserConfig(width=8, injection="residual")
    checkpoint.save(Fuser(config, RECEIVER, SHARER), tmp_path)
    rename(tmp_path, "residual", "outside_own.halfway_again")
    importlib.invalidate_caches()
    fuser = checkpoint.load(tmp_path, foreign=False)
    assert fuser.config.injected.name == "halfway_again"


def test_the_suite_finds_what_is_wrong(folder):
    source = PROJECTOR.replace("squashed", "leaky").replace(
        "self.map(hidden)", "self.map(hidden).cumsum(dim=1)"
    )
    (folder / "outside_leaky.py").write_text(source)
    importlib.invalidate_caches()
    found = conforms(folder, "leaky", "ProjectorConformance", "outside_leaky.Squashed")
    assert found == pytest.ExitCode.TESTS_FAILED


# Declarations


def test_a_family_without_a_twin_is_refused():
    with pytest.raises(TypeError, match="'twin'"):
        projector("twinless", reference="this test")
    with pytest.raises(ConfigError, match=r"twinless.*'publisht'\. Did you mean `published`"):
        projector("twinless", reference="this test", twin="publisht")
    with pytest.raises(ValidationError, match=r"projector family\. Got 'twinless'"):
        FuserConfig(projector="twinless")


def test_a_module_whose_family_has_no_twin_says_so(folder):
    source = PROJECTOR.replace(', twin="itself"', "").replace("squashed", "lonely")
    (folder / "outside_lonely.py").write_text(source)
    importlib.invalidate_caches()
    with pytest.raises(ValidationError, match="missing 1 required keyword-only argument: 'twin'"):
        FuserConfig(projector="outside_lonely.Squashed")


def test_an_injection_says_what_it_projects():
    with pytest.raises(ConfigError, match=r"change, cache, entries or memory\. Got 'entry'"):
        injection("odd", reference="this test", projects="entry", twin="published")


def test_a_twin_of_ones_own_is_the_twin():
    @projector("with_own_twin", reference="this test", twin=lambda config: FuserConfig(width=3))
    def build(config, shape):
        raise NotImplementedError

    assert FuserConfig(projector="with_own_twin").without_sharer() == FuserConfig(width=3)
    other = FuserConfig(projector="with_own_twin", injection="replace", width=5)
    assert other.without_sharer() == FuserConfig(width=5, sharer="blank")


def test_what_a_plug_in_declares_is_what_a_configuration_may_say():
    closed = {"reads_receiver": False, "closed_form": True}

    @projector("solved", reference="this test", twin="published", **closed)
    def build(config, shape):
        raise NotImplementedError

    config = FuserConfig(projector="solved", injection="replace")
    assert (config.weighted, config.reads_receiver, config.fitted) == (False, False, True)
    with pytest.raises(ValidationError, match="rank belongs to projector joint or linear"):
        FuserConfig(projector="solved", injection="replace", rank=2)
    with pytest.raises(ValidationError, match="projector solved is fitted, not trained"):
        FuserConfig(projector="solved", injection="replace", gate={"granularity": "head"})


# Weight


def test_configurations_of_built_in_parts_are_read_without_torch():
    fields = {"projector": "joint", "gate": {"granularity": "head"}, "injection": "replace"}
    code = (
        "import sys\n"
        "from c2c_search.fuser.config import FuserConfig\n"
        f"FuserConfig.model_validate_json({json.dumps(fields)!r}).without_sharer()\n"
        "print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
