"""Of a prompt that brings retrieved text along, the question is read."""

from __future__ import annotations

import pytest
from llama_index.core.prompts import default_prompts

from tryage import Router
from tryage.perception.question import MIN_CONTEXT, find_question, find_questions

QUESTION = "Prove that the schedule is optimal, and derive a bound on its cost."

PAGE = (
    "You may return any item within 30 days. Shoes must be unworn. Refunds take five days.\n\n"
    "Question: how do I return shoes?\nAnswer: by post, in their box.\n\n"
    "Employees get 1.75 days of leave a month. Sources: handbook, page 3.\n\n"
) * 4

# The prompts of frameworks and habits of people, with the source of each.
TEMPLATES = {
    "LangChain, rlm/rag-prompt": (
        "You are an assistant for question-answering tasks. Use the following pieces of retrieved "
        "context to answer the question. If you don't know the answer, just say that you don't "
        "know.\nQuestion: {question} \nContext: {context} \nAnswer:"
    ),
    "LangChain, the chain that stuffs": (
        "Use the following pieces of context to answer the question at the end. If you don't know "
        "the answer, just say that you don't know.\n\n{context}\n\nQuestion: {question}\n"
        "Helpful Answer:"
    ),
    "Haystack": (
        "Given these documents, answer the question.\nDocuments:\n{context}\nQuestion: {question}\n"
        "Answer:"
    ),
    "DSPy": "[[ ## context ## ]]\n{context}\n\n[[ ## question ## ]]\n{question}\n\n",
    "Chinese, with tags": "<已知信息>{context}</已知信息>\n<问题>{question}</问题>",
    "German": "Kontext:\n{context}\n\nFrage: {question}\nAntwort:",
    "Russian": "Контекст:\n{context}\n\nВопрос: {question}\nОтвет:",  # noqa: RUF001 - Russian
    "Korean": "#Question:\n{question}\n\n#Context:\n{context}\n\n#Answer:",
    "Arabic": "السؤال: {question}\n\nالسياق:\n{context}\n\nالإجابة:",  # noqa: RUF001 - Arabic
    "JSON": '{{\n  "query": "{question}",\n  "passages": ["{context}"]\n}}',
}


def fill(template: str) -> str:
    return template.format(question=QUESTION, context=PAGE)


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_the_named_question_is_read_alone(template):
    assert find_question(fill(template)).strip('",\n ') == QUESTION


@pytest.mark.parametrize(
    "name", ["DEFAULT_TEXT_QA_PROMPT_TMPL", "DEFAULT_TREE_SUMMARIZE_TMPL"], ids=str
)
def test_the_question_of_a_prompt_of_llamaindex_is_read_alone(name):
    prompt = getattr(default_prompts, name).format(query_str=QUESTION, context_str=PAGE)
    assert find_question(prompt) == QUESTION


def test_a_prompt_of_llamaindex_that_refines_is_read_without_its_page():
    prompt = default_prompts.DEFAULT_REFINE_PROMPT_TMPL.format(
        query_str=QUESTION, existing_answer="By post.", context_msg=PAGE
    )
    read = find_question(prompt)
    assert read.startswith(QUESTION)
    assert "Refunds" not in read


@pytest.mark.parametrize(
    "template",
    [
        "Passages:\n{context}\n\nCustomer message:\n{question}\n\nNia:",
        "Excerpts:\n{context}\n\nHuman: hello\nAI: hi\nHuman: {question}\nAI:",
        "Answer this query: '{question}' with this provided context: {context}",
        "<|im_start|>system\n{context}<|im_end|>\n<|im_start|>user\n{question}<|im_end|>",
        "[INST] Context:\n{context}\n---\nQuestion: {question} [/INST]",
        "# Retrieved from the wiki\n{context}\n\n# Message of the user\n{question}\n\n# Reply",
    ],
    ids=["message", "transcript", "quoted", "ChatML", "Mistral", "headings"],
)
def test_what_a_person_says_is_read_alone_behind_retrieved_text(template):
    assert find_question(fill(template)) == QUESTION


@pytest.mark.parametrize(
    "template",
    [
        "<documents>\n<document index='1'>\n{context}\n</document>\n</documents>\n\n{question}",
        "Context:\n[CONTEXT 0]:\n{context}\n[END CONTEXT 0]\n\n{question}",
        'Use the articles delimited by triple quotes below:\n"""\n{context}\n"""\n{question}',
        "Answer from these documents.\n---\n{context}\n---\n@bot, someone asks: {question}",
        "Here is the knowledge base:\n{context}\nThe above is the knowledge base.\n\n{question}",
    ],
    ids=["tags", "brackets", "quotes", "line", "sentences"],
)
def test_text_with_an_end_is_left_out_where_no_part_is_named_as_the_question(template):
    read = find_question(fill(template))
    assert QUESTION in read
    assert "Refunds" not in read


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "Question: what is a context?\nAnswer:",
        "Context: " + "short page. " * 5 + "\nQuestion: why?",
        "Write an essay on the sources of the Rhine. " * 20,
        "Question: Which document ended the war?\n"
        + "A. A treaty. B. A letter.\n" * 20
        + "Answer:",
        "User: hello\nAssistant: hi, which documents?\nUser: " + "this one, please. " * 30,
        '{"document_id": 3, "query_cost": "2.20", "query_block": {"table": "documents"}}' * 5,
        "Translate into French:\n\n" + PAGE,
    ],
    ids=range(8),
)
def test_a_prompt_without_named_retrieved_text_is_read_whole(prompt):
    assert find_question(prompt) == prompt


