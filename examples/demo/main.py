"""The demo: real prompts run through a LangChain pipeline to real local language models.

The pipeline is `prompt | TryageRouter(router=..., runnables=...) | StrOutputParser()`.
"""

from __future__ import annotations

import json
from time import perf_counter
from typing import TYPE_CHECKING, Any

import page
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import PromptTemplate
from today import choose, load_chat, replay

from tryage.perception.pretrained import BUNDLED_FOLDER
from tryage_langchain import TryageRouter

if TYPE_CHECKING:
    from collections.abc import Callable

    from prepare import Demo

PROMPTS = (
    "What is the capital of France, and what is it known for?",
    "Write a Python function that adds two numbers.",
    "Translate into English: Guten Morgen, wie geht es dir?",
    "CC(=O)O.OCC>>CC(=O)[MASK]CC",
    "EVQLVESGGGLVQPGGSLRLSCAASGFTFSSYWMS[MASK]VRQAPGKGLEWVANIKQDGSEKYYVDSVKGRFTISRDN",
    "TIL that my neighbor's cat has",
    "What is the worst movie you have ever seen? [Flag: smallest model]",
    "Write a line of Python that prints the numbers from 1 to 9. [Flag: smallest model]",
)


class DecisionHandler(BaseCallbackHandler):
    """Shows the decision when the router emits it, before the first token of the answer."""

    def __init__(self, show: Callable[[dict[str, Any]], None]) -> None:
        self.show = show

    def on_custom_event(
        self,
        name: str,
        data: dict[str, Any],
        **kwargs: Any,  # noqa: ANN401, ARG002 - LangChain's signature
    ) -> None:
        """Show the events of the router."""
        if name == "tryage_route":
            self.show(data)


def run_pipeline(demo: Demo) -> None:
    """Send every prompt through the pipeline; the router chooses the model."""
    from experts import LocalLLM

    runnables = {model.expert.name: LocalLLM(model=model) for model in demo.models}
    prompt = PromptTemplate.from_template("{prompt}")
    chain = prompt | TryageRouter(router=demo.router, runnables=runnables) | StrOutputParser()

    def show(decision: dict[str, Any]) -> None:
        unflagged = demo.router.route(decision["prompt"]) if decision["flags"] else None
        page.show_decision(decision, unflagged)

    for number, text in enumerate(PROMPTS, start=1):
        page.show_prompt(number, text)
        page.show_answer(chain.stream({"prompt": text}, {"callbacks": [DecisionHandler(show)]}))


def show_today() -> None:
    """Route typed prompts among models of today, then play back recorded outcomes."""
    chat, outcomes = load_chat()
    page.show_choices(choose(chat))
    found = replay(chat, outcomes)
    page.note(
        f"\n{found.n_prompts} prompts of a learning app that the router was not trained on; their "
        "recorded outcomes stand in for API keys."
    )
    page.show_replay(found)


def main() -> None:
    """Prepare what is missing, then show the models, the pipeline and the value of routing."""
    with page.CONSOLE.status("Loading torch"):
        from prepare import prepare
        from worth import compare
    demo = prepare()
    start = perf_counter()
    page.heading(1, "Four real language models on this machine")
    page.show_models(demo)
    page.heading(2, "prompt | TryageRouter(router, runnables) | StrOutputParser()")
    page.note("The router predicts the loss of all four from the prompt and runs one of them.")
    run_pipeline(demo)
    page.heading(3, "What routing is worth, on prompts the router has not seen")
    page.show_worth(compare(demo), len(demo.held_out))
    page.heading(4, "What the bundled router is worth, on real outcomes it never trained on")
    page.show_bundled(json.loads((BUNDLED_FOLDER / "figures.json").read_text("utf-8")))
    page.heading(5, "Five models of today by their names: ChatTryage.from_models([...])")
    show_today()
    page.heading(6, "One decision in full: router.route(...).explain()")
    page.CONSOLE.print(demo.router.route(PROMPTS[-2]).explain(), markup=False)
    page.note(f"\nAll of this took {perf_counter() - start:.0f} s, without a network.")


if __name__ == "__main__":
    main()
