"""The network of a fresh expert: how large it is, and with which weights it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tryage.errors import InputError
from tryage.extras import require

if TYPE_CHECKING:
    from collections.abc import Callable

    from tryage.scoring.likelihood import Model, Tokenizer

TIED = {"tie_word_embeddings": True}  # the table of tokens is most of a small model: have it once


def shaped(tokenizer: Tokenizer, **sizes: int) -> dict[str, Any]:
    """Return `width`, `layers`, `heads`, `length` and what the tokeniser settles for a config.

    Raises:
        InputError: a size that is not at least 1, or `width` is no multiple of `2 * heads`.
    """
    if min(sizes.values()) < 1 or sizes["width"] % (2 * sizes["heads"]):
        raise InputError(f"{sizes}: expected at least 1 each, width a multiple of 2 * heads.")
    return TIED | {
        "vocab_size": len(tokenizer),
        "hidden_size": sizes["width"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["heads"],
        "max_position_embeddings": sizes["length"],
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def by_chance(
    network: Callable[[dict[str, Any]], Model], shape: dict[str, Any], seed: int
) -> Model:
    """Return the network of a shape with the weights of a seed; other chance goes on as it was.

    Raises:
        MissingExtraError: torch or transformers is not installed.
    """
    for package in ("torch", "transformers"):
        require(package, "train")
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network(shape)
