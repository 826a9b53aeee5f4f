from __future__ import annotations

import pytest

from c2c_search.prompt_cache import prefill


@pytest.fixture
def a_batch_for_each_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no prompts of different lengths share a batch, however short they are."""
    monkeypatch.setattr(prefill, "TOKENS_TO_BEGIN", 0)
