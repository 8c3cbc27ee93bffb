"""A structured answer that does not parse asks the next LLM, however it was asked for."""

from __future__ import annotations

from enum import Enum
from types import SimpleNamespace

import pytest
from llama_index.core import PromptTemplate, VectorStoreIndex
from llama_index.core.base.llms.types import ThinkingBlock, ToolCallBlock
from llama_index.core.llms import ChatMessage, ChatResponse, CompletionResponse, MessageRole
from llama_index.core.program import FunctionCallingProgram, LLMTextCompletionProgram
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.schema import Document, QueryBundle
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import FunctionTool, ToolMetadata
from pydantic import BaseModel, ValidationError

from tryage.errors import AllFailedError, InputError
from tryage_llamaindex import TryageLLM
from tryage_llamaindex._answers import answer_problems
from tryage_llamaindex.testing import ScriptedLLM

TEMPLATE = PromptTemplate("Extract it. {query_str}")
METHODS = (
    "structured_predict", "astructured_predict",
    "stream_structured_predict", "astream_structured_predict",
)  # fmt: skip
SMALL = "small question"


class Fact(BaseModel):
    """A number."""

    n: int


class Facts(BaseModel):
    """Any number of numbers, also none."""

    numbers: list[int] = []


class Misfit(ScriptedLLM):
    """Calls the tool with arguments that do not fit, or not at all."""

    arguments: dict = {"n": "many"}  # noqa: RUF012 - a field of pydantic
    answers_in_text: bool = False

    def _message(self, messages, kwargs):  # noqa: ARG002 - the signature of the base class
        if self.answers_in_text or not kwargs.get("tools"):
            text = self.replies.pop(0) if self.replies else "not json"
            return ChatMessage(text, role=MessageRole.ASSISTANT)
        return self._tool_call(kwargs["tools"][0]["function"]["name"], self.arguments)


def over(router, small, big=None):
    return TryageLLM(llms={"small": small, "big": big or ScriptedLLM(model="big")}, router=router)


MISFITS = [
    Misfit(model="misfit"),
    Misfit(model="text", answers_in_text=True),
    Misfit(model="reads no tools", calls_tools=False),
]


@pytest.fixture(params=MISFITS, ids=lambda child: child.model)
def misfit(request):
    return request.param.model_copy(update={"calls": []})


@pytest.mark.parametrize("method", METHODS)
async def test_a_prediction_that_does_not_parse_asks_the_next(router, misfit, method, call):
    llm = over(router, misfit)
    with llm.using() as records:
        answers = await call(llm, method, Fact, prompt=TEMPLATE, query_str=SMALL)
    assert answers[-1].n == 3
    assert misfit.calls
    assert records[0]["model"] == "big"
    assert "Fact" in records[0]["failed"]["small"]
    assert "many" not in str(records)  # no word of the answer


@pytest.mark.parametrize("method", ["chat", "achat", "stream_chat", "astream_chat"])
async def test_a_structured_llm_asks_the_next(router, misfit, method, call):
    structured = over(router, misfit).as_structured_llm(Fact)
    answers = await call(structured, method, SMALL)
    assert answers[-1].raw.n == 3


async def test_an_engine_with_an_output_class_asks_the_next(router, misfit, embedding):
    index = VectorStoreIndex.from_documents([Document(text="Three.")], embed_model=embedding)
    engine = index.as_query_engine(llm=over(router, misfit), output_cls=Fact)
    assert engine.query(SMALL).response.n == 3
    assert (await engine.aquery(SMALL)).response.n == 3


@pytest.mark.parametrize("child", MISFITS[:2], ids=lambda child: child.model)
async def test_a_function_calling_program_asks_the_next(router, child):
    program = FunctionCallingProgram.from_defaults(Fact, prompt=TEMPLATE, llm=over(router, child))
    assert program(query_str=SMALL).n == 3
    assert (await program.acall(query_str=SMALL)).n == 3


async def test_a_text_completion_program_asks_the_next(router):
    big = ScriptedLLM(replies=['{"n": 3}'] * 2)
    llm = over(router, Misfit(), big)
    program = LLMTextCompletionProgram.from_defaults(output_cls=Fact, prompt=TEMPLATE, llm=llm)
    assert program(query_str=SMALL).n == 3
    assert (await program.acall(query_str=SMALL)).n == 3


async def test_a_prompt_with_a_parser_asks_the_next(router):
    selected = '[{"choice": 2, "reason": "it fits"}]'
    question = '{"items": [{"sub_question": "which?", "tool_name": "zoo"}]}'
    big = ScriptedLLM(replies=[selected, selected, question])
    llm = over(router, Misfit(), big)
    selector = LLMSingleSelector.from_defaults(llm)
    assert selector.select(["a", "b"], SMALL).ind == 1
    assert (await selector.aselect(["a", "b"], SMALL)).ind == 1
    generator = LLMQuestionGenerator.from_defaults(llm=llm)
    tools = [ToolMetadata("animals", name="zoo")]
    assert generator.generate(tools, QueryBundle(SMALL))[0].sub_question == "which?"


