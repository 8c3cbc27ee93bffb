"""The context length, capabilities and languages of a model, from its record."""

from __future__ import annotations

import pytest

TOOLS = "{% for m in messages %}...{% endfor %}{% if tools %}{{ tools }}{% endif %}"


def yarn(factor, original=None):
    more = {} if original is None else {"original_max_position_embeddings": original}
    return {"rope_type": "yarn", "factor": factor, **more}


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"max_position_embeddings": 32768}, 32768),
        ({"n_positions": 1024}, 1024),
        ({"text_config": {"max_position_embeddings": 8192}}, 8192),
        ({"tokenizer_config": {"model_max_length": 512}}, 512),
        ({"tokenizer_config": {"model_max_length": 1e30}}, None),  # "no limit"
        ({"max_position_embeddings": 514, "model_type": "roberta"}, 512),
        # vLLM's reading of scaled rotary positions
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4}}, 16384),
        ({"max_position_embeddings": 32768, "rope_scaling": yarn(4, 32768)}, 131072),
        ({"max_position_embeddings": 163840, "rope_scaling": yarn(40, 4096)}, 163840),
        (
            {
                "max_position_embeddings": 131072,
                "rope_scaling": {
                    "rope_type": "llama3",
                    "factor": 8,
                    "original_max_position_embeddings": 8192,
                },
            },
            131072,
        ),
        (
            {
                "max_position_embeddings": 131072,
                "model_type": "gemma3_text",
                "rope_scaling": {"rope_type": "linear", "factor": 8},
            },
            131072,
        ),
        ({"max_position_embeddings": 2048, "rope_parameters": {"rope_type": "default"}}, 2048),
        ({"max_position_embeddings": "2048"}, None),
        ({"max_position_embeddings": True}, None),
        ({"max_position_embeddings": -1}, None),
        ({"max_position_embeddings": 1e30}, None),
    ],
)
def test_the_context_length_follows_from_the_config(parse, config, length):
    assert parse(config=config).value("context_length") == length


def test_a_gguf_has_its_context_length(parse):
    assert parse(gguf={"context_length": 32768}).value("context_length") == 32768


@pytest.mark.parametrize(
    ("fields", "able"),
    [
        ({}, None),
        ({"pipeline_tag": "fill-mask"}, None),
        ({"tags": ["conversational"]}, {"chat"}),
        ({"gguf": {"chat_template": "{{ messages }}"}}, {"chat"}),
        ({"gguf": {"chat_template": TOOLS}}, {"chat", "tools"}),
        ({"config": {"tokenizer_config": {"chat_template": TOOLS}}}, {"chat", "tools"}),
        ({"config": {"chat_template_jinja": "<think>"}}, {"chat", "reasoning"}),
        ({"gguf": {"chat_template": "no toolsmith here"}}, {"chat"}),
        ({"tags": ["function-calling"]}, {"tools"}),
        ({"pipeline_tag": "image-text-to-text"}, {"vision"}),
        ({"config": {"vision_config": {"depth": 1}}}, {"vision"}),
        ({"pipeline_tag": "automatic-speech-recognition"}, {"audio"}),
        ({"config": {"tokenizer_config": {"chat_template": 3}}}, None),
    ],
)
def test_capabilities_come_from_template_task_and_tags(parse, fields, able):
    assert parse(**fields).value("capabilities") == able


def test_each_of_several_templates_counts(parse):
    named = [{"name": "default", "template": "x"}, {"name": "tool_use", "template": TOOLS}, 7]
    model = parse(config={"tokenizer_config": {"chat_template": named}})
    assert model.value("capabilities") == {"chat", "tools"}


@pytest.mark.parametrize(
    ("fields", "languages"),
    [
        ({"tags": ["en", "tf", "fr", "region:us"]}, ("en", "fr")),
        ({"cardData": {"language": ["zh", "EN"]}, "tags": ["fr"]}, ("en", "zh")),
        ({"cardData": {"language": "de"}}, ("de",)),
        ({"tags": ["tf"]}, None),
    ],
)
def test_languages_come_from_card_or_tags(parse, fields, languages):
    assert parse(**fields).value("languages") == languages
