"""The document's components: schemas with their docstrings, errors with their codes, headers, ways to send a key."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from facade.openapi.docstrings import fields_of, prose
from facade.problems import PROBLEMS, UNEXPECTED
from facade.schemas.answers_v2 import OpenAIError, ProblemDetails, V2Error

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SCHEMAS = "#/components/schemas/"

SECURITY_SCHEMES = {
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The key."},
    "Bearer": {"type": "http", "scheme": "bearer", "description": "The key, as OpenAI's clients send it."},
}

ERROR_SHAPES: Mapping[str, tuple[type[msgspec.Struct], str]] = {
    "OpenAI": (OpenAIError, "application/json"),
    "V2": (V2Error, "application/json"),
    "Problem": (ProblemDetails, "application/problem+json"),
}
"""By the surface: the body and its media type."""


def _text(description: str, **schema: Any) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string", **schema}}


HEADERS = {
    "x-request-id": _text(
        "The request's id: the caller's `X-Request-ID`, or one made here. It stands in logs."
    ),
    "x-model-version": _text("Which version answered."),
    "x-cache": _text(
        "Where the answer came from.", enum=["hit-memory", "hit-redis", "partial", "miss", "bypass"]
    ),
    "age": _text("Seconds since a stored answer was computed."),
    "x-ratelimit-limit-requests": _text(
        "How many requests a minute the key may send, where that is limited."
    ),
    "x-ratelimit-remaining-requests": _text("How many of them are left."),
    "x-ratelimit-reset-requests": _text("When nothing counts any more, such as `1.5s`."),
    "x-ratelimit-limit-tokens": _text("How many tokens a minute the key may use, where that is limited."),
    "x-ratelimit-remaining-tokens": _text("How many of them are left."),
    "x-ratelimit-reset-tokens": _text("When nothing counts any more, such as `1.5s`."),
    "retry-after": _text("Whole seconds after which the same request may succeed."),
    "retry-after-ms": _text("The same in milliseconds; OpenAI's clients read it first."),
    "www-authenticate": _text("The scheme of the key."),
    "inference-header-content-length": _text("Where the JSON ends, if binary data follows it."),
}
"""Of answers."""

QUOTA = tuple(name for name in HEADERS if name.startswith("x-ratelimit-"))

ERROR_HEADERS: Mapping[int, tuple[str, ...]] = {
    401: ("www-authenticate",),
    429: ("retry-after", "retry-after-ms", *QUOTA),
    503: ("retry-after", "retry-after-ms"),
}

PARAMETERS = {
    "X-Request-Timeout": (
        "Seconds that the answer may take; the operator bounds them.",
        {"type": "number", "exclusiveMinimum": 0},
    ),
    "X-Request-ID": (
        "Comes back with the answer; letters, digits, `.`, `_`, `-`, at most 128 of them.",
        {"type": "string"},
    ),
    "Cache-Control": (
        (
            "`no-cache` computes afresh, `no-store` keeps nothing, `only-if-cached` takes a stored answer or none, "
            "`max-age` one of so many seconds at most."
        ),
        {"type": "string"},
    ),
}
"""Headers of requests: what they say, and their schema."""

PATH_PARAMETERS = {
    "model": ("Name of a model.", {"type": "string", "minLength": 1}),
    "version": ("One of its versions.", {"type": "string", "pattern": "^[0-9]{1,18}$"}),
}
"""Parts of paths, likewise."""


def schema_components(names: Iterable[str]) -> dict[str, Any]:
    """
    Describe wire models, with all that they are made of.

    Args:
        names: Of classes in `facade.schemas`.

    Returns:
        Schemas by the class's name.
    """
    known = _wire_models()
    _, found = msgspec.json.schema_components(
        [known[name] for name in names], ref_template=SCHEMAS + "{name}"
    )
    for name, schema in found.items():
        schema["description"] = prose(schema.get("description", ""))
        abouts = {
            field.name: field.about
            for cls in reversed(known[name].__mro__)
            if issubclass(cls, msgspec.Struct) and cls is not msgspec.Struct
            for field in fields_of(cls)
        }
        for field, described in schema.get("properties", {}).items():
            if abouts.get(field):
                described["description"] = prose(abouts[field])
    return dict(sorted(found.items()))


def _wire_models() -> dict[str, type[msgspec.Struct]]:
    """All wire models by their names, which differ."""
    found = {}
    waiting = list(msgspec.Struct.__subclasses__())
    while waiting:
        cls = waiting.pop()
        waiting += cls.__subclasses__()
        if cls.__module__.startswith("facade.schemas"):
            found[cls.__name__] = cls
    return found


def error_responses(surface: str, statuses: Iterable[int]) -> dict[str, Any]:
    """
    Describe the errors of a surface.

    Args:
        surface: One of `ERROR_SHAPES`.

        statuses: Which.

    Returns:
        Responses by their names among the components.
    """
    body, media_type = ERROR_SHAPES[surface]
    return {
        error_name(surface, status): {
            "description": _describe(status),
            "headers": header_references(("x-request-id", *ERROR_HEADERS.get(status, ()))),
            "content": {media_type: {"schema": {"$ref": SCHEMAS + body.__name__}}},
        }
        for status in statuses
    }


def error_name(surface: str, status: int) -> str:
    """Name an error's response among the components."""
    return f"{surface}{status}"


def header_references(names: Iterable[str]) -> dict[str, Any]:
    """Refer to some of `HEADERS`."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def parameter_components() -> dict[str, Any]:
    """Describe the headers of requests and the parts of paths."""
    kinds = (("header", PARAMETERS), ("path", PATH_PARAMETERS))
    return {
        name: {"name": name, "in": place, "required": place == "path", "description": about, "schema": schema}
        for place, known in kinds
        for name, (about, schema) in known.items()
    }


def _describe(status: int) -> str:
    """Name a status's kinds, each with its code and its class's sentence."""
    kinds = [
        f"{problem.title} (`{problem.code}`): {_lower(prose(cls.__doc__ or ''))}"
        for cls, problem in PROBLEMS.items()
        if problem.status == status
    ]
    if status == UNEXPECTED.status:
        kinds.append(f"{UNEXPECTED.title} (`{UNEXPECTED.code}`): the façade failed.")
    return " ".join(kinds) or HTTPStatus(status).phrase


def _lower(sentence: str) -> str:
    return re.sub(r"^[A-Z](?![A-Z])", lambda found: found[0].lower(), sentence)
