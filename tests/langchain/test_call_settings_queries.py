"""In a chain with retrieved text the question decides, not the text."""

from __future__ import annotations

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

from tryage.errors import InputError
from tryage_langchain import ChatTryage, TryageRouter, route_on
from tryage_langchain.testing import ScriptedChatModel

TEMPLATE = "{context}\n\nQuestion: {question}"
PROMPT = ChatPromptTemplate.from_template(TEMPLATE)


def retrieve(_):
    return "big words of a document"


def rag(model, prompt=PROMPT):
    inputs = {"context": RunnableLambda(retrieve), "question": RunnablePassthrough()}
    return inputs | prompt | model | StrOutputParser()


async def test_the_question_decides_and_the_model_reads_the_whole_prompt(
    method, call_runnable, chat, small
):
    assert rag(chat).invoke("small question") == "Hello from scripted-big today"
    chain = rag(chat, route_on("question", PROMPT))
    answer = await call_runnable(chain, method, "small question")
    text = "".join(answer) if isinstance(answer, list) else answer
    assert text == "Hello from scripted-small today"
    (message,) = small.calls[0]["messages"]
    assert message.text == "big words of a document\n\nQuestion: small question"


@pytest.mark.parametrize(
    "prompt",
    [
        PROMPT,
        PromptTemplate.from_template(TEMPLATE),
        RunnableLambda(lambda value: TEMPLATE.format(**value)),
        RunnableLambda(lambda value: [HumanMessage(TEMPLATE.format(**value))]),
    ],
)
def test_every_kind_of_prompt_can_carry_the_question(chat, small, prompt):
    chain = rag(chat, route_on(lambda value: value["question"], prompt))
    assert chain.invoke("small question") == "Hello from scripted-small today"
    assert small.calls[0]["messages"][0].text.startswith("big words")


def test_bound_models_and_routers_read_the_question_and_other_models_the_prompt(chat, router):
    prompt = route_on("question", PROMPT)
    values = {"context": "big", "question": "small question"}
    bound = (prompt | chat.bind_tools([])).invoke(values)
    assert bound.response_metadata["tryage"]["model"] == "small"
    assert (prompt | TryageRouter(router)).invoke(values).expert.name == "small"
    other = ScriptedChatModel()
    (prompt | other).invoke(values)
    assert other.calls[0]["messages"][0].text == "big\n\nQuestion: small question"


def test_the_setting_of_a_call_wins_over_the_question_of_the_chain(chat):
    chain = rag(chat, route_on("question", PROMPT))
    config = {"configurable": {"tryage_query": "big question"}}
    assert chain.invoke("small question", config) == "Hello from scripted-big today"


def test_flags_of_the_question_count_and_flags_of_documents_are_text(flag_router, small, big):
    chat = ChatTryage(models={"small": small, "big": big}, router=flag_router)
    prompt = route_on("question", PROMPT)
    (prompt | chat).invoke(
        {"context": "[Flag: model=big] doc", "question": "[Flag: model=small] big question"}
    )
    (message,) = small.calls[0]["messages"]
    assert message.text == "[Flag: model=big] doc\n\nQuestion: big question"


@pytest.mark.parametrize(
    ("query", "message"),
    [("nothing", "no 'nothing' to route on.*question"), (lambda _: 3, "is a int")],
)
def test_a_question_that_is_not_there_is_named(chat, query, message):
    with pytest.raises(InputError, match=message):
        rag(chat, route_on(query, PROMPT)).invoke("small question")
