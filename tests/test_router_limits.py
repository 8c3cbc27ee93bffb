"""The chosen expert meets every requirement of the operator, for random operators and prompts.

The requirements are checked again here in plain Python, one expert at a time, without the code that
the router uses.
"""

from __future__ import annotations

import datetime
import math
import random
from collections import Counter

import pytest

from tryage.core.expert import Expert
from tryage.core.flags import extract_flags
from tryage.core.preferences import Preferences, Requirement
from tryage.core.token_estimate import estimate_tokens
from tryage.errors import FlagError, NoExpertError, PerceptionError
from tryage.router import Router
from tryage.testing import FailingPerception, LearningPerception

PROMPTS_PER_ROUTER = 10
LICENSES = ("mit", "apache-2.0", "proprietary")
CAPABILITIES = ("tools", "vision", "audio")
NUMBERS = {
    "parameters": (1e9, 8e9, 7e10),
    "latency": (0.3, 1.0, 5.0),
    "context_length": (4_000, 32_000, 128_000),
    "security": (0.2, 0.5, 1.0),
    "downloads": (10, 10_000, 1_000_000),
    "released": (datetime.date(2023, 1, 1), datetime.date(2024, 6, 1), datetime.date(2025, 3, 1)),
}
PRICES = (0.0, 1.0, 10.0, 100.0)
COSTS = (0.0, 0.0005, 0.005, 0.05)
FLAGS = (
    "[Flag: size<1]", "[Flag: size<=8B]", "[Flag: cost<=0]", "[Flag: cost<0.01, smallest model]",
    "[Flag: model=e0]", "[Flag: model=e1|nobody]", "[Flag: model=nobody]", "[Flag: license=gpl]",
    "[Flag: license=proprietary]", "[Flag: needs=audio]", "[Flag: since=2025]", "[Flag: newest]",
    "[Flag: most accurate]", "[Flag: cost=1000]", "[Flag: context>=100k]", "[Flag: nonsense]",
    "[Fl[Flag: newest]ag: model=e2]", "> [Flag: model=e3]\n", "[Flag: security>=0.9]",
)  # fmt: skip


def random_expert(rng: random.Random, i: int) -> Expert:
    """Return an expert of which any fact may be unknown."""
    facts = {name: rng.choice((None, *values)) for name, values in NUMBERS.items()}
    return Expert(
        f"e{i}",
        aliases=(f"alias{i}",),
        license=rng.choice((None, *LICENSES)),
        input_price=rng.choice((None, *PRICES)),
        output_price=rng.choice((None, *PRICES)),
        output_tokens=rng.choice((None, 100.0, 1_000.0)),
        capabilities=rng.choice((None, set(rng.sample(CAPABILITIES, rng.randint(0, 3))))),
        **facts,
    )


def random_requirement(rng: random.Random) -> Requirement:
    """Return a requirement on any field."""
    field = rng.choice([*NUMBERS, "cost", "license", "name", "capabilities"])
    if field == "cost":
        return Requirement("cost", rng.choice(("<", "<=")), rng.choice(COSTS))
    if field == "license":
        return Requirement(field, "in", tuple(rng.sample(LICENSES, rng.randint(1, 2))))
    if field == "name":
        return Requirement(
            field, "in", tuple(rng.choice(("e", "ALIAS")) + str(j) for j in range(3))
        )
    unknown_passes = rng.random() < 0.3
    if field == "capabilities":
        words = tuple(rng.sample(CAPABILITIES, rng.randint(1, 2)))
        return Requirement(field, "has", words, unknown_passes)
    op = rng.choice(("<", "<=", ">", ">=", "=="))
    return Requirement(field, op, rng.choice(NUMBERS[field]), unknown_passes)


def random_preferences(rng: random.Random) -> Preferences:
    weights = {name: rng.choice((0.1, 2.0)) for name in ("size", "cost") if rng.random() < 0.3}
    rows = [random_requirement(rng) for _ in range(rng.choice((0, 0, 1, 1, 2, 3)))]
    return Preferences(weights, rows)


def random_prompt(rng: random.Random) -> str:
    parts = ["word " * rng.choice((1, 20, 500)), *rng.choices(FLAGS, k=rng.choice((0, 1, 1, 2)))]
    rng.shuffle(parts)
    return " ".join(parts)


def random_losses(rng: random.Random, experts: list[Expert]) -> dict[str, float]:
    """Return a loss of each expert, some unusable; {} stands for a perception that fails."""
    if rng.random() < 0.1:
        return {}
    return {one.name: rng.choice((rng.random(), rng.random(), math.nan)) for one in experts}


def random_router(
    rng: random.Random, experts: list[Expert], losses: dict[str, float], own: Preferences
) -> Router:
    names = [expert.name for expert in experts]
    return Router(
        LearningPerception(losses) if losses else FailingPerception(names),
        experts,
        preferences=own,
        default=rng.choice((None, *names)),
        default_exempt=rng.random() < 0.3,
        strict=rng.random() < 0.1,
        prompt_flags=rng.random() < 0.8,
    )


# Requirements in plain Python


