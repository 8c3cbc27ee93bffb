"""The bundled router is read once per process, and what one router learns is its own."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tryage.perception.bundled_router as module
from tryage import Expert, Router
from tryage.models.lookup import look_up, to_expert
from tryage.perception.bundled_router import bundled_router_parts
from tryage.perception.pretrained import BUNDLED_FOLDER
from tryage.tools.persistence import BUNDLED_FOLDER as BUNDLED_RANKER

PROMPT = "Prove that the square root of two is irrational."


@pytest.fixture
def unread(monkeypatch):
    """Forget what was read; return how often it is read."""
    reads = []

    def load(*arguments):
        reads.append(arguments)
        return original(*arguments)

    original = module.load_router_parts
    monkeypatch.setattr(module, "load_router_parts", load)
    monkeypatch.setattr(module, "_parts", {})
    return reads


def test_routers_share_what_never_changes():
    one, other = Router.from_pretrained(), Router.from_pretrained()
    assert one.perception.encoder is other.perception.encoder
    assert one.perception.head is other.perception.head
    assert one.library is other.library
    assert one.perception is not other.perception


def test_threads_that_need_it_at_once_read_it_once(unread):
    with ThreadPoolExecutor(8) as pool:
        routers = list(pool.map(lambda _: Router.from_pretrained(), range(16)))
    assert len(unread) == 1
    assert len({id(router.perception.head) for router in routers}) == 1


def test_feedback_for_one_router_is_not_known_to_another():
    learner, other = Router.from_pretrained(), Router.from_pretrained()
    before = other.perception.predict([PROMPT]).losses.copy()
    decision = learner.route(PROMPT)
    for _ in range(5):
        learner.observe(decision, 1.0)
    assert not np.array_equal(learner.perception.predict([PROMPT]).losses, before)
    for router in (other, Router.from_pretrained()):
        assert np.array_equal(router.perception.predict([PROMPT]).losses, before)


def test_feedback_on_a_model_that_was_never_measured_is_not_known_to_another():
    learner, other = (
        Router(Router.from_pretrained().perception, ["gpt-4o", Expert("new", parameters=7e9)])
        for _ in range(2)
    )
    before = other.route(PROMPT).ranking.entry("new").predicted_loss
    learner.perception.observe_unmeasured(PROMPT, "new", 0.0, learner.perception.abilities.prior)
    assert other.route(PROMPT).ranking.entry("new").predicted_loss == before
    assert other.perception.observed_experts.names == ()


def test_own_constraints_and_preferences_stay_with_their_router():
    own = Router.from_pretrained(constraints={"colour": lambda library, _: np.ones(len(library))})
    assert "colour" in own.constraints
    assert "colour" not in Router.from_pretrained().constraints
    assert "constraints" not in module._parts or not module._parts["constraints"]


def test_a_router_can_be_pickled():
    router = Router.from_pretrained()
    again = pickle.loads(pickle.dumps(router))  # noqa: S301 - written here
    assert again.route(PROMPT).expert == router.route(PROMPT).expert


@pytest.mark.usefixtures("unread")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_process_that_forks_while_it_is_read_reads_it_itself(monkeypatch):
    is_reading, may_end = threading.Event(), threading.Event()
    original, parent = module.load_router_parts, os.getpid()

    def load_slowly(*arguments):
        if os.getpid() == parent:
            is_reading.set()
            may_end.wait(20)
        return original(*arguments)

    monkeypatch.setattr(module, "load_router_parts", load_slowly)
    reader = threading.Thread(target=bundled_router_parts)
    reader.start()
    is_reading.wait(20)
    child = os.fork()
    if child == 0:
        alarm = threading.Timer(20, os._exit, [1])
        alarm.daemon = True
        alarm.start()
        os._exit(0 if bundled_router_parts() else 2)
    _, status = os.waitpid(child, 0)
    may_end.set()
    reader.join(20)
    assert status == 0


@pytest.mark.parametrize(
    ("folder", "header"), [(BUNDLED_FOLDER, "router.json"), (BUNDLED_RANKER, "ranker.json")]
)
def test_the_header_has_a_digest_of_each_file_that_is_read(folder, header):
    digests = json.loads((folder / header).read_text("utf-8"))["sha256"]
    paths = [path for path in folder.rglob("*.*") if path.suffix in {".json", ".safetensors"}]
    names = {path.relative_to(folder).as_posix() for path in paths}
    assert set(digests) == names - {header, "figures.json"}  # measured after the router was saved
    for name, digest in digests.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


MAKERS = (
    ("claude-opus-4-8", "claude-sonnet-4-6", "claude-haiku-4-5"),
    ("gpt-5.2", "gpt-5-mini", "gpt-5-nano"),
    ("gpt-5.4", "gpt-5.4-mini", "gpt-5.4-nano"),
    ("gemini-3.1-pro-preview", "gemini-3.1-flash-lite"),
    ("mistral-large-2512", "mistral-small-2506"),
)


@pytest.mark.parametrize("names", MAKERS)
@pytest.mark.parametrize("prompt", ["hi", "Hello!", "thanks, bye"])
def test_where_nothing_is_said_a_greeting_does_not_go_to_the_dearest_model(names, prompt):
    bundled = Router.from_pretrained()
    known = [name for name in names if name in bundled.library]
    ranking = bundled.subset(known).route(prompt).ranking
    assert len(ranking) > 1
    assert ranking[0].cost < max(ranked.cost for ranked in ranking)


@pytest.mark.parametrize("name", ["gpt-5", "gpt-5.1", "gpt-5.2"])
def test_a_model_takes_the_tools_and_the_length_of_its_own_and_not_of_its_chat_variant(name):
    for expert in (
        Router.from_pretrained().library[name],
        Router.from_models([name]).library[name],
        to_expert(look_up(name)),
    ):
        assert "tools" in expert.capabilities
        assert expert.context_length == 400_000


def test_a_choice_among_measured_experts_reads_no_name():
    """The rules for names and the public tables take as long to load as the rest of Tryage."""
    code = (
        "import sys\n"
        "from tryage import Router\n"
        "router = Router.from_pretrained()\n"
        "router.subset(router.perception.experts[:3]).route('hi')\n"
        "print([name for name in sys.modules if name.startswith('tryage.models.')])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own code
    assert done.stdout.strip() == "['tryage.models.families']"
