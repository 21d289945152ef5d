"""The API: its OpenAPI document, and the same as a page."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from pydantic import SecretStr

from docs.reference.markdown import page, table
from facade.app import build_app
from facade.openapi.document import DescribedApi, describe
from facade.settings import Settings

SCHEMAS = "#/components/schemas/"


def write_document() -> str:
    """
    Write the OpenAPI document.

    Returns:
        JSON. Its version is that of no release: the file doesn't change with each commit.
    """
    return json.dumps(_document(), indent=1, ensure_ascii=False) + "\n"


@cache
def _document() -> dict[str, Any]:
    """The document of a façade with all of its routes."""
    part: Any = build_app(Settings(environment="development", api_key=SecretStr("only-to-build-it")))
    # Each layer has the one below it.
    while not isinstance(part, DescribedApi):
        part = part._app  # noqa: SLF001
    part.version = "checkout"
    return describe(part)


def write() -> str:
    """
    Write the page.

    Returns:
        Markdown.
    """
    document = _document()
    parts = [
        (
            f"{document['info']['description']} The same for tools: [openapi.json](openapi.json); a façade in "
            "development serves it at `/openapi.json`, with its own version, and a page to try it at `/docs`."
        )
    ]
    operations = [
        (method, path, found)
        for path, methods in document["paths"].items()
        for method, found in methods.items()
    ]
    for tag in document["tags"]:
        own = [operation for operation in operations if operation[2]["tags"] == [tag["name"]]]
        parts += [f"## {tag['name']}", tag["description"], *map(_section, own)]
    components = document["components"]
    parts += [
        "## Headers of requests",
        table(("header", "meaning"), _named(components["parameters"], "header")),
    ]
    headers = [(f"`{name}`", found["description"]) for name, found in components["headers"].items()]
    parts += ["## Headers of answers", table(("header", "meaning"), headers), "## Schemas"]
    parts += [_schema(name, schema) for name, schema in components["schemas"].items()]
    return page(
        "API",
        "Every route, what it takes and what it gives; what may go wrong is in [errors](errors.md).",
        *parts,
    )


def _named(parameters: dict[str, Any], place: str) -> list[tuple[str, str]]:
    return [(f"`{name}`", found["description"]) for name, found in parameters.items() if found["in"] == place]


def _section(operation: tuple[str, str, dict[str, Any]]) -> str:
    method, path, found = operation
    answers = {status: answer for status, answer in found["responses"].items() if "$ref" not in answer}
    errors = ", ".join(status for status in found["responses"] if status not in answers)
    key = "no key" if found.get("security") == [] else ""
    lines = [("takes", _contents(found["requestBody"]))] if "requestBody" in found else []
    lines += [(f"gives {status}", _contents(answer)) for status, answer in answers.items()]
    lines += [("errors", errors)] + ([("key", key)] if key else [])
    about = found.get("description", found["summary"])
    return f"### {method.upper()} {path}\n\n{about}\n\n{table(('', ''), lines)}"


def _contents(body: dict[str, Any]) -> str:
    return "\n".join(f"{_type(media['schema'])} (`{kind}`)" for kind, media in body["content"].items())


def _schema(name: str, schema: dict[str, Any]) -> str:
    needed = set(schema.get("required", ()))
    rows = [
        (
            f"`{field}`" + ("" if field in needed else " ?"),
            _type(found),
            _default(found),
            found.get("description", ""),
        )
        for field, found in schema.get("properties", {}).items()
    ]
    parts = [f"### {name}", schema["description"], table(("field", "type", "default", "meaning"), rows)]
    return "\n\n".join(parts)


def _default(schema: dict[str, Any]) -> str:
    value = schema.get("default")
    return "" if value is None else f"`{json.dumps(value)}`"


def _type(schema: dict[str, Any]) -> str:
    """Write a schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(SCHEMAS)
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if schema.get("format") == "binary":
        return "bytes"
    bounds = [
        f"{word} {schema[bound]:g}"
        for bound, word in (("minimum", "at least"), ("maximum", "at most"))
        if bound in schema
    ]
    return f"{kind}, {', '.join(bounds)}" if bounds else str(kind)
