"""What routing adds to a call in LangChain, compared with other routers; 1,000 concurrent calls.

    python -m pip install --no-deps langchain-model-router==0.1.0
    python benchmarks/langchain_overhead.py

The models answer immediately, so it measures the routing: the median processor time above that of
the model alone, which does not depend on the load of the machine. All take turns, prompt by prompt,
and no prompt comes twice. Every router that reads the prompt reads it with the bundled encoder.
"""

# ruff: noqa: ANN401 - LangChain's signatures.

from __future__ import annotations

import argparse
import asyncio
import os
import time
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

for pool in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[pool] = "1"  # before numpy and the tokenizer start their pools

import numpy as np  # noqa: E402 - after the pools are set
from decision import WORDS, docstrings  # noqa: E402 - the same
from langchain_core.embeddings import Embeddings  # noqa: E402 - the same
from langchain_core.language_models import SimpleChatModel  # noqa: E402 - the same
from langchain_core.messages import AIMessage, AIMessageChunk  # noqa: E402 - the same
from langchain_core.outputs import ChatGenerationChunk  # noqa: E402 - the same
from langchain_core.runnables import RunnableBranch  # noqa: E402 - the same
from langchain_model_router import ChatRouter, EmbeddingStrategy  # noqa: E402 - the same

from tryage import Router  # noqa: E402 - the same
from tryage_langchain import ChatTryage, TryageRouter  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from langchain_core.runnables import Runnable

CONCURRENT = 1_000  # calls
WARM_UP = 20  # rounds that do not count
EXAMPLES = (5, 20, 100)  # per route; the package's own documentation shows three to five


MODEL_ALONE, OURS = "the model alone", "`ChatTryage`"


class InstantModel(SimpleChatModel):
    """Answers immediately with its name and the prompt, so that a mixed-up answer is seen."""

    label: str

    @property
    def _llm_type(self) -> str:
        return "instant"

    def _call(self, messages: list[Any], *_: Any, **__: Any) -> str:
        return f"{self.label}: {messages[-1].content}"

    async def _agenerate(self, messages: list[Any], *args: Any, **kwargs: Any) -> Any:
        return self._generate(messages, *args, **kwargs)

    def _stream(self, messages: list[Any], *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        for word in self._call(messages).split(" ")[:3]:
            yield ChatGenerationChunk(message=AIMessageChunk(word))


class BundledEmbeddings(Embeddings):
    """The bundled encoder as LangChain's embeddings."""

    def __init__(self, router: Router) -> None:
        self._encoder = router.perception.encoder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed examples."""
        return self._encoder.encode(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        """Embed a prompt."""
        return self.embed_documents([text])[0]


def make_runnables(router: Router, names: list[str], texts: list[str]) -> dict[str, Any]:
    """Return the model alone first, then the routers in front of it."""
    models = {name: InstantModel(label=name) for name in names}
    first, second = [*models.values()][:2]
    found: dict[str, Runnable[Any, Any]] = {
        MODEL_ALONE: first,
        "`RunnableBranch`": RunnableBranch((lambda prompt: len(prompt) > 9_999, second), first),
        "`RunnableWithFallbacks`": first.with_fallbacks([second]),
        "`TryageRouter`": TryageRouter(router, models),
        OURS: ChatTryage(models=models, router=router),
    }
    for count in EXAMPLES:
        if len(names) * count <= len(texts):
            examples = {name: texts[i :: len(names)][:count] for i, name in enumerate(names)}
            strategy = EmbeddingStrategy(BundledEmbeddings(router), examples, threshold=-1.0)
            label = f"langchain-model-router, {count} examples per route"
            found[label] = ChatRouter(routes=models, default_route=names[0], strategy=strategy)
    return found


def first_token(runnable: Runnable[Any, Any], prompt: str) -> None:
    """Wait for the first chunk with content, then close the stream."""
    stream = runnable.stream(prompt)
    while not next(stream).content:
        pass
    stream.close()


def milliseconds(work: Callable[[str], object], prompt: str) -> float:
    """Return the processor time of a call."""
    start = time.process_time()
    work(prompt)
    return 1e3 * (time.process_time() - start)


def table(runnables: Mapping[str, Runnable[Any, Any]], prompts: list[str]) -> Iterator[str]:
    """Yield what each router adds, and the ratio to what ChatTryage adds."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in runnables}
    for number, (invoked, streamed) in enumerate(zip(prompts[::2], prompts[1::2], strict=True)):
        turn = number % len(runnables)  # the first one runs with cold processor caches
        for name, runnable in [*runnables.items()][turn:] + [*runnables.items()][:turn]:
            times = (
                milliseconds(runnable.invoke, invoked),
                milliseconds(lambda prompt, it=runnable: first_token(it, prompt), streamed),
            )
            if number >= WARM_UP:
                spent[name].append(times)
    medians = {name: np.median(rounds, axis=0) for name, rounds in spent.items()}
    added = {name: median - medians[MODEL_ALONE] for name, median in medians.items()}
    yield "| {} takes | {:.2f} ms | {:.2f} ms | | |".format(MODEL_ALONE, *medians.pop(MODEL_ALONE))
    for name in medians:
        ratios = added[name] / added[OURS]
        yield "| {} | {:.2f} ms | {:.2f} ms | {:.2f} | {:.2f} |".format(name, *added[name], *ratios)


async def run_concurrently(runnable: Runnable[Any, Any], prompts: list[str]) -> str:
    """Send 1,000 numbered prompts on one event loop; count the lost and mixed-up answers."""
    numbered = [f"{i}: {prompts[i % len(prompts)]}" for i in range(CONCURRENT)]
    start = time.perf_counter()
    answers = await asyncio.gather(*map(runnable.ainvoke, numbered), return_exceptions=True)
    seconds = time.perf_counter() - start
    right = sum(
        isinstance(answer, AIMessage) and answer.content.partition(": ")[2] == prompt
        for answer, prompt in zip(answers, numbered, strict=True)
    )
    return f"{seconds:.2f} s | {CONCURRENT - right} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    words = " ".join(docstrings()).split()
    n_prompts = 2 * (options.rounds + WARM_UP)
    texts = [" ".join(words[i : i + WORDS]) for i in range(0, len(words) - WORDS, WORDS)]
    router = Router.from_pretrained()
    packages = ("langchain-core", "langchain-model-router")
    print(", ".join(f"{name} {version(name)}" for name in packages))
    for names in ([*router.library.names[:2]], [*router.library.names]):
        runnables = make_runnables(router, names, texts[n_prompts:])
        print(f"\n| {len(names)} models; adds | to `invoke` | to the first token "
              "| times `ChatTryage` | times `ChatTryage` |\n|---|---|---|---|---|")  # fmt: skip
        for line in table(runnables, texts[:n_prompts]):
            print(line, flush=True)
    runnables = make_runnables(router, [*router.library.names[:2]], texts[n_prompts:])
    print(f"\n| {CONCURRENT:,} `ainvoke` at once | took | lost or mixed up |\n|---|---|---|")
    for name, runnable in runnables.items():
        print(f"| {name} |", asyncio.run(run_concurrently(runnable, texts)), flush=True)


if __name__ == "__main__":
    main()
