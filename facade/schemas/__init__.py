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
    Refer to a wire model in the OpenAPI document; `facade.openapi` describes it.

    Args:
        model: A `msgspec.Struct`.

    Returns:
        The operation's ``requestBody``.
    """
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _missing_field(reason: str) -> str | None:
    found = re.search(r"missing required field `(?P<name>[^`]+)`", reason)
    return found["name"] if found else None
