"""A champion as MLflow and transformers load one: folders around a package of its own."""

from __future__ import annotations

from pathlib import Path

from c2c_search.champion.context_parameter import declare_contexts
from c2c_search.champion.vendored import CHAMPION
from c2c_search.champion.vendored import RUNTIME
from c2c_search.champion.vendored import checked
from c2c_search.champion.vendored import import_name
from c2c_search.champion.vendored import write_package
from c2c_search.champion.wheel import requirements
from c2c_search.champion.wheel import wheel_version
from c2c_search.errors import StoreError
from c2c_search.host.files import disk_errors
from c2c_search.host.files import scratch
from c2c_search.host.files import swapped_in
from c2c_search.host.files import write_text
from c2c_search.inference.sums import write_sums


_PROGRAM = '''\
"""Answers with the champion whose package lies beside this file (MLflow models-from-code)."""

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel


class ChampionModel(PythonModel):
    """One answer for each question."""

    def load_context(self, context):
        """Load the champion and its two models."""
        from {name} import load

        self._model = load()

    # The signature is read off the types.
    def predict(self, model_input: list[str], params=None) -> list[str]:
        """Answer questions; ``sharer_contexts`` of params: what the sharer reads instead."""
        contexts = (params or {{}}).get("sharer_contexts")
        theirs = {{"sharer_contexts": [*contexts]}} if contexts else {{}}
        return self._model.generate([*model_input], **theirs)


set_model(ChampionModel())
'''
_GENERATE = '''\
"""A receiver's ``generate`` that listens to a sharer: model.generate(custom_generate=FOLDER)."""

import importlib
import sys
from pathlib import Path


FOLDER = {folder!r}
"""Where this folder lies: transformers copies this file, and does not tell from where."""


def generate(model, input_ids=None, folder=None, **arguments):
    """Answer with the champion; ``folder`` names its folder where it was moved."""
    folder = Path(folder or FOLDER)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    inside = importlib.import_module("{name}.{runtime}.inference.custom_generation")
    champion = folder / "{name}" / "{champion}"
    return inside.generate_with(model, champion, input_ids=input_ids, **arguments)
'''


def write_mlflow(
    champion: Path, to: Path, *, name: str | None = None, bundle_models: bool = False
) -> None:
    """Write a champion as an MLflow model, which `mlflow.pyfunc.load_model` loads unpickled.

    Args:
        champion: A champion's folder.
        to: Folder to write; absent or empty.
        name: Of the package in it; the champion's own when None.
        bundle_models: Whether both models' files lie in it.

    Raises:
        ConfigError: The name is none, or the fuser is made of plug-ins.
        IntegrityError: The champion is not as it was written.
        SourceError: A model that is to be bundled cannot be fetched.
        StoreError: ``to`` holds something, or cannot be written.
    """
    from mlflow.pyfunc import save_model

    manifest = checked(champion)
    package, version = import_name(name or manifest.name), wheel_version(manifest)
    _require_empty(to)
    with disk_errors(to), swapped_in(to) as folder, scratch(".c2c-search", to.parent) as stage:
        write_package(champion, stage / package, package, version, bundle_models=bundle_models)
        program = stage / "champion.py"
        write_text(program, _PROGRAM.format(name=package))
        folder.rmdir()  # MLflow makes it
        save_model(
            folder,
            python_model=str(program),
            code_paths=[str(stage / package)],
            pip_requirements=["mlflow", *requirements()],
        )
        declare_contexts(folder)


def write_custom_generate(
    champion: Path, to: Path, *, name: str | None = None, bundle_models: bool = False
) -> None:
    """Write a folder that ``generate(custom_generate=to, trust_remote_code=True)`` runs.

    Arguments and errors are those of `write_mlflow`. Where the folder lies is written into it.
    """
    manifest = checked(champion)
    package, version = import_name(name or manifest.name), wheel_version(manifest)
    _require_empty(to)
    with disk_errors(to), swapped_in(to) as folder:
        write_package(champion, folder / package, package, version, bundle_models=bundle_models)
        program = _GENERATE.format(
            folder=str(to.absolute()), name=package, runtime=RUNTIME, champion=CHAMPION
        )
        write_text(folder / "custom_generate" / "generate.py", program)
        needed = "\n".join(requirements()) + "\n"
        write_text(folder / "custom_generate" / "requirements.txt", needed)
        write_sums(folder)


def _require_empty(to: Path) -> None:
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise StoreError(
            "A champion is packaged into a folder that is absent or empty.",
            value=str(to),
            hint="Name another folder with --to, or remove this one yourself.",
        )
