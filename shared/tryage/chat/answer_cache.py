"""Answers from a cache: returned before any model is asked, and kept after one has answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tryage.chat.plan import COST_KEY
from tryage.chat.streams import PeekedStream, aclose_iterator, close_iterator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tryage.chat.hooks import FallbackHooks
    from tryage.chat.plan import RoutingPlan, RoutingRecord
    from tryage.core.policy_change import CachedAnswer
    from tryage.policies.answer_cache import AnswerCache


class AnswerReuse:
    """What the caches of a router do for one call.

    Args:
        caches: The caches among the policies of the router.
        plan: The decision, which may have found an answer.
        hooks: They read and write answers in the form in which they are kept.
    """

    def __init__(
        self, caches: Sequence[AnswerCache], plan: RoutingPlan, hooks: FallbackHooks
    ) -> None:
        self._caches, self._plan, self._hooks = caches, plan, hooks

    @property
    def found(self) -> CachedAnswer | None:
        """The answer that the decision has found, None if a model is asked."""
        calls = None if self._hooks.from_cache is None else self._plan.calls
        return None if calls is None else calls.answer

    def record(self, found: CachedAnswer) -> RoutingRecord:
        """Return the record of an answer that was found."""
        return self._plan.record(found.expert)

    def answer(self, found: CachedAnswer) -> Any:  # noqa: ANN401 - any framework's answer
        """Return a copy of an answer that was found, in the form that the caller asks for."""
        return None if self._hooks.from_cache is None else self._hooks.from_cache(found.answer)

    def keep(self, record: RoutingRecord, answer: Any) -> Any:  # noqa: ANN401 - any framework's answer
        """Keep an answer if the caches may; return it, or a stream that is kept at its end."""
        conversation = self._plan.conversation
        if not self._caches or conversation is None or not conversation.request_key.whole:
            return answer
        if isinstance(answer, PeekedStream):
            return _kept_stream(answer, lambda chunks: self._put(record, chunks))
        self._put(record, answer)
        return answer

    def _put(self, record: RoutingRecord, answer: Any) -> None:  # noqa: ANN401 - any framework's answer, or its chunks
        kept, conversation = self._hooks.to_cache(answer), self._plan.conversation
        if kept is None or conversation is None or self._hooks.answer_problems(kept):
            return
        plan, costs = self._plan, record[COST_KEY]
        text = conversation.request if plan.turn_choice is not None else plan.decision.prompt
        billed = costs.get("billed")
        cost = costs.get("expected") if billed is None else billed
        for cache in self._caches:
            key = cache.key(text, conversation.log_keys, conversation.request_key)
            if key is not None:
                cache.put(key, text, record["model"], kept, cost=cost)


def _kept_stream(stream: PeekedStream, keep: Callable[[list[Any]], None]) -> PeekedStream:
    """Return a stream whose chunks are kept if it is read to its end."""
    if not stream.has_content:
        return stream
    chunks, remaining = list(stream.first_chunks), stream.remaining_chunks
    kind = _AsyncKeptChunks if isinstance(remaining, AsyncIterator) else _KeptChunks
    return replace(stream, remaining_chunks=kind(remaining, chunks, keep))


class _KeptChunks:
    """The rest of a stream, whose chunks are kept at its end.

    It is no generator, because one that was never begun does not close what it reads.
    """

    def __init__(
        self,
        remaining: Any,  # noqa: ANN401 - any framework's stream
        chunks: list[Any],
        keep: Callable[[list[Any]], None],
    ) -> None:
        self._remaining, self._chunks, self._keep = remaining, chunks, keep

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:  # noqa: ANN401 - any framework's chunk
        try:
            chunk = next(self._remaining)
        except StopIteration:
            self._keep(self._chunks)
            raise
        self._chunks.append(chunk)
        return chunk

    def close(self) -> None:
        """Close the stream."""
        close_iterator(self._remaining)


class _AsyncKeptChunks(_KeptChunks):
    """The same for a stream that is awaited."""

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:  # noqa: ANN401 - any framework's chunk
        try:
            chunk = await anext(self._remaining)
        except StopAsyncIteration:
            self._keep(self._chunks)
            raise
        self._chunks.append(chunk)
        return chunk

    async def aclose(self) -> None:
        """Close the stream."""
        await aclose_iterator(self._remaining)