def expected_cost(expert: Expert, tokens: float) -> float | None:
    """Return the USD of a request, None if a price is unknown."""
    if expert.input_price is None or expert.output_price is None:
        return None
    answer = 500 if expert.output_tokens is None else expert.output_tokens
    return (tokens * expert.input_price + answer * expert.output_price) / 1e6


def meets(expert: Expert, requirement: Requirement, tokens: float) -> bool:
    field, op, wanted = requirement.field, requirement.op, requirement.value
    if field == "name":
        known = {name.lower() for name in (expert.name, *expert.aliases)}
        return any(word.lower() in known for word in wanted)
    if field == "license":
        return expert.license is not None and expert.license in wanted
    if field == "capabilities":
        if expert.capabilities is None:
            return requirement.unknown_passes
        return all(word in expert.capabilities for word in wanted)
    value = expected_cost(expert, tokens) if field == "cost" else getattr(expert, field)
    if value is None:
        return requirement.unknown_passes
    return {
        "<": value < wanted, "<=": value <= wanted, ">": value > wanted, ">=": value >= wanted,
        "==": value == wanted,
    }[op]  # fmt: skip


def meets_all(expert: Expert, requirements: list[Requirement], tokens: float) -> bool:
    return all(meets(expert, one, tokens) for one in requirements)


# Cases


def check_cases(seed: int, n_cases: int) -> Counter[str]:
    """Route random prompts, check every answer and every refusal, and count the kinds."""
    rng = random.Random(seed)  # noqa: S311 - test data
    counts: Counter[str] = Counter()
    for _ in range(n_cases // PROMPTS_PER_ROUTER):
        experts = [random_expert(rng, i) for i in range(rng.randint(1, 6))]
        own, losses = random_preferences(rng), random_losses(rng, experts)
        router = random_router(rng, experts, losses, own)
        for _ in range(PROMPTS_PER_ROUTER):
            call, prompt = random_preferences(rng), random_prompt(rng)
            required = [*own.requirements, *call.requirements]
            counts[check_case(router, losses, required, call, prompt)] += 1
    return counts


def check_case(
    router: Router,
    losses: dict[str, float],
    required: list[Requirement],
    call: Preferences,
    prompt: str,
) -> str:
    """Check one prompt and return what happened."""
    text = extract_flags(prompt).text if router.prompt_flags else prompt
    tokens = len(text.split()) if losses else estimate_tokens(text)
    try:
        decision = router.route(prompt, call)
    except (NoExpertError, PerceptionError):
        if not router.strict:
            assert not could_answer(router, losses, required, tokens)
        return "strict" if router.strict else "refused"
    except FlagError:
        assert router.strict
        return "malformed"
    assert decision.prompt == text
    chosen = router.library[decision.expert.name]
    if decision.default_used:
        assert chosen.name == router.default
    if not (decision.default_used and router.default_exempt):
        assert meets_all(chosen, required, tokens)
    if decision.dropped_flags:
        assert decision.expert == plain_choice(router, call, text)
    return "default" if decision.default_used else "dropped" if decision.dropped_flags else "chosen"


def could_answer(
    router: Router, losses: dict[str, float], required: list[Requirement], tokens: float
) -> bool:
    """Return whether the operator alone leaves an expert with a prediction, or the default."""
    for expert in router.library:
        is_usable = math.isfinite(losses.get(expert.name, math.nan))
        is_default = expert.name == router.default
        if is_default and router.default_exempt:
            return True
        if (is_usable or is_default) and meets_all(expert, required, tokens):
            return True
    return False


def plain_choice(router: Router, call: Preferences, text: str) -> Expert:
    """Return who answers the same text without flags."""
    parts = {**router._parts(), "prompt_flags": False}
    return Router(**parts).route(text, call).expert


def test_the_chosen_expert_meets_every_requirement_of_the_operator():
    counts = check_cases(seed=0, n_cases=3_000)
    assert min(counts[kind] for kind in ("chosen", "default", "dropped", "refused", "strict")) > 30


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_the_chosen_expert_meets_every_requirement_in_a_hundred_thousand_cases(seed):
    assert check_cases(seed, n_cases=25_000).total() == 25_000


@pytest.mark.parametrize("seed", range(3))
def test_the_experts_on_a_front_meet_every_requirement_of_the_operator(seed):
    rng = random.Random(100 + seed)  # noqa: S311 - test data
    for _ in range(60):
        experts = [random_expert(rng, i) for i in range(5)]
        own, losses = random_preferences(rng), {one.name: rng.random() for one in experts}
        router = random_router(rng, experts, losses, own)
        prompts = [random_prompt(rng) for _ in range(3)]
        try:
            front = router.pareto(prompts, rng.choice(("size", "cost")))
        except (NoExpertError, FlagError):
            continue
        for row, prompt in enumerate(prompts):
            text = extract_flags(prompt).text if router.prompt_flags else prompt
            names = {front.names[i] for w in front.weights for i in front.path.experts_at(w)[[row]]}
            for name in names - ({router.default} if router.default_exempt else set()):
                assert meets_all(router.library[name], list(own.requirements), len(text.split()))
