"""What a tokenizer does to texts, as one number: files, settings and version decide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from c2c_search.host.strict_json import content_sha256


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


_TEXTS = (
    "Question: Who wrote 'Hamlet'?\nAnswer: William Shakespeare",
    " one space  two\t a tab\r\n\n and lines \u00a0",
    "Ünder ÇA naïve İstanbul ﬁne e\u0301 DON'T",
    "中文 かな 한국어 ไทย עברית عربي हिन्दी Ελληνικά 😀",
    "1234567 3.14 1,000 x_y(){}[] https://a.b/c?d=e",
    "<s> </s> <eos> <bos> <pad> <unk> [CLS] [SEP] <|im_end|> <|endoftext|>",
)


def tokenization_sha256(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 of the token ids of a few texts, and of the special tokens inside a text.

    Settings such as ``add_bos_token`` or ``split_special_tokens``, the tokenizer's class and the
    version of transformers decide about them as the files do. The same tokenizer saved in another
    way has the same number.
    """
    specials = sorted(str(token) for token in tokenizer.all_special_tokens)
    texts = [*_TEXTS, *(f"a{token} b" for token in specials)]
    ids = [tokenizer(texts, add_special_tokens=special).input_ids for special in (True, False)]
    return content_sha256({"texts": texts, "ids": ids})
