"""What tokens cost at the experts of a pool, and which expert is the best single one."""

from __future__ import annotations

import pytest

from tryage import Expert, Library, Preferences, Router
from tryage.chat.costs import CallCosts, PoolPrices
from tryage.chat.savings import AnswerCosts, SavingsCounter
from tryage.core.usage import NO_TOKENS, TokenUsage
from tryage.errors import AttemptTimeoutError, InvalidAnswerError
from tryage.testing import FailingPerception, FunctionPerception

LIBRARY = Library(
    [
        Expert("small", input_price=1, output_price=4, cached_input_price=0.1, aliases=["tiny"]),
        Expert("big", input_price=10, output_price=40, metadata={"cache_write_price": 11}),
        Expert("local", input_price=0, output_price=0),
        Expert("unknown"),
        Expert("half", input_price=2),
    ]
)
LOSSES = {"typical": [0.5, 0.1, 0.4, 0.3, 0.9], "other": [0.0, 1.0, 1.0, 1.0, 1.0]}


class Perception(FunctionPerception):
    """Predicts that "big" is best on the typical prompt, and "small" on others."""

    def __init__(self, *prompts):
        super().__init__(LIBRARY.names, lambda prompt: LOSSES.get(prompt, LOSSES["other"]))
        self.prompts = prompts

    def typical_prompts(self):
        return self.prompts


@pytest.fixture
def prices():
    return PoolPrices(Router(Perception("typical"), LIBRARY))


USAGE = TokenUsage(1_000_000, 100_000, 200_000, 100_000, 50_000)


@pytest.mark.parametrize(
    ("name", "dollars"),
    [
        ("small", 0.65 * 1 + 0.2 * 0.1 + 0.1 * 1.25 + 0.05 * 2 + 0.1 * 4),
        ("big", 0.65 * 10 + 0.2 * 10 + 0.1 * 11 + 0.05 * 20 + 0.1 * 40),
        ("local", 0.0),
        ("unknown", None),
        ("half", None),
        ("nobody", None),
        (None, None),
    ],
)
def test_tokens_cost_what_the_prices_of_the_expert_say(prices, name, dollars):
    assert prices.cost(name, USAGE) == (None if dollars is None else pytest.approx(dollars))


def test_an_alias_has_the_prices_of_its_expert(prices):
    assert prices.cost("tiny", USAGE) == prices.cost("small", USAGE)


def test_an_answer_is_expected_to_have_the_typical_length_of_its_expert():
    talkative = Expert("talkative", input_price=1, output_price=2, output_tokens=3_000)
    experts = [talkative, Expert("other", input_price=1, output_price=2), Expert("unknown")]
    perception = FunctionPerception([one.name for one in experts], lambda _: [0.0] * 3)
    prices = PoolPrices(Router(perception, experts))
    assert prices.expected_cost("talkative", 100) == pytest.approx((100 + 2 * 3_000) / 1e6)
    assert prices.expected_cost("other", 100) == pytest.approx((100 + 2 * 500) / 1e6)
    assert prices.expected_cost("unknown", 100) is None
    assert prices.expected_cost("nobody", 100) is None


def test_the_dearest_depends_on_the_tokens():
    experts = [
        Expert("reader", input_price=10, output_price=1),
        Expert("writer", input_price=1, output_price=10),
        Expert("between", input_price=5, output_price=5),
        Expert("cheap", input_price=1, output_price=1),
    ]
    perception = FunctionPerception([one.name for one in experts], lambda _: [0.0] * 4)
    prices = PoolPrices(Router(perception, experts))
    for usage in (TokenUsage(100, 1), TokenUsage(1, 100), TokenUsage(70, 60), TokenUsage(9, 9, 9)):
        costs = [prices.cost(one.name, usage) for one in experts]
        assert prices.compare("cheap", usage).dearest == max(costs)


@pytest.mark.parametrize("usage", [None, TokenUsage(1, 1, has_other_rates=True)])
def test_unknown_tokens_have_an_unknown_cost(prices, usage):
    assert prices.cost("local", usage) is None
    assert prices.compare("local", usage) == AnswerCosts(None)


