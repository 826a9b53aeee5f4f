"""The last gate, an exported champion answers as it did when it was measured.

It is asked in a process of its own in which only its own ``runtime/`` and what that requires can
be imported, as on a machine on which nothing else was ever installed; and the packages of the
plug-ins that its fuser is made of, which a reader installs beside it. Of ``runtime/`` that is the
listed files as they were summed: nothing else of a champion is ever run.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import packages_distributions
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pydantic import ValidationError

from c2c_search.champion.export import REQUIREMENTS
from c2c_search.champion.export import RUNTIME
from c2c_search.errors import IntegrityError
from c2c_search.fuser.config import FuserConfig
from c2c_search.host.dtypes import VARIABLE as DTYPE_VARIABLE
from c2c_search.host.files import scratch
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.manifest import read_manifest
from c2c_search.inference.sums import SUMS
from c2c_search.inference.sums import check_sums
from c2c_search.inference.sums import read_sums
from c2c_search.models.cache_dir import CACHE_VARIABLE
from c2c_search.models.stamps import file_sha256
from c2c_search.plugins import ALLOWED
from c2c_search.plugins import foreign_file


_LAST_LINES = 15
_RUNTIME_FILE = re.compile(rf"{RUNTIME}/(pyproject\.toml|c2c_search/(py\.typed|(\w+/)*\w+\.py))")


def verify(exported: Path, *, cache_dir: Path | None = None) -> tuple[str, ...]:
    """Ask an exported champion the manifest's questions and compare the answers exactly.

    Args:
        exported: A folder that `champion.export.export` wrote.
        cache_dir: Where the two models lie; default: the user's cache folder.

    Returns:
        The answers, in the order of the manifest's questions.

    Raises:
        IntegrityError: A file changed, the runtime does not run, or an answer differs.
    """
    check_sums(exported)
    manifest = read_manifest(exported)
    runtime = _runtime_files(exported)
    if f"{RUNTIME}/c2c_search/__init__.py" not in runtime:
        raise IntegrityError(
            f"Only an exported champion with {RUNTIME}/ can be verified.",
            value=str(exported),
            hint="Export it with `c2c-search export --to DIR` and verify that folder.",
        )
    if not manifest.questions:
        imported = manifest.provenance is not None
        raise IntegrityError(
            "Only a champion whose manifest holds questions with answers can be verified.",
            value=str(exported),
            hint="It was imported: it was never asked anything, so there is nothing to compare."
            if imported
            else "Package it again with questions.",
        )
    answers = _ask(
        exported,
        runtime,
        _plugin_folders(manifest),
        [
            (asked.question, asked.sharer_context, asked.max_new_tokens)
            for asked in manifest.questions
        ],
        cache_dir,
        manifest.dtype,
    )
    wrong = [
        f"to {asked.question!r} it answered {answer!r} and not {asked.answer!r}"
        for asked, answer in zip(manifest.questions, answers, strict=True)
        if asked.answer != answer
    ]
    if wrong:
        raise IntegrityError(
            f"A champion must answer as it did when it was measured, but {'; '.join(wrong)}.",
            hint="Verify on the device, in the dtype and with the library versions of the"
            " manifest.",
        )
    return answers


@cache
def foreign_packages() -> frozenset[str]:
    """Importable names of this environment that an installed runtime would not bring along.

    The runtime's requirements are followed through the installed metadata, without extras that
    nothing asks for.
    """
    wanted, queue = set[tuple[str, str]](), [Requirement(text) for text in REQUIREMENTS]
    while queue:
        requirement = queue.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in wanted:
                continue
            wanted.add((name, extra))
            queue += _requirements(name, extra)
    brought = {name for name, _ in wanted}
    return frozenset(
        package
        for package, distributions in packages_distributions().items()
        if brought.isdisjoint(map(canonicalize_name, distributions))
    )


def _requirements(name: str, extra: str) -> list[Requirement]:
    try:
        texts = requires(name) or []
    except PackageNotFoundError:
        return []
    parsed = (Requirement(text) for text in texts)
    return [one for one in parsed if one.marker is None or one.marker.evaluate({"extra": extra})]


def _runtime_files(exported: Path) -> dict[str, str]:
    """The listed files of ``runtime/`` with their sums.

    Raises:
        IntegrityError: One of them could stand in for a library.
    """
    sums = read_sums(exported)
    listed = {name: digest for name, digest in sums.items() if name.startswith(f"{RUNTIME}/")}
    if wrong := sorted(name for name in listed if not _RUNTIME_FILE.fullmatch(name)):
        raise IntegrityError(
            f"{RUNTIME}/ holds pyproject.toml and the sources of the package c2c_search alone.",
            value=", ".join(wrong),
            hint="Export the champion again.",
        )
    return listed


def _stage(exported: Path, runtime: dict[str, str], folder: Path) -> None:
    """Copy what is listed, so that nothing else can be run, nor anything that changes now.

    Raises:
        IntegrityError: A file is not as it was summed any more.
    """
    for name, digest in runtime.items():
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(exported / name, copy)
        if (found := file_sha256(copy)) != digest:
            raise IntegrityError(
                f"Every file of a champion must be as {SUMS} says.",
                value=f"{name}: expected {digest}, got {found}",
                hint="It changed while it was verified: export the champion again.",
            )


def _plugin_folders(manifest: Manifest) -> dict[str, str]:
    """Packages of the plug-ins that the fuser is made of, and the folder in which each lies.

    Raises:
        IntegrityError: A plug-in is not there, or is a stranger's that the user has not allowed.
    """
    try:
        with foreign_file():
            fuser = FuserConfig.model_validate((manifest.trial or {}).get("fuser", {}))
    except ValidationError as error:
        raise IntegrityError(
            "A champion is verified where the plug-ins of its fuser are installed.",
            value="; ".join(each["msg"] for each in error.errors()),
        ) from None
    folders = {}
    for package in sorted(fuser.packages):
        spec = find_spec(package)
        assert spec is not None, "it has been imported"
        inside = spec.submodule_search_locations or [str(spec.origin)]
        folders[package] = str(Path(inside[0]).parent)
    return folders


def _ask(
    exported: Path,
    runtime: dict[str, str],
    plugins: dict[str, str],
    questions: list[tuple[str, str | None, int]],
    cache_dir: Path | None,
    dtype: str | None,
) -> tuple[str, ...]:
    environment = dict(os.environ)
    environment[ALLOWED] = ",".join([*plugins, environment.get(ALLOWED, "")])
    if dtype is not None:  # however slow: in another one it may answer otherwise
        environment[DTYPE_VARIABLE] = dtype
    if cache_dir is not None:
        environment[CACHE_VARIABLE] = str(cache_dir)
    with scratch("c2c-search-verify") as folder:
        answers = folder / "answers.json"
        _stage(exported, runtime, folder)
        task = {
            "champion": str(exported.absolute()),
            "runtime": str(folder.absolute() / RUNTIME),
            "foreign": sorted(foreign_packages() - plugins.keys()),
            "plugins": list(plugins.values()),
            "questions": questions,
            "answers": str(answers),
        }
        # -I: neither PYTHONPATH nor the current folder; -B: leaves nothing in runtime/.
        code = f"{inspect.getsource(_answer_in_isolation)}\n_answer_in_isolation()"
        done = subprocess.run(
            [sys.executable, "-I", "-B", "-c", code],
            input=json.dumps(task),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
            cwd=folder,
            check=False,
        )
        if done.returncode:
            last = "\n".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
            raise IntegrityError(
                "An exported champion must answer without the workbench, but its process ended "
                f"with status {done.returncode}:\n{last}"
            )
        told: list[str] | str = json.loads(answers.read_text(encoding="utf-8"))
        if isinstance(told, str):
            raise IntegrityError(told)
        return tuple(told)


def _answer_in_isolation() -> None:
    """Answer the questions on standard input; runs alone, as the program of a new process."""
    import importlib
    import json
    import sys
    from importlib.machinery import BuiltinImporter
    from importlib.machinery import FrozenImporter
    from importlib.machinery import PathFinder
    from pathlib import Path
    from typing import Any

    task = json.load(sys.stdin)
    foreign = frozenset(task["foreign"]) - {"c2c_search"}

    class Clean(PathFinder):
        """Finds what a clean installation would hold; all else is simply not there."""

        @classmethod
        def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> Any:
            if fullname.partition(".")[0] in foreign:
                return None
            return super().find_spec(fullname, path, target)

    # Editable installations put a finder of their own here, which would lead to the workbench.
    sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Clean]
    sys.path[:] = [task["runtime"], *sys.path, *task["plugins"]]
    for name in [name for name in sys.modules if name.partition(".")[0] in foreign]:
        del sys.modules[name]

    opened = importlib.import_module("c2c_search").C2CModel.from_pretrained
    answers: list[str] | str  # or why there are none
    try:
        model = opened(task["champion"])
        answers = [
            model.generate(text, max_new_tokens=limit)
            if context is None
            else model.generate_batch([text], [context], max_new_tokens=limit)[0]
            for text, context, limit in task["questions"]
        ]
    except importlib.import_module("c2c_search.errors").C2CError as error:
        answers = str(error)
    Path(task["answers"]).write_text(json.dumps(answers), encoding="utf-8")
