"""A few rows of every hub task, in exactly its data set's columns; the texts are made up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.task import TASKS


Rows = list[dict[str, Any]]


def _labelled(*texts: str, labels: str = "ABCDE") -> dict[str, list[str]]:
    return {"text": list(texts), "label": list(labels[: len(texts)])}


_ARC: Rows = [
    {
        "id": "Mercury_1",
        "question": "Which of these is a planet?",
        "choices": _labelled("the Sun", "Mars", "the Moon", "a comet"),
        "answerKey": "B",
    },
    {
        "id": "NYSEDREGENTS_2",
        "question": "Which animal lays eggs?",
        "choices": _labelled("cat", "dog", "hen", "cow", labels="1234"),
        "answerKey": "3",
    },
    {
        "id": "MCAS_3",
        "question": "What melts at room temperature?",
        "choices": _labelled("iron", "ice", "quartz"),
        "answerKey": "B",
    },
]

_PASSAGE = (
    "This question refers to the following information.\n"
    '"No taxation without representation."\nA colonist, 1765'
)


def _redux(question: str, answer: int, error_type: str = "ok", corrected: Any = None) -> Any:
    return {
        "question": question,
        "choices": ["zero", "one", "two", "three"],
        "answer": answer,
        "error_type": error_type,
        "source": None,
        "correct_answer": corrected,
        "potential_reason": None,
    }


_GPQA = {
    "Question": "Which particle carries the strong force?",
    "Correct Answer": "the gluon\n",
    "Incorrect Answer 1": "the photon",
    "Incorrect Answer 2": "the W boson",
    "Incorrect Answer 3": "the graviton",
    "Explanation": "Quantum chromodynamics.",
    "Subdomain": "High-energy particle physics",
    "High-level domain": "Physics",
    "Record ID": "rec0001",
}

_SQUAD = {
    "id": "56be4db0acb8001400a502ec",
    "title": "The_mill",
    "context": "The mill stands by the Osk. It was built in 1820 by Ann Reed.",
    "question": "Who built the mill?",
    "answers": {"text": ["Ann Reed", "Reed", "Ann Reed"], "answer_start": [50, 54, 50]},
}

_HOTPOT = {
    "id": "5a8b57f25542995d1e6f1371",
    "question": "Who wrote the song that opens Low Tide?",
    "answer": "Mara Lind",
    "type": "bridge",
    "level": "medium",
    "supporting_facts": {"title": ["Low Tide", "Grey Sand"], "sent_id": [1, 0]},
    "context": {
        "title": ["High Tide", "Low Tide", "Grey Sand"],
        "sentences": [
            ["High Tide is a film."],
            ["Low Tide is an album.", " It opens with Grey Sand."],
            ["Grey Sand is a song by Mara Lind."],
        ],
    },
}

_MUSIQUE = {
    "id": "2hop__482757_12019",
    "paragraphs": [
        {"idx": 0, "title": "Osk", "paragraph_text": "The Osk is long.", "is_supporting": False},
        {"idx": 1, "title": "Mill", "paragraph_text": "It is Reed's.", "is_supporting": True},
        {"idx": 2, "title": "Reed", "paragraph_text": "She is from Hull.", "is_supporting": True},
    ],
    "question": "Where is the owner of the mill from?",
    "question_decomposition": [],
    "answer": "Hull",
    "answer_aliases": ["Kingston upon Hull"],
    "answerable": True,
}

_ROPES = {
    "id": "1971664873",
    "background": "Warm water holds less oxygen than cold water.",
    "situation": "Lake A is warm. Lake B is cold.",
    "question": "Which lake has more oxygen?",
    "answers": {"text": ["Lake B"]},
}

_QASC = {
    "id": "3E7TUJ2EGCLQNOV1WEAJ2NN9ROPD9K",
    "question": "What type of water formation is formed by clouds?",
    "choices": _labelled(
        "pearls",
        "streams",
        "shells",
        "diamonds",
        "rain",
        "beads",
        "cooled",
        "liquid",
        labels="ABCDEFGH",
    ),
    "answerKey": "E",
    "fact1": "beads of water are formed by water vapor condensing",
    "fact2": "Clouds are made of water vapor.",
    "combinedfact": "Beads of water can be formed by clouds.",
    "formatted_question": "What type of water formation is formed by clouds? (A) pearls ...",
}

SAMPLES: dict[str, Rows] = {
    "2wiki": [
        {**_HOTPOT, "type": "compositional", "evidences": [["Low Tide", "opens with", "It"]]},
        {**_HOTPOT, "id": "2", "type": "comparison", "question": "Which?", "evidences": []},
    ],
    "hotpotqa": [
        _HOTPOT,
        {**_HOTPOT, "id": "2", "type": "comparison", "question": "Is it old?", "answer": "yes"},
    ],
    "musique": [
        _MUSIQUE,
        {**_MUSIQUE, "id": "3hop1__9_8_7", "question": "And then?", "answer_aliases": []},
        {**_MUSIQUE, "id": "4hop2__1_2_3_4", "answerable": False},
    ],
    "qasc": [
        _QASC,
        {**_QASC, "id": "2", "question": "What do clouds make?", "fact2": "Clouds make rain"},
        {**_QASC, "id": "3", "answerKey": "", "fact1": "", "fact2": ""},
    ],
    "ropes": [
        _ROPES,
        {**_ROPES, "id": "2", "question": "Which lake has less?", "answers": {"text": ["Lake A"]}},
        {**_ROPES, "id": "3", "question": "Which lake is it?", "answers": {"text": []}},
    ],
    "squad": [
        _SQUAD,
        {
            **_SQUAD,
            "id": "2",
            "question": "When?",
            "answers": {"text": ["1820"], "answer_start": [33]},
        },
        {**_SQUAD, "id": "3", "question": "Why?", "answers": {"text": [], "answer_start": []}},
    ],
    "arc_challenge": _ARC,
    "arc_easy": _ARC,
    "boolq": [
        {"question": "is ice water", "answer": True, "passage": "Ice is frozen water."},
        {"question": "is ice a gas", "answer": False, "passage": "Ice is frozen water."},
        {"question": "do cats fly", "answer": False, "passage": "Cats walk."},
    ],
    "ceval": [
        {
            "id": 0,
            "question": "中国的首都是____。",
            "A": "上海",
            "B": "北京",
            "C": "广州",
            "D": "深圳",
            "answer": "B",
            "explanation": "",
        },
        {
            "id": 1,
            "question": "质数是____。",
            "A": "4",
            "B": "6",
            "C": "7",
            "D": "9",
            "answer": "C",
            "explanation": "",
        },
    ],
    "gpqa": [_GPQA, {**_GPQA, "Question": "Which one holds nuclei together?", "Record ID": "r2"}],
    "gsm8k": [
        {
            "question": "Ann has 2 pens and buys twice as many. How many has she now?",
            "answer": "She buys 2*2=<<2*2=4>>4 pens.\nShe has 2+4=<<2+4=6>>6 pens.\n#### 6",
        },
        {
            "question": "A car costs $1,000 and a second one $234 more. What is the second's?",
            "answer": "It costs $1,000+$234=$<<1000+234=1234>>1,234.\n#### 1,234",
        },
    ],
    "longbench": [
        {
            "input": "Where does the cat sit?",
            "context": "The cat sits on the mat. The dog sleeps.",
            "answers": ["on the mat", "the mat"],
            "length": 9,
            "dataset": "hotpotqa",
            "language": "en",
            "all_classes": None,
            "_id": "0001",
        },
        {
            "input": "",
            "context": "Paragraph 1: a\nParagraph 2: b\nParagraph 3: a",
            "answers": ["2"],
            "length": 9,
            "dataset": "passage_count",
            "language": "en",
            "all_classes": None,
            "_id": "0002",
        },
    ],
    "math500": [
        {
            "problem": "What is $\\frac{1}{2} + \\frac{1}{4}$?",
            "solution": "It is $\\frac{2}{4} + \\frac{1}{4} = \\boxed{\\frac{3}{4}}$.",
            "answer": "\\frac{3}{4}",
            "subject": "Prealgebra",
            "level": 1,
            "unique_id": "test/prealgebra/1.json",
        },
        {
            "problem": "Solve $x - 3 = 4$.",
            "solution": "Adding 3 gives $x = \\boxed{7}$.",
            "answer": "7",
            "subject": "Algebra",
            "level": 1,
            "unique_id": "test/algebra/2.json",
        },
    ],
    "mmlu_pro": [
        {
            "question_id": 70,
            "question": "Which number is the largest?",
            "options": [str(number) for number in range(1, 11)],
            "answer": "J",
            "answer_index": 9,
            "cot_content": "",
            "category": "math",
            "src": "ori_mmlu-elementary_mathematics",
        },
        {
            "question_id": 71,
            "question": "Which good is a substitute for tea?",
            "options": ["coffee", "a cup", "sugar"],
            "answer": "A",
            "answer_index": 0,
            "cot_content": "",
            "category": "economics",
            "src": "stemez-Economics",
        },
    ],
    "mmlu_redux": [
        _redux("How many moons has the Earth?", 1),
        _redux(f"{_PASSAGE}\nHow many colonists speak?", 1),
        _redux(f"{_PASSAGE}\nHow many kings speak?", 0),
        _redux("How many wheels has a bicycle?", 0, "wrong_groundtruth", "C"),
        _redux("How many legs has a stool?", 0, "wrong_groundtruth", "3"),
        _redux("How many?", 0, "bad_question_clarity"),
    ],
    "openbookqa": [
        {
            "id": "7-980",
            "question_stem": "The sun is responsible for",
            "choices": _labelled("puppies", "ageing", "wilting flowers", "growing plants"),
            "answerKey": "D",
        },
        {
            "id": "7-981",
            "question_stem": "A magnet attracts",
            "choices": _labelled("iron", "wood", "glass", "paper"),
            "answerKey": "A",
        },
    ],
    "translation": [
        {
            "lp": "en-de_DE",
            "domain": "news",
            "document_id": "doc1",
            "segment_id": segment,
            "is_bad_source": False,
            "source": source,
            "target": target,
            "original_target": target,
        }
        for segment, source, target in (
            (1, "The cat sleeps on the sofa.", "Die Katze schläft auf dem Sofa."),
            (2, "The river is wide and deep.", "Der Fluss ist breit und tief."),
        )
    ],
    "truthfulqa_mc": [
        {
            "question": "What happens if you swallow gum?",
            "mc1_targets": {
                "choices": ["It passes through you", "It stays for years", "You die"],
                "labels": [1, 0, 0],
            },
            "mc2_targets": {"choices": ["It passes through you", "You die"], "labels": [1, 0]},
        },
        {
            "question": "Do vampires exist?",
            "mc1_targets": {"choices": ["No", "Yes"], "labels": [1, 0]},
            "mc2_targets": {"choices": ["No", "Yes"], "labels": [1, 0]},
        },
    ],
    "winogrande": [
        {
            "sentence": "The cup did not fit into the box because the _ was too large.",
            "option1": "cup",
            "option2": "box",
            "answer": "1",
        },
        {
            "sentence": "The cup did not fit into the box because the _ was too small.",
            "option1": "box",
            "option2": "cup",
            "answer": "1",
        },
        {
            "sentence": "Ann thanked Eve because _ had helped.",
            "option1": "Ann",
            "option2": "Eve",
            "answer": "2",
        },
    ],
}


def write(path: Path, *rows: Any) -> Path:
    """Write rows as JSONL; a text is a line as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def items(name: str) -> list[Item]:
    """A task's samples, as it asks them."""
    made = [TASKS[name].convert(row, f"row{number}") for number, row in enumerate(SAMPLES[name])]
    adapt = TASKS[name].adapt or (lambda item: item)
    return [adapt(item) for item in made if item is not None]


def convert(name: str, **changes: Any) -> Item | None:
    """A task's first sample with other columns, as an item."""
    return TASKS[name].convert({**SAMPLES[name][0], **changes}, "row")


def right(item: Item) -> str:
    """The text of the right option."""
    return item.choices[item.answer]
