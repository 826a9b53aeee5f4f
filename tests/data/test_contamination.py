"""Overlap is found however it is dressed, and templates are not taken for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from c2c_search.data.contamination import Contamination
from c2c_search.data.contamination import Match
from c2c_search.data.contamination import overlap
from c2c_search.data.contamination import seen
from c2c_search.data.schema import Row
from c2c_search.data.sources import read_files
from c2c_search.data.texts import Text
from c2c_search.data.texts import item_text
from c2c_search.data.texts import judged_text
from c2c_search.data.texts import learnt_text


SHARED = Path(__file__).parents[3] / "shared" / "data"
# Thirteen words, and a fourteenth.
LONG = "a b c d e f g h i j k l m"
LONGER = f"{LONG} n"


def text(id: str, asked: str, rest: str = "", group: str = "") -> Text:
    return Text(id, (asked,), f"{asked}\n{rest}", group)


def row(
    id: str, *turns: tuple[str, str], response: str = "yes", choices: Sequence[str] = ()
) -> Row:
    return Row(
        id=id,
        group="g",
        cluster=id,
        messages=[{"role": role, "content": content} for role, content in turns],
        sharer_messages=[],
        response=response,
        choices=list(choices),
        answer=0 if choices else -1,
    )


def found(train: Sequence[Text], *items: Text) -> tuple[list[str], list[str]]:
    """Ids of items found as the same question, and of items found by 13 words."""
    result = overlap(train, {"test": items}).sets["test"]
    return [match.item for match in result.exact], [match.item for match in result.ngram]


# --- The same question -------------------------------------------------------------------------


def test_a_short_question_is_found_in_any_case_and_punctuation() -> None:
    train = [text("t", "what is DNA")]
    assert found(train, text("q", "What is D.N.A?"), text("r", "What is 'DNA'?")) == (["r"], [])


def test_other_choices_do_not_make_another_question() -> None:
    assert found([text("t", "What is it?", "a cat")], text("q", "What is it?", "a dog")) == (
        ["q"],
        [],
    )


def test_every_turn_of_the_user_counts_as_a_question() -> None:
    chat = row(
        "t", ("system", "Be kind."), ("user", "Hi!"), ("assistant", "Hi."), ("user", "Who?")
    )
    for question in ("hi", "who", "Hi! Hi. Who?"):
        assert found([learnt_text(chat)], text("q", question))[0] == ["q"]
    assert found([learnt_text(chat)], text("q", "Be kind.")) == ([], [])


def test_an_items_system_turn_is_not_its_question() -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Who?"}]
    assert found([text("t", "who")], item_text("q", messages, []))[0] == ["q"]


def test_an_empty_question_equals_nothing() -> None:
    assert found([text("t", "?")], text("q", "!")) == ([], [])


def test_a_question_that_everyone_copied_is_found() -> None:
    train = [text(f"t{i}", LONGER) for i in range(40)]
    assert found(train, text("q", LONGER)) == (["q"], ["q"])


# --- Thirteen words ----------------------------------------------------------------------------


def test_thirteen_words_in_a_row_are_found_and_twelve_are_not() -> None:
    assert found([text("t", f"x {LONG} y")], text("q", f"u {LONG} v")) == ([], ["q"])
    twelve = LONG.removesuffix(" m")
    assert found([text("t", f"x {twelve} y")], text("q", f"u {twelve} v")) == ([], [])


def test_the_words_and_the_first_example_are_told() -> None:
    train = [text("t0", "nothing"), text("t1", f"x {LONGER}"), text("t2", f"y {LONG}")]
    result = overlap(train, {"test": [text("q", f"u {LONGER}")]})
    assert result.sets["test"].ngram == (Match(item="q", example="t1", ngram=LONG),)
    # t2 overlaps too, and has to be known where examples are left out.
    assert result.overlapping == ("t1", "t2")
    assert result.examples == 3


def test_a_response_and_the_choices_of_an_example_are_searched() -> None:
    question = text("q", f"u {LONG} v")
    assert found([learnt_text(row("t", ("user", "?"), response=LONG))], question)[1] == ["q"]
    other = row("t", ("user", "?"), choices=["no", LONG])
    assert found([learnt_text(other)], question)[1] == ["q"]
    heard = row("t", ("user", "?")) | {"sharer_messages": [{"role": "user", "content": LONG}]}
    assert found([learnt_text(heard)], question)[1] == ["q"]


def test_an_items_choices_are_searched_and_so_is_its_written_answer() -> None:
    train = [text("t", LONG)]
    assert found(train, judged_text(row("q", ("user", "?"), choices=["no", LONG])))[1] == ["q"]
    assert found(train, judged_text(row("q", ("user", "?"), response=LONG)))[1] == ["q"]


def test_what_the_sharer_reads_of_an_item_is_no_question() -> None:
    item = row("q", ("user", "Who?")) | {"sharer_messages": [{"role": "user", "content": LONG}]}
    assert found([text("t", LONG)], judged_text(item)) == ([], [])


@pytest.mark.parametrize(
    "shared",
    ["中华人民共和国的首都是哪座城", "日本の首都はどこですかおしえて", "เมืองหลวงของไทยคือเมือง"],
)
def test_scripts_without_spaces_are_compared_letter_by_letter(shared: str) -> None:
    assert found([text("t", f"\u3042{shared}\u3044")], text("q", f"\u3046{shared}")) == ([], ["q"])
    # Thirteen words of such a script would be a paragraph; three letters are no finding.
    assert found([text("t", shared)], text("q", shared[:3])) == ([], [])


def test_other_lengths_can_be_asked_for() -> None:
    result = overlap([text("t", "x a b c y")], {"test": [text("q", "a b c")]}, n=3)
    assert [match.ngram for match in result.sets["test"].ngram] == ["a b c"]


# --- Clusters ----------------------------------------------------------------------------------


def test_examples_of_an_items_cluster_are_found() -> None:
    train = [replace(text("t", "one"), cluster="c"), text("u", "two")]
    items = [replace(text("q", "three"), cluster="c"), replace(text("r", "four"), cluster="d")]
    result = overlap(train, {"test": items})
    assert result.overlapping == ("t",)
    assert result.sets["test"].cluster == (Match(item="q", example="t", cluster="c"),)
    assert result.listing(5) == "  t and test item q are of cluster 'c'"
    assert "(0 by the same question, 0 by 13 words in a row, 1 by cluster)" in result.sentence()
    assert Contamination.model_validate_json(result.model_dump_json()) == result


def test_clusters_of_other_data_are_not_compared() -> None:
    """Their names are another file's: an item of any task has none here."""
    item = item_text("q", [{"role": "user", "content": "three"}], ["x"])
    assert not seen([row("t", ("user", "one"))], [], [item]).found
    assert learnt_text(row("t", ("user", "one"))).cluster == "t"
    assert judged_text(row("t", ("user", "one"))).cluster == "t"


