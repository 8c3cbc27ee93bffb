"""Conversations as every framework can describe them, and what they require of a model."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from tryage.core.cache import cached_property, get_or_compute, get_or_compute_bounded
from tryage.core.flags import extract_flags
from tryage.core.preferences import Requirement
from tryage.core.request_key import NOT_COMPARABLE, RequestKey, digest
from tryage.core.token_estimate import estimate_tokens

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tryage.core.library import Library

Role: TypeAlias = Literal["system", "user", "assistant", "tool"]

TokenCounter: TypeAlias = Callable[[str], float]

# What providers add to each message. OpenAI's cookbook counts 3 tokens and the role.
_TURN_OVERHEAD_TOKENS = 4

# An image of about one megapixel has 765 to 1,105 tokens at OpenAI and width x height / 750 at
# Anthropic. A minute of speech has 600 at OpenAI and 1,920 at Google. One round number is as close
# as a rule can be.
_TOKENS_PER_MEDIA_ITEM = 1_000

# A page of a PDF has 1,500 to 3,000 tokens at Anthropic, a second of video about 260 at Google. The
# numbers of pages and seconds are not known here, so a document counts as one page and a video as
# eight seconds.
_TOKENS_PER_DOCUMENT = 2_000

# Room for an answer whose length the caller does not limit. An answer of unknown length must not
# exclude a model that a program has filled to its limit on purpose.
_MIN_ANSWER_TOKENS = 16

ASSUMED_CAPABILITIES_KEY = "assumed_capabilities"
"""The metadata of an expert that lists capabilities which no source confirms or denies."""

_MAX_BYTES_PER_CHARACTER = 4  # of UTF-8

# Of a longer text only this many characters at each end distinguish a conversation, with the
# length, so that a long prompt does not take longer than a short one.
_HASHED_CHARS = 32_768

_ANSWERING_ROLES = ("assistant", "tool")

# "Yes please" and "explain step two again" say nothing alone; "What is the capital of Italy?" does.
_MAX_FOLLOW_UP_TOKENS = 5
_MAX_FOLLOW_UP_LENGTH = 60  # characters: no text of so few tokens is longer

_MAX_EARLIER_REQUESTS = 3

_MAX_EARLIER_LENGTH = 4_000  # characters of an earlier message


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation.

    `role` is "user" only for what a person asks. The output of a tool is "tool" however the
    framework sends it, and a summary that a program sends as a user is "system". `calls` are the
    tool calls as text, "" without any. `images` to `files` are numbers of items; `files` are
    documents other than PDFs. `digest` distinguishes content that the other fields do not hold,
    such as two images. `decision_id` is the id of the decision whose answer this is, if the
    framework has kept it with the message.
    """

    role: Role
    text: str = ""
    calls: str = ""
    images: int = 0
    audio: int = 0
    digest: str = ""
    pdfs: int = 0
    videos: int = 0
    files: int = 0
    decision_id: str = ""

    def text_tokens(self, count: TokenCounter = estimate_tokens) -> float:
        """Return about how many tokens the content has; `count` counts those of a text."""
        calls = count(self.calls) if self.calls else 0.0
        return count(self.text) + calls + self.media_tokens

    @property
    def media_tokens(self) -> int:
        """About how many tokens the content has that is not text."""
        media = (self.images + self.audio) * _TOKENS_PER_MEDIA_ITEM
        return media + (self.pdfs + self.videos + self.files) * _TOKENS_PER_DOCUMENT

    def tokens(self, count: TokenCounter = estimate_tokens) -> float:
        """Return about how many tokens the turn has, with what a provider adds to a message."""
        return self.text_tokens(count) + _TURN_OVERHEAD_TOKENS