def test_if_no_llm_gives_an_answer_that_parses_the_error_is_that_of_the_framework(router):
    alone = TryageLLM.from_llms([Misfit(model="gpt-4o-mini")])
    with pytest.raises(ValueError, match="could not be parsed into"):
        alone.structured_predict(Fact, TEMPLATE, query_str=SMALL)
    both = over(router, Misfit(), Misfit())
    with pytest.raises(AllFailedError, match="does not parse as Fact"):
        both.structured_predict(Fact, TEMPLATE, query_str=SMALL)
    program = LLMTextCompletionProgram.from_defaults(output_cls=Fact, prompt=TEMPLATE, llm=both)
    with pytest.raises((ValueError, ValidationError), match="json"):
        program(query_str=SMALL)


def test_an_empty_model_that_is_valid_is_an_answer(router):
    child = Misfit(arguments={"numbers": []})
    llm = over(router, child)
    stream = llm.stream_structured_predict(Facts, TEMPLATE, query_str=SMALL)
    assert list(stream)[-1].numbers == []
    assert len(child.calls) == 1


def test_a_stream_that_has_begun_is_closed_with_its_reader(router, small):
    llm = over(router, small)
    stream = llm.stream_structured_predict(Fact, TEMPLATE, query_str=SMALL)
    next(stream)
    stream.close()
    assert small.closed_streams == 1


def test_mistakes_of_the_program_are_raised_at_once(router):
    big = ScriptedLLM()
    llm = over(router, ScriptedLLM(), big)
    with pytest.raises(InputError):
        llm.structured_predict(Fact, TEMPLATE, llm_kwargs={"tryage_model": 3}, query_str=SMALL)
    assert big.calls == []


def test_tools_that_are_not_required_may_be_called_with_any_arguments(router):
    def double(n: int) -> int:
        """Double a number."""
        return 2 * n

    tool = FunctionTool.from_defaults(double)
    answer = over(router, Misfit()).chat_with_tools([tool], SMALL)
    assert answer.additional_kwargs["tryage"]["model"] == "small"
    required = over(router, Misfit()).chat_with_tools([tool], SMALL, tool_required=True)
    assert required.additional_kwargs["tryage"]["model"] == "big"


def test_arguments_that_a_tool_adds_itself_are_not_asked_of_the_llm(router):
    def send(n: int, secret: str) -> str:
        """Send a number."""
        return f"{n}{secret}"

    tool = FunctionTool.from_defaults(send, partial_params={"secret": "x"})
    child = Misfit(arguments={"n": 3})
    answer = over(router, child).chat_with_tools([tool], SMALL, tool_required=True)
    assert answer.additional_kwargs["tryage"]["model"] == "small"


# Empty and cut-off answers, with the finish reasons of real providers --------------------------


class Reason(Enum):
    MAX_TOKENS = "MAX_TOKENS"
    STOP = "STOP"


def response(*blocks, raw=None, text=None, **kwargs):
    message = ChatMessage(role="assistant", blocks=list(blocks), additional_kwargs=kwargs)
    return ChatResponse(message=message if text is None else ChatMessage(text), raw=raw)


OPENAI = SimpleNamespace(choices=[SimpleNamespace(finish_reason="length")])
INCOMPLETE = SimpleNamespace(incomplete_details=SimpleNamespace(reason="max_output_tokens"))
CALL = ToolCallBlock(tool_call_id="1", tool_name="t", tool_kwargs={})


@pytest.mark.parametrize(
    ("answer", "problems"),
    [
        (response(text="Yes."), set()),
        (response(text=" \n"), {"empty"}),
        (response(), {"empty"}),
        (response(ThinkingBlock(content="Hm.")), {"empty"}),
        (response(CALL), set()),
        (response(tool_calls=[{"id": "1"}]), set()),
        (CompletionResponse(text=""), {"empty"}),
        (CompletionResponse(text="Yes", raw={"done_reason": "length"}), {"length"}),  # Ollama
        (response(text="Yes", raw={"stop_reason": "max_tokens"}), {"length"}),  # Anthropic
        (response(text="Yes", raw={"choices": [{"finish_reason": "length"}]}), {"length"}),
        (response(text="Yes", raw=OPENAI), {"length"}),
        (response(text="Yes", raw={"finish_reason": Reason.MAX_TOKENS}), {"length"}),  # Google
        (response(text="Yes", raw={"finish_reason": Reason.STOP}), set()),
        (response(raw={"stop_reason": "max_tokens"}), {"empty", "length"}),
        (response(text="Yes", raw=INCOMPLETE), {"length"}),  # OpenAI's Responses API
        (response(text="Yes", raw=SimpleNamespace(incomplete_details=None)), set()),
        (Fact(n=3), set()),
    ],
)  # fmt: skip
def test_an_answer_is_empty_or_cut_off(answer, problems):
    assert answer_problems(answer) == problems


@pytest.mark.parametrize("method", ["chat", "achat", "complete", "acomplete"])
async def test_an_empty_answer_asks_the_next_if_that_is_wanted(router, small, big, method, call):
    small.replies = ["", ""]
    llm = TryageLLM(llms={"small": small, "big": big}, router=router, retry_on=["empty"])
    (answer,) = await call(llm, method, SMALL)
    assert answer.additional_kwargs["tryage"]["model"] == "big"
    as_it_is = TryageLLM(llms={"small": small, "big": big}, router=router)
    (answer,) = await call(as_it_is, method, SMALL)
    assert answer.additional_kwargs["tryage"]["model"] == "small"
