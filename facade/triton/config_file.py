"""Read a model's ``config.pbtxt`` as Triton does, for whoever looks at a repository on disk."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2


class ConfigUnreadable(Exception):
    """The text is no ModelConfig; the message says where."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The parts of a ModelConfig that decide what is loaded."""

    name: str
    """The name it gives; empty for the folder's."""

    backend: str
    """What runs it; empty if it only has a platform."""

    platform: str
    """The older word for a backend; empty if it only has a backend."""

    model_card: str | None
    """``parameters.model_card``; None for a model that triton-export didn't write, and for a core."""

    is_ensemble: bool
    """Whether it only calls other models."""

    served_versions: tuple[int, ...] | None
    """The versions that its policy names; None where the policy is another one."""


def parse_config(text: str) -> ConfigFile:
    """
    Read a config.

    Args:
        text: Of a ``config.pbtxt``.

    Returns:
        What it says.

    Raises:
        ConfigUnreadable: If Triton couldn't read it either.
    """
    try:
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise ConfigUnreadable(" ".join(str(error).split())) from None
    card = config.parameters["model_card"].string_value if "model_card" in config.parameters else None
    policy = config.version_policy
    return ConfigFile(
        name=config.name,
        backend=config.backend,
        platform=config.platform,
        model_card=card,
        is_ensemble=config.HasField("ensemble_scheduling"),
        served_versions=tuple(sorted(policy.specific.versions)) if policy.HasField("specific") else None,
    )
