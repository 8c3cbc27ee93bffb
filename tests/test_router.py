import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tryage.core.constraints import DEFAULT_CONSTRAINTS
from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.perception import Perception, Prediction
from tryage.core.preferences import Preferences
from tryage.errors import FlagError, InputError, LibraryError, NoExpertError, PerceptionError
from tryage.learning.qtable import QTable
from tryage.router import Router
from tryage.testing import (
    FailingPerception,
    FixedPerception,
    FunctionPerception,
    LearningPerception,
    demo_library,
    demo_perception,
)


def demo(**options):
    return Router(demo_perception(), demo_library(), **options)


def names(decision):
    return [ranked.name for ranked in decision.ranking]


# --- choosing ---


def test_without_preferences_the_lowest_predicted_loss_wins():
    assert demo().route("hello").expert.name == "frontier"
    assert demo().route("def f(x):").expert.name == "code-7b"


def test_weights_move_the_choice():
    router = demo()
    cheap = router.route("hello", Preferences({"cost": 1.0}))
    small = router.route("hello", Preferences({"size": 1.0}))
    assert (cheap.expert.name, small.expert.name) == ("chat-70b", "tiny-1b")


def test_the_decision_carries_what_is_known_about_the_expert():
    assert demo().route("hello").expert == demo_library()["frontier"]


def test_a_library_is_optional_and_may_be_a_list():
    assert Router(demo_perception()).route("x").expert == Expert("frontier")
    assert Router(demo_perception(), ["newcomer", "code-7b"]).route("x").expert.name == "code-7b"


def test_a_library_finds_the_columns_of_the_perception_by_alias_in_any_order():
    library = Library([Expert("Two", aliases=("org/two",)), Expert("one")])
    router = Router(FixedPerception({"one": 0.1, "org/two": 0.2, "other": 0.0}), library)
    assert [(r.name, pytest.approx(r.predicted_loss)) for r in router.route("x").ranking] == [
        ("one", 0.1),
        ("Two", 0.2),
    ]


def test_an_experts_own_name_counts_before_an_alias():
    library = Library([Expert("a", aliases=("b",))])
    for losses in ({"a": 0.1, "b": 0.9}, {"b": 0.9, "a": 0.1}):
        ranked = Router(FixedPerception(losses), library).route("x").ranking[0]
        assert ranked.predicted_loss == pytest.approx(0.1)


def test_ones_own_constraint_stands_beside_the_built_in_ones():
    router = demo(
        constraints={"local": lambda lib, _: np.array([n != "newcomer" for n in lib.names])}
    )
    decision = router.route("x", Preferences({"local": 5.0, "size": 0.1}))
    assert decision.expert.name == "newcomer"
    assert set(decision.ranking[0].terms) == {"local", "size"}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8), st.floats(0, 2))
def test_the_chosen_expert_has_the_lowest_total(losses, weight):
    library = Library([Expert(f"m{i}", parameters=10.0 ** (i + 6)) for i in range(len(losses))])
    perception = FixedPerception({f"m{i}": loss for i, loss in enumerate(losses)})
    decision = Router(perception, library).route("x", Preferences({"size": weight}))
    size = np.linspace(0, 1, len(losses)) if len(losses) > 1 else np.zeros(1)
    totals = np.float32(losses) + weight * size
    assert decision.ranking[0].total == pytest.approx(totals.min())
    assert sorted(names(decision)) == sorted(library.names)


# --- preferences ---


def test_the_routers_preferences_are_in_force_for_every_prompt():
    router = demo(preferences=Preferences({"size": 1.0}, licenses=["mit"]))
    assert router.route("hello").expert.name == "code-7b"


def test_a_call_replaces_weights_by_name_but_never_drops_a_requirement():
    router = demo(preferences=Preferences({"size": 1.0, "cost": 0.5}, licenses=["mit"]))
    decision = router.route("x", Preferences({"size": 0.0}, max_parameters=8e9))
    assert decision.preferences.weights == {"size": 0.0, "cost": 0.5}
    assert names(decision) == ["code-7b"]


