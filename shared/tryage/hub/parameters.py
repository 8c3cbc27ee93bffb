"""How many parameters a model has, by the best of the sources that know something about it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tryage.hub.quantization import bits_per_weight, choose, count_weights, elements_by_type
from tryage.hub.record import Record, flag, mapping, positive, size, text, words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tryage.hub.model import Fact
    from tryage.hub.record import Clues

# Bytes per weight as the config names the type; without a name, half precision is the custom.
_BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "float8_e4m3fn": 1.0}

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")

_BESIDE = ("adapter_model", "training_args", "optimizer", "scheduler", "rng_state", "consolidated")

_UNITS = {"m": 1e6, "b": 1e9}

# No letter or digit may touch the unit: `4bit` is no size. A version may follow (`7bv2`).
_END = r"(?=v\d|[^a-z0-9]|$)"

# `1_8b` is 1.8 billion after a hyphen; after an underscore (`llama_2_7b`) the first is a version.
_NUMBER = r"(?P<n>(?:0|(?<=-)[1-9])_\d|0\.\d+|[1-9]\d{0,3}(?:\.\d+)?)"

# Not inside a number, nor after the marks of active (a3b), effective (e4b) or several (x7b).
_START = r"(?<![\d.])(?<![^a-z][aexv])"

_SIZE = re.compile(rf"{_START}{_NUMBER}(?P<unit>[bm])(?P<rest>\d(?!\d))?{_END}", re.ASCII)

_MIXTURE = re.compile(rf"(?<![\d.])(?P<k>\d{{1,3}})x{_NUMBER}(?P<unit>[bm]){_END}", re.ASCII)

_ACTIVE = re.compile(rf"[^a-z0-9.]a{_NUMBER}b{_END}", re.ASCII)

# The size is another model's: the one that this one drafts for, was cut from or imitates; and
# `17B-16E` is what a token passes, of sixteen experts.
_OTHERS = re.compile(r"speculator|eagle|dflash|draft|medusa|mmproj|random|-\d+e(?![a-z0-9])")

_SOURCE = re.compile(r"[-_]from[-_]")

# Of a Mistral-shaped model this share is feed-forward, which each expert has a copy of; the rest is
# shared. It gives 46.7B for 8x7B and 140.6B for 8x22B, as published.
_FEED_FORWARD = 0.7785

_CHOSEN = 2  # experts that such a model asks per token

_SIZES = {7.0: 7.2417e9, 22.0: 21.77e9}  # what those who round down to these really have

# A gate doubles the way up in the feed-forward part: three matrices instead of two.
_GATED = words(
    "llama mistral mixtral qwen2 qwen3 qwen2_moe qwen3_moe gemma gemma2 gemma3_text phi3 olmo olmo2"
    " olmoe smollm3 granite granitemoe stablelm cohere exaone4 ernie4_5 seed_oss"
)

_PLAIN = words("gpt2 opt bloom gpt_neo gpt_neox gptj phi starcoder2")

_ENCODERS = words("bert roberta xlm-roberta camembert electra distilbert mpnet")

# Where config.json may leave it out because it is so by default.
_TIED = words("gpt2 opt bloom gpt_neo gemma gemma2 gemma3_text smollm3 cohere")

_QUERY_BIASES = frozenset(("qwen2", "qwen2_moe"))


@dataclass(frozen=True, slots=True)
class _Sources:
    """What the rules read: the record's clues, and the two guesses that check the others."""

    clues: Clues
    named: NamedSize | None
    shape: Shape | None


def read_parameters(clues: Clues) -> dict[str, Fact]:
    """Return `parameters`, and `active_parameters` where fewer are used per token.

    The first source that knows wins: tensor counts, GGUF, config.json, file sizes, name. The
    repository of an adapter holds only its small addition, so its own counts tell nothing, and of
    a quantised one the base's count is better (`inherit`).
    """
    shape = shape_of(clues.config)
    sources = _Sources(clues, size_in_name(clues.name), shape)
    rules: Sequence[Callable[[_Sources], Fact | None]] = (
        (_from_name,)
        if clues.is_adapter
        else (_from_tensors, _from_gguf, _from_shape, _from_files, _from_name)
    )
    found = next((fact for rule in rules if (fact := rule(sources)) is not None), None)
    if found is None:
        return {}
    facts = {"parameters": _checked(found, sources)}
    active = _active(sources, found.value)
    if active is not None:
        facts["active_parameters"] = active
    return facts


def _from_tensors(sources: _Sources) -> Fact | None:
    """Count tensors, not by `total`: authors can write any there (huggingface_hub #4221)."""
    clues, shape, named = sources.clues, sources.shape, sources.named
    total = size(mapping(clues.record.get("safetensors")).get("total"))
    elements = elements_by_type(clues.record)
    if not elements:
        return clues.fact(total, "safetensors.total alone", 0.6) if total else None
    counts = count_weights(elements, clues)
    if counts.packed and (shape or named):
        return None
    # A total that is no sum of the tensors, and near to what they unpack to, is somebody's count.
    confirmed = (
        total
        and counts.unpacked
        and abs(total / counts.stored - 1) > 0.02
        and 0.85 < total / counts.unpacked < 1.18
    )
    hints = (
        shape.total if shape else None,
        total if confirmed else None,
        named.total if named else None,
    )
    value, confidence = choose(counts, hints)
    packed = " unpacked" if counts.unpacked == value else ""
    return clues.fact(value, f"safetensors.parameters{packed}", confidence)


