"""Dollars and tolerance decide: against the equation, with unknown prices, and in any pool."""

from __future__ import annotations

import numpy as np
import pytest

from tryage.core.constraints import DEFAULT_CONSTRAINTS
from tryage.core.decision import Decision, score_batch
from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.perception import Prediction
from tryage.core.preferences import Preferences
from tryage.core.request_batch import ConversationState, RequestBatch
from tryage.router import Router
from tryage.testing import FixedPerception

# USD of a prompt of 0 tokens: 500 answer tokens at these prices.
POOL = Library(
    [
        Expert("dear", input_price=30, output_price=60, latency=20),  # $0.03
        Expert("middle", input_price=1, output_price=8, latency=5),  # $0.004
        Expert("cheap", input_price=0.1, output_price=0.4, latency=1),  # $0.0002
    ]
)
LOSSES = {"dear": 0.10, "middle": 0.115, "cheap": 0.14}


def route(preferences=None, library=POOL, losses=LOSSES):
    return Router(FixedPerception(losses), library).route("", preferences)


def names(decision):
    return [ranked.name for ranked in decision.ranking]


def test_the_total_is_the_loss_plus_dollars_relative_to_a_right_answer():
    decision = route(Preferences(answer_value=0.5, latency_value=0.001))
    for ranked, seconds, usd in zip(
        decision.ranking, [5, 1, 20], [0.004, 0.0002, 0.03], strict=True
    ):
        assert ranked.cost == pytest.approx(usd, rel=0.02)  # the empty prompt has a token
        assert ranked.terms["latency_value"] == pytest.approx(seconds * 0.001 / 0.5)
        assert ranked.terms["answer_value"] == pytest.approx(ranked.cost / 0.5)
        assert ranked.total == pytest.approx(ranked.predicted_loss + sum(ranked.terms.values()))
    assert decision.margin > 0


@pytest.mark.parametrize(
    ("tolerance", "order"),
    [
        (0.0, ["dear", "middle", "cheap"]),
        (0.01, ["dear", "middle", "cheap"]),
        (0.02, ["middle", "dear", "cheap"]),
        (0.05, ["cheap", "middle", "dear"]),
    ],
)
def test_the_cheapest_within_the_tolerance_is_chosen_and_the_others_follow(tolerance, order):
    decision = route(Preferences(tolerance=tolerance))
    assert names(decision) == order
    assert decision.margin >= 0
    totals = [ranked.total for ranked in decision.ranking]
    assert totals == sorted(totals)


def test_the_confidence_of_a_tolerance_is_that_of_losing_at_most_the_tolerance():
    losses = np.float32([[0.10, 0.115]])
    library = POOL.subset(["dear", "middle"])
    prediction = Prediction(losses, np.full_like(losses, 0.01))
    preferences, request = Preferences(tolerance=0.02), RequestBatch(np.ones(1))
    scored = score_batch(library, preferences, DEFAULT_CONSTRAINTS, prediction, request)
    ranking = scored.ranking(0)
    assert [one.name for one in ranking] == ["middle", "dear"]
    decision = Decision("", library["middle"], ranking, preferences=preferences)
    # The gap is 0.02 - 0.015 at a deviation of 0.01 x sqrt(2): Phi(0.3536) = 0.638.
    assert decision.confidence == pytest.approx(0.638, abs=1e-3)


def test_of_experts_that_are_predicted_equal_the_preset_best_takes_the_cheapest():
    assert names(route("best", losses=dict.fromkeys(LOSSES, 0.1))) == ["cheap", "middle", "dear"]


def test_an_unknown_price_counts_as_a_dear_one_and_is_named():
    library = Library([Expert("unpriced"), POOL["cheap"]])
    losses = {"unpriced": 0.1, "cheap": 0.12}
    thrifty = route("thrifty", library, losses)
    assert names(thrifty) == ["cheap", "unpriced"]
    unpriced = thrifty.ranking[1]
    assert (unpriced.cost, unpriced.unknown) == (None, ("answer_value",))
    assert unpriced.terms["answer_value"] == pytest.approx(0.0375 / 0.1, rel=0.01)
    line = "Unknown price, so counted as $15 and $75 per million tokens: unpriced."
    assert line in thrifty.explain()
    tolerant = route(Preferences(tolerance=0.05), library, losses)
    assert names(tolerant) == ["cheap", "unpriced"]
    assert line in tolerant.explain()
    assert route("balanced", library, losses).explain().count(line) == 1


