"""What must hold in a space beyond the shape of its file."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from c2c_search.config.document import Document
from c2c_search.config.document import Location
from c2c_search.config.pipeline import Pipeline
from c2c_search.config.problems import explain
from c2c_search.config.problems import sentence
from c2c_search.config.stages import files_of
from c2c_search.config.training import TrainingConfig
from c2c_search.config.trial import NOT_TRAINED
from c2c_search.config.trial import anchors_say_it
from c2c_search.config.trial import needs_added_entries
from c2c_search.errors import ConfigError
from c2c_search.errors import Problem
from c2c_search.errors import SourceError
from c2c_search.errors import in_yaml
from c2c_search.errors import suggestion
from c2c_search.fuser import layers
from c2c_search.fuser.config import FuserConfig
from c2c_search.fuser.presets import preset
from c2c_search.models.pair import PairSpec
from c2c_search.models.sources import parse_source
from c2c_search.space.declaration import FORMER_NAMES
from c2c_search.space.declaration import NOT_SEARCHED
from c2c_search.space.declaration import PRESET
from c2c_search.space.declaration import SECTIONS
from c2c_search.space.declaration import Declaration
from c2c_search.space.declaration import field_names
from c2c_search.space.declaration import into
from c2c_search.space.declaration import settings
from c2c_search.space.dimensions import Params
from c2c_search.space.dimensions import Value
from c2c_search.space.dimensions import applies
from c2c_search.space.dimensions import in_order
from c2c_search.space.points import points
from c2c_search.space.search_rules import faults
from c2c_search.space.unread import unread


# What decides whether a fuser can be trained as it is to be.
_OF_FUSER = ("injection", "anchors", "message")
_OF_BOTH = (
    PRESET,
    *(f"fuser.{name}" for name in _OF_FUSER),
    "training.stages",
    "training.receiver_sees",
)


def check(
    declaration: Declaration,
    pipeline: Pipeline | None,
    document: Document,
    *,
    unreadable: Collection[tuple[str, str]] = (),
) -> list[Problem]:
    """Everything that is wrong with the meaning of a space.

    Args:
        declaration: The space; entries whose shape is wrong are left out.
        pipeline: The pipeline it names; None if that cannot be read, so that the space is not
            blamed for it.
        document: Where problems are placed.
        unreadable: Section and name of the entries left out, e.g. ``dimensions``,
            ``fuser.depth``, so that what refers to them is not blamed.
    """
    known = pipeline is not None
    pipeline = pipeline or Pipeline(name="unreadable")
    return _Check(declaration, pipeline, document, tuple(unreadable), known).problems()


@dataclass(frozen=True)
class _Check:
    space: Declaration
    pipeline: Pipeline
    document: Document
    left_out: tuple[tuple[str, str], ...]
    pipeline_known: bool

    @property
    def unreadable(self) -> set[str]:
        return {name for _, name in self.left_out}

    def problems(self) -> list[Problem]:
        values = [*self._names(), *self._dimension_values(), *self._fixed_values()]
        conditions = list(self._conditions())
        found = [*values, *conditions, *self._pairs(), *self._search()]
        if not conditions:
            found += [*self._enqueued(), *self._options()]
        if not found and not self.unreadable:
            found += [*self._combinations(), *self._of_fuser_and_training()]
        return found

    def _names(self) -> Iterator[Problem]:
        valid = field_names()
        named = [*self.left_out]
        named += [("dimensions", name) for name in self.space.dimensions]
        named += [("fixed", name) for name in self.space.fixed]
        if not self.space.dimensions and not self.left_out:
            yield self.document.problem(("dimensions",), "A space needs at least one dimension.")
        for section, name in named:
            if reason := _why_not(name):
                yield self.document.problem((section, name), f"This is not searched: {reason}.")
            elif FORMER_NAMES.get(name, name) not in valid:
                rule = "A dotted name must be `pair` or a field of the trial."
                hint = suggestion(name, valid)
                yield self.document.problem((section, name), rule, value=name, hint=hint)
        given = {name: section for section, name in named}
        for former, name in FORMER_NAMES.items():
            if former in given and name in given:
                rule = f"This is the former name of {name}, which the space has too; drop it."
                yield self.document.problem((given[former], former), rule)
        for name in self.space.fixed:
            if name in self.space.dimensions or ("dimensions", name) in self.left_out:
                rule = "A name is searched or fixed, not both; drop it here or there."
                yield self.document.problem(("fixed", name), rule)

    def _dimension_values(self) -> Iterator[Problem]:
        yield from self._same_layers()
        for name, dimension in self.space.dimensions.items():
            for index, value in enumerate(dimension.extremes):
                at = ("dimensions", name, dimension.kind, index)
                yield from self._value(at, name, value)

    def _same_layers(self) -> Iterator[Problem]:
        """Choices of layers that differ in how they are written alone."""
        for name, dimension in self.space.dimensions.items():
            named = dimension.choices if FORMER_NAMES.get(name, name) == "fuser.layers" else None
            seen: dict[str, Value] = {}
            for index, value in enumerate(named or ()):
                try:
                    key = layers.checked(value)
                except ValueError:  # told of the value itself
                    continue
                if key in seen:
                    yield self.document.problem(
                        ("dimensions", name, "choices", index),
                        f"Choices must differ, but {in_yaml(seen[key])} names the same layers.",
                        value=value,
                    )
                seen.setdefault(key, value)

    def _fixed_values(self) -> Iterator[Problem]:
        for name, value in self.space.fixed.items():
            yield from self._value(("fixed", name), name, value)

    def _value(self, at: Location, name: str, value: Value) -> Iterator[Problem]:
        """The problem, if any, with a field's value."""
        rule, hint = self._fault(name, value)
        if rule:
            yield self.document.problem(at, rule, value=value, hint=hint)

    def _fault(self, name: str, value: Value) -> tuple[str, str]:
        """Why a field cannot have a value, and the way out; both empty if it can."""
        if name == "pair" and value not in self.space.pairs:
            return "This pair must stand under `pairs`.", suggestion(value, self.space.pairs)
        name = FORMER_NAMES.get(name, name)
        if name == PRESET and value is not None:
            try:
                preset(value)
            except ConfigError as refused:
                return refused.rule, refused.hint
        if name in ("pair", PRESET) or name not in field_names():
            return "", ""
        for (field, untrained), reason in NOT_TRAINED.items():
            if (name, value) == (field, untrained):
                return f"{reason[0].upper()}{reason[1:]}.", ""
        section, *path = name.split(".")
        bare = self.space.model_copy(update={"fixed": {}})
        for error in _errors(section, settings(bare, self.pipeline, {name: value})[section]):
            # An error of the whole section is about a combination; those are checked later.
            if list(error["loc"][: len(path)]) == path:
                return explain(error)
        return "", ""

    def _conditions(self) -> Iterator[Problem]:
        for name, dimension in self.space.dimensions.items():
            for other, values in dimension.when.items():
                at: Location = ("dimensions", name, "when", other)
                known = self.space.dimensions.get(other)
                if other in self.unreadable:
                    continue
                if known is None:
                    yield self.document.problem(
                        at,
                        "A condition must refer to another dimension of this space.",
                        value=other,
                        hint=suggestion(other, {*self.space.dimensions} - {name}),
                    )
                elif known.values is None:
                    rule = (
                        "A condition must refer to choices or integers, not to a range of floats."
                    )
                    yield self.document.problem(at, rule, value=other)
                else:
                    for value in values:
                        if not known.contains(value):
                            rule = f"A condition must name a possible value of {other}."
                            hint = f"Possible: {known}."
                            yield self.document.problem(at, rule, value=value, hint=hint)
        try:
            in_order(self.space.dimensions)
        except ValueError as error:
            rule = f"Conditions must not go round in a circle: {error}."
            yield self.document.problem(("dimensions",), rule)

    def _pairs(self) -> Iterator[Problem]:
        if ("dimensions", "pair") in self.left_out:
            return
        dimension = self.space.dimensions.get("pair")
        fixed = (self.space.fixed["pair"],) if "pair" in self.space.fixed else None
        used = dimension.choices or () if dimension else fixed
        if used is None and len(self.space.pairs) > 1:
            rule = "Of several pairs, one must be fixed or `pair` must be a dimension."
            yield self.document.problem(("pairs",), rule, value=list(self.space.pairs))
        names: dict[PairSpec, str] = {}
        for name, pair in self.space.pairs.items():
            if used is not None and name not in used:
                rule = "A pair must be among the choices of `pair`, or be fixed; or leave it out."
                yield self.document.problem(("pairs", name), rule)
            if names.setdefault(pair, name) != name:
                rule = f"Pairs must differ, but {names[pair]} is the same."
                yield self.document.problem(("pairs", name), rule)
            for role, source in pair:
                try:
                    parse_source(source)
                except SourceError as error:
                    at = ("pairs", name, role)
                    yield self.document.problem(at, error.rule, value=error.value, hint=error.hint)

    def _search(self) -> Iterator[Problem]:
        search = self.space.search
        one_rung = self.pipeline_known and len(self.pipeline.training.rungs) < 2
        if search.pruner != "none" and one_rung:
            yield self.document.problem(
                ("search", "pruner"),
                "A pruner needs a rung before the last, but the pipeline has one rung only.",
                value=search.pruner,
                hint="Add rungs to the pipeline, or set pruner: none.",
            )
        if search.pruner == "patient" and self.pipeline_known and not one_rung:
            yield from self._patience(search.patient_rungs or 0)
        yield from unread(self.space, self.pipeline, self.document, self.unreadable)
        if len(self.space.enqueue) > search.trials:
            yield self.document.problem(
                ("enqueue",),
                f"No more settings can be enqueued than there are trials ({search.trials}).",
                value=len(self.space.enqueue),
            )

    def _patience(self, forgiven: int) -> Iterator[Problem]:
        before = len(self.pipeline.training.rungs) - 1
        if before < forgiven + 2:
            yield self.document.problem(
                ("search", "patient_rungs"),
                f"patient judges a trial from its rung {forgiven + 2} on, but there are only "
                f"{before} before the last.",
                value=forgiven,
                hint="Forgive fewer, add rungs to the pipeline, or set pruner: halving.",
            )

    def _options(self) -> Iterator[Problem]:
        for fault in faults(self.space.search, self.space.dimensions):
            at: Location = ("search", fault.option)
            yield self.document.problem(at, fault.rule, value=fault.value, hint=fault.hint)

    def _enqueued(self) -> Iterator[Problem]:
        for index, params in enumerate(self.space.enqueue):
            for name, value in params.items():
                at = ("enqueue", index, name)
                dimension = self.space.dimensions.get(name)
                if name in self.unreadable:
                    continue
                if dimension is None:
                    rule = "Only a dimension of this space can be enqueued."
                    hint = suggestion(name, self.space.dimensions)
                    yield self.document.problem(at, rule, value=name, hint=hint)
                elif not dimension.contains(value):
                    rule = f"Must be a possible value of {name}."
                    hint = f"Possible: {dimension}."
                    yield self.document.problem(at, rule, value=value, hint=hint)
                elif not applies(dimension, params) and not self.unreadable & {*dimension.when}:
                    rule = f"{name} applies only when {dimension.condition}; set that here too."
                    yield self.document.problem(at, rule, value=value)

    def _combinations(self) -> Iterator[Problem]:
        seen: set[str] = set()
        for section in SECTIONS:
            if section == "training" and not self.pipeline_known:
                continue
            common = settings(self.space, self.pipeline, {})[section]
            for params in points(self.space.dimensions, _of(section)):
                if PRESET in params:
                    values = settings(self.space, self.pipeline, params)[section]
                else:
                    values = _with(common, section, params)
                for error in _errors(section, values):
                    rule = sentence(error)
                    if rule not in seen:
                        seen.add(rule)
                        yield self._combination(section, params, rule)

    def _of_fuser_and_training(self) -> Iterator[Problem]:
        """Trainings that some fuser of the space cannot have, or for which files are missing."""
        seen: set[str] = set()
        for params in (
            points(self.space.dimensions, _OF_BOTH.__contains__) if self.pipeline_known else ()
        ):
            trial = settings(self.space, self.pipeline, params)
            of_fuser = {name: trial["fuser"][name] for name in _OF_FUSER if name in trial["fuser"]}
            fuser = FuserConfig.model_construct(**of_fuser)
            try:
                training = TrainingConfig.model_validate(trial["training"], strict=True)
                rule = needs_added_entries(fuser, training) or anchors_say_it(fuser, training)
                for stage in training.stages:
                    files_of(stage, self.pipeline.data)
            except ValidationError:  # told of the section
                continue
            except ValueError as error:
                rule = str(error)
            if rule and rule not in seen:
                seen.add(rule)
                yield self._combination("training", params, f"{rule}.")

    def _combination(self, section: str, params: Params, rule: str) -> Problem:
        given = {**self.space.fixed, **params}
        # A rule may begin with a field's name, which is then written as a sentence begins.
        said = rule[:1].lower() + rule[1:]
        involved = [name for name in given if name.removeprefix(f"{section}.") in said]
        searched = [name for name in involved or params if name in params]
        told = f"A combination that the space allows cannot hold: {rule}"
        if not (values := {name: given[name] for name in involved or params}):
            return self.document.problem(("fixed",), told)
        return self.document.problem(
            ("dimensions", searched[-1]) if searched else ("fixed",),
            told,
            value=values,
            hint="Rule it out with `when`." if searched else "",
        )


def _of(section: str) -> Callable[[str], bool]:
    return lambda name: name.split(".")[0] == section


def _with(common: dict[str, Any], section: str, params: Params) -> dict[str, Any]:
    """A section's fields, some of them at a point of the space."""
    values = _copy(common)
    for name, value in params.items():
        now = "pair.pair" if name == "pair" else FORMER_NAMES.get(name, name)
        first, *path, last = now.split(".")
        if first == section:
            into(values, path)[last] = value
    return values


def _copy(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _copy(one) if isinstance(one, dict) else one for key, one in values.items()}


def _errors(section: str, values: dict[str, Any]) -> list[Any]:
    try:
        SECTIONS[section].model_validate(values, strict=True)
    except ValidationError as error:
        return error.errors()
    return []


def _why_not(name: str) -> str:
    """Why a field of the trial is not searched; empty if it is, or is no field."""
    for part, reason in NOT_SEARCHED.items():
        if name == part or name.startswith(f"{part}."):
            return reason
    return ""