def _from_gguf(sources: _Sources) -> Fact | None:
    total = size(mapping(sources.clues.record.get("gguf")).get("total"))
    return sources.clues.fact(total, "gguf.total", 0.9) if total else None


def _from_shape(sources: _Sources) -> Fact | None:
    if sources.shape is None:
        return None
    return sources.clues.fact(sources.shape.total, "shape in config.json", 0.85)


def _from_files(sources: _Sources) -> Fact | None:
    """Divide the bytes of the weights by the bytes of one."""
    clues = sources.clues
    stored = weight_bytes(clues)
    if not stored:
        return None
    bits = bits_per_weight(clues)
    dtype = text(clues.nested("torch_dtype")) or text(clues.nested("dtype")) or ""
    each = bits / 8 if bits else _BYTES.get(dtype)
    confidence = 0.5 if bits or not each else 0.7
    return clues.fact(stored / (each or 2.0), "size of the weight files", confidence)


def _from_name(sources: _Sources) -> Fact | None:
    named = sources.named
    return None if named is None else sources.clues.fact(named.total, "name", 0.6)


def weight_bytes(clues: Clues) -> float | None:
    """Return the bytes of the weights that a loader would read: one format, no optimiser."""
    sums = dict.fromkeys(_WEIGHTS, 0.0)
    files = [file for file in clues.files if file.size and file.path.endswith(_WEIGHTS)]
    # Below the root there are checkpoints and other formats; some libraries have all there.
    for file in [file for file in files if "/" not in file.path] or files:
        path = file.path.rsplit("/", 1)[-1]
        if file.size and not path.startswith(_BESIDE) and ".fp16." not in path:
            sums[path[path.rfind(".") :]] += file.size
    return next((stored for stored in sums.values() if stored), None)


def _checked(fact: Fact, sources: _Sources) -> Fact:
    """Believe a count less where the name says something else by more than a factor of two."""
    named = sources.named
    if named is None or fact.source == "name" or 0.5 < fact.value / named.total < 2:
        return fact
    source = f"{fact.source}; the name says {named.total:.3g}"
    return sources.clues.fact(fact.value, source, min(fact.confidence, 0.5))


def _active(sources: _Sources, total: float) -> Fact | None:
    """Return the parameters each token passes, where they are fewer than all."""
    shape, named = sources.shape, sources.named
    if shape is not None and shape.active < 0.98 * shape.total:
        return sources.clues.fact(shape.active, "shape in config.json", 0.85)
    if named is not None and named.active is not None and named.active < 0.98 * total:
        return sources.clues.fact(named.active, "name", 0.6)
    return None


@dataclass(frozen=True, slots=True)
class NamedSize:
    """Parameters as the name has them; `active` per token, None where the name does not say."""

    total: float
    active: float | None = None


def size_in_name(name: str) -> NamedSize | None:
    """Return the size a name (with or without its owner) tells, None where it tells none.

    Of several sizes in billions the first counts: the others are mostly tokens seen or a
    teacher's. Millions count only without billions; thousands are lengths of context, trillions
    tokens. Measured by benchmarks/hub_names.py.
    """
    short = _SOURCE.split("-" + name.rsplit("/", 1)[-1].lower(), maxsplit=1)[0]
    if _OTHERS.search(short):
        return None
    mixture = _MIXTURE.search(short)
    if mixture is not None:
        return _mixture(mixture)
    found = [(match["unit"], _value(match)) for match in _SIZE.finditer(short)]
    billions = [value for unit, value in found if unit == "b"]
    total = next(iter(billions or [value for _, value in found]), 0.0)
    if not 1e5 <= total <= 5e12:
        return None
    active = _ACTIVE.search(short)
    each = _number(active["n"]) * 1e9 if active else None
    return NamedSize(total, each if each is not None and each <= total else None)


def _number(digits: str) -> float:
    return float(digits.replace("_", "."))


def _value(match: re.Match[str]) -> float:
    """Return the number of parameters; `1b7` is 1.7 billion."""
    tenths = int(match["rest"]) / 10 if match["rest"] else 0.0
    return (_number(match["n"]) + tenths) * _UNITS[match["unit"]]


def _mixture(match: re.Match[str]) -> NamedSize | None:
    """Return the size of `8x7B`: the experts share all but their feed-forward parts."""
    experts, each = int(match["k"]), _number(match["n"])
    one = _SIZES.get(each, each * 1e9) if match["unit"] == "b" else each * 1e6
    if experts < 1:
        return None
    shared, chosen = 1 - _FEED_FORWARD, min(experts, _CHOSEN)
    total = one * (shared + _FEED_FORWARD * experts)
    return NamedSize(total, one * (shared + _FEED_FORWARD * chosen))


