"""Plug-ins: what can be chosen by name in a YAML file, built in or added from outside.

Every kind (projector families, samplers, tasks ...) has one `Register`. A plug-in is a plain class
or function under the kind's decorator, which gives its name, its reference and what it needs.
From outside it is named by its dotted path, ``my_package.my_module.MyProjector``, or, once its
package names the module in the entry point group `ENTRY_POINTS`, by its own name.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any
from typing import Generic
from typing import TypeVar

from c2c_search.errors import ConfigError
from c2c_search.errors import suggestion


ENTRY_POINTS = "c2c_search.plugins"
"""Entry point group of packages that bring plug-ins; each value is a module that holds some."""

ALLOWED = "C2C_SEARCH_PLUGINS"
"""Environment variable: packages whose plug-ins a champion or checkpoint may name, with commas."""

Entry = TypeVar("Entry")

_foreign: ContextVar[bool] = ContextVar("foreign", default=False)


class Register(Mapping[str, Entry], Generic[Entry]):
    """All plug-ins of a kind, by name.

    Args:
        kind: What one is called in messages, e.g. ``projector family``.
        built_in: Modules that hold the built-in ones, by name. One is imported when its name is
            first looked up, so that names can be checked without what they need.
    """

    def __init__(self, kind: str, built_in: Mapping[str, str]) -> None:
        self.kind = kind
        self._built_in = dict(built_in)
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, str] = {}  # whose each is
        self._plugins: list[tuple[object, Entry]] = []

    def add(self, name: str, plugin: object, entry: Entry) -> None:
        """Register a plug-in; decorators call this.

        Args:
            name: As in YAML.
            plugin: The class or function itself.
            entry: What the register gives for its name.

        Raises:
            ConfigError: Something else has the name.
        """
        taken = self._names.get(name)
        # A module that is imported again, after an error in it, registers the same names again.
        if taken not in (None, _home(plugin)) or (
            self._built_in.get(name, plugin.__module__) != plugin.__module__
        ):
            raise ConfigError(
                f"A {self.kind} needs a name of its own.",
                value=name,
                hint=f"Give {_home(plugin)} another name.",
            )
        self._names[name] = _home(plugin)
        self._entries[name] = entry
        self._plugins.append((plugin, entry))

    def check(self, name: str) -> str:
        """The name itself, if there is such a plug-in; for pydantic.

        Raises:
            ValueError: There is none.
        """
        if name not in self._built_in:
            try:
                self[name]
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return name

    def names(self) -> list[str]:
        """Every name: the built-in ones first, then those of other packages."""
        _import_entry_points()
        return [*self._built_in, *(name for name in self._entries if name not in self._built_in)]

    def module(self, name: str) -> str:
        """The module in which the plug-in of a name or a dotted path is written.

        Raises:
            ConfigError: As for the plug-in itself.
        """
        if name in self._built_in:
            return self._built_in[name]
        wanted = self[name]
        return next(plugin.__module__ for plugin, entry in self._plugins if entry is wanted)

    def __getitem__(self, name: str) -> Entry:
        """What is registered under a name or a dotted path.

        Raises:
            ConfigError: Nothing is; or a foreign file names code that the user has not allowed.
        """
        if name in self._built_in and name not in self._entries:
            import_module(self._built_in[name])
        if name in self._entries:
            return self._entries[name]
        if "." in name:
            return self._by_path(name)
        _import_entry_points()
        if name in self._entries:
            return self._entries[name]
        raise ConfigError(
            f"There is no such {self.kind}.", value=name, hint=suggestion(name, self.names())
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __contains__(self, name: object) -> bool:
        try:
            return isinstance(name, str) and self.check(name) == name
        except ValueError:
            return False

    def _by_path(self, path: str) -> Entry:
        module, _, attribute = path.rpartition(".")
        plugin = getattr(_imported(module, self.kind, path), attribute, None)
        for one, entry in self._plugins:
            if one is plugin:
                return entry
        raise ConfigError(
            f"A dotted path must name a {self.kind}.",
            value=path,
            hint=f"Put the decorator of a {self.kind} on it; docs/plugins.md shows how.",
        )


def _home(plugin: object) -> str:
    return f"{plugin.__module__}.{getattr(plugin, '__qualname__', '')}"


@contextmanager
def foreign_file() -> Iterator[None]:
    """Import nothing that what is read in this block names, unless the user has allowed it.

    A champion or a checkpoint may come from anybody, and importing a module runs it.
    """
    token = _foreign.set(True)
    try:
        yield
    finally:
        _foreign.reset(token)


def _imported(module: str, kind: str, path: str) -> Any:
    allowed = [each.strip() for each in os.environ.get(ALLOWED, "").split(",") if each.strip()]
    trusted = any(module == each or module.startswith(f"{each}.") for each in allowed)
    if _foreign.get() and module not in sys.modules and not trusted:
        raise ConfigError(
            f"A file from elsewhere names a {kind} that is a plug-in, which is code to be run.",
            value=path,
            hint=f"If you trust it, install its package and set {ALLOWED}={module.split('.')[0]}.",
        )
    try:
        return import_module(module)
    except Exception as error:
        raise ConfigError(
            f"The module of a {kind} must be importable.",
            value=path,
            hint=f"{type(error).__name__}: {error}. Install its package beside c2c-search, or put "
            "its folder on PYTHONPATH; the working folder is not searched.",
        ) from error


@cache
def _import_entry_points() -> None:
    """Import every module that installed packages name in `ENTRY_POINTS`, once."""
    for point in entry_points(group=ENTRY_POINTS):
        try:
            import_module(point.module)
        except Exception as error:
            package = point.dist.name if point.dist else point.name
            raise ConfigError(
                f"A package that brings plug-ins ({ENTRY_POINTS}) must be importable.",
                value=f"{package}: {point.value}",
                hint=f"{type(error).__name__}: {error}. Repair or uninstall {package}.",
            ) from error
