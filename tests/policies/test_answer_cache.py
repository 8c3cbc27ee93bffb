"""A cached answer competes as an expert without cost, and is given to its owner only."""

from __future__ import annotations

import copy
import pickle
import time

import numpy as np
import pytest

from tryage import Expert, Preferences, Router
from tryage.core.policy import Policy, PolicyChoice
from tryage.core.request import ConversationContext
from tryage.core.request_key import NOT_COMPARABLE, RequestKey
from tryage.errors import InputError
from tryage.policies import AnswerCache, SimilarRequests
from tryage.testing import FixedPerception

EXPERTS = [
    Expert("small", input_price=0.1, output_price=0.1),
    Expert("large", input_price=100, output_price=100),
]
LOSSES = {"small": 0.5, "large": 0.1}
ANN = ConversationContext(keys={"user_id": "ann"})


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def encode(texts):
    return np.array([[text.lower().count(c) for c in "abcdefghij"] for text in texts], np.float32)


def make_router(cache: Policy, **settings) -> Router:
    return Router(FixedPerception(LOSSES), EXPERTS, policy=cache, **settings)


def answer_of(decision):
    return None if decision.calls is None else decision.calls.answer


def test_the_same_prompt_gets_the_answer_that_is_at_hand() -> None:
    clock = Clock()
    cache = AnswerCache(shared=True, clock=clock)
    router = make_router(cache, preferences="best")
    first = router.route("a prompt")
    assert answer_of(first) is None
    cache.add(first, "the answer", cost=0.2)
    clock.now += 120
    second = router.route("a prompt")
    assert answer_of(second).answer == "the answer"
    (change,) = second.changes
    assert change.reason == (
        "large answered the same request 2 minutes ago, and this answer costs nothing"
    )
    assert answer_of(router.route("another prompt")) is None
    assert (cache.hits, cache.saved) == (1, 0.2)


@pytest.mark.parametrize(("answer_value", "expected"), [(1e-4, None), (1.0, "large")])
def test_an_expert_competes_without_its_cost_if_its_answer_is_cached(answer_value, expected):
    cache = AnswerCache(shared=True)
    best = make_router(cache, preferences="best")
    plain = make_router(AnswerCache(), preferences=Preferences(answer_value=answer_value))
    cache.add(best.route("a prompt"), "by large")
    decision = best.with_preferences(Preferences(answer_value=answer_value)).route("a prompt")
    assert decision.expert.name == "large"  # alone it is too dear at the low value
    assert answer_of(decision).answer == "by large"
    assert plain.route("a prompt").expert.name == (expected or "small")


def test_a_better_expert_is_asked_where_it_is_worth_its_cost() -> None:
    cache = AnswerCache(shared=True)
    router = make_router(cache, preferences=Preferences(answer_value=1e-4))
    cache.add(router.route("a prompt"), "by small")
    better = router.with_preferences(Preferences(answer_value=100.0)).route("a prompt")
    assert better.expert.name == "large"
    assert answer_of(better) is None


def test_an_answer_is_never_given_to_another_user_unless_said() -> None:
    cache = AnswerCache()
    router = make_router(cache, preferences="best")
    cache.add(router.route("a prompt", context=ANN), "for ann")
    bob = ConversationContext(keys={"user_id": "bob"})
    assert answer_of(router.route("a prompt", context=bob)) is None
    assert answer_of(router.route("a prompt")) is None
    assert answer_of(router.route("a prompt", context=ANN)).answer == "for ann"


def test_the_same_name_of_a_user_and_of_a_thread_are_two_owners() -> None:
    cache = AnswerCache()
    router = make_router(cache)
    cache.add(router.route("a prompt", context=ANN), "for ann")
    thread = ConversationContext(keys={"thread_id": "ann"})
    assert answer_of(router.route("a prompt", context=thread)) is None


def test_a_request_without_an_owner_is_not_kept() -> None:
    cache = AnswerCache()
    cache.add(make_router(cache).route("a prompt"), "an answer")
    assert len(cache) == 0


def test_other_messages_or_settings_are_another_request() -> None:
    cache = AnswerCache(shared=True)
    router = make_router(cache, preferences="best")
    key = cache.key("a prompt", {}, RequestKey("digest 1", "rest"))
    cache.put(key, "a prompt", "large", "an answer")

    def ask(request_key):
        context = ConversationContext(request_key=request_key)
        return answer_of(router.route("a prompt", context=context))

    assert ask(RequestKey("digest 1", "rest")).answer == "an answer"
    assert ask(RequestKey("digest 2", "rest")) is None
    assert ask(None) is None
    assert cache.key("a prompt", {}, NOT_COMPARABLE) is None


def test_an_answer_that_is_too_old_is_not_used() -> None:
    clock = Clock()
    cache = AnswerCache(shared=True, max_age=60, clock=clock)
    router = make_router(cache)
    cache.add(router.route("a prompt"), "an answer")
    clock.now += 61
    assert answer_of(router.route("a prompt")) is None
    assert len(cache) == 0


