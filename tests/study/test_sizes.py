from __future__ import annotations

from pathlib import Path

from c2c_search.fuser.config import CacheShape
from c2c_search.fuser.cost import parameters
from c2c_search.study.sizes import make_fits
from c2c_search.study.spaces import load_space


def test_a_space_without_limits_needs_no_sizes(space_file: Path) -> None:
    assert make_fits(load_space(space_file)) is None


def test_a_candidate_beyond_the_limits_does_not_fit(space_file: Path) -> None:
    shape = CacheShape(layers=2, heads=1, head_dim=4)
    trial = load_space(space_file).configuration({"pair": "there", "fuser.depth": 3})
    limit = parameters(trial.fuser, shape, shape)
    space_file.write_text(space_file.read_text() + f"limits: {{max_parameters: {limit}}}\n")
    fits = make_fits(load_space(space_file), lambda source: shape)
    assert fits is not None
    assert fits(trial)
    deeper = trial.fuser.model_copy(update={"depth": 4})
    assert not fits(trial.model_copy(update={"fuser": deeper}))