# --- Boilerplate -------------------------------------------------------------------------------


def templated(count: int, first: int = 0, group: str = "") -> list[Text]:
    return [text(f"q{i}", f"{LONG} {i}", group=group) for i in range(first, first + count)]


def test_a_template_is_not_an_overlap() -> None:
    result = overlap([text("t", f"{LONG} other")], {"test": templated(60)})
    assert not result.found
    assert (result.boilerplate, result.boilerplate_examples) == (1, (LONG,))


def test_what_a_few_items_share_is_no_template() -> None:
    # 5 are not more than 5; 6 are more than 5 and more than a tenth of 6.
    train = [text("t", f"{LONG} other")]
    assert len(found(train, *templated(5))[1]) == 5
    assert found(train, *templated(6))[1] == []
    # 6 of 60 are not more than a tenth.
    others = [text(f"o{i}", f"else {i}") for i in range(54)]
    assert len(found(train, *templated(6), *others)[1]) == 6


def test_a_template_may_be_one_groups_or_all_sets() -> None:
    others = [text(f"o{i}", f"else {i}", group="b") for i in range(100)]
    train = [text("t", f"{LONG} other")]
    assert found(train, *templated(6, group="a"), *others) == ([], [])
    sets = {"validation": templated(3), "test": templated(3, first=3)}
    assert not overlap(train, sets).found


def test_a_templates_question_is_still_found_when_it_is_the_same() -> None:
    # By n-gram too: "b ... m 7" is no other item's.
    assert found([text("t", f"{LONG} 7")], *templated(60)) == (["q7"], ["q7"])


def test_an_item_of_a_template_is_found_by_its_own_words() -> None:
    own = text("own", f"{LONG} {LONG.upper().replace(' ', 'x ')}")
    result = found([text("t", own.text)], *templated(60), own)
    assert result == (["own"], ["own"])