def test_with_preferences_replaces_them_and_leaves_the_router_as_it_was():
    router = demo(preferences=Preferences({"size": 1.0}, licenses=["mit"]))
    assert router.with_preferences(None).route("x").expert.name == "frontier"
    assert router.route("x").expert.name == "code-7b"


def test_an_unknown_weight_is_refused_at_once():
    with pytest.raises(InputError, match="Did you mean size"):
        demo(preferences=Preferences({"sise": 1.0}))
    with pytest.raises(InputError, match="'greenness'"):
        demo().route("x", Preferences({"greenness": 1.0}))


def test_preferences_of_another_type_are_refused():
    with pytest.raises(InputError, match="preferences is a dict; expected Preferences"):
        demo().route("x", {"size": 1.0})


def test_a_cost_limit_is_about_this_request():
    router = demo(preferences=Preferences(max_cost=0.01))
    assert "frontier" in names(router.route("short"))
    long = router.route("long " * 4_000)
    assert "frontier" not in names(long)
    reasons = {r.name: r.reasons for r in long.rejected}
    assert reasons["frontier"][0].startswith("cost $0.034 is not <= $0.01")
    assert "cost unknown" in reasons["newcomer"][0]


def test_tokens_are_counted_by_the_perception_if_it_can_and_only_if_needed():
    class Counting(LearningPerception):
        counted = 0

        def count_tokens(self, prompts):
            self.counted += 1
            return super().count_tokens(prompts)

    perception = Counting({"a": 0.1})
    library = Library([Expert("a", input_price=1e6, output_price=0)])
    router = Router(perception, library)
    router.route("one two", Preferences({"size": 1.0}))
    assert perception.counted == 0
    limit = Preferences(max_cost=2.5)
    assert names(router.route("one two", limit)) == ["a"]
    with pytest.raises(NoExpertError, match=r"cost \$3 is not <= \$2.5"):
        router.route("one two three", limit)


def test_a_failed_token_count_falls_back_on_a_rule_of_thumb():
    class Broken(LearningPerception):
        def count_tokens(self, prompts):  # noqa: ARG002 - the protocol
            raise PerceptionError("no tokenizer")

    library = Library([Expert("a", input_price=1e6, output_price=0)])
    with pytest.raises(NoExpertError, match=r"cost \$2 is not <= \$1"):
        Router(Broken({"a": 0.1}), library).route("12345678", Preferences(max_cost=1.0))


# --- batches ---


def test_a_batch_is_routed_as_the_single_prompts_are_with_one_pass():
    perception = demo_perception()
    router = Router(perception, demo_library(), prompt_flags=True)
    prompts = ["hello", "def f(x):", "", "hi [Flag: smallest model]"]
    wanted = [Preferences({"size": 0.2}), None, Preferences({"cost": 1.0}, licenses=["mit"]), None]
    batch = router.route_batch(prompts, wanted)
    assert len(perception.calls) == 1
    single = [router.route(*pair) for pair in zip(prompts, wanted, strict=True)]
    assert [d.to_dict() for d in batch] == [d.to_dict() for d in single]


def test_one_preference_serves_a_whole_batch():
    decisions = demo().route_batch(["a", "b"], Preferences({"size": 1.0}))
    assert [d.expert.name for d in decisions] == ["tiny-1b", "tiny-1b"]


def test_an_empty_batch_asks_nobody():
    perception = demo_perception()
    assert Router(perception).route_batch([]) == []
    assert perception.calls == []


def test_a_batch_needs_as_many_preferences_as_prompts():
    with pytest.raises(InputError, match="1 preferences for 2 prompts"):
        demo().route_batch(["a", "b"], [None])