def test_other_models_are_compared_for_the_same_tokens(prices):
    big = prices.cost("big", USAGE)
    assert prices.best_single == "big"
    assert prices.compare("small", USAGE) == AnswerCosts(prices.cost("small", USAGE), big, big)
    assert prices.compare("unknown", USAGE) == AnswerCosts(None, big, big)
    assert prices.compare("small", NO_TOKENS) == AnswerCosts(0, 0, 0)


def test_the_best_single_expert_meets_the_requirements_of_the_router():
    without_big = Preferences(only=["small", "local", "unknown", "half"])
    prices = PoolPrices(Router(Perception("typical"), LIBRARY, preferences=without_big))
    assert prices.best_single == "unknown"
    assert prices.compare("small", USAGE).best_single is None
    assert prices.compare("small", USAGE).dearest == prices.cost("small", USAGE)


@pytest.mark.parametrize(
    "perception", [Perception(), FailingPerception(LIBRARY.names)], ids=["no prompts", "failing"]
)
def test_without_typical_prompts_the_best_single_expert_is_unknown(perception):
    prices = PoolPrices(Router(perception, LIBRARY, default="small"))
    assert prices.best_single is None
    assert prices.compare("small", USAGE).best_single is None


def test_the_best_single_expert_is_best_on_average():
    prices = PoolPrices(Router(Perception("typical", "other", "another"), LIBRARY))
    assert prices.best_single == "small"


# One call ----------------------------------------------------------------------------------------


def new_record(name="small"):
    return {"model": name, "cost": {"expected": 0.1, "billed": None}}


@pytest.fixture
def counter():
    return SavingsCounter()


@pytest.fixture
def costs(prices, counter):
    return CallCosts(prices, counter, lambda answer: answer)


def test_an_answer_is_counted_once_and_written_into_its_record(costs, counter, prices):
    record = new_record()
    costs.settle(record, USAGE)
    costs.settle_usage(record, None)
    assert record["cost"]["expected"] == 0.1
    assert record["cost"]["billed"] == prices.cost("small", USAGE)
    assert "failed" not in record["cost"]
    assert (counter.read(None).answers, counter.read(None).unknown) == (1, 0)


def test_refused_answers_are_billed_and_time_limits_leave_the_bill_unknown(costs, prices):
    costs.add_failure("big", InvalidAnswerError("empty", USAGE))
    costs.add_failure("half", RuntimeError("no key"))
    record = new_record()
    costs.settle(record, USAGE)
    big = prices.cost("big", USAGE)
    assert record["cost"]["failed"] == {"big": big}
    assert record["cost"]["billed"] == pytest.approx(big + prices.cost("small", USAGE))


@pytest.mark.parametrize(
    ("error", "is_unknown"),
    [
        (AttemptTimeoutError("slow"), True),
        (TimeoutError("slow"), True),
        (type("APITimeoutError", (Exception,), {})("slow"), True),
        (type("ConnectTimeout", (Exception,), {})("nobody there"), False),
        (ConnectionError("refused"), False),
        (ValueError("429"), False),
    ],
)
def test_only_an_attempt_that_took_too_long_may_have_been_billed(costs, error, is_unknown):
    costs.add_failure("big", error)
    record = new_record()
    costs.settle(record, USAGE)
    assert (record["cost"]["billed"] is None) == is_unknown
    assert record["cost"].get("failed") == ({"big": None} if is_unknown else None)


def test_a_refused_answer_that_is_returned_is_billed_once(costs, prices):
    costs.add_failure("small", InvalidAnswerError("empty", USAGE, is_usable=True))
    record = new_record("small")
    costs.settle(record, USAGE)
    assert record["cost"]["billed"] == prices.cost("small", USAGE)


def test_a_call_without_an_answer_counts_what_its_attempts_cost(costs, counter, prices):
    costs.give_up()
    assert counter.read(None).billed is None
    costs.add_failure("small", InvalidAnswerError("empty", USAGE))
    costs.give_up()
    savings = counter.read(None)
    assert (savings.answers, savings.billed) == (0, prices.cost("small", USAGE))


def test_a_record_without_costs_gets_them(costs):
    record = {"model": None}
    costs.settle(record, USAGE)
    assert (record["cost"]["expected"], record["cost"]["billed"]) == (None, None)
