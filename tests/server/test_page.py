"""The page at / in a browser: four answers, what was heard, and foreign words as words."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from c2c_search.inference.manifest import RecordedQuestion
from c2c_search.server.limits import ServerLimits
from tests.browser import needs_chromium
from tests.browser import opened


HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def app(make_pair):
    """A champion of a hostile name, which drafts and reads documents, with one example."""
    from c2c_search.server.app import create_app
    from c2c_search.server.run import about
    from c2c_search.server.serving import ServedChampion

    pair = make_pair(injection="append", message="draft", draft_tokens=4)
    source = SimpleNamespace(source=HOSTILE)
    read = f"{HOSTILE} is wet.\nQuestion: {HOSTILE}?"
    manifest = SimpleNamespace(
        pair=SimpleNamespace(receiver=source, sharer=source),
        questions=[RecordedQuestion(question=f"{HOSTILE}?", answer="", sharer_context=read)],
    )
    champion = ServedChampion(
        HOSTILE, pair, lambda text, question: f"{text}\n{question}", about(pair, manifest)
    )
    return create_app([champion], ServerLimits())


@needs_chromium
def test_a_browser_shows_all_answers_and_what_was_heard_to_everybody(app, on_socket):
    with on_socket(app) as url, opened(url) as shown:
        tab = shown.page
        tab.wait_for_selector("#champion option", state="attached")
        tab.select_option("#example", index=1)
        assert tab.input_value("#context") == f"{HOSTILE} is wet."
        assert tab.input_value("#question") == f"{HOSTILE}?"
        tab.fill("#tokens", "4")
        tab.click("#send")
        tab.wait_for_selector("#send:not([disabled])")
        cards = tab.locator("article").all_inner_texts()
        assert len(cards) == 4
        assert all("ms in all" in card for card in cards)
        drafted, relayed = cards[0], cards[3]
        assert "The sharer's draft" in drafted
        assert "What the sharer told it" in relayed
        layers = app.state.server.champions[HOSTILE].about["layers"]
        tokens = tab.locator("#strip span").count()
        assert tokens == 4  # of the draft
        assert tab.locator("#grid i").count() == len(layers) * tokens
        assert tab.locator("img").count() == 0
        assert shown.barriers() == []
        tab.emulate_media(color_scheme="dark")
        assert shown.barriers() == []
    assert shown.asked
    assert all(one.startswith(url) for one in shown.asked)
    assert shown.said == []


def test_what_was_heard_is_told_with_the_answer(serve):
    client, model = serve(injection="append", message="draft", draft_tokens=4)
    body = {"model": "tiny", "messages": [{"role": "user", "content": "a"}], "max_tokens": 3}
    path = "/v1/chat/completions"
    (choice,) = client.post(path, json={**body, "heard": True}).json()["choices"]
    (plain,) = client.post(path, json=body).json()["choices"]
    assert choice["message"] == plain["message"]
    assert "heard" not in plain
    effect = choice["heard"]["effect"]
    assert choice["heard"]["text"] == "".join(effect["tokens"]).strip()
    assert (effect["of"], len(effect["tokens"])) == ("sharer", 4)
    shape = [len(row) for row in effect["logits"]]
    assert shape == [4] * len(model.fuser.layers) == [4] * len(effect["layers"])
    relayed = client.post(path, json={**body, "model": "tiny/text-relay", "heard": True})
    assert relayed.json()["choices"][0]["heard"]["effect"] is None
    alone = client.post(path, json={**body, "model": "tiny/receiver", "heard": True})
    assert "heard" not in alone.json()["choices"][0]


def test_words_that_the_receiver_read_as_text_are_told_beside_what_was_heard(serve):
    client, _ = serve(injection="append", anchors="first", anchor_tokens=8)
    body = {"model": "tiny", "messages": [{"role": "user", "content": "a"}], "max_tokens": 3}
    document = "Plums are dark red."
    answered = client.post(
        "/v1/chat/completions", json={**body, "heard": True, "sharer_context": document}
    )
    assert answered.json()["choices"][0]["heard"]["words"] == document[:8].strip()
    without = client.post("/v1/chat/completions", json={**body, "heard": True})
    assert "words" not in without.json()["choices"][0]["heard"]