def test_routing_from_many_threads_gives_what_one_thread_gives():
    perception = FunctionPerception(
        ["a", "b", "c"], lambda text: [(len(text) * k % 7) / 7 for k in (1, 2, 3)]
    )
    router = Router(perception, preferences=Preferences({"size": 0.1, "cost": 0.2}))
    prompts = ["x" * i for i in range(200)]
    with ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(lambda text: router.route(text).to_dict(), prompts))
    assert threaded == [d.to_dict() for d in router.route_batch(prompts)]


# --- odd prompts ---


@pytest.mark.parametrize("prompt", ["", " ", "\0", "\ud800", "🙂" * 3])
def test_any_string_is_routed(prompt):
    decision = demo(prompt_flags=True).route(prompt, Preferences({"cost": 0.1}))
    assert decision.expert.name == "frontier"


def test_a_prompt_of_a_million_characters_is_routed():
    text = "words " * 170_000
    decision = demo(prompt_flags=True).route(text, Preferences({"cost": 0.1}))
    assert decision.prompt == text
    counted = Router(LearningPerception({"a": 0.1}), [Expert("a", input_price=1, output_price=0)])
    with pytest.raises(NoExpertError, match=r"cost \$0.17000"):
        counted.route(text, Preferences(max_cost=0.1))


@pytest.mark.parametrize(
    ("prompt", "told"),
    [(["a"], "got list; use route_batch"), (None, "got NoneType"), (b"a", "got bytes"), (3, "int")],
)
def test_a_prompt_that_is_no_string_is_refused(prompt, told):
    with pytest.raises(InputError, match=told):
        demo().route(prompt)


@pytest.mark.parametrize(
    ("prompts", "told"),
    [("abc", "a str; expected a list"), (None, "NoneType"), (["a", 1], "Prompt 1 is a int")],
)
def test_a_batch_that_is_no_list_of_strings_is_refused(prompts, told):
    for method in (demo().route_batch, demo().pareto):
        with pytest.raises(InputError, match=told):
            method(prompts)


# --- flags ---


def test_flags_are_ignored_unless_the_operator_allows_them():
    text = "hello [Flag: smallest model]"
    assert demo().route(text).expert.name == "frontier"
    assert demo().route(text).prompt == text
    allowed = demo(prompt_flags=True).route(text)
    assert (allowed.expert.name, allowed.prompt) == ("tiny-1b", "hello")
    assert len(allowed.flags) == 1


def test_flags_tighten_and_never_loosen():
    operator = Preferences({"size": 2.0}, licenses=["mit"])
    router = demo(prompt_flags=True, preferences=operator)
    decision = router.route("x [Flag: size=0.1, license=apache-2.0|mit]")
    assert names(decision) == ["code-7b"]
    assert decision.preferences.weights["size"] == 2.0


def test_a_malformed_flag_warns_and_raises_in_strict_mode():
    text = "hello [Flag: smalest modle]"
    decision = demo(prompt_flags=True).route(text)
    assert decision.prompt == text
    assert decision.warnings
    with pytest.raises(FlagError):
        demo(prompt_flags=True, strict=True).route(text)


# --- when there is nothing to choose ---


def test_an_empty_library_is_refused():
    with pytest.raises(LibraryError, match="empty"):
        Router(FixedPerception({}))
    with pytest.raises(LibraryError, match="empty"):
        Router(demo_perception(), [])


def test_duplicate_names_are_refused():
    with pytest.raises(LibraryError, match="code-7b"):
        Router(demo_perception(), ["code-7b", "code-7b"])


def test_the_default_must_be_in_the_library():
    with pytest.raises(LibraryError, match="Did you mean tiny-1b"):
        demo(default="tiny-2b")


def test_when_all_are_filtered_out_the_default_steps_in_and_the_decision_says_so():
    decision = demo(default="demo/tiny-1b").route("x", Preferences(max_parameters=1e6))
    assert decision.default_used
    assert decision.expert.name == "tiny-1b"
    assert "does not meet what was asked: parameters 1B is not <= 1M" in decision.default_reason
    assert len(decision.rejected) == 5
    assert names(decision) == []
    assert decision.margin is decision.chosen is None


