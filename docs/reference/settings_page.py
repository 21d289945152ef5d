"""Every setting: of the façade (`facade.settings`), of ``make serve``, and of what others' parts read."""

from __future__ import annotations

import re
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from annotated_types import Ge, Gt, Le
from pydantic import SecretStr

from deploy.local.model import DEFAULT_NAME
from deploy.local.preflight import DEFAULT_PORTS
from docs.reference.markdown import anchor, page, table
from docs.reference.sources import CHECKOUT, find_variables
from facade.openapi.docstrings import fields_of, prose
from facade.settings import Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from facade.openapi.docstrings import Field

MEBIBYTE = 1024 * 1024

SERVE = {
    "PORT": "The façade's port.",
    "API_KEY": "The key that callers send; without it a random one is made and printed.",
    "MODEL": "Folder or hub id of a model to serve in place of the one that does the same.",
    "NAME": "What that model is called; by default the last part of its id.",
    "HOST": "Address that the façade listens on. Triton's ports are on the loopback address.",
    "TRITON_HTTP_PORT": "Triton's HTTP port.",
    "TRITON_GRPC_PORT": "Triton's gRPC port, which the façade calls.",
    "TRITON_METRICS_PORT": "Triton's port for Prometheus.",
    "PYTHON": "The interpreter that `.venv` and `.triton` are made with; every target takes it.",
}
"""What make takes, as its help lists it."""

SERVE_DEFAULTS = {
    "HOST": "`127.0.0.1`",
    "NAME": f"`{DEFAULT_NAME}`",
    "PYTHON": "`python3`",
    **{name: f"`{port}`" for name, port in DEFAULT_PORTS.items()},
}

OUTSIDE = {
    "FACADE_SECRETS_DIR": "`triton-facade`: folder of files that stand for settings (above).",
    "NO_COLOR": "`triton-facade`, `triton-export`, `make serve`: set to anything, their lines have no colours.",
    "FORCE_COLOR": "The same: set to anything but 0, colours in a pipe too.",
    "TERM": "The same: `dumb` is a terminal without colours and bars.",
    "FULL_TRACEBACK": "`triton-facade`, `triton-export`: set to anything, a bug is shown whole.",
    "ORT_DISABLE_TELEMETRY": "onnxruntime, inside Triton: 1 unless you set it.",
}
"""What the code reads besides, or others read for it; by variable."""

INTERNAL = {
    "FACADE_HEARTBEATS_FILE",
    "FACADE_HOST_QUOTAS_FILE",
    "FACADE_PARENT_PID",
    "FACADE_WORKER_INDEX",
    "MAKELEVEL",
    "PROMETHEUS_MULTIPROC_DIR",
}
"""Set by a program for its own children."""


READING = (
    "The façade reads its settings from the environment once, when it starts. A wrong one ends the start with exit "
    "code 2 and a sentence that names it."
)

SECRETS = (
    "**Secrets as files.** `FACADE_SECRETS_DIR` names a folder; a file in it that is called like a setting in small "
    "letters (`facade_redis_url`) stands for it, where the environment doesn't have it. Any setting may be a file; "
    "those marked *secret* should be."
)

SERVING = (
    "On make's command line, as in `make serve PORT=9000`, or in the environment (but `HOST` and `NAME`, which some "
    "shells set for themselves). `FACADE_*` variables in the environment reach the façade that it starts."
)

OTHERS = (
    "`triton-export` has no settings in the environment: it has options ([commands](commands.md)). The libraries that "
    "it calls have theirs, such as Hugging Face's `HF_TOKEN` for models that ask for one and `HF_HOME` for where "
    "downloads are kept. Models inside Triton read nothing of ours from the environment: the export wrote what they "
    "need into their folder."
)


