"""Text generation: a prompt in, tokens out, by our decoder on a CPU or by Triton's vLLM backend on GPUs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export import to_vllm
from export.artifacts import Draft, Graph, ParityReport, SourceModel
from export.config_generator import generator_config
from export.decoder_sizes import MAX_LOGPROBS, MAX_N, MAX_QUEUED, DecoderSizes, size_decoder
from export.errors import BadInput
from export.generator import Generator, read_generator
from export.options import ExportOptions
from export.parity_generation import compare_generations
from export.profiles import TargetProfile
from export.tasks.base import DoorFiles
from export.tasks.text_encoder import start_card
from export.to_decoder import build_decoder

VLLM = "vllm"
"""The engine that needs no graph."""


class TextGeneration:
    """The steps for our decoder, as the pipeline calls them."""

    def __init__(self, options: ExportOptions) -> None:
        self._options = options
        self._generator: Generator | None = None

    def convert(self, source: SourceModel, folder: Path) -> Graph:
        """Build the decoder's graph in the precision asked for."""
        if self._options.target != "cpu":
            raise BadInput(
                f"The decoder runs on CPUs only, not on '{self._options.target}'. Use --engine vllm there, or "
                "--target cpu."
            )
        return build_decoder(source, folder, self._options.precision)

    def door_files(self, source: SourceModel, graph: Graph, profile: TargetProfile) -> DoorFiles:
        """Give the runtime its tokenizer and `decoder.json`."""
        generator = self._read(source)
        caches = [spec for spec in graph.inputs if spec.name.startswith("past_key_values.")]
        settings = {
            "graph": graph.path.name,
            "layers": len(caches) // 2,
            "kv_heads": caches[0].dims[0],
            "head_dim": caches[0].dims[2],
            "vocab_size": graph.width,
            "kv_dtype": "float32",
            **self._sizes(source, graph, profile).to_json(),
            "eos_token_ids": list(generator.eos_token_ids),
            "bos_token_id": generator.bos_token_id,
            "max_n": MAX_N,
            "max_logprobs": MAX_LOGPROBS,
            "max_queued": MAX_QUEUED,
        }
        return DoorFiles(
            copied=(source.tokenizer_file,), settings=settings, has_core=False, settings_file="decoder.json"
        )

    def card(self, source: SourceModel, graph: Graph) -> dict[str, Any]:
        """Tell the façade how to render a chat, and how long it may get."""
        model_len = self._sizes(source, graph, None).max_model_len
        return generator_card(source, self._read(source), model_len)

    def door_config(
        self, name: str, card: dict[str, Any], profile: TargetProfile, versions: Sequence[int]
    ) -> Any:
        """Declare the vLLM backend's tensor contract, spoken by our Python model."""
        del profile  # the decoder batches by itself, in one instance
        return generator_config(name, "python", card, versions)

    def compare(self, source: SourceModel, draft: Draft, precision: str) -> ParityReport:
        """Compare what both write, token by token."""
        return compare_generations(source, draft, precision)

    def _read(self, source: SourceModel) -> Generator:
        self._generator = self._generator or read_generator(source)
        return self._generator

    def _sizes(self, source: SourceModel, graph: Graph, profile: TargetProfile | None) -> DecoderSizes:
        threads = profile.core_instances * profile.core_threads if profile else 1
        asked = self._options.generation.max_model_len
        return size_decoder(graph, source.max_input_tokens, threads, asked)


class VllmGeneration(TextGeneration):
    """The steps for Triton's vLLM backend, whose graph is the model itself."""

    def convert(self, source: SourceModel, folder: Path) -> Graph:
        """Write the engine's arguments, which stand where others have a graph."""
        path = to_vllm.write_vllm_files(source, self._options.generation, folder)
        dtype = self._options.generation.dtype
        return Graph(path=path, inputs=(), output_name="text_output", width=0, opset=0, precision=dtype)

    def door_files(self, source: SourceModel, graph: Graph, profile: TargetProfile) -> DoorFiles:
        """Add nothing: the backend brings the code, and the weights are where `model.json` says."""
        del source, graph, profile
        return DoorFiles(copied=(), settings={}, has_core=False, has_code=False, settings_file=None)

    def card(self, source: SourceModel, graph: Graph) -> dict[str, Any]:
        """Tell the façade the same as of our decoder, with the length that vLLM was asked for."""
        del graph
        model_len = self._options.generation.max_model_len or source.max_input_tokens
        loras = {"loras": [name for name, _path in self._options.generation.loras]}
        return generator_card(source, self._read(source), model_len) | (loras if loras["loras"] else {})

    def door_config(
        self, name: str, card: dict[str, Any], profile: TargetProfile, versions: Sequence[int]
    ) -> Any:
        """Declare the same contract, for the backend whose it is."""
        del profile
        return generator_config(name, VLLM, card, versions)

    def compare(self, source: SourceModel, draft: Draft, precision: str) -> ParityReport:
        """Compare nothing: the weights are the original's own, and vLLM runs on GPUs only."""
        del source, draft, precision
        return ParityReport(measure="not run here", points=(), figures={}, required={})


def generator_card(source: SourceModel, generator: Generator, max_model_len: int) -> dict[str, Any]:
    """
    Collect what the façade needs to know of a generator, but for the release.

    Args:
        source: The model's files.

        generator: What they say.

        max_model_len: Prompt and answer together, in tokens.

    Returns:
        The model card.
    """
    return start_card(source) | {
        # At least one token has to be written.
        "max_input_tokens": max_model_len - 1,
        "max_model_len": max_model_len,
        "chat_template": generator.chat_template,
        "special_tokens": generator.special_tokens,
        "adds_bos": generator.adds_bos,
        "default_sampling": generator.default_sampling,
        "max_n": MAX_N,
        "max_logprobs": MAX_LOGPROBS,
    }
