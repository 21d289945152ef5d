"""The page of the API."""

from __future__ import annotations

import json

from docs.reference import api_page


def test_every_route_and_schema_has_its_place() -> None:
    """Under its tag, with what it takes and gives."""
    document = json.loads(api_page.write_document())
    page = api_page.write()

    for path, methods in document["paths"].items():
        for method in methods:
            assert page.count(f"### {method.upper()} {path}\n") == 1
    for name in document["components"]["schemas"]:
        assert page.count(f"### {name}\n") == 1
    assert "| takes | [EmbeddingsRequest](#embeddingsrequest) (`application/json`) |" in page


def test_the_document_is_of_no_release() -> None:
    """It would differ with each commit."""
    assert json.loads(api_page.write_document())["info"]["version"] == "checkout"
