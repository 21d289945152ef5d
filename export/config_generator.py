"""
The `config.pbtxt` of a generator: one decoupled model that speaks the vLLM backend's tensor contract.

Whether our decoder runs behind it (`backend: "python"`) or Triton's vLLM backend (`backend: "vllm"`), callers can't
tell. Both batch by themselves: `max_batch_size` is 0, and there is one instance.

Source:
    triton-inference-server/vllm_backend 00ea75b, src/model.py, `_auto_complete_inputs_and_outputs`.
"""

import json
from collections.abc import Sequence
from typing import Any

from tritonclient.grpc import model_config_pb2

from export.artifacts import TensorSpec
from export.config_pbtxt import triton_datatype

INPUTS = (
    TensorSpec("text_input", "BYTES", (1,)),
    TensorSpec("image", "BYTES", (-1,)),
    TensorSpec("stream", "BOOL", (1,)),
    TensorSpec("sampling_parameters", "BYTES", (1,)),
    TensorSpec("exclude_input_in_output", "BOOL", (1,)),
    TensorSpec("return_finish_reason", "BOOL", (1,)),
    TensorSpec("return_cumulative_logprob", "BOOL", (1,)),
    TensorSpec("return_logprobs", "BOOL", (1,)),
    TensorSpec("return_num_input_tokens", "BOOL", (1,)),
    TensorSpec("return_num_output_tokens", "BOOL", (1,)),
)
"""What callers send; all but the first may be left out. (A model that isn't batched may have optional inputs.)"""

OUTPUTS = (
    TensorSpec("text_output", "BYTES", (-1,)),
    TensorSpec("finish_reason", "BYTES", (-1,)),
    TensorSpec("cumulative_logprob", "FP32", (-1,)),
    TensorSpec("logprobs", "BYTES", (-1,)),
    TensorSpec("num_input_tokens", "UINT32", (1,)),
    TensorSpec("num_output_tokens", "UINT32", (-1,)),
)
"""What they get, in as many messages as the model likes."""

INSTANCE_KINDS = {"python": "KIND_CPU", "vllm": "KIND_MODEL"}
"""Where an instance lives, by backend; KIND_MODEL lets vLLM choose its GPUs itself."""

VLLM_PARAMETERS = {"REPORT_CUSTOM_METRICS": "true", "ENABLE_VLLM_HEALTH_CHECK": "true"}
"""vLLM's own metrics on Triton's page, and an engine that died told by an unloaded model instead of hanging calls."""


def generator_config(name: str, backend: str, card: dict[str, Any], versions: Sequence[int]) -> Any:
    """
    Describe a generator.

    Args:
        name: The model's name.

        backend: "python" for our decoder, "vllm" for Triton's vLLM backend.

        card: The model card, as the façade reads it.

        versions: Versions that Triton serves.

    Returns:
        The ModelConfig message.
    """
    config = model_config_pb2.ModelConfig(name=name, backend=backend, max_batch_size=0)
    config.model_transaction_policy.decoupled = True
    for spec in INPUTS:
        config.input.add(
            name=spec.name, data_type=triton_datatype(spec), dims=spec.dims, optional=spec is not INPUTS[0]
        )
    for spec in OUTPUTS:
        config.output.add(name=spec.name, data_type=triton_datatype(spec), dims=spec.dims)
    kind = model_config_pb2.ModelInstanceGroup.Kind.Value(INSTANCE_KINDS[backend])
    config.instance_group.add(count=1, kind=kind)
    config.version_policy.specific.versions.extend(sorted(set(versions)))
    config.parameters["model_card"].string_value = json.dumps(card, separators=(",", ":"), sort_keys=True)
    if backend == "vllm":
        for parameter, value in VLLM_PARAMETERS.items():
            config.parameters[parameter].string_value = value
    return config
