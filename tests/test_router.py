"""Router: which expert is chosen, with preferences, flags and any text as prompt."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tryage.core.expert import Expert
from tryage.core.library import Library
from tryage.core.perception import Prediction
from tryage.core.preferences import Preferences
from tryage.errors import FlagError, InputError, LibraryError, NoExpertError, PerceptionError
from tryage.router import Router
from tryage.testing import FixedPerception, LearningPerception, demo_library, demo_perception


def demo(**options):
    return Router(demo_perception(), demo_library(), **options)


def names(decision):
    return [ranked.name for ranked in decision.ranking]


def test_without_preferences_the_lowest_predicted_loss_wins():
    assert demo().route("hello").expert.name == "frontier"
    assert demo().route("def f(x):").expert.name == "code-7b"


def test_weights_move_the_choice():
    router = demo()
    cheap = router.route("hello", Preferences({"cost": 1.0}))
    small = router.route("hello", Preferences({"size": 1.0}))
    assert (cheap.expert.name, small.expert.name) == ("chat-70b", "tiny-1b")


def test_the_decision_has_the_facts_about_the_expert():
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


def test_the_name_of_an_expert_takes_precedence_over_an_alias():
    library = Library([Expert("a", aliases=("b",))])
    for losses in ({"a": 0.1, "b": 0.9}, {"b": 0.9, "a": 0.1}):
        ranked = Router(FixedPerception(losses), library).route("x").ranking[0]
        assert ranked.predicted_loss == pytest.approx(0.1)


def test_a_custom_constraint_is_added_to_the_built_in_ones():
    def remote(library, _):
        return np.array([name != "newcomer" for name in library.names])

    router = demo(constraints={"remote": remote})
    decision = router.route("x", Preferences({"remote": 5.0, "size": 0.1}))
    assert decision.expert.name == "newcomer"
    assert set(decision.ranking[0].terms) == {"remote", "size"}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8), st.floats(0, 2))
def test_the_chosen_expert_has_the_lowest_total(losses, weight):
    library = Library([Expert(f"m{i}", parameters=10.0 ** (i + 6)) for i in range(len(losses))])
    perception = FixedPerception({f"m{i}": loss for i, loss in enumerate(losses)})
    decision = Router(perception, library).route("x", Preferences({"size": weight}))
    size = np.arange(len(losses)) / 6  # of six powers of ten
    totals = np.float32(losses) + weight * size
    assert decision.ranking[0].total == pytest.approx(totals.min())
    assert sorted(names(decision)) == sorted(library.names)


def test_the_preferences_of_the_router_apply_to_every_prompt():
    router = demo(preferences=Preferences({"size": 1.0}, licenses=["mit"]))
    assert router.route("hello").expert.name == "code-7b"


def test_a_call_replaces_weights_by_name_but_never_drops_a_requirement():
    router = demo(preferences=Preferences({"size": 1.0, "cost": 0.5}, licenses=["mit"]))
    decision = router.route("x", Preferences({"size": 0.0}, max_parameters=8e9))
    assert decision.preferences.weights == {"size": 0.0, "cost": 0.5}
    assert names(decision) == ["code-7b"]


def test_with_preferences_replaces_them_in_a_copy():
    router = demo(preferences=Preferences({"size": 1.0}, licenses=["mit"]))
    assert router.with_preferences(None).route("x").expert.name == "frontier"
    assert router.route("x").expert.name == "code-7b"


def test_a_weight_without_a_constraint_is_refused():
    with pytest.raises(InputError, match="Did you mean size"):
        demo(preferences=Preferences({"sise": 1.0}))
    with pytest.raises(InputError, match="'greenness'"):
        demo().route("x", Preferences({"greenness": 1.0}))


def test_preferences_of_another_type_are_refused():
    with pytest.raises(InputError, match="preferences is a int; expected Preferences"):
        demo().route("x", 3)
    with pytest.raises(InputError, match=r"Preferences must be \{weights, .* A limit is one"):
        demo().route("x", {"size": 1.0})


def test_a_cost_limit_applies_to_the_cost_of_this_request():
    router = demo(preferences=Preferences(max_cost=0.01))
    assert "frontier" in names(router.route("short"))
    long = router.route("long " * 4_000)
    assert "frontier" not in names(long)
    reasons = {r.name: r.reasons for r in long.rejected}
    assert re.match(r"cost \$0\.02\d+ is not <= \$0\.01", reasons["frontier"][0])
    assert "cost unknown" in reasons["newcomer"][0]


def test_tokens_are_counted_by_the_perception_and_only_if_needed():
    class Counting(LearningPerception):
        counted = 0

        def count_tokens(self, prompts):
            self.counted += 1
            return super().count_tokens(prompts)

    perception = Counting({"a": 0.1})
    library = Library([Expert("a", input_price=1e6, output_price=0)])
    unpriced, router = Router(perception, ["a"]), Router(perception, library)
    unpriced.route("one two", Preferences({"size": 1.0}))
    assert perception.counted == 0
    limit = Preferences(max_cost=2.5)
    assert names(router.route("one two", limit)) == ["a"]
    with pytest.raises(NoExpertError, match=r"cost <= \$2.5: 0 of 1 .* is a with \$3"):
        router.route("one two three", limit)


def test_a_failed_token_count_is_replaced_by_an_estimate():
    class Broken(LearningPerception):
        def count_tokens(self, prompts):  # noqa: ARG002 - the signature of the base class
            raise PerceptionError("no tokenizer")

    library = Library([Expert("a", input_price=1e6, output_price=0)])
    with pytest.raises(NoExpertError, match=r"cost <= \$1: .* is a with \$2"):
        Router(Broken({"a": 0.1}), library).route("two words", Preferences(max_cost=1.0))


def test_flags_are_ignored_unless_the_operator_allows_them():
    text = "hello [Flag: smallest model]"
    assert demo().route(text).expert.name == "frontier"
    assert demo().route(text).prompt == text
    allowed = demo(prompt_flags=True).route(text)
    assert (allowed.expert.name, allowed.prompt) == ("tiny-1b", "hello")
    assert len(allowed.flags) == 1


def test_flags_tighten_and_never_loosen():
    preferences = Preferences({"size": 2.0}, licenses=["mit"])
    router = demo(prompt_flags=True, preferences=preferences)
    decision = router.route("x [Flag: size=0.1, license=apache-2.0|mit]")
    assert names(decision) == ["code-7b"]
    assert decision.preferences.weights["size"] == 2.0


def test_a_malformed_flag_gives_a_warning_and_raises_in_strict_mode():
    text = "hello [Flag: smalest modle]"
    decision = demo(prompt_flags=True).route(text)
    assert decision.prompt == text
    assert decision.warnings
    with pytest.raises(FlagError):
        demo(prompt_flags=True, strict=True).route(text)


@pytest.mark.parametrize("prompt", ["", " ", "\0", "\ud800", "🙂" * 3])
def test_every_string_is_routed(prompt):
    decision = demo(prompt_flags=True).route(prompt, Preferences({"cost": 0.1}))
    assert decision.expert.name == "frontier"


def test_a_prompt_of_a_million_characters_is_routed():
    text = "words " * 170_000
    decision = demo(prompt_flags=True).route(text, Preferences({"cost": 0.1}))
    assert decision.prompt == text
    counted = Router(LearningPerception({"a": 0.1}), [Expert("a", input_price=1, output_price=0)])
    with pytest.raises(NoExpertError, match=r"with \$0\.1[67]"):
        counted.route(text, Preferences(max_cost=0.1))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [(["a"], "got list; use route_batch"), (None, "got NoneType"), (b"a", "got bytes"), (3, "int")],
)
def test_a_prompt_that_is_not_a_string_is_refused(prompt, message):
    with pytest.raises(InputError, match=message):
        demo().route(prompt)


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


def test_an_object_that_is_not_a_perception_is_refused():
    class Duck:
        experts = ("a",)

        def predict(self, prompts):
            return Prediction(np.zeros((len(prompts), 1)), np.zeros((len(prompts), 1)))

    with pytest.raises(InputError, match=r"a Duck; expected a tryage.core.Perception"):
        Router(Duck())


def test_a_subset_has_some_experts_by_name_alias_or_mapping():
    router = demo(default="tiny-1b")
    part = router.subset(["demo/code-7b", "tiny-1b"])
    assert (part.route("x").expert.name, part.default) == ("code-7b", "tiny-1b")
    assert router.subset({"chat-70b": object()}).default is None
    with pytest.raises(LibraryError):
        router.subset(["unknown"])
    with pytest.raises(InputError):
        router.subset("tiny-1b")


@pytest.mark.usefixtures("fixed_ids")
def test_a_router_survives_pickling():
    router = demo(default="tiny-1b", preferences=Preferences({"size": 0.5}))
    copy = pickle.loads(pickle.dumps(router))  # noqa: S301 - our own bytes
    assert copy.route("x").to_dict() == router.route("x").to_dict()


# What is not known is said once -------------------------------------------------------------------


def test_experts_of_which_nothing_is_known_are_announced_once(caplog):
    perception = Router.from_pretrained().perception
    router = Router(perception, ["gpt-4o-2024-08-06", "my-own", Expert("big", parameters=7e9)])
    (message,) = [record.getMessage() for record in caplog.records]
    assert "Nothing is known of 'my-own': " in message
    assert "Expert('my-own', about_as_good_as=" in message
    router.subset(["my-own", "big"]).with_preferences(None)
    router.onboard(Expert("new"), {"hi": 0.0})
    assert len(caplog.records) == 1


def test_experts_that_are_measured_or_described_are_not_announced(caplog):
    perception = Router.from_pretrained().perception
    Router(perception, ["gpt-4o-2024-08-06", Expert("mine", about_as_good_as="gpt-4o-2024-08-06")])
    assert not caplog.records
