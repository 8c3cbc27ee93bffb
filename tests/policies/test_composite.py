"""Routers that are made of routers: they can stand wherever one router can."""

from __future__ import annotations

import pytest

from tryage import Expert, QTable, Router
from tryage.core.policy import Policy
from tryage.errors import InputError, LibraryError, PersistenceError
from tryage.policies import Shadow, Split
from tryage.testing import FixedPerception, FixedPolicy, LearningPerception


@pytest.fixture(params=["split", "shadow"])
def policy(request, good, cheap):
    return (
        Split({"a": good, "b": cheap}) if request.param == "split" else Shadow(cheap, beside=good)
    )


def test_a_policy_is_a_router_with_the_parts_of_its_first_one(policy, good):
    assert isinstance(policy, Router)
    assert policy.library.names == good.library.names
    assert policy.perception is good.perception
    assert policy.traffic is good.traffic


def test_a_subset_leaves_each_router_the_experts_that_it_knows(policy):
    part = policy.subset(["medium", "small"])
    assert type(part) is type(policy)
    assert part.library.names == ("medium", "small")
    assert {router.library.names for router in part.routers.values()} == {("medium", "small")}
    assert part.route("hello").expert.name in ("medium", "small")
    with pytest.raises(LibraryError):
        policy.subset(["unknown"])


def test_preferences_are_those_of_all_routers(policy, only):
    part = policy.with_preferences(only("medium"))
    assert {one.expert.name for one in part.route_batch(["x"] * 8)} == {"medium"}


def test_what_is_built_of_each_router_makes_the_same_policy(policy):
    part = policy.map_routers(lambda router: router.subset(["small"]))
    assert repr(part).startswith(type(policy).__name__)
    assert [*part.routers] == [*policy.routers]
    assert part.library.names == ("small",)


def test_a_policy_of_policies_keeps_its_form(good, cheap):
    split = Split({"a": Shadow(cheap, beside=good), "b": cheap}).subset(["large", "small"])
    assert isinstance(split.routers["a"], Shadow)
    assert split.routers["a"].routers["shadow"].library.names == ("large", "small")


def test_what_is_built_of_policies_is_built_of_their_innermost_routers(good, cheap):
    built = []

    def build(router):
        built.append(type(router))
        return router

    split = Split({"a": Shadow(cheap, beside=good), "b": cheap}).map_routers(build)
    assert set(built) == {Router}
    assert isinstance(split.routers["a"], Shadow)


def test_an_expert_is_onboarded_in_every_router():
    routers = {name: Router(LearningPerception({"large": 0.1, "small": 0.3})) for name in "ab"}
    split = Split(routers).onboard(Expert("new"), {"hello": 0.0})
    assert all("new" in router.library for router in split.routers.values())
    assert split.route("hello").expert.name == "new"


def test_the_experts_of_all_routers_are_in_the_library_of_a_split():
    other = Router(LearningPerception({"small": 0.3, "extra": 0.2}))
    split = Split({"a": Router(LearningPerception({"large": 0.1, "small": 0.3})), "b": other})
    assert split.library.names == ("large", "small", "extra")
    assert split.subset(["small", "extra"]).routers["a"].library.names == ("small",)


def test_what_is_for_one_router_says_to_do_it_for_each(policy):
    with pytest.raises(InputError, match="change each of them, and make it again"):
        policy._with_parts(policy.perception, policy.library)


def test_a_policy_is_a_line_of_code_and_no_file(policy, tmp_path):
    with pytest.raises(PersistenceError, match="Save its routers"):
        policy.save_pretrained(tmp_path / "saved")
    with pytest.raises(PersistenceError, match="Save its routers"):
        policy.push_to_hub("name/router")
    with pytest.raises(PersistenceError, match="load its routers"):
        type(policy).from_pretrained(tmp_path)
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize("routers", [None, {}, {"a": "router"}, {"": None}, [1]])
def test_something_else_than_routers_is_refused(routers):
    with pytest.raises(InputError, match="expected"):
        Split(routers)


def test_a_policy_of_policies_keeps_what_each_knows(good, cheap, read_log):
    router = Split({"a": Shadow(cheap, beside=good, name="b"), "b": cheap})
    decisions = router.route_batch(["x"] * 20)
    router.routers["a"].flush()
    records = [read_log()[one.id] for one in decisions]
    assert {record.arm for record in records} == {"a", "b"}
    for record in records:
        assert record.shadow_choices == ({"b": "small"} if record.arm == "a" else {})


def test_a_perception_without_experts_of_another_router_cannot_stand_for_all():
    from tryage.errors import PerceptionError

    routers = {"a": Router(FixedPerception({"x": 0.1})), "b": Router(FixedPerception({"y": 0.1}))}
    with pytest.raises(PerceptionError):
        Split(routers)


def test_each_router_is_simulated_by_itself(policy):
    table = QTable(("p",), ("medium", "small"), [[0.0, 1.0]])
    with pytest.raises(InputError, match="has several routers"):
        policy.simulate(Policy(), table)


def test_models_are_not_tested_for_several_routers_at_once_before_any_is_asked():
    asked = []
    routers = {name: Router.from_pretrained().subset(["gpt-5.4-nano"]) for name in "ab"}
    with pytest.raises(InputError, match="has several routers"):
        Split(routers).onboard_models({"new": asked.append}, budget=1.0)
    assert asked == []


def test_the_policies_are_those_of_the_routers_that_answer(make_router):
    one, other = FixedPolicy("small"), FixedPolicy("large")
    routers = [make_router("large", policy=one | other), make_router("small", policy=other)]
    assert Router(FixedPerception({"a": 0.1})).policies() == ()
    assert routers[0].policies() == (one, other)
    assert Split(dict(zip("ab", routers, strict=True))).policies() == (one, other, other)
    assert Shadow(routers[1], beside=routers[0]).policies() == (one, other)