@dataclass(frozen=True)
class Conversation:
    """Everything that is sent to a chat model in one call.

    `tools` are the schemas of the bound tools as text, "" without tools. `answer_tokens` is how
    long the answer may be, None if the caller sets no limit. `thread` is the framework's own name
    of the conversation, if it has one. `query` is what the user asks, where a program puts it into
    a template with retrieved text. `keys` and `tags` are for the log of traffic, as in
    `ConversationContext`. `settings` are plain values that stand for everything else that shapes
    the answer, such as a temperature or a schema; None if something has no plain value.
    """

    turns: Sequence[Turn]
    tools: str = ""
    structured_output: bool = False
    answer_tokens: int | None = None
    thread: str | None = None
    query: str | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()

    settings: Mapping[str, object] | None = None

    @property
    def is_continued(self) -> bool:
        """Whether a user speaks now, in a thread or after an answer."""
        if not self.turns or self.turns[-1].role != "user":
            return False
        return self.thread is not None or any(turn.role in _ANSWERING_ROLES for turn in self.turns)

    @property
    def repeats_request(self) -> bool:
        """Whether the last two messages of the user are the same, but for case and space."""
        texts = [turn.text.casefold().split() for turn in self.turns if turn.role == "user"][-2:]
        return len(texts) == 2 and texts[0] == texts[1] != []

    @cached_property
    def log_keys(self) -> dict[str, str]:
        """The keys for the log, with the thread."""
        return dict(self.keys) if self.thread is None else {**self.keys, "thread_id": self.thread}

    @cached_property
    def request(self) -> str:
        """What the user asks now: the query, else the last user message, else the last message.

        A short follow-up, such as "yes please", is read with what the user has asked before.
        """
        if self.query is not None:
            return self.query
        if not self.turns:
            return ""
        i = self._request_index
        text = self.turns[i].text
        if self.turns[i].role != "user" or not _is_follow_up(text):
            return text
        return "\n\n".join([text, *_earlier_requests(self.turns[:i])])

    @cached_property
    def capabilities(self) -> tuple[str, ...]:
        """What a model must be able to do: the names of capabilities of an `Expert`."""
        is_required = {
            "tools": bool(self.tools),
            "structured_output": self.structured_output,
            "vision": any(turn.images for turn in self.turns),
            "audio": any(turn.audio for turn in self.turns),
            "pdf": any(turn.pdfs for turn in self.turns),
            "video": any(turn.videos for turn in self.turns),
            "files": any(turn.files for turn in self.turns),
        }
        return tuple(name for name, needed in is_required.items() if needed)

    @cached_property
    def tool_names(self) -> tuple[str, ...]:
        """The names of the tools; one of a provider without a name has its type."""
        return tuple(dict.fromkeys(_names_of_tools(self.tools)))

    def text_tokens(self, count: TokenCounter | None = None) -> float:
        """Return about how many tokens the content has, with the schemas of its tools.

        This is what must fit into a context. What providers add to each message is left out,
        because frameworks that fill a context leave it out, too. `count` counts the tokens of a
        text; None estimates them.
        """
        if count is None:
            return self._estimated_tokens
        tools = count(self.tools) if self.tools else 0.0
        return tools + sum(turn.text_tokens(count) for turn in self.turns)

    @cached_property
    def _estimated_tokens(self) -> float:
        """An estimate of the content as one text, which takes the same time for any length."""
        texts = [text for turn in self.turns for text in (turn.text, turn.calls) if text]
        text = "\n".join([*texts, self.tools] if self.tools else texts)
        return estimate_tokens(text) + sum(turn.media_tokens for turn in self.turns)

    @property
    def max_text_tokens(self) -> int:
        """How many tokens the content has at most: no tokenizer makes more of them than bytes."""
        return _max_tokens(self.tools) + sum(
            _max_tokens(turn.text) + _max_tokens(turn.calls) + turn.media_tokens
            for turn in self.turns
        )

    def tokens(self, count: TokenCounter | None = None) -> float:
        """Return about how many tokens are sent: the content, and what is added to each message."""
        return self.text_tokens(count) + _TURN_OVERHEAD_TOKENS * len(self.turns)

    @property
    def answer_reserve(self) -> int:
        """How many tokens of a context are kept free for the answer."""
        return _MIN_ANSWER_TOKENS if self.answer_tokens is None else self.answer_tokens

    def answered_tokens(self, count: TokenCounter | None = None) -> float:
        """Return how many tokens the model of the last answer has read or written."""
        answers = [i for i, turn in enumerate(self.turns) if turn.role == "assistant"]
        if not answers:
            return 0.0
        return Conversation(self.turns[: answers[-1] + 1], self.tools).tokens(count)

    @cached_property
    def request_key(self) -> RequestKey:
        """The key under which an answer to exactly this request is kept."""
        try:
            settings = None if self.settings is None else json.dumps(self.settings, sort_keys=True)
        except (TypeError, ValueError):
            settings = None
        if settings is None or not self.turns:
            return NOT_COMPARABLE
        facts = [self.tools, self.structured_output, self.answer_tokens, settings]
        turns = [replace(turn, decision_id="") for turn in self.turns]
        whole = digest([*facts, *turns])
        # The words of the user may be in a template with other text.
        last = turns[self._request_index]
        turns[self._request_index] = replace(last, text=last.text.replace(self.request, "\0", 1))
        return RequestKey(whole, digest([*facts, *turns]))

    @cached_property
    def turn_keys(self) -> tuple[str, ...]:
        """Digests of the conversation up to each user message, that of the current turn first.

        A turn keeps its key through a tool loop. System messages do not count, because programs
        rewrite them between two calls of one turn.
        """
        return tuple(reversed(list(_digests(self.turns, self.thread)))) or ("",)

    @cached_property
    def answer_keys(self) -> tuple[tuple[str, ...], ...]:
        """Keys of the answers so far to each user message, the current one first.

        An answer is recognized by the id of its decision, and by the digest of the conversation
        before it. Two users may send equal messages, so a digest counts only within a thread, or
        if the conversation has gone on: in the current turn with a tool call or its output, in an
        earlier one with an answer. Without ids and threads, conversations that are equal up to
        there count as one.
        """
        if self.thread is None and not any(turn.role in _ANSWERING_ROLES for turn in self.turns):
            return ((),) * len(self.turn_keys)  # the usual case, in less time
        pairs = zip(self.turn_keys, reversed(list(_turns_after_users(self.turns))), strict=False)
        return tuple(
            self._keys_of_answers(digest, turns, is_current=not i)
            for i, (digest, turns) in enumerate(pairs)
        )

    def _keys_of_answers(
        self, digest: str, turns: Sequence[Turn], *, is_current: bool
    ) -> tuple[str, ...]:
        """Return the keys of the answers `turns` to one user message."""
        ids = [turn.decision_id for turn in reversed(turns) if turn.decision_id]
        goes_on = _is_tool_loop if is_current else _has_answer
        return (*ids, digest) if self.thread is not None or goes_on(turns) else tuple(ids)

    @property
    def _request_index(self) -> int:
        """Index of the last user message, else of the last message."""
        last = len(self.turns) - 1
        users = (i for i in range(last, -1, -1) if self.turns[i].role == "user")
        return next(users, last)


