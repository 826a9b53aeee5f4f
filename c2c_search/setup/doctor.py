"""Whether this machine is ready for a study, and what to do where it is not."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement
from pydantic import BaseModel
from pydantic import ConfigDict

from c2c_search.errors import C2CError
from c2c_search.host.children import child_environment
from c2c_search.host.children import python_command
from c2c_search.host.devices import gpus
from c2c_search.host.dtypes import choose_dtype
from c2c_search.host.dtypes import name_of
from c2c_search.host.home import expanded
from c2c_search.host.threads import THREAD_VARIABLES
from c2c_search.host.threads import usable_cores
from c2c_search.models.cache_dir import CACHE_VARIABLE
from c2c_search.models.cache_dir import default_cache_dir
from c2c_search.models.catalogue import CATALOGUE
from c2c_search.models.inventory import kept_models
from c2c_search.prompt_cache.budget import size_text
from c2c_search.prompt_cache.entries import FOLDER
from c2c_search.study import storage
from c2c_search.study.disk import FREE_VARIABLE
from c2c_search.study.disk import least_free
from c2c_search.tracking import mlflow_store


State = Literal["ok", "warning", "fault"]

PRODUCT = "c2c-search"

_EXTRA = re.compile(r"""extra\s*==\s*["']([\w-]+)["']""")
_COMFORTABLE = 10e9  # bytes that the quickstart's models and prompt caches stay well below
_LOADED = 1.5  # runnable processes for each core, above which trainings crawl
_SECONDS = 120


class Finding(BaseModel):
    """One thing that was looked at.

    Args:
        name: What it is.
        state: ``ok``; ``warning``: works, but not as well as it could; ``fault``: a study cannot
            run.
        found: What is there.
        advice: What to do; empty if nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    state: State
    found: str
    advice: str = ""


class Diagnosis(BaseModel):
    """All that was looked at, and whether a study can run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ready: bool
    findings: tuple[Finding, ...]


def diagnose(root: Path, *, tell: Callable[[str], None] = lambda name: None) -> Diagnosis:
    """Look at everything that a study needs; nothing is changed and nothing fetched.

    Args:
        root: Folder of all studies, which need not be there yet.
        tell: Told what is looked at next.
    """
    root = expanded(root).resolve()
    looks: dict[str, Callable[[], Iterator[Finding]]] = {
        "Python": _python,
        "packages": _packages,
        "extras": _extras,
        "devices": _devices,
        "DeepSpeed": _deepspeed,
        "threads": _threads,
        "memory": _memory,
        "disk": lambda: _disk(root),
        "stores": lambda: _stores(root),
        "models": _models,
    }
    found: list[Finding] = []
    for name, look in looks.items():
        tell(name)
        try:
            found += look()
        except C2CError as error:  # a variable that cannot be read, a cache folder not ours
            found.append(Finding(name=name, state="fault", found=str(error)))
    return Diagnosis(ready=all(each.state != "fault" for each in found), findings=tuple(found))


def _python() -> Iterator[Finding]:
    system = f"{platform.system()} {platform.machine()}"
    found = f"{platform.python_version()} in {sys.prefix}, {system}"
    yield Finding(name="Python", state="ok", found=found)


def _packages() -> Iterator[Finding]:
    """Whether every requirement of the product is there, in a version that it takes."""
    wrong, versions = [], []
    for line in metadata.requires(PRODUCT) or ():
        needed = Requirement(line)
        if needed.marker is not None and not needed.marker.evaluate({"extra": ""}):
            continue
        found = _version(needed.name)
        if found is None or not needed.specifier.contains(found, prereleases=True):
            wrong.append((needed, found or "absent"))
        elif needed.name in ("torch", "transformers", "deepspeed", "optuna", "mlflow"):
            versions.append(f"{needed.name} {found}")
    told = f"{PRODUCT} {metadata.version(PRODUCT)}: {', '.join(versions)}"
    yield Finding(name="packages", state="ok", found=told)
    for needed, found in wrong:
        yield Finding(
            name=needed.name,
            state="fault",
            found=f"{found}, but {needed} is needed",
            advice=f"pip install '{needed}'",
        )


def _extras() -> Iterator[Finding]:
    """Which optional parts are installed."""
    needed: dict[str, list[str]] = {}
    for line in metadata.requires(PRODUCT) or ():
        if match := _EXTRA.search(line):
            needed.setdefault(match[1], []).append(Requirement(line).name)
    present = [
        extra
        for extra, names in sorted(needed.items())
        if extra != "test" and all(_version(name) for name in names)
    ]
    absent = sorted({*needed} - {*present, "test"})
    found = f"{', '.join(present) or 'none'} installed"
    advice = f"pip install '{PRODUCT}[EXTRA]' adds one of {', '.join(absent)}." if absent else ""
    yield Finding(name="extras", state="ok", found=found, advice=advice)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> Iterator[Finding]:
    import torch

    seen = gpus(os.environ)
    if not torch.cuda.is_available():
        choice = choose_dtype(torch.device("cpu"))
        cores = f"{usable_cores()} physical cores"
        found = f"no GPU; {cores}, models compute in {name_of(choice.dtype)} ({choice.reason})"
        advice = ""
        if seen:
            found = f"the driver has {len(seen)} GPUs, but torch {torch.__version__} sees none"
            advice = "Install a torch that is built for this driver's CUDA: see pytorch.org."
        yield Finding(
            name="devices", state="warning" if seen else "ok", found=found, advice=advice
        )
        return
    for number in range(torch.cuda.device_count()):
        device = torch.device("cuda", number)
        free, total = torch.cuda.mem_get_info(device)
        choice = choose_dtype(device)
        held = (total - free) / total
        yield Finding(
            name=f"device {number}",
            state="warning" if held > 0.2 else "ok",
            found=(
                f"{torch.cuda.get_device_name(number)}, {size_text(free)} of {size_text(total)} "
                f"free, models compute in {name_of(choice.dtype)}"
            ),
            advice="Another process holds its memory: see nvidia-smi." if held > 0.2 else "",
        )


def _deepspeed() -> Iterator[Finding]:
    """In a process of its own: what fails at import may take the process along."""
    command = python_command("-c", "import deepspeed; print(deepspeed.__version__)")
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            env=child_environment(os.environ),
            check=False,
        )
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        works, last = done.returncode == 0, lines[-1] if lines else "no word of why"
        version = done.stdout.split()[-1] if works and done.stdout.split() else ""
    except subprocess.TimeoutExpired:
        works, last, version = False, f"it did not load within {_SECONDS} s", ""
    yield Finding(
        name="DeepSpeed",
        state="ok" if works else "fault",
        found=f"{version} loads" if works else f"does not load: {last}",
        advice="" if works else "pip install --force-reinstall deepspeed",
    )


