"""Triton's generate extension: a prompt, and everything else beside it or under ``parameters``."""

from __future__ import annotations

from typing import Any

import msgspec


class GenerateRequest(msgspec.Struct):
    """The body of ``POST /v2/models/{model}/generate``; for the documentation, as any field may stand at the top."""

    text_input: str
    """The prompt, whole."""

    parameters: dict[str, Any] = {}
    """Sampling parameters by vLLM's names, and the fields of `GenerateFlags`; they may stand beside it as well."""


class GenerateFlags(msgspec.Struct):
    """What is asked for besides the sampling."""

    stream: bool | None = None
    """Whether the answer comes as it is written."""

    exclude_input_in_output: bool | None = None
    """Whether the answer comes without the prompt before it; a stream never has it."""

    return_finish_reason: bool = False
    """Whether to say why the answer ended."""

    return_num_input_tokens: bool = False
    """Whether to say how many tokens the prompt has."""

    return_num_output_tokens: bool = False
    """Whether to say how many tokens each response stands for."""


GENERATE_DECODER = msgspec.json.Decoder(dict[str, Any])
