"""A router that follows its file while threads decide."""

from __future__ import annotations

import copy
import pickle
import threading
import time

import pytest

pytest.importorskip("pydantic")
pytest.importorskip("watchfiles")

from tryage import Router

PROMPT = "Prove that there are infinitely many primes."


def text(limit, models=("gpt-5.4", "gpt-5.4-nano")):
    tables = "".join(f'[[models]]\nname = "{name}"\n' for name in models)
    return (
        f'{tables}[router]\ndefault = "{models[0]}"\n[preferences]\nonly = ["{models[-1]}"]\n'
        f'[[policies]]\nkind = "Budget"\nusd_per_day = {limit}\n'
    )


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "tryage.toml"
    file.write_text(text(5))
    return file


@pytest.fixture
def router(path):
    made = Router.from_config(path, watch=True)
    yield made
    made.close()


def test_it_is_a_router_that_decides_as_the_file_says(router):
    assert isinstance(router, Router)
    assert router.route(PROMPT).expert.name == "gpt-5.4-nano"
    assert len(router.library) == 2
    assert str(router.watch.path) in repr(router)


def test_new_settings_are_in_force_and_the_budget_goes_on(router, path):
    decision = router.route(PROMPT)
    router.settle(decision.id, "gpt-5.4-nano", cost=2.5)
    path.write_text(text(9, ("gpt-5.4-nano", "gpt-5.4")))
    assert router.watch.reload()
    assert router.route(PROMPT).expert.name == "gpt-5.4"
    assert router.policy.limit == 9
    assert router.policy.status().spent == pytest.approx(2.5, abs=0.1)


def test_copies_and_pickles_are_of_the_settings_of_now(router):
    for again in (copy.copy(router), pickle.loads(pickle.dumps(router))):  # noqa: S301 - our own
        assert type(again) is Router
        assert again.library.names == router.library.names


def test_derived_routers_do_not_follow(router, path):
    derived = router.with_preferences("best")
    path.write_text(text(5, ("gpt-5.4-nano", "gpt-5.4")))
    assert router.watch.reload()
    assert derived.default == "gpt-5.4"
    assert router.default == "gpt-5.4-nano"


def test_threads_decide_by_whole_settings_while_the_file_changes_fifty_times(router, path):
    pools = [("gpt-5.4", "gpt-5.4-nano"), ("claude-opus-4-8", "claude-haiku-4-5")]
    wrong, decided, is_over = [], [], threading.Event()

    def decide():
        while not is_over.is_set():
            try:
                decision = router.route(PROMPT)
            except Exception as error:  # noqa: BLE001 - any error is a failure of the test
                wrong.append(error)
                return
            names = {row.name for row in decision.ranking} | {row.name for row in decision.rejected}
            decided.append(decision.expert.name)
            if not any(names == set(pool) and decision.expert.name == pool[-1] for pool in pools):
                wrong.append(names)

    threads = [threading.Thread(target=decide) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(50):
        path.write_text(text(5 + i, pools[i % 2]))
        if i % 10 == 9:
            router.watch.reload()
        time.sleep(0.005)
    router.watch.reload()
    is_over.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert set(decided) >= {"gpt-5.4-nano"}
    assert router.policy.limit == 54


def predicted(router):
    return {one.name: one.predicted_loss for one in router.route(PROMPT).ranking}


@pytest.mark.parametrize(
    "tables", ['[[models]]\nname = "gpt-5.4"\n', "", "[router]\nstrict = true\n"]
)
def test_what_was_observed_without_a_log_stays_when_the_settings_change(path, tables):
    path.write_text(tables + "[preferences]\nanswer_value = 1\n")
    router = Router.from_config(path, watch=True)
    before = predicted(router)
    for _ in range(3):
        router.observe(router.route(PROMPT), 1.0)
    learned = predicted(router)
    assert learned != before
    path.write_text(tables + "[preferences]\nanswer_value = 2\n")
    assert router.reload()
    assert predicted(router) == learned
    router.close()


@pytest.mark.parametrize("tables", ["", "[router]\nstrict = true\n"])
def test_what_was_learned_from_a_log_is_learned_once_when_the_settings_change(path, tables):
    pytest.importorskip("sqlalchemy")
    tables += '[traffic]\nurl = "sqlite:///log.db"\n[preferences]\nanswer_value = '
    path.write_text(tables + "1\n")
    router = Router.from_config(path, watch=True)
    fingerprint = router.log.fingerprint
    decision = router.route(PROMPT)
    router.feedback(decision.id, 0.0, kind="test")
    learned = predicted(router)
    path.write_text(tables + "2\n")
    assert router.reload()
    assert router.log.fingerprint == fingerprint  # else the rows of before say nothing any more
    assert predicted(router) == learned
    assert predicted(Router.from_config(path)) == learned
    router.close()
    router.traffic.close()