def _threads() -> Iterator[Finding]:
    cores = usable_cores()
    asked = {name: os.environ[name] for name in THREAD_VARIABLES if os.environ.get(name)}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    said = ", ".join(f"{name}={value}" for name, value in asked.items())
    found = f"{said or f'one for each of {cores} cores'}; load {load:.1f}"
    busy = load > _LOADED * cores
    yield Finding(
        name="threads",
        state="warning" if busy else "ok",
        found=found,
        advice=(
            "Other processes share the cores, and OpenMP's threads wait for one another by "
            "spinning: set OMP_WAIT_POLICY=passive, or wait until they have ended."
            if busy and os.environ.get("OMP_WAIT_POLICY", "").lower() != "passive"
            else ""
        ),
    )


def _memory() -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    found = f"{size_text(memory.available)} of {size_text(memory.total)} available"
    little = memory.available < 4e9
    yield Finding(
        name="memory",
        state="warning" if little else "ok",
        found=found,
        advice="The quickstart takes about 3 GB: end other programs." if little else "",
    )


def _disk(root: Path) -> Iterator[Finding]:
    cache = default_cache_dir()
    for name, folder, variable in (
        ("disk of studies", root, ""),
        ("disk of caches", cache, CACHE_VARIABLE),
    ):
        existing = next(each for each in (folder, *folder.parents) if each.exists())
        free = shutil.disk_usage(existing).free
        found = f"{size_text(free)} free in {folder}"
        elsewhere = f"set {variable}" if variable else "name another folder with --root"
        if not os.access(existing, os.W_OK):
            advice = f"Let this user write to it, or {elsewhere}."
            yield Finding(
                name=name, state="fault", found=f"{folder} cannot be written", advice=advice
            )
        elif free < least_free():
            needed = f"a trial begins with {least_free() / 1e9:g} GB free ({FREE_VARIABLE})"
            advice = f"Free some, `c2c-search cache clear` first, or {elsewhere}: {needed}."
            yield Finding(name=name, state="fault", found=found, advice=advice)
        elif free < _COMFORTABLE:
            advice = f"Models and prompt caches may need more: free some, or {elsewhere}."
            yield Finding(name=name, state="warning", found=found, advice=advice)
        else:
            yield Finding(name=name, state="ok", found=found)
    kept = cache / FOLDER
    taken = sum(each.stat().st_size for each in kept.glob("*/*") if each.is_file())
    yield Finding(name="prompt caches", state="ok", found=f"{size_text(taken)} in {kept}")


def _stores(root: Path) -> Iterator[Finding]:
    if url := os.environ.get(storage.URL_VARIABLE):
        try:
            storage.open_storage(root)
            scheme = url.partition(":")[0]
            yield Finding(name="Optuna's store", state="ok", found=f"{scheme} server answers")
        except C2CError as error:
            yield Finding(name="Optuna's store", state="fault", found=str(error))
    for name, database in (
        ("Optuna's store", root / storage.DATABASE),
        ("MLflow's store", root / mlflow_store.DATABASE),
    ):
        if name == "Optuna's store" and url:
            continue
        if not database.is_file():
            found = f"none yet in {root}; the first study makes it"
            yield Finding(name=name, state="ok", found=found)
            continue
        wrong = _damage(database)
        yield Finding(
            name=name,
            state="fault" if wrong else "ok",
            found=f"{database}: {wrong or size_text(database.stat().st_size)}",
            advice="Put a copy of it back, or name another folder with --root." if wrong else "",
        )


def _damage(database: Path) -> str:
    """What SQLite finds wrong with a file, which is read and never written; empty if nothing."""
    try:
        connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        return str(error)
    return "" if said == "ok" else str(said)


def _models() -> Iterator[Finding]:
    kept = [each for each in kept_models(default_cache_dir()) if each.present]
    here = {each.source for each in kept}
    missing = [name for name in CATALOGUE if f"pypi:{name}" not in here]
    found = f"{len(kept)} in the cache, {size_text(sum(each.size for each in kept))}"
    advice = ""
    if missing:
        advice = f"A study fetches {', '.join(missing)} by itself, or `c2c-search models pull`."
    yield Finding(name="models", state="ok", found=found, advice=advice)