@pytest.mark.parametrize("options", [{}, {"default": "tiny-1b", "strict": True}])
def test_when_all_are_filtered_out_and_no_default_may_step_in_it_raises(options):
    with pytest.raises(NoExpertError, match="parameters 7B is not <= 1M"):
        demo(**options).route("x", Preferences(max_parameters=1e6))


def test_an_expert_without_a_usable_prediction_is_rejected():
    for bad in (np.nan, np.inf, -np.inf):
        decision = Router(FixedPerception({"a": bad, "b": 0.9})).route("x")
        assert decision.expert.name == "b"
        assert decision.rejected[0].reasons == ("no usable prediction",)


def test_when_no_prediction_is_usable_the_default_steps_in_or_it_raises():
    perception = FixedPerception({"a": np.nan, "b": np.nan})
    decision = Router(perception, default="b").route("x")
    assert (decision.expert.name, decision.default_used) == ("b", True)
    assert "no usable prediction" in decision.default_reason
    with pytest.raises(PerceptionError, match="no usable prediction"):
        Router(perception).route("x")
    with pytest.raises(PerceptionError, match="Strict mode forbids"):
        Router(perception, default="b", strict=True).route("x")


@pytest.mark.parametrize("error", [None, RuntimeError("cuda"), ZeroDivisionError(), MemoryError()])
def test_when_the_perception_fails_the_default_steps_in_or_it_raises(error):
    perception = FailingPerception(["a", "b"], error)
    decisions = Router(perception, default="b").route_batch(["x", "y"])
    assert [d.expert.name for d in decisions] == ["b", "b"]
    assert all("The perception failed: " in d.default_reason for d in decisions)
    for options in ({}, {"default": "b", "strict": True}):
        with pytest.raises(PerceptionError, match="The perception failed") as caught:
            Router(perception, **options).route("x")
        assert caught.value.__cause__ is not None


@pytest.mark.parametrize("error", [TypeError("bug"), KeyError("bug"), InputError("bug")])
def test_a_mistake_in_code_is_not_hidden_by_the_default(error):
    with pytest.raises(type(error), match="bug"):
        Router(FailingPerception(["a"], error), default="a").route("x")


def test_a_prediction_of_the_wrong_shape_is_a_failed_perception():
    class Wrong(FixedPerception):
        def predict(self, prompts):
            return Prediction(np.zeros((len(prompts), 7)), np.zeros((len(prompts), 7)))

    with pytest.raises(PerceptionError, match=r"\(1, 7\).*expected \(batch, experts\) = \(1, 2\)"):
        Router(Wrong({"a": 0.1, "b": 0.2})).route("x")
    assert Router(Wrong({"a": 0.1, "b": 0.2}), default="a").route("x").default_used


def test_an_object_that_is_no_perception_is_refused_with_what_to_do():
    class Duck:
        experts = ("a",)

        def predict(self, prompts):
            return Prediction(np.zeros((len(prompts), 1)), np.zeros((len(prompts), 1)))

    with pytest.raises(InputError, match=r"a Duck; expected a tryage.perception.Perception"):
        Router(Duck())


def test_a_perception_that_only_predicts_offers_nothing_else():
    class Constant(Perception):
        experts = ("a", "b", "c", "d")

        def predict(self, prompts):
            losses = np.tile(np.float32([0.4, 0.3, 0.2, 0.1]), (len(prompts), 1))
            return Prediction(losses, np.full_like(losses, 0.1))

    router = Router(Constant())
    assert router.subset(["a", "c"]).route("x").expert.name == "c"
    with pytest.raises(PerceptionError, match="Constant cannot learn"):
        router.observe(router.route("x"), 0.5)
    with pytest.raises(PerceptionError, match="Constant cannot learn"):
        router.onboard(Expert("e"), {"x": 0.5})


# --- experts the perception has never seen, learning ---