def test_a_similar_request_of_the_same_owner_gets_the_answer_with_its_similarity() -> None:
    cache = AnswerCache(similar=SimilarRequests(encode, 0.9))
    router = make_router(cache, preferences="best")
    cache.add(router.route("abc abc a", context=ANN), "an answer")
    similar = router.route("abc abc", context=ANN)
    assert 0.9 < answer_of(similar).similarity < 1
    assert "a similar request (similarity 0.9" in similar.changes[0].reason
    assert answer_of(router.route("jjj", context=ANN)) is None
    assert answer_of(router.route("abc abc")) is None
    cache.add(router.route("abc 1", context=ANN), "an answer about 1")
    assert answer_of(router.route("abc 2", context=ANN)) is None or (
        answer_of(router.route("abc 2", context=ANN)).answer != "an answer about 1"
    )


def test_a_similar_request_with_another_history_is_not_the_same() -> None:
    cache = AnswerCache(shared=True, similar=SimilarRequests(encode, 0.5))
    router = make_router(cache)
    cache.put(cache.key("abc", {}, RequestKey("1", "rest 1")), "abc", "small", "an answer")
    context = ConversationContext(request_key=RequestKey("2", "rest 2"))
    assert answer_of(router.route("abc", context=context)) is None


def test_an_expert_that_is_not_allowed_gives_no_answer() -> None:
    cache = AnswerCache(shared=True)
    router = make_router(cache)
    key = cache.key("a prompt", {})
    cache.put(key, "a prompt", "large", "an answer")
    cache.put(key, "a prompt", "of another library", "an answer")
    assert answer_of(router.route("a prompt", Preferences(only=["small"]))) is None


class Dearest(Policy):
    """Chooses the last expert."""

    def choose(self, batch):
        experts = np.where(batch.choice < 0, batch.choice, len(batch.library) - 1)
        reasons = [None if chosen < 0 else "it is dear" for chosen in batch.choice.tolist()]
        return PolicyChoice(experts, reasons)


def test_later_policies_leave_a_prompt_that_is_answered() -> None:
    cache = AnswerCache(shared=True)
    router = make_router(cache | Dearest(), preferences=Preferences(answer_value=1e-4))
    key = cache.key("a prompt", {})
    cache.put(key, "a prompt", "small", "an answer")
    cached, other = router.route_batch(["a prompt", "another prompt"])
    assert (cached.expert.name, answer_of(cached).answer) == ("small", "an answer")
    assert other.expert.name == "large"


def test_an_explanation_is_no_hit() -> None:
    cache = AnswerCache(shared=True)
    router = make_router(cache)
    cache.add(router.route("a prompt"), "an answer")
    router.decide_batch(["a prompt"])
    assert cache.hits == 0


def test_displaced_answers_leave_no_text_behind() -> None:
    cache = AnswerCache(2, shared=True, similar=SimilarRequests(encode, 0.99))
    router = make_router(cache)
    for i in range(20):
        cache.add(router.route("a" * i + "b"), "an answer")
    assert len(cache) == len(cache._texts) == sum(map(len, cache._vectors.values())) == 2
    cache.clear()
    assert not cache._texts
    assert not cache._vectors


def test_the_answers_of_one_user_can_be_removed() -> None:
    cache = AnswerCache()
    router = make_router(cache)
    for keys in ({"user_id": "ann"}, {"thread_id": "ann"}, {"user_id": "bob"}):
        cache.add(router.route("a prompt", context=ConversationContext(keys=keys)), "an answer")
    cache.clear("ann")
    assert [one.owner for one in cache._store] == ["user_id=bob"]


def test_a_disliked_answer_can_be_removed() -> None:
    cache = AnswerCache(shared=True)
    router = make_router(cache)
    cache.add(router.route("a prompt"), "an answer")
    cache.discard(answer_of(router.route("a prompt")))
    assert answer_of(router.route("a prompt")) is None


def test_a_copy_or_pickle_has_the_settings_and_no_answers() -> None:
    cache = AnswerCache(5, shared=True, max_age=9.0)
    cache.add(make_router(cache).route("a prompt"), "an answer")
    for other in (pickle.loads(pickle.dumps(cache)), copy.deepcopy(cache)):  # noqa: S301 - our own pickle
        assert (other.size, other.shared, other.max_age, len(other)) == (5, True, 9.0, 0)


def test_a_representation_has_no_word_of_the_answers() -> None:
    cache = AnswerCache(shared=True)
    router = make_router(cache)
    cache.add(router.route("a secret prompt"), "a secret answer")
    decision = router.route("a secret prompt")
    assert "secret" not in repr(cache) + repr(decision.calls) + repr(answer_of(decision))


@pytest.mark.parametrize(
    "settings", [{"size": 0}, {"max_age": 0}, {"shared": "yes"}, {"similar": 0.9}]
)
def test_wrong_settings_are_refused(settings) -> None:
    with pytest.raises(InputError, match=next(iter(settings))):
        AnswerCache(**settings)


def test_the_age_of_an_answer_is_counted_by_a_clock_that_nobody_sets() -> None:
    assert AnswerCache()._clock is time.monotonic