def test_where_all_prices_are_unknown_the_predicted_loss_decides():
    library = Library([Expert("a", output_tokens=9_000), Expert("b"), Expert("c", output_tokens=1)])
    losses = {"a": 0.1, "b": 0.2, "c": 0.3}
    for preferences in (None, "best", "thrifty", "balanced"):
        assert names(route(preferences, library, losses)) == ["a", "b", "c"]


def test_balanced_is_in_force_where_nothing_is_said_and_a_cost_is_known():
    assert route().preferences == Preferences.preset("balanced")
    assert names(route()) == ["middle", "dear", "cheap"]
    assert names(route(Preferences(max_latency=10))) == ["middle", "cheap"]
    assert route(Preferences(max_latency=10)).preferences.answer_value == 1.0
    assert route("best").expert.name == "dear"
    assert route(Preferences({"size": 0})).expert.name == "dear"
    unpriced = route(library=Library(list(LOSSES)))
    assert unpriced.preferences == Preferences()
    assert unpriced.chosen.cost is None


def test_with_an_answer_value_the_cheapest_within_the_tolerance_of_the_lowest_total_is_chosen():
    library = Library(
        [
            Expert("dear", input_price=0, output_price=10, output_tokens=100),
            Expert("cheap", input_price=0, output_price=1, output_tokens=100),
        ]
    )
    totals = {"dear": 0.100 + 0.001, "cheap": 0.103 + 0.0001}
    losses = {"dear": 0.100, "cheap": 0.103}
    gap = totals["cheap"] - totals["dear"]  # .0021
    for tolerance, chosen in ((gap - 1e-4, "dear"), (gap + 1e-4, "cheap")):
        preferences = Preferences(answer_value=1, tolerance=tolerance)
        assert route(preferences, library, losses).expert.name == chosen


def test_flags_of_a_prompt_do_not_switch_balanced_off():
    router = Router(FixedPerception(LOSSES), POOL, prompt_flags=True)
    decision = router.route("hello [Flag: size=0]")
    assert decision.preferences == Preferences({"size": 0}, answer_value=1.0, tolerance=0.0035)
    assert decision.expert.name == "middle"


def test_the_cost_of_a_conversation_counts_tokens_in_the_cache_of_the_serving_expert():
    library = Library(
        [
            Expert("serving", input_price=10, cached_input_price=1, output_price=0),
            Expert("other", input_price=5, output_price=0),
        ]
    )
    losses = np.float32([[0.1, 0.1]] * 2)
    serving = ConversationState(np.array([0, -1]), np.array([9_000.0, 0.0]))
    batch = RequestBatch(np.array([10_000.0] * 2), conversation=serving)
    scored = score_batch(
        library, Preferences(answer_value=1), DEFAULT_CONSTRAINTS, Prediction(losses, losses), batch
    )
    stays, starts = scored.ranking(0), scored.ranking(1)
    assert [(one.name, one.cost) for one in stays] == [("serving", 0.019), ("other", 0.05)]
    assert [(one.name, one.cost) for one in starts] == [("other", 0.05), ("serving", 0.1)]


def test_a_router_trained_on_costs_counts_them_without_prices():
    class Costly(FixedPerception):
        def predict(self, prompts):
            prediction = super().predict(prompts)
            costs = np.tile(np.float32([0.03, 0.0002]), (len(prompts), 1))
            return Prediction(prediction.losses, prediction.std, costs=costs)

    router = Router(Costly({"dear": 0.10, "cheap": 0.12}), ["cheap", "dear"])
    decision = router.route("hello")
    assert names(decision) == ["cheap", "dear"]
    assert [ranked.cost for ranked in decision.ranking] == pytest.approx([0.0002, 0.03])
    assert router.route("hello", "best").expert.name == "dear"
    assert router.route("hello", Preferences(max_cost=0.01)).rejected[0].reasons == (
        "cost $0.03 is not <= $0.01",
    )
    weighted = router.route("hello", Preferences({"cost": 0.1}))
    assert weighted.ranking.entry("dear").terms["cost"] == pytest.approx(0.1 * 0.03 / 0.05)
    assert router.pareto(["hello"], "cost")[0].constraint == pytest.approx(0.6)


