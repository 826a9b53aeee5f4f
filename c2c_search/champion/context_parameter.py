"""What an MLflow model is told beside the questions: what the sharer alone reads."""

from __future__ import annotations

from pathlib import Path


def declare_contexts(saved: Path) -> None:
    """Add ``sharer_contexts``, a text for each question, to a saved model's signature.

    MLflow reads the signature off the types of ``predict``, where parameters have none, and passes
    no parameter that the signature does not name. A champion whose sharer reads what the receiver
    does refuses them, by name.

    Args:
        saved: The MLflow model's folder.
    """
    from mlflow.models import Model
    from mlflow.types import ParamSchema
    from mlflow.types import ParamSpec

    model = Model.load(str(saved))
    assert model.signature is not None
    contexts = ParamSpec("sharer_contexts", "string", default=[], shape=(-1,))
    model.signature.params = ParamSchema([contexts])
    model.save(str(saved / "MLmodel"))