def write() -> str:
    """
    Write the page.

    Returns:
        Markdown.

    Raises:
        ValueError: If the code, or make's help, knows a variable that the page doesn't.
    """
    _check_complete()
    fields = fields_of(Settings)
    parts = [READING, SECRETS]
    for section in dict.fromkeys(field.section for field in fields):
        rows = [
            _row(field, Settings.model_fields[field.name]) for field in fields if field.section == section
        ]
        parts += [f"## {section}", table(("variable", "values", "default", "meaning"), rows)]
    served = [(f"`{name}`", SERVE_DEFAULTS.get(name, ""), about) for name, about in SERVE.items()]
    outside = [(f"`{name}`", about) for name, about in OUTSIDE.items()]
    parts += [
        "## `make serve`",
        SERVING,
        table(("variable", "default", "meaning"), served),
        "## Read elsewhere",
        table(("variable", "who reads it, and what for"), outside),
        OTHERS,
    ]
    return page("Settings", "Every environment variable that changes what the programs do.", *parts)


def _check_complete() -> None:
    told = re.search(r"make serve takes ([A-Z_ ]+);", (CHECKOUT / "Makefile").read_text())
    if told is None or {*told[1].split(), "PYTHON"} != set(SERVE):
        raise ValueError(f"SERVE and make's help differ: {told and told[1]}")
    read = find_variables(CHECKOUT / "facade", CHECKOUT / "export", CHECKOUT / "deploy" / "local")
    unknown = read - set(SERVE) - set(OUTSIDE) - INTERNAL
    if unknown:
        raise ValueError(f"the code reads {', '.join(sorted(unknown))}: say in OUTSIDE what for")


def _row(field: Field, info: FieldInfo) -> tuple[str, str, str, str]:
    name = variable(field.name)
    about = re.sub(
        r"`(\w+)`",
        lambda found: (
            f"[`{variable(found[1])}`](#{variable(found[1]).lower()})"
            if found[1] in Settings.model_fields
            else found[0]
        ),
        prose(field.about),
    )
    return f"{anchor(name)}`{name}`", _values(info), _default(field.name, info.default), about


def variable(field: str) -> str:
    """Give the environment variable of a setting."""
    return f"FACADE_{field.upper()}"


def _values(info: FieldInfo) -> str:
    kind, bounds = _unwrap(info.annotation, list(info.metadata))
    if typing.get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(kind))
    if kind in {int, float}:
        return f"{'integer' if kind is int else 'number'}{_range(bounds)}"
    if kind is bool:
        return "`true`, `false`"
    if kind is SecretStr:
        return "text, *secret*"
    if kind is Path:
        return "file"
    return "text" if kind is str else "list, with commas"


def _unwrap(kind: Any, bounds: list[Any]) -> tuple[Any, list[Any]]:
    """Take the optional and the annotated off a type."""
    if typing.get_origin(kind) in {typing.Union, types.UnionType}:
        (kind,) = (arm for arm in typing.get_args(kind) if arm is not type(None))
    if typing.get_origin(kind) is typing.Annotated:
        kind, *further = typing.get_args(kind)
        for bound in further:
            bounds += getattr(bound, "metadata", [bound])
    return kind, bounds


def _range(bounds: list[Any]) -> str:
    least = next((bound.ge for bound in bounds if isinstance(bound, Ge)), None)
    most = next((bound.le for bound in bounds if isinstance(bound, Le)), None)
    above = next((bound.gt for bound in bounds if isinstance(bound, Gt)), None)
    if least is not None and most is not None:
        return f", {least} to {most}"
    if least is not None:
        return f", {least} or more"
    return f", above {above}" if above is not None else ""


def _default(name: str, value: Any) -> str:
    if value is None or value in ((), ""):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, frozenset):
        return f"`{','.join(sorted(value))}`"
    if name.endswith("_bytes"):
        shown = f"{value // MEBIBYTE} MiB" if value >= MEBIBYTE else f"{value // 1024} KiB"
        return f"`{value}` ({shown})"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"