def test_a_decision_tells_its_cost():
    assert route("best").to_dict()["cost"] == route("best").chosen.cost
    assert route("best").to_dict()["ranking"][0]["cost"] == route("best").chosen.cost


def test_the_quality_preferred_asks_the_perception_for_it():
    class TwoTargets(FixedPerception):
        def predict_preferred(self, prompts):
            prediction = self.predict(prompts)
            return Prediction(1 - prediction.losses, prediction.std)

    router = Router(TwoTargets({"a": 0.1, "b": 0.3}), ["b", "a"])
    preferred = Preferences(quality="preferred")
    assert router.route("x").expert.name == "a"
    assert router.route("x", preferred).expert.name == "b"
    decisions = router.route_batch(["x", "y", "z"], [None, preferred, None])
    assert [one.expert.name for one in decisions] == ["a", "b", "a"]
    plain = Router(FixedPerception({"a": 0.1, "b": 0.3}))
    assert plain.route("x", preferred).expert.name == "a"


# Any pool ---------------------------------------------------------------------------------------

FACTS = {
    "parameters": lambda rng: 10 ** rng.uniform(5, 13),
    "released": lambda rng: float(rng.integers(736_000, 742_000)),
    "security": lambda rng: rng.random(),
    "output_tokens": lambda rng: 10 ** rng.uniform(0, 5),
    "readability": lambda rng: rng.uniform(-20, 130),
    "latency": lambda rng: 10 ** rng.uniform(-2, 3),
    "downloads": lambda rng: 10 ** rng.uniform(0, 10),
    "input_price": lambda rng: 10 ** rng.uniform(-2, 3),
    "output_price": lambda rng: 10 ** rng.uniform(-2, 3),
    "cached_input_price": lambda rng: 10 ** rng.uniform(-3, 1),
}


N_POOLS, N_PROMPTS = 400, 25  # 10,000 cases


def random_pool(rng):
    n = int(rng.integers(2, 7))
    columns = {
        name: np.array([draw(rng) if rng.random() < 0.85 else np.nan for _ in range(n)])
        for name, draw in FACTS.items()
    }
    return Library.from_columns([f"m{i}" for i in range(n)], **columns)


def random_preferences(rng):
    weights = {name: rng.exponential() for name in DEFAULT_CONSTRAINTS if rng.random() < 0.3}
    if rng.random() < 0.4:
        return Preferences(weights)
    return Preferences(
        weights, answer_value=10 ** rng.uniform(-3, 1), latency_value=rng.random() / 100
    )


def random_request(rng, n):
    tokens = 10 ** rng.uniform(0, 5, N_PROMPTS)
    cached = tokens * rng.random(N_PROMPTS)
    serving = ConversationState(rng.integers(-1, n, N_PROMPTS), cached)
    return RequestBatch(tokens, conversation=serving)


def choose(library, losses, preferences, request):
    prediction = Prediction(losses, np.zeros_like(losses))
    scored = score_batch(library, preferences, DEFAULT_CONSTRAINTS, prediction, request)
    return np.array([scored.ranking(i)[0].name for i in range(len(losses))])


def test_an_expert_that_is_not_chosen_never_changes_who_is_chosen():
    rng = np.random.default_rng(15)
    for _ in range(N_POOLS):
        library, preferences = random_pool(rng), random_preferences(rng)
        n = len(library)
        losses, request = rng.random((N_PROMPTS, n)).astype(np.float32), random_request(rng, n)
        chosen = choose(library, losses, preferences, request)
        bystander = int(rng.integers(n))
        serving = request.conversation.current
        is_bystander = (chosen != library.names[bystander]) & (serving != bystander)
        smaller = library.subset([name for i, name in enumerate(library.names) if i != bystander])
        kept = np.where(serving == bystander, -1, serving - (serving > bystander))
        moved = ConversationState(kept, request.conversation.cached_tokens)
        rest = RequestBatch(request.prompt_tokens, conversation=moved)
        again = choose(smaller, np.delete(losses, bystander, axis=1), preferences, rest)
        assert (again == chosen)[is_bystander].all()
