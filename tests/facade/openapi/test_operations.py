"""The table of routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facade.openapi.components import ERROR_SHAPES, HEADERS, PARAMETERS
from facade.openapi.operations import OPERATIONS

if TYPE_CHECKING:
    import httpx

METHODS = {"get", "post", "put", "patch", "delete", "head", "options", "trace"}


def test_names_differ() -> None:
    """Clients that are generated have a function for each."""
    names = [operation.operation_id for operation in OPERATIONS.values()]

    assert len(names) == len(set(names))


def test_headers_and_parameters_are_known() -> None:
    """The document refers to them by name."""
    for operation in OPERATIONS.values():
        assert set(operation.headers) <= set(HEADERS)
        assert set(operation.parameters) <= set(PARAMETERS)
    assert set(ERROR_SHAPES) == {"OpenAI", "V2", "Problem"}


async def test_the_table_has_every_route(client: httpx.AsyncClient) -> None:
    """And no other."""
    paths = (await client.get("/openapi.json")).json()["paths"]

    assert {(method, path) for path, found in paths.items() for method in found if method in METHODS} == set(
        OPERATIONS
    )
