"""Every error: of the façade over HTTP (`facade.problems`), of the models in Triton, of the export's command line."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from docs.reference.markdown import anchor, page, table
from docs.reference.sources import CHECKOUT, find_raised, find_waits, find_words
from export.errors import EXIT_CODES
from facade import errors
from facade.openapi.docstrings import prose
from facade.problems import PROBLEMS, UNEXPECTED, to_response

if TYPE_CHECKING:
    from docs.reference.sources import Raised
    from facade.problems import Problem

REMEDIES: dict[type[errors.FacadeError], str] = {
    errors.InvalidInput: "Correct the field that `param` and the message name; the same request fails again.",
    errors.Unauthenticated: "Send a valid key. Many wrong ones from one address are refused with 429 for a while.",
    errors.PermissionDenied: "Ask the operator for a key that may, or call what this one may.",
    errors.RouteNotFound: "Check the path: no slash at its end, `/v1/…` for OpenAI's routes.",
    errors.ModelNotFound: "Ask `GET /v1/models` for what the key may use.",
    errors.MethodNotAllowed: "Use the method in the `Allow` header.",
    errors.BodyTooLarge: "Split the request; the message names the limit.",
    errors.HeadTooLarge: "Send fewer or shorter headers.",
    errors.RateLimited: "Wait as long as `Retry-After` says; OpenAI's clients do so by themselves.",
    errors.NotCached: "Send the request without `only-if-cached`.",
    errors.ReadTooSlowly: "Read the stream as it comes; the rest of the answer is lost.",
    errors.CallerLeft: "Nothing: nobody reads it. It stands in logs and metrics.",
    errors.BackendFailed: "Try again; the operator finds the reason in Triton's log.",
    errors.Overloaded: "Wait as long as `Retry-After` says, then try again.",
    errors.BackendUnavailable: "Wait as long as `Retry-After` says, then try again.",
    errors.VersionNotReady: "Try again at once: the next request finds the version that took its place.",
    errors.DeadlineExceeded: "Try again with a longer `X-Request-Timeout`, or send less at once.",
}
"""What a caller does about each."""

MODEL_CODES = {
    "INVALID_ARG": ("InvalidInput", "An input or a parameter is wrong; the message names it."),
    "UNAVAILABLE": (
        "Overloaded, BackendUnavailable or VersionNotReady",
        "The queue is full, the core model isn't loaded, or the model is going away.",
    ),
    "CANCELLED": ("nobody reads it", "The caller left before the work began, or while it went on."),
    "INTERNAL": ("BackendFailed", "The core or the engine failed; Triton's log says more."),
}
"""What the models that the export ships answer inside Triton; by Triton's code."""


TRITON_CODES = frozenset(
    {
        "ALREADY_EXISTS",
        "CANCELLED",
        "INTERNAL",
        "INVALID_ARG",
        "NOT_FOUND",
        "UNAVAILABLE",
        "UNKNOWN",
        "UNSUPPORTED",
    }
)
"""Those that Triton's Python backend has (`TritonError`)."""


HEADS = ("status", "code", "type", "title", "whose", "Retry-After", "what happened, and what to do")