def _names_of_tools(schemas: str) -> Iterator[str]:
    """Yield the names in schemas as text, which is one list in JSON or has a schema on each line.

    A tool that is no JSON, such as a strategy for structured output, has no name.
    """
    for text in schemas.splitlines():
        try:
            parsed = json.loads(text)
        except ValueError:
            continue
        names = map(_name_of_tool, parsed if isinstance(parsed, list) else [parsed])
        yield from filter(None, names)


def _name_of_tool(schema: object) -> str | None:
    """Return the name in a schema, else its type, None without both."""
    if not isinstance(schema, dict):
        return None
    function = schema.get("function")
    name = (function if isinstance(function, dict) else schema).get("name", schema.get("type"))
    return name if isinstance(name, str) else None


def _is_follow_up(text: str) -> bool:
    """Tell whether a message is too short to say what it is about."""
    return len(text) <= _MAX_FOLLOW_UP_LENGTH and estimate_tokens(text) <= _MAX_FOLLOW_UP_TOKENS


def _earlier_requests(turns: Sequence[Turn]) -> Iterator[str]:
    """Yield what the user has asked before, back to the first message that says what it is about.

    Flags in them count in their own turn alone: they are left out, and no bracket opens another.
    """
    earlier_texts = [turn.text for turn in turns if turn.role == "user"]
    for text in reversed(earlier_texts[-_MAX_EARLIER_REQUESTS:]):
        yield extract_flags(text[:_MAX_EARLIER_LENGTH]).text.replace("[", "(")
        if not _is_follow_up(text):
            return


def conversation_requirements(conversation: Conversation, tokens: float) -> tuple[Requirement, ...]:
    """Return what a model must be able to do to answer a conversation of `tokens` tokens.

    The context must also hold the answer: `answer_tokens`, or 16 without a limit.
    """
    length = length_requirement(tokens + conversation.answer_reserve)
    return (length, *capability_requirements(conversation))


def length_requirement(length: float) -> Requirement:
    """Return the requirement that a context holds `length` tokens."""
    return Requirement("context_length", ">=", length, unknown_passes=True)


def capability_requirements(conversation: Conversation) -> tuple[Requirement, ...]:
    """Return the capabilities that a conversation requires."""
    return tuple(map(_capability_requirement, conversation.capabilities))


@lru_cache(maxsize=64)
def _capability_requirement(name: str) -> Requirement:
    return Requirement("capabilities", "has", (name,), unknown_passes=True)


