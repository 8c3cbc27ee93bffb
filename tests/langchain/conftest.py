"""A perception that reads the first word, every way to run a runnable, and who watches a run."""

# ruff: noqa: ARG002 - the recorder has the signatures of the callbacks.

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from langchain_core.callbacks import BaseCallbackHandler

from tryage.core.perception import Perception, Prediction
from tryage.router import Router

if TYPE_CHECKING:
    from collections.abc import Sequence


class FirstWord(Perception):
    """Predicts loss 0 for the expert that the prompt names first and 1 for the others."""

    experts = ("small", "big")

    def __init__(self) -> None:
        self.passes: list[list[str]] = []

    def predict(self, prompts: Sequence[str]) -> Prediction:
        self.passes.append(list(prompts))
        losses = np.array(
            [
                [0.0 if prompt.startswith(name) else 1.0 for name in self.experts]
                for prompt in prompts
            ],
            dtype=np.float32,
        ).reshape(len(prompts), len(self.experts))
        return Prediction(losses, np.zeros_like(losses))


@pytest.fixture
def perception() -> FirstWord:
    return FirstWord()


@pytest.fixture
def router(perception: FirstWord) -> Router:
    return Router(perception)


@pytest.fixture
def flagged(perception: FirstWord) -> Router:
    return Router(perception, prompt_flags=True)


class Recorder(BaseCallbackHandler):
    """Keeps every start, end, error and custom event."""

    def __init__(self):
        self.runs, self.events, self.order = {}, [], []

    def on_chain_start(self, serialized, inputs, *, run_id, **kwargs):
        self._start(run_id, **kwargs)

    def on_chat_model_start(self, serialized, messages, *, run_id, **kwargs):
        self._start(run_id, **kwargs)

    def _start(self, run_id, parent_run_id=None, tags=None, metadata=None, name=None, **_):
        self.runs[run_id] = {
            "name": name or "model",
            "parent": parent_run_id,
            "tags": tags,
            "metadata": metadata,
            "ended": None,
        }
        self.order.append(name or "model")

    def on_chain_end(self, outputs, *, run_id, **kwargs):
        self.runs[run_id]["ended"] = "well"

    def on_llm_end(self, response, *, run_id, **kwargs):
        self.runs[run_id]["ended"] = "well"

    def on_chain_error(self, error, *, run_id, **kwargs):
        self.runs[run_id]["ended"] = type(error).__name__

    def on_llm_error(self, error, *, run_id, **kwargs):
        self.on_chain_error(error, run_id=run_id)

    def on_custom_event(self, name, data, *, run_id, **kwargs):
        self.events.append((name, data, run_id))
        self.order.append(name)

    def only(self, name):
        (found,) = [(run_id, run) for run_id, run in self.runs.items() if run["name"] == name]
        return found


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(params=["invoke", "stream", "batch", "ainvoke", "astream", "abatch"])
def how(request) -> str:
    """Every way in which LangChain runs a runnable."""
    return request.param


@pytest.fixture
def every_way():
    """Run a runnable in one of the ways; streams and batches give lists."""

    async def run(runnable, how, value, config=None):
        if how.endswith("batch"):
            answers = getattr(runnable, how)([value], config)
            return await answers if how == "abatch" else answers
        if how == "astream":
            return [chunk async for chunk in runnable.astream(value, config)]
        if how == "stream":
            return list(runnable.stream(value, config))
        return (
            await runnable.ainvoke(value, config)
            if how == "ainvoke"
            else runnable.invoke(value, config)
        )

    return run
