"""Parts of the document that routes share."""

from __future__ import annotations

import pytest

from facade.openapi.components import error_responses, schema_components


def test_fields_have_their_docstrings() -> None:
    """Those of a base class too, in Markdown."""
    found = schema_components(["ChatRequest"])

    properties = found["ChatRequest"]["properties"]
    assert properties["messages"]["description"].startswith("The conversation")
    assert properties["max_tokens"]["description"]
    assert "``" not in str(found)
    assert "StreamOptions" in found


@pytest.mark.parametrize(
    ("surface", "body"), [("OpenAI", "OpenAIError"), ("V2", "V2Error"), ("Problem", "ProblemDetails")]
)
def test_errors_name_their_codes_and_headers(surface: str, body: str) -> None:
    """In the shape of their surface."""
    found = error_responses(surface, [404, 503])

    assert body in str(found[f"{surface}404"]["content"])
    assert "`model_not_found`" in found[f"{surface}404"]["description"]
    assert "`overloaded`" in found[f"{surface}503"]["description"]
    assert "retry-after" in found[f"{surface}503"]["headers"]
