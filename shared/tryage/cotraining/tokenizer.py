"""The tokeniser of experts trained here: byte-level BPE, learned from their own texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tryage.errors import InputError
from tryage.extras import require

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tryage.scoring.likelihood import Tokenizer

PAD, START, END, MASK = "[PAD]", "[CLS]", "[SEP]", "[MASK]"


def train_tokenizer(texts: Iterable[str], size: int = 8192, *, progress: bool = True) -> Tokenizer:
    """Learn a tokeniser of `size` tokens that masked and causal students can share.

    It works on bytes, so there is no text that it cannot write. The same texts in the same order
    give the same tokeniser.

    Raises:
        InputError: `size` leaves no room beside the 256 bytes and the special tokens.
        MissingExtraError: transformers is not installed.
    """
    require("transformers", "train")
    from tokenizers import Tokenizer as Fast
    from tokenizers import decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = [PAD, START, END, MASK]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if size <= len(alphabet) + len(special):
        raise InputError(f"size is {size}; expected more than {len(alphabet) + len(special)}.")
    fast = Fast(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=sorted(alphabet),
        show_progress=progress,
    )
    fast.train_from_iterator(texts, trainer)
    ends = [(token, fast.token_to_id(token)) for token in (START, END)]
    fast.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=ends
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers gives it no types
        tokenizer_object=fast,
        pad_token=PAD,
        cls_token=START,
        sep_token=END,
        mask_token=MASK,
        bos_token=START,
        eos_token=END,
    )
