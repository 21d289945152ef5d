"""
The wire models, one file a surface, and the one way in which a body becomes one.

Decoding and checking is one pass in C (msgspec); what it finds wrong becomes an `InvalidInput` that names the field.
"""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from facade.errors import InvalidInput

Wire = TypeVar("Wire")

_AT_PATH = re.compile(r"^(?P<reason>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN_FIELD = re.compile(r"unknown field `(?P<name>[^`]+)`")
_LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)


def decode(decoder: msgspec.json.Decoder[Wire], body: bytes) -> Wire:
    """
    Read a request's body.

    Args:
        decoder: Of the surface's wire model.

        body: JSON in UTF-8.

    Returns:
        The wire model.

    Raises:
        InvalidInput: If it isn't JSON, or not what the wire model asks for.
    """
    if not body:
        raise InvalidInput("The request has no body; send a JSON object.")
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        found = _AT_PATH.match(str(error))
        reason, path = (found["reason"], found["path"]) if found else (str(error), None)
        unknown = _UNKNOWN_FIELD.search(reason)
        if unknown is not None:
            name = f"{path or ''}.{unknown['name']}".lstrip(".")
            raise InvalidInput(f"'{name}' is no field that we know.", param=name) from None
        missing = _missing_field(reason)
        param = f"{path or ''}.{missing}".lstrip(".") if missing else (path or "").lstrip(".") or None
        raise InvalidInput(f"'{param}': {reason}." if path else f"{reason}.", param=param) from None
    except UnicodeDecodeError:
        raise InvalidInput("The body isn't valid UTF-8.") from None
    except RecursionError:
        raise InvalidInput("The body's JSON is nested too deeply.") from None
    except msgspec.DecodeError as error:
        if _LONE_SURROGATE.search(body):
            raise InvalidInput("The body has a lone surrogate escape; send well-formed Unicode.") from None
        raise InvalidInput(f"The body isn't valid JSON: {error}.") from None


def to_openapi_body(model: type[Any]) -> dict[str, Any]:
    """
    Describe a wire model for the OpenAPI document.

    Args:
        model: A `msgspec.Struct`.

    Returns:
        The operation's ``requestBody``.
    """
    (schema,), components = msgspec.json.schema_components([model], ref_template="{name}")
    inlined = _inline(schema, components)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": inlined}}}}


def _inline(value: Any, components: dict[str, Any]) -> Any:
    """Put wire models where they are referred to: an operation has no place of its own for their definitions."""
    if isinstance(value, dict):
        if "$ref" in value:
            return _inline(components[value["$ref"]], components)
        return {key: _inline(item, components) for key, item in value.items()}
    return [_inline(item, components) for item in value] if isinstance(value, list) else value


def _missing_field(reason: str) -> str | None:
    found = re.search(r"missing required field `(?P<name>[^`]+)`", reason)
    return found["name"] if found else None