def write() -> str:
    """
    Write the page.

    Returns:
        Markdown.

    Raises:
        ValueError: If an error of the code is missing in a table here.
    """
    _check_complete()
    raised, waits = find_raised(CHECKOUT / "facade"), find_waits(CHECKOUT / "facade")
    rows = [_row(cls, problem, raised, waits) for cls, problem in PROBLEMS.items()]
    rows.append(
        (
            str(UNEXPECTED.status),
            _code(UNEXPECTED.code),
            f"`{UNEXPECTED.openai_type}`",
            UNEXPECTED.title,
            "ours",
            "",
            "The façade failed: a bug. Tell the operator, who finds the reason in the log.",
        )
    )
    rare = [found for found in raised if found.message and _is_rare(found)]
    own = [
        (_code(code), "\n".join(found.message for found in rare if found.code == code))
        for code in sorted({found.code for found in rare})
    ]
    return page(
        "Errors",
        "Every error that a caller can get, and what to do about it.",
        "## Over HTTP",
        (
            "The `code` is what a program switches on. *Retry-After*: the answer says how long to wait, in whole "
            "seconds (`Retry-After`) and in milliseconds (`retry-after-ms`)."
        ),
        table(HEADS, sorted(rows)),
        (
            "A 401 brings `WWW-Authenticate`, a 405 `Allow`, a 429 the `x-ratelimit-*` headers "
            "([API](api.md#headers-of-answers)). What the codes beside a status's first one say, with `…` for what "
            "differs:"
        ),
        table(("code", "message"), own),
        "## Shapes",
        "Which shape an error has depends on the path alone.",
        table(("path", "`Content-Type`", "body"), _shapes()),
        (
            "An error in a stream that has begun comes as its last event, in the same shape, after a status of 200. "
            "`param` is the request's field that is wrong (`input[3]`), `null` or left out where there is none."
        ),
        "## Inside Triton",
        "What the models that `triton-export` ships answer, and what the façade makes of it.",
        table(
            ("Triton's code", "the façade's error", "when"),
            [(f"`{code}`", error, about) for code, (error, about) in MODEL_CODES.items()],
        ),
        "## Exit codes of triton-export",
        "The last line on stderr says what happened, and what to do.",
        table(("code", "meaning"), [(str(code), about) for code, about in EXIT_CODES.items()]),
    )


def _check_complete() -> None:
    classes = {
        found
        for found in vars(errors).values()
        if inspect.isclass(found) and issubclass(found, errors.FacadeError)
    }
    missing = set(PROBLEMS) - set(REMEDIES)
    # A class without a row of its own has its base's; the two roots are never raised.
    missing |= {cls for cls in classes if not any(base in PROBLEMS for base in cls.__mro__)} - {
        errors.FacadeError,
        errors.CallerError,
        errors.ServiceError,
    }
    if unknown := find_words(CHECKOUT / "export" / "runtime", TRITON_CODES) ^ set(MODEL_CODES):
        raise ValueError(
            f"MODEL_CODES and the models in export/runtime differ in {', '.join(sorted(unknown))}"
        )
    if missing:
        raise ValueError(
            f"say in REMEDIES what to do about {', '.join(sorted(cls.__name__ for cls in missing))}"
        )


def _is_rare(found: Raised) -> bool:
    """Whether a code isn't the first of its status."""
    return found.code not in {problem.code for problem in PROBLEMS.values()}


def _code(code: str) -> str:
    return f"{anchor(code)}`{code}`"


def _row(
    cls: type[errors.FacadeError], problem: Problem, raised: list[Raised], waits: set[str]
) -> tuple[str, ...]:
    own = {found.code for found in raised if found.error == cls.__name__} - {problem.code}
    return (
        str(problem.status),
        "\n".join((_code(problem.code), *(f"[`{code}`](#{code})" for code in sorted(own)))),
        f"`{problem.openai_type}`",
        problem.title,
        "the caller's" if issubclass(cls, errors.CallerError) else "ours",
        "yes" if cls.__name__ in waits else "",
        f"{prose(cls.__doc__ or '')} {REMEDIES[cls]}",
    )


def _shapes() -> list[tuple[str, str, str]]:
    """Show one error as each surface writes it, by the code that writes it."""
    error = errors.InvalidInput("'input' is missing.", param="input")
    shown = []
    for label, path in (
        ("`/v1/…`: OpenAI's", "/v1/embeddings"),
        ("`/v2…`: KServe V2's", "/v2/models"),
        ("others: RFC 9457's", "/predict"),
    ):
        response = to_response({"path": path}, error)
        shown.append((label, f"`{response.media_type}`", f"`{bytes(response.body).decode()}`"))
    return shown
