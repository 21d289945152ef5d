"""The config of a generator: the vLLM backend's tensor contract, for either backend."""

import pytest

from export.config_generator import generator_config
from export.config_pbtxt import from_text, read_card, served_versions, to_text

CARD = {"task": "text-generation", "chat_template": "{{ '\\n' }}\"", "release": {"stable": 2}}


@pytest.mark.parametrize("backend", ["python", "vllm"])
def test_both_backends_declare_the_same_tensors(backend: str) -> None:
    """Decoupled, not batched by Triton, all inputs but the prompt optional."""
    config = from_text(to_text(generator_config("chat", backend, CARD, [2])))

    assert (config.backend, config.max_batch_size) == (backend, 0)
    assert config.model_transaction_policy.decoupled
    assert [(spec.name, spec.optional) for spec in config.input][:3] == [
        ("text_input", False),
        ("image", True),
        ("stream", True),
    ]
    assert len(config.input) == 10
    assert [spec.name for spec in config.output] == [
        "text_output",
        "finish_reason",
        "cumulative_logprob",
        "logprobs",
        "num_input_tokens",
        "num_output_tokens",
    ]
    assert [group.count for group in config.instance_group] == [1]
    assert served_versions(config) == [2]
    assert read_card(config) == CARD


def test_vllm_is_asked_for_its_metrics_and_health() -> None:
    """Its devices are its own matter."""
    config = generator_config("chat", "vllm", CARD, [1])

    assert config.instance_group[0].kind == config.instance_group[0].Kind.Value("KIND_MODEL")
    assert config.parameters["REPORT_CUSTOM_METRICS"].string_value == "true"
    assert "REPORT_CUSTOM_METRICS" not in generator_config("chat", "python", CARD, [1]).parameters
