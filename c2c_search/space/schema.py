"""A space with its pipeline, ready to be searched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import Self

from pydantic import Field
from pydantic import ValidationError
from pydantic import model_validator

from c2c_search.config.document import Document
from c2c_search.config.pipeline import MISSING_DATA
from c2c_search.config.pipeline import Pipeline
from c2c_search.config.problems import sentence
from c2c_search.config.trial import TrialConfig
from c2c_search.config.trial import canonical_hash
from c2c_search.errors import ConfigError
from c2c_search.errors import Problem
from c2c_search.space.checks import check
from c2c_search.space.declaration import Declaration
from c2c_search.space.declaration import assemble
from c2c_search.space.dimensions import Value
from c2c_search.space.loading import read_space
from c2c_search.space.objective import objective_before


class Space(Declaration):
    """What a study searches; invalid values and combinations are refused at construction.

    Raises:
        ConfigError: With every problem of meaning, e.g. a dimension that is no field.
    """

    pipeline: Pipeline = Field(description="How every trial is trained and judged.")

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        if problems := check(self, self.pipeline, Document("space")):
            raise ConfigError.collect(problems)
        return self

    @classmethod
    def load(cls, path: Path, trials: int | None = None) -> Space:
        """Read a space file and the pipeline it names.

        Args:
            path: The space file.
            trials: Budget of trials, instead of the space's own.

        Raises:
            ConfigError: With every problem of both files, one line each.
        """
        space, missing = cls.load_without_data(path, trials)
        if missing:
            raise ConfigError.collect(missing)
        return space

    @classmethod
    def load_without_data(
        cls, path: Path, trials: int | None = None
    ) -> tuple[Space, list[Problem]]:
        """The same, where data files may be missing: a problem for each that is.

        Raises:
            ConfigError: With every problem of both files, if there is any other one.
        """
        file, pipeline, problems = read_space(path)
        missing = [problem for problem in problems if problem.rule == MISSING_DATA]
        if len(missing) < len(problems) or file is None or pipeline is None:
            raise ConfigError.collect(problems)
        declared = {name: getattr(file, name) for name in Declaration.model_fields}
        # Checked while it was read.
        space = cls.model_construct(**declared, pipeline=pipeline)
        if trials is None:
            return space, missing
        search = space.search.model_copy(update={"trials": trials})
        return space.model_copy(update={"search": search}), missing

    def configuration(self, params: Mapping[str, Value]) -> TrialConfig:
        """The trial that a point of the space stands for.

        Args:
            params: Values by dotted name, of the dimensions that apply, e.g. an Optuna trial's.

        Raises:
            ConfigError: If they do not make a valid trial.
        """
        try:
            return assemble(self, self.pipeline, dict(params))
        except ValidationError as error:
            rule = f"This point of the space is no trial: {sentence(error.errors()[0])}"
            raise ConfigError(rule, value=dict(params)) from error

    def identity(self) -> dict[str, Any]:
        """What makes trials comparable; trials of equal identity belong in one study.

        Number of trials, sampler, pruner, enqueued settings, limits and the champion's proof may
        change between two starts of a study; so may the folder of the data files, whose content
        is hashed elsewhere.
        """
        content = self.model_dump(mode="json", by_alias=True)
        pipeline = content["pipeline"]
        pipeline["training"].pop("checkpoint_seconds", None)  # it changes no trial
        files = {
            split: [Path(name).name for name in names]
            for split, names in pipeline["data"]["files"].items()
        }
        identity = {
            "pairs": content["pairs"],
            "dimensions": content["dimensions"],
            "fixed": content["fixed"],
            "seed": content["search"]["seed"],
            "training": pipeline["training"],
            "evaluation": pipeline["evaluation"],
            "cache_dtype": pipeline["caches"]["dtype"],
            "data": {**pipeline["data"], "files": files},
        }
        # Unsaid, it is what studies maximised before it could be said: those go on.
        if self.search.leading != objective_before(identity):
            identity["objective"] = self.search.leading
        if self.search.objectives is not None:
            identity["objectives"] = list(self.search.objectives)
        return identity

    def space_hash(self) -> str:
        """Hash of `identity`: 16 hexadecimal digits."""
        return canonical_hash(self.identity())
