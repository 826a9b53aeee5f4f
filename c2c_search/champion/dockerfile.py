"""A container in which a champion's wheel answers."""

from __future__ import annotations

from pathlib import Path

from c2c_search.host.files import write_text


_TEXT = """\
# docker build -t {distribution} .
# docker run --rm -v models:/models {distribution} "a question"
FROM python:3.12-slim
RUN useradd --create-home --uid 1000 champion && mkdir /models && chown champion /models
COPY {wheel} /tmp/
RUN pip install --no-cache-dir "/tmp/{wheel}{extra}" && rm /tmp/{wheel}
USER champion
# Models that are fetched, and what is hashed of them, are kept here: give it a volume.
ENV C2C_SEARCH_CACHE=/models HF_HOME=/models/hub
ENTRYPOINT ["python", "-m", "{package}"]
"""


def write_dockerfile(wheel: Path, package: str, distribution: str, *, gguf: bool) -> Path:
    """Write ``Dockerfile`` beside a wheel.

    Args:
        wheel: The wheel.
        package: What it is imported as.
        distribution: What pip calls it.
        gguf: Whether its models come as GGUF files, to be converted in the container.

    Returns:
        The file's path.
    """
    path = wheel.with_name("Dockerfile")
    extra = "[gguf]" if gguf else ""
    text = _TEXT.format(wheel=wheel.name, package=package, distribution=distribution, extra=extra)
    write_text(path, text)
    return path
