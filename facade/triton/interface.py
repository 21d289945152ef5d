"""What the rest of the façade knows of Triton: a few values and one protocol."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Tensor:
    """One named tensor as it travels: row-major little-endian bytes."""

    name: str
    """The tensor's name in the model's config."""

    datatype: str
    """V2 spelling: FP32, UINT32, INT64, BYTES, …"""

    shape: tuple[int, ...]
    """Lengths of all dimensions, the batch first."""

    raw: bytes
    """
    The elements. BYTES elements stand one after another, each with its length before it as four bytes,
    little-endian (https://github.com/kserve/open-inference-protocol, "Tensor Data").
    """


Parameter = bool | int | float | str
"""What the V2 protocol's parameters may be."""

Topic = Literal["server", "server-ready", "index", "ready", "model", "config", "statistics"]
"""What Triton can be asked about itself."""


@dataclass(frozen=True, slots=True)
class InferOptions:
    """What a call may ask of Triton beside the tensors."""

    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    """Of the request; the model may read them."""

    classifications: Mapping[str, int] = field(default_factory=dict)
    """Outputs of which only so many of the largest values are wanted, each as ``value:index[:label]``."""


class Outputs(dict[str, Tensor]):
    """A call's outputs by name, in Triton's order."""

    parameters: Mapping[str, Parameter] = {}
    """What the model says beside them."""


GENERATION_INPUTS = frozenset(
    {
        "text_input",
        "stream",
        "sampling_parameters",
        "exclude_input_in_output",
        "return_finish_reason",
        "return_logprobs",
        "return_num_input_tokens",
        "return_num_output_tokens",
    }
)
"""What a decoupled model must take to be called the way that Triton's vLLM backend is."""


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What Triton says of one model: its config's parts that a façade needs."""

    name: str
    """The model's name in the repository."""

    ready_versions: tuple[int, ...]
    """Versions that answer now, ascending."""

    max_batch_size: int
    """Most rows in one call; 0 where the model takes no batch dimension."""

    is_decoupled: bool
    """Whether one request may have many responses (stream calls only)."""

    model_card: str | None
    """``parameters.model_card`` of the config: JSON, written at export. None for a foreign model."""

    input_names: frozenset[str] = frozenset()
    """Names of all inputs, optional ones included."""

    newest_version: int | None = None
    """
    The newest version at most endpoints, where endpoints differ: one that only a few have is no default yet. None
    where all have the same.
    """

    @property
    def can_generate(self) -> bool:
        """Whether it is called like Triton's vLLM backend, whatever its own backend is."""
        return self.is_decoupled and self.input_names >= GENERATION_INPUTS


class TritonBackend(Protocol):
    """A Triton that can be asked; every method raises `facade.errors` only."""

    async def infer(
        self,
        model_name: str,
        model_version: str,
        inputs: Sequence[Tensor],
        outputs: Sequence[str],
        *,
        timeout_s: float,
        options: InferOptions | None = None,
    ) -> Mapping[str, Tensor]:
        """
        Run a model once.

        Args:
            model_name: Name in the repository.

            model_version: Decimal number, or empty for the newest that the policy serves.

            inputs: All inputs of the model, the batch as first dimension.

            outputs: Names of the outputs to send back; none for all.

            timeout_s: Seconds until the call is given up, here and in Triton.

            options: What is asked for beside the tensors; None for nothing.

        Returns:
            The outputs by name; `Outputs`, where the backend is a real Triton.

        Raises:
            InvalidInput: If Triton found an input's content, shape or datatype wrong.

            ModelNotFound: If there is no such model or version.

            VersionNotReady: If the version is known and not loaded.

            BackendUnavailable: If no Triton answers.

            DeadlineExceeded: If the time was over first.

            BackendFailed: If the model failed.
        """

    def stream(
        self,
        model_name: str,
        model_version: str,
        inputs: Sequence[Tensor],
        outputs: Sequence[str],
        *,
        timeout_s: float,
        can_stop: bool = False,
    ) -> AsyncGenerator[Mapping[str, bytes], None]:
        """
        Run a decoupled model once, and give its responses as they come.

        The call begins with the first step of the iteration. Closing the iterator, or cancelling the task that waits
        for its next step, ends the call in Triton too.

        Args:
            model_name: Name in the repository.

            model_version: Decimal number, or empty for the newest that the policy serves.

            inputs: All inputs of the model.

            outputs: Names of the outputs to send back.

            timeout_s: Seconds until the call is given up, here and in Triton.

            can_stop: Whether the model is our decoder, which can be told to stop; other calls are cancelled.

        Yields:
            The elements of one response's outputs by name, as in `Tensor.raw`; the iteration ends after the last
            response.

        Raises:
            FacadeError: As `infer` does, at any step.
        """

    async def describe_models(self, *, timeout_s: float) -> list[ModelDescription]:
        """
        Ask for all models that are ready.

        Args:
            timeout_s: Seconds for all calls together.

        Returns:
            One description a model, in the order of their names.

        Raises:
            BackendUnavailable: If no Triton answers.
        """

    async def inspect(
        self, topic: Topic, model_name: str = "", model_version: str = "", *, timeout_s: float
    ) -> Any:
        """
        Ask Triton about itself, as its own HTTP endpoint tells it.

        Args:
            topic: What is asked.

            model_name: Of which model; empty for the server, or for all.

            model_version: Of which version; empty for Triton's choice, or for all.

            timeout_s: Seconds until the call is given up.

        Returns:
            Values for JSON; of *ready* a bool.

        Raises:
            FacadeError: As `infer` does.
        """

    async def aclose(self) -> None:
        """Close the connection; calls under way are cancelled."""


class TritonEndpoint(TritonBackend, Protocol):
    """One Triton of several, which can be asked whether it lives."""

    async def is_live(self, *, timeout_s: float) -> bool:
        """
        Ask whether the server runs, whatever its models do.

        Args:
            timeout_s: Seconds until the call is given up.

        Returns:
            What it says.

        Raises:
            BackendUnavailable: If it doesn't answer.

            DeadlineExceeded: If the time was over first.
        """
