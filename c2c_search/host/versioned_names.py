"""Names of studies and of their versions: NAME is the first, NAME@2 the next."""

from __future__ import annotations

from collections.abc import Collection


MARK = "@"
"""Between the name that a space gives and a version's number; see `study.versions`."""


def numbered(study: str) -> tuple[str, int]:
    """The name that a version's space gives, and the version's number from 1."""
    name, _, number = study.rpartition(MARK)
    if name and number.isdecimal() and number.isascii() and int(number) > 1:
        return name, int(number)
    return study, 1


def versions(names: Collection[str], name: str) -> list[str]:
    """All versions of a study among some, the oldest first."""
    found = [each for each in names if numbered(each)[0] == name]
    return sorted(found, key=numbered)


def with_study(trial: str, study: str | None) -> tuple[str | None, str]:
    """The study, where one is named, and the trial: beside each other, or as ``STUDY/TRIAL``."""
    of, _, named = trial.partition("/")
    return (of, named) if study is None and of and named else (study, trial)


def meant(names: Collection[str], name: str) -> str:
    """Which study a name means: alone that of the newest version, ``NAME@1`` the first.

    Args:
        names: Of all studies.
        name: As a user says it.
    """
    if name.endswith(f"{MARK}1") and (first := name.removesuffix(f"{MARK}1")) in names:
        return first
    found = versions(names, name)
    return found[-1] if found else name


def called(names: Collection[str], study: str) -> str:
    """What a command must say to mean this study: ``NAME@1`` of a first version with newer ones.

    Args:
        names: Of all studies.
        study: Its name in the stores.
    """
    return study if meant(names, study) == study else f"{study}{MARK}1"
