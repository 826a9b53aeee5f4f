"""JSON Schemas of space and pipeline files, for editors and for programs that write such files.

They are made from what validates the files, so they know every key, and of a dimension's values
what the field that it names may be. What several keys may only be together, `validate` tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import Literal

from c2c_search.config.pipeline import Pipeline
from c2c_search.fuser.families import PROJECTORS
from c2c_search.fuser.granularities import GATES
from c2c_search.fuser.injections import INJECTIONS
from c2c_search.fuser.presets import PRESETS
from c2c_search.space.declaration import FORMER_NAMES
from c2c_search.space.declaration import PRESET
from c2c_search.space.declaration import SECTIONS
from c2c_search.space.declaration import SpaceFile
from c2c_search.space.declaration import field_names


FileKind = Literal["space", "pipeline"]
Schema = dict[str, Any]

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_OF_PLUGINS: dict[str, Iterable[str]] = {
    "fuser.projector": PROJECTORS,
    "fuser.injection": INJECTIONS,
    "fuser.gate.granularity": GATES,
}


def json_schema(kind: FileKind) -> Schema:
    """The JSON Schema (draft 2020-12) of one kind of file."""
    made = _of_space() if kind == "space" else _of(Pipeline.model_json_schema())
    return {"$schema": _DRAFT, "$id": f"c2c-search-{kind}", **made, "title": f"c2c-search {kind}"}


def written(kind: FileKind) -> str:
    """The same as text, as it is published in ``docs/schemas``."""
    return json.dumps(json_schema(kind), indent=1, ensure_ascii=False) + "\n"


def _of_space() -> Schema:
    made = _of(SpaceFile.model_json_schema(by_alias=True))
    values, definitions = _values()
    made["$defs"] |= definitions
    made["properties"]["dimensions"] |= _named(
        {name: _dimension(value) for name, value in values.items()}
    )
    made["properties"]["fixed"] |= _named(values)
    made["properties"]["enqueue"]["items"] = {"type": "object", **_named(values)}
    return made


def _named(properties: Mapping[str, Schema]) -> Schema:
    return {"properties": dict(properties), "additionalProperties": False}


def _dimension(value: Schema) -> Schema:
    """A dimension whose values are a field's."""
    told: Schema = {key: value[key] for key in ("description", "deprecated") if key in value}
    single = {key: each for key, each in value.items() if key not in told}
    items = {"items": single}
    return {**told, "$ref": "#/$defs/Dimension", "properties": {"choices": items}}


def _values() -> tuple[dict[str, Schema], dict[str, Schema]]:
    """What every dotted name may be, and the definitions that this refers to."""
    values: dict[str, Schema] = {
        "pair": {"type": "string", "description": "Name of a pair under `pairs`."},
        PRESET: {
            "description": "A method whose fuser takes the default's place.",
            "enum": [*PRESETS, None],
        },
    }
    definitions: dict[str, Schema] = {}
    for section, model in SECTIONS.items():
        schema = _of(model.model_json_schema(by_alias=True))
        definitions |= schema["$defs"]
        for name in field_names():
            if name.startswith(f"{section}.") and name != PRESET:
                values[name] = _property(schema, name.split(".")[1:])
    # A list of stages may also be the line that a study's record has of it.
    stages = values["training.stages"]
    values["training.stages"] = {
        "description": stages.get("description", ""),
        "type": ["array", "string"],
    }
    for name, register in _OF_PLUGINS.items():
        values[name] = {**values[name], "examples": sorted(register)}
    for former, now in FORMER_NAMES.items():
        values[former] = {
            **values[now],
            "deprecated": True,
            "description": f"Now called {now}.",
        }
    return values, definitions


def _property(schema: Schema, path: list[str]) -> Schema:
    """The schema of a field below another one, which may be null."""
    here: Schema = schema
    for part in path:
        for option in (here, *here.get("anyOf", ())):
            if "$ref" in option:
                here = schema["$defs"][option["$ref"].rpartition("/")[2]]
        here = here["properties"][part]
    return {key: value for key, value in here.items() if key not in ("title", "default")}


def _of(schema: Schema) -> Schema:
    """A schema without pydantic's titles, which only repeat the keys."""
    return {"$defs": {}, **_untitled(schema)}


def _untitled(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_untitled(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    # The key `title` of a schema is a text; a property of that name would be a schema.
    return {
        key: _untitled(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
    }
