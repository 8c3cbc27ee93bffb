"""The number of parameters that a config.json describes, for the common transformer shapes."""

from __future__ import annotations

from dataclasses import dataclass

from tryage.hub.facts.wire import Record, flag, positive, text, words

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
