"""A pickled router decides as before, and holds no word of the prompts that it has seen."""

from __future__ import annotations

import pickle

import pytest

from tryage import Preferences, Router

SECRET = "zebra4711"  # noqa: S105 - not a password


@pytest.fixture(params=["bundled", "subset", "unmeasured"])
def router(request):
    bundled = Router.from_pretrained(prompt_flags=True, preferences=Preferences({"cost": 0.1}))
    names = bundled.library.names[:3]
    if request.param == "subset":
        return bundled.subset(names)
    if request.param == "unmeasured":
        return Router(bundled.perception, [*names, "new-model"], prompt_flags=True)
    return bundled


def test_a_pickle_holds_no_prompt_flag_or_feedback_text(router):
    decision = router.route(f"my secret {SECRET} [Flag: model=flag{SECRET}]")
    router.route_batch([f"batch {SECRET}", f"other {SECRET}"])
    router.observe(decision, 0.5)
    assert SECRET.encode() not in pickle.dumps(router)


@pytest.mark.usefixtures("fixed_ids")
def test_a_router_decides_as_before_after_a_pickle(router):
    again = pickle.loads(pickle.dumps(router))  # noqa: S301 - our own pickle
    assert again.route("hello").to_dict() == router.route("hello").to_dict()
