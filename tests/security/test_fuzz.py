"""The short form of ``make fuzz``, and that it would see what it looks for."""

from __future__ import annotations

import pytest

from tests.security.fuzz import find_problem, fuzz


@pytest.mark.e2e
def test_generated_requests_break_nothing() -> None:
    """Some hundred and fifty, over every operation: no 5xx, nothing that hangs, no traceback, nothing left behind."""
    findings = fuzz(cases=150, seed_number=20_260)

    assert not findings.failures, "\n".join(findings.failures[:5])
    assert findings.cases.total() >= 100
    assert {200, 400, 404} <= set(findings.statuses)
    assert {"POST /predict", "POST /v1/embeddings", "POST /v1/chat/completions"} <= set(findings.cases)


@pytest.mark.parametrize(
    ("status", "content_type", "content", "words"),
    [
        (500, "application/json", b"{}", "status 500"),
        (503, "application/json", b"{}", "status 503"),
        (200, "text/html", b"<html>", "content type"),
        (200, "text/event-stream", b"", "not a stream"),
        (200, "text/event-stream", b'data: {}\n\ndata: {"code":"internal"}\n\n', "a stream that ends in"),
        (200, "text/event-stream; charset=utf-8", b"data: {}\n\ndata: [DONE]\n\n", ""),
        (404, "application/problem+json", b"{}", ""),
    ],
)
def test_what_must_not_be_is_seen(status: int, content_type: str, content: bytes, words: str) -> None:
    """By status, by kind, and by a stream's last event."""
    assert (
        (words in find_problem(status, content_type, content))
        if words
        else not find_problem(status, content_type, content)
    )
