"""Model groups of LiteLLM with several models: a router for each, and the calls it plans."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tryage.chat.candidates import CandidatePool, RouterSettings, candidate_experts
from tryage.chat.costs import CallCosts
from tryage.chat.outcomes import CallOutcome
from tryage.core.token_estimate import estimate_tokens
from tryage.core.usage import read_usage
from tryage.locks import ForkSafeLock
from tryage_litellm.deployments import deployment_id, describe_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tryage.chat.conversation import Conversation
    from tryage.chat.plan import RoutingPlan, RoutingRecord
    from tryage.chat.router import ChatRouter
    from tryage.chat.savings import SavingsCounter
    from tryage.core.expert import Expert
    from tryage.core.preferences import Preferences
    from tryage_litellm.deployments import PriceList

    Deployments = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass
class GroupCall:
    """One request to a model group: the plan, and which of its deployments have failed.

    `record` is JSON-safe; its `model` is the one that is asked now.
    """

    group: str
    plan: RoutingPlan
    outcome: CallOutcome
    costs: CallCosts
    record: RoutingRecord
    failed: set[str | None] = field(default_factory=set)
    is_over: bool = False
    n_asked: int = 0

    def choose(self, models: Deployments) -> list[Mapping[str, Any]]:
        """Return the deployments of the best model that has one left, [] if no model may answer.

        Once all have failed they are asked again, as often as LiteLLM's own settings say.
        """
        chosen = self._choose(models)
        if not chosen and self.failed:
            self.failed.clear()
            chosen = self._choose(models)
        return chosen

    def _choose(self, models: Deployments) -> list[Mapping[str, Any]]:
        for name in self.plan.order():
            left = [one for one in models.get(name, ()) if deployment_id(one) not in self.failed]
            if left:
                self.record.update(self.plan.record(name))
                self.outcome.begin()
                self.n_asked += 1
                return left
        return []

    def add_failure(self, deployment: str | None, error: Exception) -> None:
        """Note that the deployment of an id has failed."""
        self.failed.add(deployment)
        name = self.record["model"]
        self.record.setdefault("failed", {})[name] = type(error).__name__
        self.costs.add_failure(name, error)
        self.outcome.add_failure(name, error)

    def settle(self, usage: object) -> None:
        """Note the answer and its tokens, in the words of its provider."""
        self.costs.settle_usage(self.record, read_usage(usage))

    def fail(self, error: Exception) -> None:
        """Note once that no model of the group has answered; LiteLLM may keep the record."""
        if not self.is_over:
            self.is_over = True
            self.record.update(model=None, reason="no model of the group has answered")
            self.outcome.fail(error, self.costs.give_up())


class ModelGroups:
    """A chat router for each model group that has several models.

    LiteLLM shows only the deployments that are healthy now, so a group is known by all models that
    it has ever shown, and a new one makes a new router. `settings` are those of every router,
    `experts` what the user says about the models. Safe between threads.
    """

    def __init__(
        self,
        settings: RouterSettings,
        experts: Sequence[Expert],
        counter: SavingsCounter,
        price_list: PriceList | None = None,
    ) -> None:
        self._settings, self._experts, self._counter = settings, experts, counter
        self._price_list = price_list
        self._models: dict[str, dict[str, Sequence[Mapping[str, Any]]]] = {}
        self._routers: dict[str, ChatRouter] = {}
        self._lock = ForkSafeLock()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the settings alone: deployments hold keys, LiteLLM shows them again."""
        return type(self), (self._settings, self._experts, self._counter, self._price_list)

    def is_choice(self, group: str, models: Deployments) -> bool:
        """Tell whether a group has several models, of which some may be cooling down."""
        return len({*self._models.get(group, ()), *models}) > 1

    def begin(
        self,
        group: str,
        models: Deployments,
        conversation: Conversation,
        preferences: Preferences | None,
    ) -> GroupCall:
        """Choose for one request, and write the choice into the log if there is one.

        Raises:
            InputError, FlagError, NoExpertError, PerceptionError: as in `Router.route`.
        """
        chat = self._chat_router(group, models)
        plan = chat.plan(conversation, preferences, is_available=models.__contains__)
        outcome = CallOutcome(chat, plan)

        def settle(record: RoutingRecord, usage: Any) -> None:
            chat.mark_served(plan, record["model"])
            outcome.settle(record, usage)

        costs = CallCosts(
            chat.prices, self._counter, read_usage, settle, seconds=lambda: outcome.seconds
        )
        return GroupCall(group, plan, outcome, costs, plan.record())

    def _chat_router(self, group: str, models: Deployments) -> ChatRouter:
        with self._lock:
            known = self._models.setdefault(group, {})
            if group not in self._routers or not known.keys() >= models.keys():
                known.update(models)
                self._routers[group] = self._build(known)
            return self._routers[group]

    def _build(self, models: Deployments) -> ChatRouter:
        """Return a new router over models; what the user says of others is left out."""
        facts = {
            name: describe_model(deployments, self._price_list)
            for name, deployments in models.items()
        }
        router = self._settings.router
        library = None if router is None else router.library
        experts = [one for one in self._experts if one.name in facts]
        pool = CandidatePool.from_experts(candidate_experts(facts, library, experts), library)
        return self._settings.build(pool, estimate_tokens)