def discriminating_requirements(
    requirements: Iterable[Requirement], library: Library
) -> tuple[Requirement, ...]:
    """Return the requirements that at least one expert fails.

    Prompts whose requirements all experts meet then share their preferences, so the router decides
    about them in one batch.
    """
    return tuple(
        requirement for requirement in requirements if not _is_met_by_all(requirement, library)
    )


def meets_requirements(requirements: Iterable[Requirement], library: Library, i: int) -> bool:
    """Tell whether expert `i` is not known to fail any of the requirements."""
    return all(bool(requirement.satisfied(library)[i]) for requirement in requirements)


def has_unverified_requirements(
    requirements: Iterable[Requirement], library: Library, i: int
) -> bool:
    """Tell whether it is unknown if expert `i` has a required capability.

    An unknown context length does not count: a request that is too long has an error of its own.
    """
    expert = library[i]
    assumed = expert.metadata.get(ASSUMED_CAPABILITIES_KEY, ())
    known = (expert.capabilities or frozenset()).difference(assumed)
    return any(
        isinstance(requirement.value, tuple) and not known.issuperset(requirement.value)
        for requirement in requirements
        if requirement.field == "capabilities"
    )


def is_near_context_limit(length: float, library: Library) -> bool:
    """Tell whether an estimate of the length leaves open which experts have room for it.

    An estimate that is off by a factor of two would be on the other side of some expert's limit.
    """
    limits = _context_limits(library)
    first = int(np.searchsorted(limits, length / 2))
    return first < limits.size and bool(limits[first] <= 2 * length)


def _is_met_by_all(requirement: Requirement, library: Library) -> bool:
    """Tell whether every expert meets a requirement.

    The length differs in every call, so it is compared with the shortest context instead of being
    kept as a key of the cache.
    """
    if requirement.field == "context_length" and isinstance(requirement.value, float):
        return requirement.value <= shortest_context(library)
    return get_or_compute_bounded(
        library, ("met by all", requirement), lambda: bool(requirement.satisfied(library).all())
    )


def shortest_context(library: Library) -> float:
    """Return the shortest known context in tokens, infinity if no context is known."""
    limits = _context_limits(library)
    return float(limits[0]) if limits.size else math.inf


def _context_limits(library: Library) -> NDArray[np.float64]:
    """Return the known contexts in tokens, each once and in ascending order."""

    def compute() -> NDArray[np.float64]:
        lengths = library.column("context_length")
        return np.unique(lengths[~np.isnan(lengths)])

    limits: NDArray[np.float64] = get_or_compute(library, "context limits", compute)
    return limits


def _max_tokens(text: str) -> int:
    return len(text) if text.isascii() else _MAX_BYTES_PER_CHARACTER * len(text)


def _digests(turns: Sequence[Turn], thread: str | None) -> Iterator[str]:
    """Yield the digest up to each user message; without one, the digest of all turns."""
    hasher = hashlib.blake2b(repr(thread).encode(), digest_size=16)
    has_user_turn = False
    for turn in turns:
        if turn.role != "system":
            hasher.update(_hashed_content(turn))
        if turn.role == "user":
            has_user_turn = True
            yield hasher.hexdigest()
    if turns and not has_user_turn:
        yield hasher.hexdigest()


def _hashed_content(turn: Turn) -> bytes:
    """Return what distinguishes a turn from another; of a long text only both ends."""
    parts = (turn.role, _ends(turn.text), _ends(turn.calls), turn.digest)
    return repr(parts).encode("utf-8", "surrogatepass")


def _ends(text: str) -> str | tuple[int, str, str]:
    """Return a text, or the length and both ends of a long one."""
    if len(text) <= 2 * _HASHED_CHARS:
        return text
    return len(text), text[:_HASHED_CHARS], text[-_HASHED_CHARS:]


def _turns_after_users(turns: Sequence[Turn]) -> Iterator[Sequence[Turn]]:
    """Yield the turns between each user message and the next; without one, all turns."""
    starts = [i + 1 for i, turn in enumerate(turns) if turn.role == "user"] or [0]
    ends = [start - 1 for start in starts[1:]] + [len(turns)]
    for start, end in zip(starts, ends, strict=True):
        yield turns[start:end]


def _is_tool_loop(turns: Sequence[Turn]) -> bool:
    return any(turn.role == "tool" or turn.calls for turn in turns)


def _has_answer(turns: Sequence[Turn]) -> bool:
    return any(turn.role == "assistant" for turn in turns)