# --- What is told ------------------------------------------------------------------------------


def example() -> Contamination:
    train = [text("t0", "What is DNA?"), text("t1", f"x {LONG}"), text("t2", "else")]
    tests = {
        "validation": [text("v", "Who?")],
        "test": [text("q", "what is dna"), text("r", f"u {LONG}"), text("s", "Where?")],
    }
    return overlap(train, tests)


def test_it_survives_json() -> None:
    assert Contamination.model_validate_json(example().model_dump_json()) == example()


def test_the_sentence_counts_and_says_what_became_of_it() -> None:
    result = example()
    assert result.sets["test"].ids == ("q", "r")
    assert result.sentence() == (
        "2 of 3 examples overlap with 2 of 3 test items (1 by the same question, 1 by 13 words in "
        "a row). All are kept."
    )
    excluded = result.model_copy(update={"left_out": "examples"})
    assert excluded.sentence().endswith(" These examples are left out.")


def test_the_sentence_says_what_was_looked_for_when_nothing_is_found() -> None:
    tests = {"validation": [text("v", "Who?")], "test": [text("q", "Where?"), text("r", "When?")]}
    assert overlap([text("t", "Why?")], tests).sentence() == (
        "None of 1 examples overlaps with any of 1 validation and 2 test items (the same "
        "question, or 13 words in a row)."
    )


def test_the_listing_shows_each_item_once_and_so_many() -> None:
    assert example().listing(5).splitlines() == [
        "  t0 and test item q ask the same",
        f"  t1 and test item r share '{LONG}'",
    ]
    assert example().listing(1).splitlines()[1] == "  ... and 1 more test items"


def test_rows_that_were_selected_on_count_as_seen() -> None:
    trained, selected = row("t", ("user", "Who?")), row("v", ("user", "Where?"))
    items = [text("a", "who"), text("b", "where"), text("c", "when")]
    result = seen([trained], [selected], items, name="quiz")
    assert result.sets["quiz"].exact == (
        Match(item="a", example="t"),
        Match(item="b", example="v"),
    )


# --- Invariants --------------------------------------------------------------------------------


def texts(alphabet: str, prefix: str) -> st.SearchStrategy[list[Text]]:
    spoken = st.lists(st.sampled_from(alphabet), min_size=1, max_size=8).map(" ".join)
    return st.lists(spoken, max_size=12).map(
        lambda all_: [text(f"{prefix}{i}", each) for i, each in enumerate(all_)]
    )


@given(texts("abc", "t"), texts("abc", "q"), texts("xyz", "u"), texts("xyz", "v"))
@settings(max_examples=200)
def test_unrelated_text_never_removes_a_finding(
    train: list[Text], items: list[Text], more_train: list[Text], more_items: list[Text]
) -> None:
    before = overlap(train, {"test": items}, n=3)
    after = overlap(more_train + train, {"test": items + more_items}, n=3)
    assert set(before.overlapping) <= set(after.overlapping)
    assert set(before.sets["test"].exact) <= set(after.sets["test"].exact)
    assert set(before.sets["test"].ngram) <= set(after.sets["test"].ngram)


@given(texts("ab", "t"), texts("ab", "q"))
def test_it_finds_what_a_plain_search_finds(train: list[Text], items: list[Text]) -> None:
    items = items[:5]  # too few for boilerplate
    spoken = {each.id: each.text.split() for each in (*train, *items)}
    grams = {
        id: {tuple(all_[at : at + 3]) for at in range(len(all_) - 2)}
        for id, all_ in spoken.items()
    }
    wanted = [q.id for q in items if any(grams[q.id] & grams[t.id] for t in train)]
    result = overlap(train, {"test": items}, n=3)
    assert [match.item for match in result.sets["test"].ngram] == wanted
    asked = {tuple(spoken[t.id]) for t in train}
    exact = [q.id for q in items if tuple(spoken[q.id]) in asked]
    assert [match.item for match in result.sets["test"].exact] == exact


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not there")
def test_boolq_asks_four_of_its_training_questions_again() -> None:
    folder = SHARED / "boolq"
    rows = read_files(
        {"train": [str(folder / "train.jsonl")], "test": [str(folder / "dev.jsonl")]}
    )
    result = overlap(
        map(learnt_text, rows["train"]), {"boolq": list(map(judged_text, rows["test"]))}
    )
    assert len(result.sets["boolq"].exact) == 4
