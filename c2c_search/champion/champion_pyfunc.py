"""The program that a registered champion answers with (MLflow models-from-code).

MLflow copies this file into the model and runs it there, with or without c2c-search installed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc import PythonModel
from mlflow.pyfunc import PythonModelContext


class ChampionModel(PythonModel):
    """Answers questions with the champion that lies among the model's artifacts."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the champion; where c2c-search is not installed, by the runtime that came along."""
        folder = Path(context.artifacts["champion"])
        try:
            from c2c_search import C2CModel
        except ImportError:
            sys.path.append(str(folder / "runtime"))
            from c2c_search import C2CModel
        self._model = C2CModel.from_pretrained(folder)

    def predict(
        self,
        context: PythonModelContext,
        model_input: list[str],
        params: dict[str, Any] | None = None,
    ) -> list[str]:
        """One answer for each question; ``sharer_contexts``: what the sharer reads instead."""
        contexts = (params or {}).get("sharer_contexts")
        if contexts:
            return self._model.generate([*model_input], sharer_contexts=[*contexts])
        return [self._model.generate(question) for question in model_input]


set_model(ChampionModel())
