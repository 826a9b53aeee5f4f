"""A champion's files and models: sums, manifest, compatibility, and no pickles."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from c2c_search.errors import IntegrityError
from c2c_search.host.strict_json import content_sha256
from c2c_search.inference.doubt import Listening
from c2c_search.inference.manifest import CHAMPION_FILES
from c2c_search.inference.manifest import Manifest
from c2c_search.inference.manifest import PairIdentity
from c2c_search.inference.manifest import Provenance
from c2c_search.inference.manifest import RecordedQuestion
from c2c_search.inference.manifest import read_manifest
from c2c_search.inference.manifest import verify_compatibility
from c2c_search.inference.size import Size
from c2c_search.inference.sums import check_sums
from c2c_search.inference.sums import write_sums
from c2c_search.models.identity import ModelIdentity
from c2c_search.models.stamps import file_sha256
from c2c_search.tokenization.templates import RoleTemplates


def _model(name: str) -> ModelIdentity:
    return ModelIdentity(
        source=f"pypi:{name}",
        revision="1.0",
        architecture="LlamaForCausalLM",
        weights_sha256=f"{name}-weights",
        tokenizer_sha256=f"{name}-tokenizer",
        config_sha256=f"{name}-config",
        licence="Apache-2.0",
        licence_url=None,
    )


RECEIVER, SHARER = _model("small"), _model("other")
MODEL_MANIFEST = Manifest(
    name="champion",
    created=datetime(2026, 9, 1, tzinfo=UTC),
    c2c_search_version="0.1.0",
    pair=PairIdentity(receiver=RECEIVER, sharer=SHARER),
    receiver_size=Size(parameters=100, bytes=200),
    template="plain",
    cache_dtype="bfloat16",
    data={"test": "abc"},
    trial={"seed": 1},
    trial_hash="fbe47f6d82b435a8",
    verdict={"passed": True},
    controls={"receiver": 0.3},
    versions={"python": "3.11"},
    questions=(RecordedQuestion(question="Which?", answer=" That."),),
)


def _folder(path: Path) -> Path:
    for name in CHAMPION_FILES:
        (path / name).write_text(name)
    (path / "runtime").mkdir()
    (path / "runtime" / "a.py").write_text("pass\n")
    write_sums(path)
    return path


def _write(path: Path, change: dict[str, Any]) -> Path:
    content = MODEL_MANIFEST.model_dump(mode="json") | change
    (path / "manifest.json").write_text(json.dumps(content))
    return path


# Sums


def test_an_untouched_folder_passes(tmp_path: Path) -> None:
    check_sums(_folder(tmp_path))


def test_sums_are_sorted_and_read_by_sha256sum(tmp_path: Path) -> None:
    text = (_folder(tmp_path) / "SHA256SUMS").read_text()
    names = [line[66:] for line in text.splitlines()]
    assert names == sorted([*CHAMPION_FILES, "runtime/a.py"])
    assert text.startswith(f"{file_sha256(tmp_path / names[0])}  {names[0]}\n")


def test_every_wrong_file_is_named_with_both_sums(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    expected = file_sha256(folder / "fuser.safetensors")
    (folder / "fuser.safetensors").write_bytes(b"other")
    (folder / "runtime" / "a.py").unlink()
    with pytest.raises(IntegrityError) as caught:
        check_sums(folder)
    got = file_sha256(folder / "fuser.safetensors")
    assert f"fuser.safetensors: expected {expected}, got {got}" in str(caught.value)
    assert "runtime/a.py is missing" in str(caught.value)
    assert "export the champion again" in str(caught.value)


@pytest.mark.parametrize("name", CHAMPION_FILES)
def test_every_champion_file_must_be_listed(tmp_path: Path, name: str) -> None:
    folder = _folder(tmp_path)
    (folder / name).unlink()
    write_sums(folder)
    with pytest.raises(IntegrityError, match=f"{name} is not listed"):
        check_sums(folder)


def test_a_folder_without_sums_is_no_champion(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="holds SHA256SUMS"):
        check_sums(tmp_path)


@pytest.mark.parametrize("line", ["nonsense", "0" * 64 + "  /etc/hosts", "0" * 64 + "  ../up"])
def test_sums_point_only_inside_the_folder(tmp_path: Path, line: str) -> None:
    folder = _folder(tmp_path)
    (folder / "SHA256SUMS").write_text(line + "\n")
    with pytest.raises(IntegrityError, match="path inside the folder"):
        check_sums(folder)


def test_a_pickle_is_refused_even_when_it_is_not_listed(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "runtime" / "extra.pt").write_bytes(b"")
    with pytest.raises(IntegrityError, match=r"pickle.*extra\.pt"):
        check_sums(folder)


def test_what_an_installation_leaves_is_let_be(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    (folder / "runtime" / "build").mkdir()
    (folder / "runtime" / "build" / "a.py").write_text("")
    check_sums(folder)


@pytest.mark.parametrize("name", ["./manifest.json", "runtime//a.py", "."])
def test_a_path_is_spelled_in_one_way(tmp_path: Path, name: str) -> None:
    folder = _folder(tmp_path)
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  {name}\n")
    with pytest.raises(IntegrityError, match="path inside the folder"):
        check_sums(folder)


def test_a_file_has_one_sum(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    text = (folder / "SHA256SUMS").read_text()
    (folder / "SHA256SUMS").write_text("0" * 64 + "  manifest.json\n" + text)
    with pytest.raises(IntegrityError, match="inside the folder, once"):
        check_sums(folder)


# Manifest


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"format_version": "3"}, "format_version: "),
        ({"format_version": True}, "format_version: "),
        ({"format_version": 0}, "format_version: "),
        ({"cache_dtype": "int8"}, "cache_dtype: "),
        ({"cache_dtype": "load"}, "cache_dtype: "),
        ({"dtype": "float16"}, "dtype: "),
        ({"trial": {"seed": 2}}, "trial_hash must be the trial's own"),
        ({"trial_hash": "0" * 16}, "trial_hash must be the trial's own"),
        ({"trial_hash": 3}, "trial_hash: "),
        ({"controls": {"receiver": "0.3"}}, "controls.receiver: "),
        ({"receiver_size": {"parameters": -1, "bytes": 1}}, "receiver_size.parameters: "),
        ({"questions": [{"question": "a", "answer": "b", "max_new_tokens": 10**9}]}, "max_new"),
    ],
)
def test_a_value_that_no_manifest_has_is_refused(
    tmp_path: Path, change: dict[str, Any], rule: str
) -> None:
    with pytest.raises(IntegrityError, match=rule):
        read_manifest(_write(tmp_path, change))


@pytest.mark.parametrize(
    ("trial", "rule"),
    [
        ({"data": {"template": "chat"}}, "template must be what the trial says, 'chat'"),
        (
            {"data": {"template": {"receiver": "chat", "sharer": "plain"}}},
            "template must be what the trial says",
        ),
        ({"cache_dtype": "float32"}, "cache_dtype must be what the trial says, 'float32'"),
    ],
)
def test_what_stands_twice_is_the_same(tmp_path: Path, trial: dict[str, Any], rule: str) -> None:
    told = {"trial": trial, "trial_hash": content_sha256(trial)[:16]}
    with pytest.raises(IntegrityError, match=rule):
        read_manifest(_write(tmp_path, told))


def test_a_template_of_each_role(tmp_path: Path) -> None:
    templates = {"receiver": "chat", "sharer": "plain"}
    trial = {"data": {"template": templates}}
    told = {"trial": trial, "trial_hash": content_sha256(trial)[:16], "template": templates}
    found = read_manifest(_write(tmp_path, told))
    assert found.template == RoleTemplates(receiver="chat", sharer="plain")
    assert found.model_dump(mode="json")["template"] == templates


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_of_a_manifest_are_finite(tmp_path: Path, number: str) -> None:
    _write(tmp_path, {})
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace("0.3", number))
    with pytest.raises(IntegrityError, match=r"manifest\.json must"):
        read_manifest(tmp_path)


def test_foreign_words_reach_no_terminal_as_they_are(tmp_path: Path) -> None:
    change = {"name": 3, "versions": {"\x1b[2J": 1}}
    with pytest.raises(IntegrityError) as caught:
        read_manifest(_write(tmp_path, change))
    assert r"\x1b[2J" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    with pytest.warns(UserWarning, match=r"\\x1b\[2J") as told:
        read_manifest(_write(tmp_path, {"\x1b[2J": 1}))
    assert "\x1b" not in str(told[0].message)


def test_a_manifest_survives_the_round_trip(tmp_path: Path) -> None:
    assert read_manifest(_write(tmp_path, {})) == MODEL_MANIFEST


IMPORTED = {
    "data": {},
    "trial": None,
    "trial_hash": None,
    "verdict": None,
    "controls": {},
    "questions": [],
    "provenance": Provenance(
        layout="rosetta",
        folder="final",
        files={"projector_0.pt": "abc"},
        imported=datetime(2026, 9, 2, tzinfo=UTC),
    ).model_dump(mode="json"),
}


def test_an_imported_champion_has_a_provenance_instead_of_a_trial(tmp_path: Path) -> None:
    manifest = read_manifest(_write(tmp_path, IMPORTED))
    assert manifest.verdict is manifest.trial is manifest.trial_hash is None
    assert manifest.provenance is not None
    assert manifest.provenance.files == {"projector_0.pt": "abc"}
    verify_compatibility(manifest, RECEIVER, SHARER)


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": None},
        {"trial": None, "trial_hash": None, "verdict": None},
        {"provenance": IMPORTED["provenance"]},
        IMPORTED | {"trial_hash": "fbe47f6d82b435a8"},
    ],
)
def test_a_champion_comes_from_a_trial_or_from_elsewhere(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(IntegrityError, match="trial_hash and verdict, or else a provenance"):
        read_manifest(_write(tmp_path, change))


def test_a_manifest_of_the_first_format_is_read(tmp_path: Path) -> None:
    content = MODEL_MANIFEST.model_dump(mode="json") | {"format_version": 1}
    del content["provenance"]
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    assert read_manifest(tmp_path).trial == {"seed": 1}


def test_keys_of_a_newer_version_are_listed_in_one_warning(tmp_path: Path) -> None:
    content = MODEL_MANIFEST.model_dump(mode="json")
    content["pair"]["receiver"]["colour"] = "red"
    content["questions"][0]["mood"] = "good"
    folder = _write(tmp_path, content | {"novelty": 1})
    with pytest.warns(UserWarning, match="newer c2c-search") as caught:
        assert read_manifest(folder) == MODEL_MANIFEST
    assert len(caught) == 1
    assert "novelty, pair.receiver.colour, questions.mood" in str(caught[0].message)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="Upgrade"):
        read_manifest(_write(tmp_path, {"format_version": 3}))


def test_what_is_wrong_in_a_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"created: .*; data: .*object"):
        read_manifest(_write(tmp_path, {"created": "yesterday", "data": 3}))


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_a_manifest_is_a_json_object(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(IntegrityError, match="must be a JSON object"):
        read_manifest(tmp_path)


def test_a_folder_without_manifest_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="c2c-search export"):
        read_manifest(tmp_path)


# Compatibility


def test_the_measured_models_are_compatible_wherever_they_lie() -> None:
    moved = RECEIVER.model_copy(update={"source": "path:/elsewhere", "revision": None})
    verify_compatibility(MODEL_MANIFEST, moved, SHARER)


def test_tokenization_counts_where_it_was_recorded() -> None:
    found = RECEIVER.model_copy(update={"tokenization_sha256": "now"})
    verify_compatibility(MODEL_MANIFEST, found, SHARER)  # of a version that did not ask
    recorded = RECEIVER.model_copy(update={"tokenization_sha256": "then"})
    pair = MODEL_MANIFEST.pair.model_copy(update={"receiver": recorded})
    manifest = MODEL_MANIFEST.model_copy(update={"pair": pair})
    verify_compatibility(manifest, recorded, SHARER)
    with pytest.raises(IntegrityError, match="receiver tokenization: expected then, got now"):
        verify_compatibility(manifest, found, SHARER)


def test_all_differences_are_named_with_the_model_to_load() -> None:
    update = {"weights_sha256": "w", "tokenizer_sha256": "t"}
    with pytest.raises(IntegrityError) as caught:
        verify_compatibility(MODEL_MANIFEST, RECEIVER.model_copy(update=update), SHARER)
    message = str(caught.value)
    assert "receiver weights: expected small-weights, got w" in message
    assert "receiver tokenizer: expected small-tokenizer, got t" in message
    assert "Load receiver pypi:small at revision 1.0, or train" in message


def test_swapped_models_are_refused() -> None:
    with pytest.raises(IntegrityError, match=r"Load receiver pypi:small .* and sharer pypi:other"):
        verify_compatibility(MODEL_MANIFEST, SHARER, RECEIVER)


# Size


def test_size_is_read_off_the_header(tmp_path: Path) -> None:
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
            "b": {"dtype": "F32", "shape": [], "data_offsets": [24, 28]},
        }
    ).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(28))
    assert Size.measure([path]) == Size(parameters=7, bytes=path.stat().st_size)
    assert Size.measure([path, path]).parameters == 14


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, (2).to_bytes(8, "little") + b"[]"])
def test_other_files_have_no_size(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="safetensors"):
        Size.measure([path])


def test_it_travels_without_torch_and_the_workbench() -> None:
    code = (
        "import sys, c2c_search.inference.manifest\n"
        "print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("trial", "date"),
    [({"data": {"date": "2024-07-09"}}, "2024-07-09"), ({"data": {}}, None), ({}, None)],
)
def test_the_day_of_the_prompts_is_the_trials(trial: dict[str, Any], date: str | None) -> None:
    assert MODEL_MANIFEST.model_copy(update={"trial": trial}).date == date


@pytest.mark.parametrize("date", ["yesterday", 7, "2024-13-01", []])
def test_a_day_that_is_none_is_refused(date: Any) -> None:
    with pytest.raises(IntegrityError, match=r"data\.date"):
        _ = MODEL_MANIFEST.model_copy(update={"trial": {"data": {"date": date}}}).date


@pytest.mark.parametrize(
    ("trial", "template"),
    [({"data": {"draft_template": "chat"}}, "chat"), ({"data": {}}, None), ({}, None)],
)
def test_the_template_of_drafts_is_the_trials(trial: dict[str, Any], template: str | None) -> None:
    assert MODEL_MANIFEST.model_copy(update={"trial": trial}).draft_template == template


@pytest.mark.parametrize("template", ["verse", 7, ["chat"]])
def test_a_template_that_is_none_is_refused(template: Any) -> None:
    trial = {"data": {"draft_template": template}}
    with pytest.raises(IntegrityError, match=r"data\.draft_template"):
        _ = MODEL_MANIFEST.model_copy(update={"trial": trial}).draft_template


# Listening


def test_a_champion_from_before_listening_was_a_choice_still_opens(tmp_path: Path) -> None:
    assert "listening" not in MODEL_MANIFEST.model_dump(mode="json")
    assert read_manifest(_write(tmp_path, {})).listening is None


def test_listening_is_read_and_checked(tmp_path: Path) -> None:
    given = {"choices": 0.2, "words": 0.0, "length_normalised": True, "skipped": 0.4}
    found = read_manifest(_write(tmp_path, {"listening": given})).listening
    assert found == Listening(**given)
    with pytest.raises(IntegrityError, match=r"listening\.choices"):
        read_manifest(_write(tmp_path, {"listening": given | {"choices": -1.0}}))