def test_experts_never_seen_are_named_when_there_is_no_prior():
    with pytest.raises(PerceptionError, match=r"1 of 2 experts \(new\) and has no prior"):
        Router(FixedPerception({"a": 0.1}), ["a", "new"])


def test_experts_never_seen_get_the_prior():
    ranked = Router(LearningPerception({"b": 0.2, "a": 0.1}), ["new", "a"]).route("x").ranking
    assert [(r.name, r.std) for r in ranked] == [("a", pytest.approx(0.1)), ("new", 0.5)]


class WholeLibrary(Perception):
    """Believes that a stranger's loss is a tenth of its parameters in billions."""

    def __init__(self, perception, library):
        self.perception, self.library, self.experts = perception, library, library.names
        self.observed = []

    def predict(self, prompts):
        losses = np.tile(self.library.column("parameters") / 1e10, (len(prompts), 1))
        seen = [self.library.index(name) for name in self.perception.experts]
        losses[:, seen] = self.perception.predict(prompts).losses
        return Prediction(losses, np.full_like(losses, 0.1))

    def observe(self, prompt, expert, loss):
        self.observed.append((prompt, expert, loss))


class MeetingPerception(LearningPerception):
    def for_library(self, library):
        self.whole = WholeLibrary(self, library)
        return self.whole


def test_experts_never_seen_are_believed_what_the_perception_makes_of_the_library():
    perception = MeetingPerception({"a": 0.3})
    library = Library([Expert("tiny", parameters=1e9), Expert("a", parameters=7e9), "blank"])
    router = Router(perception, library)
    ranked = router.route("x").ranking
    assert [(r.name, pytest.approx(r.predicted_loss)) for r in ranked] == [
        ("tiny", 0.1),
        ("a", 0.3),
    ]
    router.observe(router.route("x"), 0.9)
    assert perception.whole.observed == [("x", "tiny", 0.9)]


def test_feedback_on_an_expert_that_a_perception_cannot_know_is_refused():
    router = Router(LearningPerception({"a": 0.9}), ["a", "new"])
    assert router.route("x").expert.name == "new"
    with pytest.raises(PerceptionError, match="never seen 'new'; onboard it first"):
        router.observe(router.route("x"), 0.1)


def test_onboarding_returns_a_router_that_knows_the_expert():
    router = Router(
        LearningPerception({"a": 0.3}), default="a", preferences=Preferences({"size": 0})
    )
    grown = router.onboard(Expert("new", parameters=1e9), {"p": 0.1, "q": 0.2})
    decision = grown.route("x")
    assert (decision.expert, grown.default) == (Expert("new", parameters=1e9), "a")
    assert decision.ranking[0].predicted_loss == pytest.approx(0.15)
    assert router.library.names == ("a",)
    assert len(grown.onboard(Expert("new"), {"p": 0.9}).library) == 2


def test_feedback_reaches_the_perception_under_its_own_name_for_the_expert():
    library = Library([Expert("mine", aliases=("theirs",)), Expert("b")])
    router = Router(LearningPerception({"theirs": 0.1, "b": 0.3}), library)
    router.observe(router.route("x"), 0.9)
    assert router.route("x").expert.name == "b"
    assert router.route("y").expert.name == "mine"


def test_learning_that_cannot_be_done_is_said():
    router = Router(FixedPerception({"a": 0.1}))
    with pytest.raises(PerceptionError, match="FixedPerception cannot learn"):
        router.observe(router.route("x"), 0.5)
    with pytest.raises(PerceptionError, match="cannot learn"):
        router.onboard(Expert("b"), {"p": 0.5})
    with pytest.raises(InputError, match="takes an Expert"):
        router.onboard("b", {"p": 0.5})
    unseen = Router(LearningPerception({"a": 0.9}), ["new"])
    with pytest.raises(PerceptionError, match="onboard it first"):
        unseen.observe(unseen.route("x"), 0.5)
    learner = Router(LearningPerception({"a": 0.9}))
    with pytest.raises(InputError, match="loss"):
        learner.observe(learner.route("x"), np.nan)


