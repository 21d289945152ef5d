"""Every error has a status, a shape by surface, and never more than that."""

from __future__ import annotations

import json
from typing import Any

import pytest

from facade import errors
from facade.problems import PROBLEMS, UNEXPECTED, find_problem, to_answer, to_response


def leaves(cls: type[errors.FacadeError]) -> list[type[errors.FacadeError]]:
    """All classes below *cls* that have none below them."""
    below = cls.__subclasses__()
    return [leaf for sub in below for leaf in leaves(sub)] if below else [cls]


@pytest.mark.parametrize("cls", leaves(errors.FacadeError))
def test_every_error_is_in_the_table(cls: type[errors.FacadeError]) -> None:
    """None falls through to 500."""
    assert find_problem(cls("x")) is not UNEXPECTED


def test_a_callers_fault_is_4xx_and_ours_is_5xx() -> None:
    """The tree's two branches are HTTP's two classes, but for what RFC 9111 calls 504."""
    for cls, problem in PROBLEMS.items():
        if cls is errors.NotCached:
            continue
        assert problem.status // 100 == (4 if issubclass(cls, errors.CallerError) else 5)


def read(path: str, error: Exception) -> tuple[int, dict[str, Any], str]:
    """Write an error for a path, and read it back."""
    response = to_response({"type": "http", "path": path}, error)
    return response.status_code, json.loads(bytes(response.body)), response.headers["content-type"]


def test_each_surface_has_its_own_shape() -> None:
    """OpenAI's object, the V2 protocol's, and RFC 9457's."""
    error = errors.InvalidInput("'x' is wrong.", param="x")

    assert read("/v1/embeddings", error) == (
        400,
        {
            "error": {
                "message": "'x' is wrong.",
                "type": "invalid_request_error",
                "param": "x",
                "code": "invalid_input",
            }
        },
        "application/json",
    )
    assert read("/v2/models/m/infer", error) == (400, {"error": "'x' is wrong."}, "application/json")
    assert read("/predict", error) == (
        400,
        {
            "type": "about:blank",
            "title": "Invalid input",
            "status": 400,
            "detail": "'x' is wrong.",
            "code": "invalid_input",
            "param": "x",
            "instance": "/predict",
        },
        "application/problem+json",
    )


def test_a_crash_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The caller gets no internals; the log gets the traceback."""
    status, body, _ = read("/v1/x", RuntimeError("secret path"))

    assert status == 500
    assert "secret" not in str(body)
    assert "secret path" in caplog.text


def test_text_that_cannot_be_encoded_is_still_answered() -> None:
    """A lone surrogate in a message doesn't break the answer."""
    status, body, _ = read("/v1/x", errors.ModelNotFound("no \ud800"))

    assert (status, body["error"]["message"]) == (404, "no ?")


def test_a_callers_own_words_are_repeated_in_part() -> None:
    """A name of megabytes doesn't come back whole, in no surface."""
    name = "m" * 1_000_000
    for path in ("/v1/x", "/v2/x", f"/{name}"):
        response = to_response({"type": "http", "path": path}, errors.ModelNotFound(f"No {name}."))

        assert len(bytes(response.body)) < 3_000
        assert b"mmm" in bytes(response.body)


def test_waits_are_jittered_upwards() -> None:
    """No refused caller comes back early, and not all come back at once."""
    waits = {
        int(to_response({"path": "/"}, errors.Overloaded("full", retry_after_s=2)).headers["retry-after-ms"])
        for _ in range(50)
    }

    assert min(waits) >= 2000
    assert max(waits) <= 2500
    assert len(waits) > 10


@pytest.mark.parametrize("wait_s", [0.001, 0.9, 1.01, 7.3])
def test_retry_after_is_never_early(wait_s: float) -> None:
    """Who waits for the whole seconds has waited for the milliseconds, and those are no less than asked for."""
    response = to_response(
        {"type": "http", "path": "/predict"}, errors.Overloaded("full", retry_after_s=wait_s)
    )

    in_ms = int(response.headers["retry-after-ms"])
    assert in_ms >= wait_s * 1000
    assert int(response.headers["retry-after"]) * 1000 >= in_ms


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidInput("No.", param="input"),
        errors.Unauthenticated("Who?"),
        errors.Overloaded("Full."),
        RuntimeError("a bug"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/embeddings", "/v2/models", "/predict"])
def test_the_short_way_answers_like_the_long_one(error: Exception, path: str) -> None:
    """The two ways of writing an error differ in nothing."""
    start, body = to_answer({"type": "http", "path": path}, error)
    response = to_response({"type": "http", "path": path}, error)
    assert start["status"] == response.status_code
    assert sorted(start["headers"]) == sorted(response.raw_headers)
    assert body["body"] == response.body
