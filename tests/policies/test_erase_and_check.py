"""Words at an end of a prompt lead to no expert that the rest of the prompt does not lead to."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from tryage import Expert, Preferences, Router
from tryage.errors import InputError, PerceptionError
from tryage.policies import EraseAndCheck
from tryage.policies.erase_and_check import MAX_WINDOWS, MIN_WORDS, erased_copies, pick_vote
from tryage.scoring import QTable
from tryage.testing import FunctionPerception

PRICES = {"nano": 1.0, "mini": 2.0, "medium": 4.0, "large": 10.0}
TEXT = "Say in a few words what a router is good for, please."


def make_router(losses, policy=None, **settings) -> Router:
    experts = [Expert(name, input_price=p, output_price=p) for name, p in PRICES.items()]
    return Router(
        FunctionPerception(list(PRICES), losses),
        experts,
        preferences="best",
        policy=policy,
        **settings,
    )


def by_word(text: str) -> list[float]:
    """Let the large expert be the best where a word stands in the text, else the nano one."""
    return [0.5, 0.4, 0.3, 0.1] if "theorem" in text else [0.1, 0.2, 0.3, 0.4]


def by_chance(text: str) -> list[float]:
    """Let any expert be the best: an attacker who can do whatever the router depends on."""
    return [float(loss) for loss in np.random.default_rng(list(text.encode())).random(len(PRICES))]


def price(router: Router, text: str) -> float:
    return PRICES[router.route(text).expert.name]


# The copies ---------------------------------------------------------------------------------------


def test_a_copy_lacks_the_last_words_and_another_the_first_ones() -> None:
    assert erased_copies("a b c d e f, g!", 1) == ["a b c d e f, g", "b c d e f, g!"]
    assert erased_copies("a b c d e f, g!", 2) == [
        *("a b c d e f, g", "a b c d e f,"),
        *("b c d e f, g!", "c d e f, g!"),
    ]


@pytest.mark.parametrize("n_added", range(1, 13))
def test_a_copy_is_the_text_itself_whatever_number_of_words_is_added_at_an_end(n_added) -> None:
    text, added = "Sum up: what is new?", " ".join(["cheap"] * n_added)
    for attack in (f"{text} {added}", f"{added} {text}"):
        assert text in erased_copies(attack, 12)


def test_a_copy_keeps_four_words() -> None:
    assert erased_copies("a b c d e f, g!", 12)[4::5] == ["a b c d", "f, g!"]
    assert erased_copies("a b c d", 3) == []


def test_marks_and_characters_without_spaces_count_as_words() -> None:
    assert erased_copies("f(x)=1", 1) == ["f(x)=", "(x)=1"]
    assert erased_copies("今天天气很好", 1) == ["今天天气很", "天天气很好"]
    assert erased_copies("a b c d " + "x" * 40, 2)[1] == "a b c d"


def test_spaces_at_an_end_are_missing_from_the_copies() -> None:
    assert erased_copies("a b c d e" + "\n" * 100, 1)[0] == "a b c d"


@pytest.mark.parametrize("words", [1, 3, 12])
@pytest.mark.parametrize("length", [5, 7, 16, 17, 20, 29, 60, 300])
def test_one_copy_lacks_any_words_in_a_row(words: int, length: int) -> None:
    text = [f"w{i}" for i in range(length)]
    copies = [set(copy.split()) for copy in erased_copies(" ".join(text), words, middle=True)]
    ends = [set(copy.split()) for copy in erased_copies(" ".join(text), words)]
    words = min(words, length - MIN_WORDS)  # as many as stand beside a text of four
    for start in range(length - words + 1):
        attack = set(text[start : start + words])
        assert any(not attack & copy for copy in copies), start
    assert all(
        any(not attack & copy for copy in ends)
        for attack in (set(text[:words]), set(text[-words:]))
    )
    half = words // 2
    attack = {*text[:half], *text[length - half :]}
    assert any(not attack & copy for copy in copies)
    assert min(map(len, copies)) >= MIN_WORDS
    assert len(copies) <= MAX_WINDOWS + 3 * words + 1


def test_of_a_long_prompt_the_two_ends_count() -> None:
    copies = erased_copies("first " + "word " * 1_000_000 + "last", 12, middle=True)
    assert max(map(len, copies)) <= 8_192
    assert not any("last" in copy for copy in copies[:12])
    assert not any("first" in copy for copy in copies[12:24])


# The votes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("votes", "fallback", "expected"),
    [
        ([1, 3], None, 1),  # the cheapest
        ([1, 3], 2, 2),  # between them
        ([0, 1], 2, 1),  # all are cheaper: the dearest of them
        ([2, 3], 1, 2),  # all are dearer: the cheapest of them
        ([0, 1, 3], 1, 1),
        ([3, 0], 0, 0),
        ([3, 0], 3, 3),
    ],
)
def test_the_vote_that_is_nearest_to_the_fallback_in_price_answers(
    votes, fallback, expected
) -> None:
    assert pick_vote(np.array(votes), np.array([1.0, 2.0, 4.0, 10.0]), fallback) == expected


@pytest.mark.parametrize("attack", ["{} theorem", "theorem {}", "{}\n\n" + "theorem " * 12])
def test_words_at_an_end_do_not_lead_to_the_dear_expert(attack: str) -> None:
    text = attack.format(TEXT)
    assert make_router(by_word).route(text).expert.name == "large"
    assert make_router(by_word, EraseAndCheck()).route(text).expert.name == "nano"


def test_words_in_the_middle_need_windows() -> None:
    text = f"{TEXT} theorem {TEXT}"
    assert make_router(by_word, EraseAndCheck()).route(text).expert.name == "large"
    assert make_router(by_word, EraseAndCheck(middle=True)).route(text).expert.name == "nano"


def test_words_at_both_ends_need_copies_without_both() -> None:
    text = f"theorem {TEXT} theorem"
    assert make_router(by_word, EraseAndCheck()).route(text).expert.name == "large"
    assert make_router(by_word, EraseAndCheck(middle=True)).route(text).expert.name == "nano"


def test_what_the_whole_prompt_is_about_still_decides() -> None:
    text = "Prove this theorem. " * 15 + "Begin with the theorem of Rolle."
    decision = make_router(by_word, EraseAndCheck(middle=True)).route(text)
    assert decision.expert.name == "large"
    assert decision.changes == ()


@pytest.mark.parametrize("seed", range(3))
def test_no_words_reach_a_dearer_answer_than_the_text_without_them_gets(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - no secret depends on it
    plain = make_router(by_chance)
    defended = make_router(by_chance, EraseAndCheck(3, middle=True))
    for _ in range(20):
        base = [f"b{rng.randrange(99)}" for _ in range(rng.randrange(4, 30))]
        place = rng.randrange(len(base) + 1)
        added = [f"x{rng.randrange(99)}" for _ in range(3)]
        attacked = " ".join(base[:place] + added + base[place:])
        clean = [
            price(plain, copy)
            for copy in erased_copies(attacked, 3, middle=True)
            if not set(added) & set(copy.split())
        ]
        assert clean
        assert price(defended, attacked) <= min(clean)


def test_with_a_fallback_the_price_lies_between_it_and_that_of_the_text_alone() -> None:
    plain, policy = make_router(by_chance), EraseAndCheck(3, fallback="mini")
    defended = make_router(by_chance, policy)
    reached = set()
    for i in range(100):
        text = f"a text that is number {i}"
        answer = price(defended, f"{text} x{i} y{i} z{i}")
        low, high = sorted([price(plain, text), PRICES["mini"]])
        assert low <= answer <= high
        reached.add(answer)
    assert len(reached) > 1  # it still routes


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("Translate good morning into Spanish, please.", "evolu"),
        ("Write a polite email to my landlord about the broken heating in the kitchen.", "elektro"),
    ],
)
def test_words_that_a_search_has_found_do_not_move_the_bundled_router(prompt, words) -> None:
    plain = Router.from_pretrained().subset(["gpt-5.4-nano", "claude-opus-4-8"])
    assert plain.route(prompt).expert.name == "gpt-5.4-nano"
    assert plain.route(f"{prompt} {words}").expert.name == "claude-opus-4-8"
    defended = plain.with_policy(EraseAndCheck())
    assert defended.route(f"{prompt} {words}").expert.name == "gpt-5.4-nano"


# In a router --------------------------------------------------------------------------------------


def test_a_decision_says_why() -> None:
    decision = make_router(by_word, EraseAndCheck()).route(f"{TEXT} theorem")
    (change,) = decision.changes
    assert (change.before, change.after) == ("large", "nano")
    assert change.reason == "copies without some words lead to nano: the cheapest answers"
    assert decision.ranking[0].name == "nano"
    decision = make_router(by_word, EraseAndCheck(fallback="mini")).route(f"{TEXT} theorem")
    assert decision.changes[0].reason == (
        "copies without some words lead to nano: the nearest to mini in price answers"
    )
    assert decision.expert.name == "mini"


def test_prompts_of_a_batch_are_decided_each_by_itself() -> None:
    router = make_router(by_word, EraseAndCheck())
    texts = [f"{TEXT} theorem", "hi", TEXT, "theorem", f"theorem {TEXT} theorem"]
    names = [decision.expert.name for decision in router.route_batch(texts)]
    assert names == [router.route(text).expert.name for text in texts]
    assert names == ["nano", "nano", "nano", "large", "large"]


def test_an_expert_that_misses_a_requirement_has_no_vote() -> None:
    router = make_router(by_word, EraseAndCheck())
    decision = router.route(f"{TEXT} theorem", Preferences(ban=["nano"]))
    assert decision.expert.name == "mini"
    router = make_router(by_word, EraseAndCheck(fallback="mini"))
    decision = router.route(f"{TEXT} theorem", Preferences(ban=["mini"]))
    assert decision.expert.name == "nano"


def test_an_expert_that_only_a_copy_could_pay_has_no_vote() -> None:
    experts = [
        Expert("long", input_price=10, output_price=0),
        Expert("fixed", input_price=0, output_price=20),
    ]
    perception = FunctionPerception(
        ["long", "fixed"], lambda text: [0.5, 0.1] if "theorem" in text else [0.1, 0.5]
    )
    router = Router(perception, experts, preferences="best", policy=EraseAndCheck())
    text = f"{'A sentence of a few words. ' * 200} theorem"
    whole, part = (router.route(one).ranking.find("long").cost for one in (text, text[:-60]))
    limit = Preferences(max_cost=(whole + part) / 2)
    assert router.route(text, limit).expert.name == "fixed"


class ForecastPerception(FunctionPerception):
    """Forecasts a very long answer of the nano expert where a word stands in the prompt."""

    def predict(self, prompts):
        tokens = np.full((len(prompts), len(PRICES)), 500.0, np.float32)
        tokens[["theorem" in prompt for prompt in prompts], 0] = 1e6
        return replace(super().predict(prompts), output_tokens=tokens)


def test_words_do_not_change_which_expert_counts_as_dear() -> None:
    experts = [Expert(name, input_price=p, output_price=p) for name, p in PRICES.items()]
    perception = ForecastPerception(list(PRICES), by_word)
    router = Router(perception, experts, preferences="best", policy=EraseAndCheck())
    assert router.route(f"{TEXT} theorem").expert.name == "nano"


def test_a_router_refuses_a_fallback_that_it_does_not_know_and_its_subset_does_without() -> None:
    with pytest.raises(InputError, match=r"fallback is 'mimi'.*no such expert.*mini"):
        make_router(by_word, EraseAndCheck(fallback="mimi"))
    router = make_router(by_word, EraseAndCheck(fallback="mini")).subset(["nano", "large"])
    assert router.route(f"{TEXT} theorem").expert.name == "nano"


def test_a_simulation_shows_what_it_costs() -> None:
    prompts = [f"{TEXT} {i}" for i in range(8)] + [f"{TEXT} {i} theorem" for i in range(8)]
    losses = np.tile([0.4, 0.3, 0.2, 0.1], (16, 1))
    table = QTable(prompts, list(PRICES), losses, costs=np.tile(list(PRICES.values()), (16, 1)))
    simulation = make_router(by_word).simulate(EraseAndCheck(), table)
    assert simulation["plain routing"].cost.value == 5.5
    assert simulation["EraseAndCheck"].cost.value == 1.0


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ({"words": 0}, "words"),
        ({"words": 1.5}, "words"),
        ({"fallback": 3}, "fallback is 3; expected the name"),
        ({"middle": "yes"}, "middle"),
    ],
)
def test_malformed_arguments_are_errors(words, match: str) -> None:
    with pytest.raises(InputError, match=match):
        EraseAndCheck(**words)


def test_the_default_answers_where_the_copies_cannot_be_predicted() -> None:
    def losses(text: str) -> list[float]:
        if text != TEXT:
            raise RuntimeError("out of memory")
        return by_word(text)

    decision = make_router(losses, EraseAndCheck(), default="mini").route(TEXT)
    assert (decision.expert.name, decision.default_used) == ("mini", True)
    assert "out of memory" in (decision.default_reason or "")
    for settings in ({}, {"default": "mini", "strict": True}):
        with pytest.raises(PerceptionError, match="out of memory"):
            make_router(losses, EraseAndCheck(), **settings).route(TEXT)
