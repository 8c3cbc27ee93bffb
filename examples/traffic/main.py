"""A day of traffic: unknown models, a short test, feedback, one model that breaks, and a report.

Three servers on this machine replay recorded models under names that nobody knows. Run it with
`python examples/traffic/main.py`; it takes some minutes.
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from langchain_openai import ChatOpenAI
from recordings import MODELS, load_recordings
from servers import ReplayServer

from tryage import Expert, Preferences, Router
from tryage.core import Exploration
from tryage.learning.traffic_report.documents import to_html
from tryage.learning.traffic_report.summary import read_report
from tryage.onboarding.candidates import Candidate
from tryage.onboarding.config import OnboardingConfig
from tryage.traffic.traffic import Traffic
from tryage_langchain import ChatTryage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recordings import Recording

PREFERENCES = Preferences(answer_value=0.05)  # USD that a right answer is worth

TEST_QUESTIONS = 120  # kept apart from the day
RATED_SHARE = 0.7  # of the users say whether an answer was right

NOON, REPAIR = 12.0, 15.0  # o'clock
HOURS = 24


@dataclass(frozen=True, slots=True)
class Hour:
    """What happened in one hour: requests and right answers by model."""

    requests: Counter[str]
    right: Counter[str]

    def __str__(self) -> str:
        """Show the shares of the models and how many answers were right."""
        total = max(self.requests.total(), 1)
        shares = "  ".join(f"{name} {self.requests[name] / total:4.0%}" for name in MODELS)
        return f"{shares}   right {self.right.total() / total:4.0%}"


def experts() -> list[Expert]:
    """Return what is known of the models: their prices, and nothing else."""
    return [
        Expert(name, input_price=price, output_price=output_price, context_length=32_000)
        for name, (_, price, output_price) in MODELS.items()
    ]


def clients(servers: dict[str, ReplayServer]) -> dict[str, ChatOpenAI]:
    """Return a chat model for each server."""
    return {
        name: ChatOpenAI(model=name, base_url=server.url, api_key="none", max_retries=0)
        for name, server in servers.items()
    }


def onboard(models: dict[str, ChatOpenAI], questions: Sequence[Recording], budget: float) -> Router:
    """Test the models with the fewest questions that settle who is good at what."""
    router, report = Router.from_pretrained(preferences=PREFERENCES).onboard_models(
        [Candidate(expert, models[expert.name]) for expert in experts()],
        budget=budget,
        prompts=[{"prompt": one.question, "answer": one.answer} for one in questions],
        config=OnboardingConfig(questions=(), rivals=False, preferences=PREFERENCES),
        progress=False,
    )
    print(report.to_markdown())
    return router.subset(list(MODELS))


def live_through(
    chat: ChatTryage, servers: dict[str, ReplayServer], day: Sequence[Recording], broken: str
) -> list[Hour]:
    """Send a day of questions, of which most get feedback; `broken` is broken from noon on."""
    random = Random(1)  # noqa: S311 - not for cryptography
    hours = [Hour(Counter(), Counter()) for _ in range(HOURS)]
    for i, one in enumerate(day):
        clock = HOURS * i / len(day)
        servers[broken].is_broken = NOON <= clock < REPAIR
        answer = chat.invoke(one.question)
        record, is_right = answer.response_metadata["tryage"], answer.content == one.answer
        hours[int(clock)].requests[record["model"]] += 1
        hours[int(clock)].right[record["model"]] += is_right
        if random.random() < RATED_SHARE:
            chat.feedback(record["id"], is_right)
        if i + 1 == len(day) or int(HOURS * (i + 1) / len(day)) > int(clock):
            note = f"   <- {broken} is broken" if servers[broken].is_broken else ""
            print(f"{int(clock):02}:00  {hours[int(clock)]}{note}", flush=True)
    return hours


def most_used(router: Router, day: Sequence[Recording]) -> str:
    """Return the model that the router would choose most often: the one to break."""
    decisions = router.decide_batch([one.question for one in day[:200]])
    return Counter(one.expert.name for one in decisions).most_common(1)[0][0]


def run(folder: Path, requests: int, budget: float = 0.25) -> list[Hour]:
    """Run the whole example; the log and the report go to a folder."""
    recordings = load_recordings()
    servers = {name: ReplayServer(name, recordings) for name in MODELS}
    models = clients(servers)
    print(f"1. Three unknown models. The test may cost {budget:.2f} dollars.\n")
    router = onboard(models, recordings[:TEST_QUESTIONS], budget)

    others = recordings[TEST_QUESTIONS:]
    day = [others[i % len(others)] for i in range(requests)]
    broken = most_used(router, day)
    traffic = Traffic(f"sqlite:///{folder / 'tryage.db'}")
    chat = ChatTryage.from_models(
        models,
        router=router,
        experts=experts(),
        traffic=traffic,
        exploration=Exploration(budget=0.05),
    )
    print(f"\n2. A day of {requests:,} requests. At noon {broken} breaks without any error.\n")
    hours = live_through(chat, servers, day, broken)
    traffic.flush()
    print(f"\n3. What was learned\n\n{chat.learned_since(0.0)}\n\n{chat.savings()}")
    report = folder / "report.html"
    report.write_text(to_html(read_report(traffic)), "utf-8")
    print(f"\n4. The report of the day: {report}")
    for server in servers.values():
        server.close()
    return hours


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=4_000)
    parser.add_argument("--folder", type=Path, default=Path("traffic-example"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if (arguments.folder / "tryage.db").exists():
        parser.error(f"{arguments.folder} holds the log of another day; give another --folder")
    logging.basicConfig(format="         !  %(message)s", level=logging.WARNING)
    run(arguments.folder, arguments.requests)


if __name__ == "__main__":
    main()