@dataclass(frozen=True, slots=True)
class Shape:
    """Parameters by a model's shape: all of them, and those that each token passes."""

    total: float
    active: float


def shape_of(config: Record) -> Shape | None:
    """Return what a config.json describes, None where the architecture or a size is not known."""
    kind = text(config.get("model_type"))
    if kind is None or not (kind in _GATED or kind in _PLAIN or kind in _ENCODERS):
        return None
    if config.get("auto_map"):  # code of its own: the name is kept, the shape often not
        return None
    sizes = _Sizes.read(config, kind in _GATED)
    return None if sizes is None else _count(kind, sizes, config)


@dataclass(frozen=True, slots=True)
class _Sizes:
    """The sizes every shape has."""

    vocabulary: float
    width: float
    layers: float
    inner: float
    queries: float  # heads x head size
    keys: float

    @classmethod
    def read(cls, config: Record, gated: bool) -> _Sizes | None:
        """Read the sizes under the names the architectures have for them."""
        vocabulary = positive(config.get("vocab_size"))
        width = _first(config, "hidden_size", "n_embd", "d_model", "dim")
        layers = _first(config, "num_hidden_layers", "n_layer", "num_layers", "n_layers")
        heads = _first(config, "num_attention_heads", "n_head", "num_heads", "n_heads")
        inner = _first(config, "intermediate_size", "n_inner", "ffn_dim", "hidden_dim")
        if not (vocabulary and width and layers and heads) or (gated and not inner):
            return None
        inner = inner or 4 * width
        head = positive(config.get("head_dim")) or width / heads
        shared = positive(config.get("num_key_value_heads")) or heads
        sizes = (vocabulary, width, layers, inner, heads * head, shared * head)
        return None if max(sizes) > 1e7 else cls(*sizes)


def _first(config: Record, *names: str) -> float | None:
    return next((found for name in names if (found := positive(config.get(name)))), None)


def _count(kind: str, size: _Sizes, config: Record) -> Shape:
    """Add up embeddings, attention, feed-forward and norms."""
    width, gated = size.width, kind in _GATED
    attention = 2 * width * (size.queries + size.keys)
    if kind in _QUERY_BIASES or flag(config.get("attention_bias")):
        attention += size.queries + 2 * size.keys
    norms = 2.0 * width
    inner = (3 if gated else 2) * width * size.inner
    if not gated:  # every matrix has a bias, and every norm a shift
        attention += size.queries + 2 * size.keys + width
        inner += size.inner + width
        norms *= 2
    all_inner, used_inner = _experts(config, size, inner)
    outside = _embeddings(kind, size, config)
    total = outside + size.layers * (attention + norms + all_inner)
    return Shape(total, outside + size.layers * (attention + norms + used_inner))


def _embeddings(kind: str, size: _Sizes, config: Record) -> float:
    """Count what is outside the layers: embeddings, the way out, the last norm, the pooler."""
    tied = flag(config.get("tie_word_embeddings"))
    tied = kind in _TIED or kind in _ENCODERS if tied is None else tied
    words = size.vocabulary * size.width * (1 if tied or kind in _ENCODERS else 2)
    if kind in _GATED:
        return words + size.width
    positions = _first(config, "max_position_embeddings", "n_positions", "n_ctx") or 0.0
    if kind in ("bloom", "gpt_neox", "gptj", "phi", "starcoder2"):  # rotary or linear positions
        positions = 0.0
    if kind not in _ENCODERS:
        return words + (min(positions, 1e6) + 2) * size.width
    segments = positive(config.get("type_vocab_size")) or 0.0
    pooler = 0.0 if kind == "distilbert" else size.width**2 + size.width
    return words + (min(positions, 1e6) + segments + 2) * size.width + pooler


def _experts(config: Record, size: _Sizes, dense: float) -> tuple[float, float]:
    """Return the feed-forward parameters of a layer: of all its experts, and of those a token asks.

    Averaged over the layers, of which some may have no experts.
    """
    experts = _first(config, "num_local_experts", "num_experts", "n_routed_experts")
    chosen = _first(config, "num_experts_per_tok", "num_experts_per_token")
    if not experts or not chosen or chosen > experts or experts > 1e4:
        return dense, dense
    inner = positive(config.get("moe_intermediate_size")) or size.inner
    if inner > 1e7:
        return dense, dense
    each, router = 3 * size.width * inner, size.width * experts
    shared = positive(config.get("shared_expert_intermediate_size")) or 0.0
    always = router + (3 * size.width * min(shared, 1e7) + size.width if shared else 0.0)
    step = positive(config.get("decoder_sparse_step")) or 1.0
    share = 1 / step if step >= 1 else 1.0
    every = share * (experts * each + always) + (1 - share) * dense
    return every, share * (chosen * each + always) + (1 - share) * dense
