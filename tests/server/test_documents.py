"""One document, many questions: what was read of it is not read again."""

from __future__ import annotations

from itertools import pairwise

import pytest

from c2c_search.inference.model import model_alone
from c2c_search.server.limits import ServerLimits
from tests.server.test_app import chat
from tests.server.test_app import text


DOCUMENT = "Twelve men of Timbuktu built the tower in a year that had no rain. " * 3
ASKED = [f"{DOCUMENT}\n{question}" for question in ("Who built it?", "When?", "Where?")]


def read_by(client):
    """Tokens that models have read since the server began."""
    (line,) = [
        line
        for line in client.get("/metrics").text.splitlines()
        if line.startswith('c2c_prefill_tokens_total{kept="no"}')
    ]
    return float(line.split()[-1])


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"fuse_response": True},
        {"lora_rank": 2},
        {"injection": "side", "reads_from": "all"},
        {"injection": "append", "message": "draft", "draft_tokens": 4},
        {"injection": "side", "message": "both", "draft_tokens": 4, "anchors": "last"},
        {"injection": "side", "source": "hidden"},
    ],
    ids=str,
)
def test_another_question_about_a_document_reads_the_question_alone(serve, fields):
    client, model = serve(**fields)
    read = [0.0]
    for question in [*ASKED, ASKED[0]]:
        assert text(chat(client, question)) == model.generate(question, max_new_tokens=12)
        read.append(read_by(client))
    first, *others, again = [after - before for before, after in pairwise(read)]
    # What a sharer's layers put out is read whole, and so is what stands behind other anchors.
    whole = fields.get("source") == "hidden" or "anchors" in fields
    assert max(others) < first * (0.6 if whole else 0.25)
    assert again == 0


def test_a_document_that_the_sharer_alone_reads_is_read_once(serve):
    client, model = serve(injection="side")
    model.fuser.contexts_only = True
    read = []
    for question in ("Who built it?", "When?"):
        heard = text(chat(client, question, sharer_context=DOCUMENT))
        whole = [f"{DOCUMENT}\n{question}"]
        assert [heard] == model.generate_batch([question], whole, max_new_tokens=12)
        assert text(chat(client, question)) == model.generate(question, max_new_tokens=12)
        read.append(read_by(client))
    assert read[1] - read[0] < read[0] / 2


def test_systems_of_the_same_models_read_a_document_once(serve):
    client, model = serve()
    chat(client, ASKED[0])
    read = read_by(client)
    for role in ("receiver", "sharer"):
        alone = model_alone(model, getattr(model, role), role)
        expected = alone.generate(ASKED[0], max_new_tokens=12)
        assert text(chat(client, ASKED[0], f"tiny/{role}")) == expected
    assert read_by(client) == read
    relayed = []
    for _ in range(2):
        chat(client, ASKED[1], "tiny/text-relay")
        relayed.append(read_by(client) - read)
    assert relayed[0] == relayed[1]


def test_a_server_that_keeps_nothing_says_the_same(serve):
    client, model = serve(limits=ServerLimits(kept_bytes=0))
    read = []
    for _ in range(2):
        assert text(chat(client, ASKED[0])) == model.generate(ASKED[0], max_new_tokens=12)
        read.append(read_by(client))
    assert read[1] == 2 * read[0]