def test_the_options_of_a_question_belong_to_it():
    asked = "Which one is true?\nA. The first.\nB. The second."
    prompt = (
        f"Read the passage and answer the question.\nPassage: {PAGE}\nQuestion: {asked}\nAnswer:"
    )
    assert find_question(prompt) == asked


def test_what_was_read_is_read_the_same_again():
    for template in TEMPLATES.values():
        read = find_question(fill(template))
        assert find_question(read) == read


def test_the_two_ends_of_a_very_long_page_are_enough():
    prompt = TEMPLATES["LangChain, the chain that stuffs"].format(
        question=QUESTION, context="A page about the river. " * 100_000
    )
    assert find_question(prompt) == QUESTION


def test_a_router_predicts_for_a_prompt_what_it_predicts_for_its_question():
    perception = Router.from_pretrained().perception
    prompts = [fill(template) for name, template in TEMPLATES.items() if name != "JSON"]
    losses = perception.predict([QUESTION, *prompts]).losses
    assert (losses[1:] == losses[0]).all()


def test_less_than_a_page_hides_no_question():
    template = "Context: {context}\nQuestion: {question}\nAnswer:"
    short = template.format(context="x" * (MIN_CONTEXT // 2), question=QUESTION)
    assert find_questions([short, fill(template)]) == (short, QUESTION)


def test_of_an_agent_that_thinks_aloud_the_question_is_read_at_every_step():
    steps = "".join(
        f"Thought: look it up\nAction: search\nAction Input: refunds {i}\nObservation: {PAGE}\n"
        for i in range(10)
    )
    prompt = (  # hwchase17/react, the prompt of LangChain's agents that think aloud
        "Answer the following questions as best you can. You have access to the following tools:\n"
        "\nsearch(query) - find pages\n\nUse the following format:\n\n"
        "Question: the input question you must answer\n"
        "Thought: you should always think about what to do\n"
        "Action: the action to take, should be one of [search]\n"
        "Action Input: the input to the action\nObservation: the result of the action\n"
        "... (this Thought/Action/Action Input/Observation can repeat N times)\n"
        "Thought: I now know the final answer\n"
        "Final Answer: the final answer to the original input question\n\nBegin!\n\n"
    )
    for n_steps in (1, 10):
        part = steps[: len(steps) * n_steps // 10]
        assert find_question(f"{prompt}Question: {QUESTION}\n{part}Thought:") == QUESTION


CODE = "def add(a, b):\n    return a + b\n" * 12


@pytest.mark.parametrize(
    "prompt",
    [
        f"You are grading a quiz.\nContext: {PAGE}\nQuestion: {QUESTION}\nAnswer: Berlin\nGrade:",
        f"Question: {QUESTION}\nContext: {PAGE}\nRephrase the question for a child to read.",
        f"Translate into Dutch.\n\nContext:\n{PAGE}\nQuestion: {{question}}\nAnswer:",
        f"Document this function, and keep its response.\n```python\n{CODE}```\nUse one sentence.",
        f"Context:\n```python\n{CODE}{CODE}{CODE}```\nQuestion: is there a race?\nAnswer:",
        "Write a letter.\nInfo: 3 pages\nClient: Port of Hull\nTone: polite\n" + "More. " * 40,
        "Edit the article for two audiences: tenants and investors.\n\n" + "A long story. " * 40,
        "Why does it not render?\n<ThemeContext.Provider>"
        + "<App/>" * 60
        + "</ThemeContext.Provider>",
        "What does [INST] mean in a prompt? Documents say [INST] Bye [/INST] " + "and more " * 40,
    ],
    ids=["grade", "rephrase", "translate", "code", "bug", "form", "edit", "JSX", "marks"],
)
def test_a_prompt_whose_task_is_the_text_itself_is_read_whole(prompt):
    assert find_question(prompt) == prompt


def test_a_sentence_that_closes_the_page_and_says_what_to_do_is_kept():
    prompt = (
        f"You are an editor. Here is the article:\n{PAGE}\nThe above article is dry. Make it fun."
    )
    assert find_question(prompt).endswith("Make it fun.")
    assert "Refunds" not in find_question(prompt)


def test_numbered_questions_are_read_together():
    prompt = f"Context:\n{PAGE}\nQuestion 1: Why?\nQuestion 2: {QUESTION}\nAnswer:"
    assert find_question(prompt).startswith("Why?")
    assert find_question(prompt).endswith(QUESTION)


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_lines_may_end_as_those_of_windows(template):
    prompt = fill(template).replace("\n", "\r\n")
    assert find_question(prompt).strip('",\n ') == QUESTION


@pytest.mark.timeout(60)  # a pattern that tries every division of the blanks takes hours
@pytest.mark.parametrize("blank", [" ", "\n", " \n"], ids=["spaces", "lines", "both"])
def test_a_prompt_of_a_million_blanks_is_read_in_no_more_time_than_its_ends(blank):
    prompt = blank * 1_000_000
    assert find_question(prompt) == prompt
