"""Virtual environments in which a package finds what it asks for, without copying gigabytes."""

from __future__ import annotations

from importlib.metadata import Distribution
from importlib.metadata import distribution
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement


def link_requirements(name: str, site: Path) -> None:
    """Put what a package asks for beside it, as links to this environment's own.

    What it does not ask for, directly or through what it asks for, is not to be found there.

    Args:
        name: Of a distribution that is installed in ``site``.
        site: A folder of site-packages.
    """
    (package,) = distributions(name=name, path=[str(site)])
    left, found = _required(package, set()), {}
    while left:
        requirement, extras = left.pop()
        key = (requirement.name.lower(), *sorted(extras))
        if key in found:
            continue
        found[key] = dependency = distribution(requirement.name)
        assert requirement.specifier.contains(dependency.version, prereleases=True)
        left += _required(dependency, extras)
    for dependency in found.values():
        _link(dependency, site)


def _required(package: Distribution, extras: set[str]) -> list[tuple[Requirement, set[str]]]:
    """What a package asks for in this environment, and with which of its extras."""
    requirements = map(Requirement, package.requires or ())
    return [
        (each, each.extras)
        for each in requirements
        if each.marker is None
        or any(each.marker.evaluate({"extra": extra}) for extra in (extras or {""}))
    ]


def _link(package: Distribution, site: Path) -> None:
    """Link each module and folder of a package, and what says its version."""
    for name in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
        if not (site / name).exists():
            (site / name).symlink_to(Path(str(package.locate_file(name))))
