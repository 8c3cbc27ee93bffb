"""The number of parameters of a model, by the best source: tensors, GGUF, config, files, name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tryage.hub.quantization import (
    bits_per_weight,
    count_weights,
    elements_by_dtype,
    reconcile_counts,
)
from tryage.hub.record import (
    HubRecord,
    as_bool,
    as_mapping,
    as_positive_float,
    as_size,
    as_str,
    split_words,
)
from tryage.models.sizes import size_from_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tryage.hub.model import Fact
    from tryage.hub.record import ParsedRecord
    from tryage.models.sizes import SizeFromName

# Bytes per weight by the type in the config; without a type, half precision is assumed.
_BYTES_PER_WEIGHT = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "float8_e4m3fn": 1.0}

_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")

# Files next to the weights that a loader does not read.
_AUXILIARY_PREFIXES = (
    "adapter_model",
    "training_args",
    "optimizer",
    "scheduler",
    "rng_state",
    "consolidated",
)

# With a gate the feed-forward part has three matrices instead of two.
_GATED_FFN = split_words(
    "llama mistral mixtral qwen2 qwen3 qwen2_moe qwen3_moe gemma gemma2 gemma3_text phi3 olmo olmo2"
    " olmoe smollm3 granite granitemoe stablelm cohere exaone4 ernie4_5 seed_oss"
)

_PLAIN_FFN = split_words("gpt2 opt bloom gpt_neo gpt_neox gptj phi starcoder2")

_ENCODERS = split_words("bert roberta xlm-roberta camembert electra distilbert mpnet")

# Models whose embeddings are tied by default, so that config.json may not say it.
_TIED_EMBEDDINGS = split_words("gpt2 opt bloom gpt_neo gemma gemma2 gemma3_text smollm3 cohere")

_QKV_BIAS = frozenset(("qwen2", "qwen2_moe"))

# Models without a table of positions: their positions are rotary or linear.
_NO_POSITION_TABLE = frozenset(("bloom", "gpt_neox", "gptj", "phi", "starcoder2"))


def parse_parameters(record: ParsedRecord) -> dict[str, Fact]:
    """Return `parameters`, and `active_parameters` where fewer are used per token.

    The first source that has a count wins: tensor counts, GGUF, config.json, file sizes, name. The
    repository of an adapter holds only the adapter, so only its name counts. For a quantized model
    the base's count is better (`inherit` uses it).
    """
    config_count = count_from_config(record.config)
    sources = _ParameterSources(record, size_from_name(record.name), config_count)
    rules: Sequence[Callable[[_ParameterSources], Fact | None]] = (
        (_from_name,)
        if record.is_adapter
        else (_from_tensors, _from_gguf, _from_config, _from_files, _from_name)
    )
    best_count = next((fact for rule in rules if (fact := rule(sources)) is not None), None)
    if best_count is None:
        return {}
    facts = {"parameters": _check_against_name(best_count, sources)}
    active_count = _active_parameters(sources, best_count.value)
    if active_count is not None:
        facts["active_parameters"] = active_count
    return facts


@dataclass(frozen=True, slots=True)
class _ParameterSources:
    """What the rules read: the record, and the two estimates that check the others."""

    record: ParsedRecord
    name_size: SizeFromName | None
    config_count: ParameterCount | None


def _from_tensors(sources: _ParameterSources) -> Fact | None:
    """Sum the tensors; authors can write anything in `total` (huggingface_hub #4221)."""
    record, config_count, name_size = sources.record, sources.config_count, sources.name_size
    total = as_size(as_mapping(record.raw.get("safetensors")).get("total"))
    elements = elements_by_dtype(record.raw)
    if not elements:
        return record.fact(total, "safetensors.total alone", 0.6) if total else None
    counts = count_weights(elements, record)
    if counts.unknown_packing and (config_count or name_size):
        return None
    # A total that differs from the stored sum and is near the unpacked one was counted separately.
    is_confirmed = (
        total
        and counts.unpacked_count
        and abs(total / counts.stored_count - 1) > 0.02
        and 0.85 < total / counts.unpacked_count < 1.18
    )
    hints = (
        config_count.total if config_count else None,
        total if is_confirmed else None,
        name_size.total if name_size else None,
    )
    value, confidence = reconcile_counts(counts, hints)
    suffix = " unpacked" if counts.unpacked_count == value else ""
    return record.fact(value, f"safetensors.parameters{suffix}", confidence)


def _from_gguf(sources: _ParameterSources) -> Fact | None:
    total = as_size(as_mapping(sources.record.raw.get("gguf")).get("total"))
    return sources.record.fact(total, "gguf.total", 0.9) if total else None


def _from_config(sources: _ParameterSources) -> Fact | None:
    if sources.config_count is None:
        return None
    return sources.record.fact(sources.config_count.total, "shape in config.json", 0.85)


def _from_files(sources: _ParameterSources) -> Fact | None:
    """Divide the bytes of the weights by the bytes per weight."""
    record = sources.record
    total_bytes = weight_bytes(record)
    if not total_bytes:
        return None
    bits = bits_per_weight(record)
    dtype = as_str(record.config_value("torch_dtype")) or as_str(record.config_value("dtype")) or ""
    bytes_per_weight = bits / 8 if bits else _BYTES_PER_WEIGHT.get(dtype)
    confidence = 0.5 if bits or not bytes_per_weight else 0.7
    return record.fact(
        total_bytes / (bytes_per_weight or 2.0), "size of the weight files", confidence
    )


def _from_name(sources: _ParameterSources) -> Fact | None:
    name_size = sources.name_size
    return None if name_size is None else sources.record.fact(name_size.total, "name", 0.6)


def weight_bytes(record: ParsedRecord) -> float | None:
    """Return the bytes of the weights that a loader reads: one format, without optimizer states."""
    sums = dict.fromkeys(_WEIGHT_SUFFIXES, 0.0)
    files = [file for file in record.files if file.size and file.path.endswith(_WEIGHT_SUFFIXES)]
    # Folders hold checkpoints and other formats; some libraries have all weights in folders.
    for file in [file for file in files if "/" not in file.path] or files:
        path = file.path.rsplit("/", 1)[-1]
        if file.size and not path.startswith(_AUXILIARY_PREFIXES) and ".fp16." not in path:
            sums[path[path.rfind(".") :]] += file.size
    return next((total for total in sums.values() if total), None)


def _check_against_name(fact: Fact, sources: _ParameterSources) -> Fact:
    """Lower the confidence of a count that differs from the name by more than a factor of two."""
    name_size = sources.name_size
    if name_size is None or fact.source == "name" or 0.5 < fact.value / name_size.total < 2:
        return fact
    source = f"{fact.source}; the name says {name_size.total:.3g}"
    return sources.record.fact(fact.value, source, min(fact.confidence, 0.5))


def _active_parameters(sources: _ParameterSources, total: float) -> Fact | None:
    """Return the parameters that each token uses, where they are fewer than all."""
    config_count, name_size = sources.config_count, sources.name_size
    if config_count is not None and config_count.active < 0.98 * config_count.total:
        return sources.record.fact(config_count.active, "shape in config.json", 0.85)
    if name_size is not None and name_size.active is not None and name_size.active < 0.98 * total:
        return sources.record.fact(name_size.active, "name", 0.6)
    return None


@dataclass(frozen=True, slots=True)
class ParameterCount:
    """Parameters by the shape in a config: all of them, and those that each token uses."""

    total: float
    active: float


def count_from_config(config: HubRecord) -> ParameterCount | None:
    """Return the count of a config.json, None where the architecture or a size is unknown."""
    model_type = as_str(config.get("model_type"))
    if model_type is None or not (
        model_type in _GATED_FFN or model_type in _PLAIN_FFN or model_type in _ENCODERS
    ):
        return None
    if config.get("auto_map"):  # custom code keeps the name of a type, but often not its shape
        return None
    dims = _ConfigDims.from_config(config, model_type in _GATED_FFN)
    return None if dims is None else _count_from_dims(model_type, dims, config)


@dataclass(frozen=True, slots=True)
class _ConfigDims:
    """The dimensions that every architecture has."""

    vocab_size: float
    hidden_size: float
    num_layers: float
    ffn_size: float
    query_size: float  # heads x head size
    kv_size: float

    @classmethod
    def from_config(cls, config: HubRecord, gated_ffn: bool) -> _ConfigDims | None:
        """Read the dimensions, which architectures name differently."""
        vocabulary = as_positive_float(config.get("vocab_size"))
        width = _first_positive(config, "hidden_size", "n_embd", "d_model", "dim")
        layers = _first_positive(config, "num_hidden_layers", "n_layer", "num_layers", "n_layers")
        heads = _first_positive(config, "num_attention_heads", "n_head", "num_heads", "n_heads")
        ffn_size = _first_positive(config, "intermediate_size", "n_inner", "ffn_dim", "hidden_dim")
        if not (vocabulary and width and layers and heads) or (gated_ffn and not ffn_size):
            return None
        ffn_size = ffn_size or 4 * width
        head_dim = as_positive_float(config.get("head_dim")) or width / heads
        kv_heads = as_positive_float(config.get("num_key_value_heads")) or heads
        sizes = (vocabulary, width, layers, ffn_size, heads * head_dim, kv_heads * head_dim)
        return None if max(sizes) > 1e7 else cls(*sizes)


def _first_positive(config: HubRecord, *names: str) -> float | None:
    return next((value for name in names if (value := as_positive_float(config.get(name)))), None)


def _count_from_dims(model_type: str, dims: _ConfigDims, config: HubRecord) -> ParameterCount:
    """Add up embeddings, attention, feed-forward and norms."""
    width, gated_ffn = dims.hidden_size, model_type in _GATED_FFN
    attention = 2 * width * (dims.query_size + dims.kv_size)
    if model_type in _QKV_BIAS or as_bool(config.get("attention_bias")):
        attention += dims.query_size + 2 * dims.kv_size
    norms = 2.0 * width
    ffn = (3 if gated_ffn else 2) * width * dims.ffn_size
    if not gated_ffn:  # every matrix and every norm has a bias
        attention += dims.query_size + 2 * dims.kv_size + width
        ffn += dims.ffn_size + width
        norms *= 2
    total_ffn, active_ffn = _moe_ffn_parameters(config, dims, ffn)
    outside_layers = _embedding_parameters(model_type, dims, config)
    total = outside_layers + dims.num_layers * (attention + norms + total_ffn)
    return ParameterCount(
        total, outside_layers + dims.num_layers * (attention + norms + active_ffn)
    )


def _embedding_parameters(model_type: str, dims: _ConfigDims, config: HubRecord) -> float:
    """Count what is outside the layers: embeddings, output layer, last norm, pooler."""
    is_tied = as_bool(config.get("tie_word_embeddings"))
    is_tied = (
        model_type in _TIED_EMBEDDINGS or model_type in _ENCODERS if is_tied is None else is_tied
    )
    words = dims.vocab_size * dims.hidden_size * (1 if is_tied or model_type in _ENCODERS else 2)
    if model_type in _GATED_FFN:
        return words + dims.hidden_size
    positions = _first_positive(config, "max_position_embeddings", "n_positions", "n_ctx") or 0.0
    if model_type in _NO_POSITION_TABLE:
        positions = 0.0
    if model_type not in _ENCODERS:
        return words + (min(positions, 1e6) + 2) * dims.hidden_size
    segments = as_positive_float(config.get("type_vocab_size")) or 0.0
    pooler = 0.0 if model_type == "distilbert" else dims.hidden_size**2 + dims.hidden_size
    return words + (min(positions, 1e6) + segments + 2) * dims.hidden_size + pooler


def _moe_ffn_parameters(config: HubRecord, dims: _ConfigDims, dense: float) -> tuple[float, float]:
    """Return the feed-forward parameters of a layer: of all experts, and of those one token uses.

    Averaged over the layers, because some may have no experts.
    """
    experts = _first_positive(config, "num_local_experts", "num_experts", "n_routed_experts")
    experts_per_token = _first_positive(config, "num_experts_per_tok", "num_experts_per_token")
    if not experts or not experts_per_token or experts_per_token > experts or experts > 1e4:
        return dense, dense
    ffn_size = as_positive_float(config.get("moe_intermediate_size")) or dims.ffn_size
    if ffn_size > 1e7:
        return dense, dense
    expert_parameters, router_parameters = (
        3 * dims.hidden_size * ffn_size,
        dims.hidden_size * experts,
    )
    shared_ffn_size = as_positive_float(config.get("shared_expert_intermediate_size")) or 0.0
    shared_parameters = router_parameters + (
        3 * dims.hidden_size * min(shared_ffn_size, 1e7) + dims.hidden_size
        if shared_ffn_size
        else 0.0
    )
    step = as_positive_float(config.get("decoder_sparse_step")) or 1.0
    moe_share = 1 / step if step >= 1 else 1.0

    def average(moe: float) -> float:
        return moe_share * (moe + shared_parameters) + (1 - moe_share) * dense

    return average(experts * expert_parameters), average(experts_per_token * expert_parameters)
