"""What many threads and tasks ask of shared objects, what changes meanwhile, and what must hold."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from llama_index.core.llms import CompletionResponse, CompletionResponseGen, CustomLLM, LLMMetadata

from tryage import Expert, Router
from tryage.errors import TrafficError
from tryage_langchain import ChatTryage
from tryage_llamaindex import TryageLLM
from tryage_server import ServerSettings, create_app

if TYPE_CHECKING:
    from pathlib import Path

    from concurrent_findings import Findings

    from tryage.core.decision import Decision
    from tryage.hub.settings import HubSettings
    from tryage.traffic.learner_state import LearnerState

MODELS = {"alpha": "gpt-5.4", "beta": "claude-opus-4-8", "gamma": "gpt-5.4-nano"}
TOPICS = ("Prove that {} is prime.", "Translate {} into French.", "Write code that sorts {}.")
USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
URL_VARIABLE = "TRYAGE_LOAD_LOG"
BUDGET = 1e6  # USD, which nobody spends: what is spent must be what was billed


class EchoModel(BaseChatModel):
    """A chat model of LangChain that answers with its name and the prompt."""

    label: str

    @property
    def _llm_type(self) -> str:
        return "echo"

    def _generate(self, messages: list[Any], *_: object, **__: object) -> ChatResult:
        message = AIMessage(f"{self.label}|{messages[-1].content}", usage_metadata=USAGE)
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages: list[Any], *_: object, **__: object) -> ChatResult:
        await asyncio.sleep(0)  # other tasks run meanwhile, and none waits for a thread
        return self._generate(messages)


class EchoLLM(CustomLLM):
    """An LLM of LlamaIndex that does the same."""

    label: str

    @property
    def metadata(self) -> LLMMetadata:
        """Tell the name."""
        return LLMMetadata(model_name=self.label)

    def complete(self, prompt: str, *_: object, **__: object) -> CompletionResponse:
        """Answer."""
        return CompletionResponse(text=f"{self.label}|{prompt}")

    def stream_complete(self, prompt: str, *_: object, **__: object) -> CompletionResponseGen:
        """Answer in one piece."""
        yield self.complete(prompt)


alpha, beta, gamma = (EchoModel(label=name) for name in MODELS)  # the file of settings names them


def settings_of(generation: int) -> str:
    """Return a file of settings in which all prices and the preferences tell its generation."""
    tables = [
        f'[[models]]\nname = "{name}"\nclient = "concurrent_load:{name}"\n'
        f'about_as_good_as = "{like}"\ninput_price = {generation}.{i}\n'
        f"output_price = {generation}.{i}\noutput_tokens = 5\n"
        for i, (name, like) in enumerate(MODELS.items())
    ]
    policy = f'[[policies]]\nkind = "Budget"\nusd_per_month = {BUDGET}\nlabel = "all"\n'
    log = f'[traffic]\nurl = "${{{URL_VARIABLE}}}"\nqueue_size = 1000000\n'
    return "\n".join([*tables, f"[preferences]\nanswer_value = {generation}.5\n", log, policy])


class Load:
    """One ChatTryage of a file of settings, a TryageLLM, a server and a router of the Hub."""

    def __init__(self, folder: Path, url: str, hub: HubSettings, findings: Findings) -> None:
        self.folder, self.hub, self.findings = folder, hub, findings
        os.environ[URL_VARIABLE] = url  # no file may hold the address of a server with an account
        self.path, self.generation = folder / "tryage.toml", 1
        self.path.write_text(settings_of(1))
        self.chat = ChatTryage.from_config(self.path, watch=True)
        self.llm = TryageLLM(llms={name: EchoLLM(label=name) for name in MODELS})
        app = create_app(self.chat, ServerSettings(max_requests=10_000))
        self.server = httpx.ASGITransport(app)
        self.of_hub = Router.from_hub(
            "text-generation", base=self.chat.router, catalogue=folder / "hub.db", settings=hub
        )
        self.decision_ids: list[str] = []  # what is added to a list by threads is added once
        self.feedback_ids: list[str] = []
        self.bills: list[float] = []
        self.n_changes: Counter[str] = Counter()

    @property
    def router(self) -> Router:
        """The router of the settings of now."""
        return self.chat._chat_router.router  # noqa: SLF001 - a package of the same project

    # What is asked

    def call(self, n: int) -> None:
        """Ask in one of the ways of threads."""
        prompt = TOPICS[n % 3].format(f"number {n}")
        with self.findings.no_error("a call of a thread returns"):
            if n % 8 == 0:
                self._check_decision(self.chat.route(prompt).decision)
            elif n % 8 == 1:
                self._check_text(self.llm.complete(prompt).text, prompt)
            elif n % 8 == 2:
                router = self.of_hub
                names = {one.name for one in router.decide_batch([prompt])[0].ranking}
                whole = names <= set(router.library.names) and bool(names)
                self.findings.check("a decision over the Hub is of one library", whole, names)
            else:
                self._take(prompt, self.chat.invoke(prompt), n)

    async def acall(self, n: int) -> None:
        """Ask in one of the ways of tasks; feedback is stored in a thread."""
        prompt = TOPICS[n % 3].format(f"task {n}")
        with self.findings.no_error("a call of a task returns"):
            if n % 8 == 1:
                self._check_text((await self.llm.acomplete(prompt)).text, prompt)
            elif n % 8 == 2:
                await self._post(prompt)
            else:
                answer = await self.chat.ainvoke(prompt)
                if n % 10 == 0:  # threads store feedback: more would wait for them, not for tasks
                    await asyncio.to_thread(self._take, prompt, answer, n)
                else:
                    self._take(prompt, answer, 1)

    async def _post(self, prompt: str) -> None:
        body = {"model": "tryage", "messages": [{"role": "user", "content": prompt}]}
        async with httpx.AsyncClient(transport=self.server, base_url="http://x") as client:
            reply = (await client.post("/v1/chat/completions", json=body)).json()
        self._check_text(reply["choices"][0]["message"]["content"], prompt)
        self._note(reply["tryage"])

    def _take(self, prompt: str, answer: AIMessage, n: int) -> None:
        """Check an answer of ChatTryage, and give feedback about it if `n` is even."""
        record = answer.response_metadata["tryage"]
        expected = f"{record.get('served_by', record['model'])}|{prompt}"
        fact = "an answer is of its prompt, by the model of its record"
        self.findings.check(fact, answer.content == expected, (answer.content, expected))
        self._note(record)
        if n % 2 == 0:
            name = f"{prompt} {record['id']}"
            self.feedback_ids.append(name)
            self.chat.feedback(record["id"], n % 10 / 9, kind="test", feedback_id=name)

    def _note(self, record: dict[str, Any]) -> None:
        self.decision_ids.append(record["id"])
        self.bills.append(record["cost"]["billed"])

    def _check_text(self, text: str, prompt: str) -> None:
        is_own = text in {f"{name}|{prompt}" for name in MODELS}
        self.findings.check("an answer is of its prompt, by one of the models", is_own, text)

    def _check_decision(self, decision: Decision) -> None:
        """Look whether prices and preferences are of one state of the settings."""
        costs = {one.name: one.cost or 0.0 for one in decision.ranking}
        found = {int(decision.preferences.answer_value or 0), int(decision.expert.input_price or 0)}
        for i, name in enumerate(MODELS):  # a price of generation g is g.i
            if i:
                found.add(round(0.1 * i * costs["alpha"] / (costs[name] - costs["alpha"])))
        fact = "prices and preferences of a decision are of one state of the settings"
        self.findings.check(fact, len(found) == 1, found)
        names = sorted(one.name for one in decision.ranking)
        self.findings.check("a decision ranks each model once", names == sorted(MODELS), names)

    # What changes meanwhile

    def reload(self) -> None:
        """Change the file of settings, and read it."""
        generation = self.generation + 1
        self.path.write_text(settings_of(generation))
        self.findings.check("changed settings are in force", self.chat.reload())
        self.generation = generation

    def save(self) -> None:
        """Save the router over a folder that holds one, and load it."""
        self.router.save_pretrained(self.folder / "saved")
        loaded = Router.from_pretrained(self.folder / "saved")
        whole = set(loaded.library.names) == set(MODELS)
        self.findings.check("a router that is saved meanwhile is whole", whole)

    def onboard(self) -> None:
        """Onboard an expert, and decide with it."""
        losses = {TOPICS[i % 3].format(i): i % 2 for i in range(6)}
        expert = Expert("new", input_price=1, output_price=1)
        larger = self.router.onboard(expert, losses)
        decision = larger.decide_batch(["Prove that 7 is prime."])[0]
        is_there = len(decision.ranking) == len(MODELS) + 1
        self.findings.check("a router that onboards an expert ranks it", is_there)

    def refresh(self) -> None:
        """Bring the router of the Hub up to date, and put the new one in its place."""
        self.of_hub = self.of_hub.refresh(self.hub)
        self.findings.check("a router of the Hub is refreshed", len(self.of_hub.library) > 1)

    def prune(self) -> None:
        """Delete what is a day old: nothing."""
        log = self.router.traffic
        deleted = 0 if log is None else sum(log.prune(1.0).values())
        self.findings.check("nothing that is new is pruned", deleted == 0, deleted)

    def change_all(self) -> None:
        """Do each of these once."""
        for change in (self.reload, self.save, self.onboard, self.refresh, self.prune):
            with self.findings.no_error("a change while calls go on succeeds"):
                change()
            self.n_changes[change.__name__] += 1

    # What must hold at the end

    def check_log(self) -> None:
        """Compare the log, the budget and the savings with what was sent."""
        router, findings = self.router, self.findings
        log = router.traffic
        if log is None or not router.log or not router.log.flush(120):
            raise TrafficError("The log of the benchmark takes no records.")
        found = list(log.decisions())
        decisions = Counter(decision.id for decision, _, _ in found)
        feedback = Counter(one.id for _, _, some in found for one in some)
        findings.check("no record is lost", not log.lost, log.lost)
        _check_once(findings, "each decision is in the log once", decisions, self.decision_ids)
        _check_once(findings, "each feedback is in the log once", feedback, self.feedback_ids)
        spent, billed = router.policy.status().spent, sum(self.bills)  # type: ignore[union-attr]  # a Budget
        close = abs(spent - billed) <= 1e-9 * max(billed, 1.0)
        findings.check("the budget has spent what was billed", close, (spent, billed))
        answers, sent = self.chat.savings().answers, len(self.decision_ids)
        findings.check("savings count each answer once", answers == sent, (answers, sent))

    def check_learning(self) -> None:
        """Compare what was learned with the feedback, and with a reader that begins anew."""
        live, fresh = (_state(one) for one in (self.router, self._fresh_router()))
        counted = sum(one.count for one in live.beliefs.values()) + sum(live.skipped.values())
        sent = len(self.feedback_ids)
        fact = "what was learned counts each feedback once"
        self.findings.check(fact, counted == sent and not live.skipped, (counted, sent))
        for name, belief in live.beliefs.items():
            other = fresh.beliefs[name]
            means = belief.ability(live.common).mean, other.ability(fresh.common).mean
            distance = float(np.abs(means[0] - means[1]).max())
            fact = "beliefs are those of one thread that reads the log, within 1e-6"
            self.findings.check(fact, distance <= 1e-6, distance)

    def _fresh_router(self) -> Router:
        """Return the router of another process: it has an own learner, which reads the log."""
        settings = settings_of(self.generation)
        other = self.folder / "other.toml"
        other.write_text(settings)
        chat = ChatTryage.from_config(other)
        return chat._chat_router.router  # noqa: SLF001 - a package of the same project

    def close(self) -> None:
        """End the log and the watch of the file."""
        log = self.router.traffic
        self.chat.close()
        if log is not None:
            log.close()


def _check_once(findings: Findings, fact: str, found: Counter[str], sent: list[str]) -> None:
    for name in sent:
        findings.check(fact, found[name] == 1, (name, found[name]))
    surplus = set(found) - set(sent)
    findings.check(f"{fact}, and nothing else is", not surplus, len(surplus))


def _state(router: Router) -> LearnerState:
    """Return the state of the learner of a router."""
    sync = router.log._sync if router.log is not None else None  # noqa: SLF001 - of this project
    assert sync is not None  # noqa: S101 - the perception learns from a log
    sync.sync()
    return sync.learner.state
