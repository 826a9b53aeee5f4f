"""Translation, from English into nine languages or as a local file says.

The workbench's own rows (``prompt``, ``answer``) may name their languages: with ``src_lang`` and
``tgt_lang`` they are grouped by language pair, and with ``src`` those that translate one English
sentence into several languages are not taken for independent.
"""

from __future__ import annotations

from dataclasses import replace

from c2c_search.errors import in_yaml
from c2c_search.evaluation.items import Item
from c2c_search.evaluation.tasks.columns import digest
from c2c_search.evaluation.tasks.columns import text
from c2c_search.evaluation.tasks.task import Hub
from c2c_search.evaluation.tasks.task import HubRow
from c2c_search.evaluation.tasks.task import task


# Those that WMT24 itself translated English into; WMT24++ has 55.
PAIRS = (
    "en-cs_CZ",
    "en-de_DE",
    "en-es_MX",
    "en-hi_IN",
    "en-is_IS",
    "en-ja_JP",
    "en-ru_RU",
    "en-uk_UA",
    "en-zh_CN",
)
_ENGLISH = ("en", "eng")


def _by_pair(item: Item) -> Item:
    """Group the workbench's own rows by language pair, and cluster them by English sentence."""
    source, target = item.facts.get("src_lang"), item.facts.get("tgt_lang")
    pair = f"{source}-{target}"
    if source is None or target is None or item.group == pair:
        return item
    cluster = item.cluster
    if target in _ENGLISH:
        cluster = f"sentence-{digest(item.references[0])}"
    elif source in _ENGLISH and "src" in item.facts:
        cluster = f"sentence-{digest(str(item.facts['src']))}"
    return replace(item, group=pair, cluster=cluster)


@task(
    "translation",
    reference="WMT24++ (arXiv 2502.12404)",
    hub=Hub(
        repository="google/wmt24pp",
        configuration=PAIRS,
        split="train",  # its only one; it is a test set
        exemplars=None,
        columns=frozenset(("lp", "source", "target", "document_id", "is_bad_source")),
    ),
    adapt=_by_pair,
    methods=("generate",),
    metric="chrf",
    grader="chrf",
    instruction="Write the translation alone.",
    max_new_tokens=512,
)
def convert(row: HubRow, fallback_id: str) -> Item | None:
    """References are the post-edited ones; sources that the authors call bad are left out.

    Segments of a document are one cluster, across languages too.
    """
    if row["is_bad_source"]:
        return None
    pair = text(row, "lp")
    source, _, target = pair.partition("-")
    if not target:
        raise ValueError(f"lp must be two languages, such as en-de_DE, not {in_yaml(pair)}.")
    asked = (
        f"Translate the following text from {_name(source)} into {_name(target)}."
        f"\n\n{text(row, 'source')}"
    )
    return Item(
        id=fallback_id,
        group=pair,
        cluster=f"document-{row['document_id']}",
        messages=({"role": "user", "content": asked},),
        references=(text(row, "target"),),
        facts={"src_lang": source, "tgt_lang": target, "domain": row.get("domain")},
    )


def _name(code: str) -> str:
    """A language's English name, with its region: ``Portuguese (Brazil)``."""
    from babel import Locale
    from babel import UnknownLocaleError

    try:
        name: str | None = Locale.parse(code).english_name
    except (UnknownLocaleError, ValueError):
        name = None
    return name or code