# --- parts of a router ---


def test_among_routes_over_some_experts_by_name_alias_or_mapping():
    router = demo(default="tiny-1b")
    some = router.subset(["demo/code-7b", "tiny-1b"])
    assert (some.route("x").expert.name, some.default) == ("code-7b", "tiny-1b")
    assert router.subset({"chat-70b": object()}).default is None
    with pytest.raises(LibraryError):
        router.subset(["nobody"])
    with pytest.raises(InputError):
        router.subset("tiny-1b")


def test_a_router_survives_pickling():
    router = demo(default="tiny-1b", preferences=Preferences({"size": 0.5}))
    again = pickle.loads(pickle.dumps(router))  # noqa: S301 - our own bytes
    assert again.route("x").to_dict() == router.route("x").to_dict()


# --- the front ---


@pytest.mark.parametrize("constraint", [*DEFAULT_CONSTRAINTS])
def test_the_front_is_what_routing_at_each_weight_gives(constraint):
    rng = np.random.default_rng(0)
    columns = rng.random((4, 12))
    library = Library.from_columns(
        [f"m{i}" for i in range(12)],
        parameters=10 ** (6 + 5 * columns[0]),
        input_price=columns[1],
        output_price=columns[2],
        **dict.fromkeys(("security", "latency", "readability", "downloads"), columns[3]),
    )
    perception = FunctionPerception(
        library.names, lambda text: np.random.default_rng(len(text)).random(12).tolist()
    )
    router = Router(perception, library, preferences=Preferences({"size": 0.1, "cost": 0.2}))
    prompts = ["x" * i for i in range(1, 300, 25)]
    wanted = Preferences({constraint: 0.3}, max_parameters=1e10)
    front = router.pareto(prompts, constraint, preferences=wanted)
    ends = [*front.weights, front.weights[-1] + 1]
    for k, point in enumerate(front):
        weight = (ends[k] + ends[k + 1]) / 2
        here = Preferences({**wanted.weights, constraint: weight}, wanted.requirements)
        decisions = router.route_batch(prompts, here)
        assert point.loss == pytest.approx(
            np.mean([d.ranking[0].predicted_loss for d in decisions])
        )
        terms = [d.ranking[0].terms[constraint] / weight for d in decisions]
        assert point.constraint == pytest.approx(np.mean(terms))
        for name, share in point.share.items():
            assert share == np.mean([d.expert.name == name for d in decisions])


def test_the_front_judges_by_measured_losses_when_a_q_table_is_given():
    table = QTable(("hello",), ("frontier", "tiny-1b"), np.array([[0.4, 0.1]]))
    router = demo().subset(["frontier", "tiny-1b"])
    front = router.pareto(["hello"], "size", table=table)
    assert [p.true_loss for p in front] == pytest.approx([0.4, 0.1])
    assert [p.true_loss for p in router.pareto(["hello"])] == [None, None]


def test_the_front_reads_flags_and_keeps_requirements():
    front = demo(prompt_flags=True).pareto(["hello", "hi [Flag: license=mit]"], "size")
    assert front[0].share == {"frontier": 0.5, "code-7b": 0.5}
    assert front.changes(1) == ()


def test_the_front_uses_the_default_where_nobody_is_left_and_raises_without_one():
    wanted = Preferences(max_parameters=1)
    front = demo(default="tiny-1b").pareto(["x"], preferences=wanted)
    assert [p.share for p in front] == [{"tiny-1b": 1.0}]
    with pytest.raises(NoExpertError, match="prompt 0"):
        demo().pareto(["x"], preferences=wanted)


def test_a_front_needs_prompts_and_a_constraint_that_exists():
    with pytest.raises(InputError, match="at least one prompt"):
        demo().pareto([])
    with pytest.raises(InputError, match="Did you mean size"):
        demo().pareto(["x"], "siz")
