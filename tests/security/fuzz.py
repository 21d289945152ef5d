"""
Thousands of generated requests over every surface, to a real façade before a real Triton: no 5xx, nothing that hangs.

``make fuzz`` runs 20,000 of them; ``make fuzz FUZZ='--cases 2000 --seed 7'`` chooses. Cases come from the OpenAPI
document by way of schemathesis, valid ones and invalid ones in turn. In most of them the model's name is replaced by
one that is served and fields are left out, since everything else ends at "no such model" or at the first field that
isn't supported. The models are small ones in Python, and for generation the stand-in of the vLLM backend.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from deploy.local.install import Places, install_triton
from deploy.local.triton import CHECKOUT, TritonServer
from tests.security.small_repository import CHAT_NAME, MODELS, write_repository
from tests.stack import KEY, start_facade

if TYPE_CHECKING:
    import random

SLOWEST_S = 20.0
"""An answer that takes longer hangs; each request's own time is `TIMEOUT_S`."""

TIMEOUT_S = 5.0
MOST_TOKENS = 16
"""Longer answers are cut: the stand-in writes one as long as it is asked for."""

SERVED = (*MODELS, CHAT_NAME)
FITTING = {
    "/v1/embeddings": ("letters",),
    "/v1/classify": ("moods", "sights"),
    "/v1/rerank": ("pairs",),
    "/v1/chat": (CHAT_NAME,),
    "/v1/completions": (CHAT_NAME,),
    "/generate": (CHAT_NAME,),
    "/v2/models": ("letters", "moods", "pairs", "sights"),
}
"""Models that an operation is for."""

NEEDED = {"model", "messages", "prompt", "input", "inputs", "images", "query", "documents", "text_input"}
"""Fields without which nothing is asked."""

ROLES = ("system", "user", "assistant", "tool", "developer")
TEXT_PART, IMAGE_PART = {"type": "text", "text": "a"}, {"type": "image_url"}
CONTENTS: tuple[Any, ...] = ("", "a b", "\u202e\x00{{ 7 * 7 }}", None, [TEXT_PART], [IMAGE_PART])

SHARE_OF_TAMED = 0.8
SHARE_OF_DROPPED = 0.6


@dataclass
class Findings:
    """What a run came to."""

    cases: Counter[str] = field(default_factory=Counter)
    """Requests by operation."""

    statuses: Counter[int] = field(default_factory=Counter)
    """Answers by status."""

    failures: list[str] = field(default_factory=list)
    """What must not have happened, each with its request."""

    slowest_s: float = 0.0
    """The longest wait for an answer."""


class Fuzz:
    """
    Sends generated requests to one façade.

    Args:
        url: The façade's base URL.

        seed: What the cases follow from.
    """

    def __init__(self, url: str, seed: int) -> None:
        self._url = url
        self._seed = seed
        self._session = requests.Session()
        self._session.headers.update({"X-API-Key": KEY})
        self._schema = schemathesis.openapi.from_url(f"{url}/openapi.json", headers={"X-API-Key": KEY})
        self.findings = Findings()

    def run(self, cases: int) -> Findings:
        """
        Send about so many requests, as many to each operation.

        Args:
            cases: How many.

        Returns:
            What came of it.
        """
        operations = [result.ok() for result in self._schema.get_all_operations()]
        for operation in operations:
            each = cases // len(operations) // 2 + 1
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                self._run_operation(operation, mode, each)
        return self.findings

    def _run_operation(self, operation: Any, mode: GenerationMode, cases: int) -> None:
        @seed(self._seed)
        @settings(
            max_examples=cases,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode), choice=st.randoms(use_true_random=False))
        def send(case: Any, choice: random.Random) -> None:
            self._send(case, choice)

        try:
            send()
        except Exception as error:  # an operation without parameters can't be wrong
            if type(error).__name__ not in {"Unsatisfiable", "SkipTest"}:
                raise

    def _send(self, case: Any, choice: random.Random) -> None:
        tame(case, choice)
        label = f"{case.method} {case.operation.path}"
        self.findings.cases[label] += 1
        began = time.monotonic()
        try:
            answer = case.call(
                base_url=self._url,
                session=self._session,
                headers={"X-Request-Timeout": str(TIMEOUT_S)},
                timeout=SLOWEST_S,
            )
        except requests.RequestException as error:
            self.findings.failures.append(f"{label}: {type(error).__name__}: {error}\n{self._describe(case)}")
            return
        self.findings.slowest_s = max(self.findings.slowest_s, time.monotonic() - began)
        self.findings.statuses[answer.status_code] += 1
        problem = find_problem(
            answer.status_code, answer.headers.get("content-type", [""])[0], answer.content
        )
        if problem:
            self.findings.failures.append(f"{label}: {problem}\n{self._describe(case)}")

    def _describe(self, case: Any) -> str:
        return str(case.as_curl_command())[:2000].replace(KEY, "$API_KEY")


def tame(case: Any, choice: random.Random) -> None:
    """
    Lead a case past what would end it at once: models that aren't there, and fields that no use is made of.

    Args:
        case: Schemathesis's; changed in place.

        choice: Chance; one case in five stays as it is.
    """
    if choice.random() > SHARE_OF_TAMED:
        return
    names = next((names for path, names in FITTING.items() if path in case.operation.path), SERVED)
    if "model" in (case.path_parameters or {}):
        case.path_parameters["model"] = choice.choice(names)
    if "version" in (case.path_parameters or {}):
        case.path_parameters["version"] = "1"
    if isinstance(case.body, dict):
        _tame_body(case.body, names, choice)


def _tame_body(body: dict[str, Any], names: tuple[str, ...], choice: random.Random) -> None:
    for name in list(body):
        if name not in NEEDED and choice.random() < SHARE_OF_DROPPED:
            del body[name]
        elif isinstance(body[name], float) and body[name].is_integer():
            body[name] = int(body[name])
    if "model" in body:
        body["model"] = choice.choice(names)
    if "messages" in body and choice.random() < SHARE_OF_TAMED:
        body["messages"] = [
            {"role": choice.choice(ROLES), "content": choice.choice(CONTENTS)}
            for _ in range(choice.randint(1, 3))
        ]
    for limit in ("max_tokens", "max_completion_tokens"):
        if isinstance(body.get(limit), int):
            body[limit] = min(body[limit], MOST_TOKENS)


def find_problem(status: int, content_type: str, content: bytes) -> str:
    """
    Say what is wrong with an answer, whatever was asked.

    Args:
        status: Its status.

        content_type: Its media type.

        content: Its body.

    Returns:
        What must not be; empty if all is well.
    """
    if status >= 500:
        return f"status {status}: {content[:300]!r}"
    if content_type.startswith("text/event-stream"):
        events = [line for line in content.split(b"\n\n") if line]
        if not events or not all(event.startswith(b"data: ") for event in events):
            return f"not a stream of events: {content[:300]!r}"
        last = events[-1].removeprefix(b"data: ")
        if last != b"[DONE]" and b"internal" in last:
            return f"a stream that ends in {last[:300]!r}"
    elif content_type.startswith(("application/json", "application/problem+json")):
        json.loads(content)
    elif content and not content_type.startswith(("text/plain", "application/octet-stream")):
        return f"content type {content_type!r}"
    return ""


def fuzz(cases: int, seed_number: int) -> Findings:
    """
    Start a Triton and a façade, and send requests.

    Args:
        cases: How many.

        seed_number: What they follow from.

    Returns:
        What came of it, what the façade's own log says included.
    """
    install_triton(Places(CHECKOUT), print)
    with (
        tempfile.TemporaryDirectory() as folder,
        TritonServer(write_repository(Path(folder), *SERVED)) as triton,
    ):
        options = {"FACADE_ENVIRONMENT": "development", "FACADE_DEFAULT_MODEL": "letters"}
        with start_facade(triton.grpc_url, **options) as facade:
            findings = Fuzz(facade.url, seed_number).run(cases)
            findings.failures += check_after(facade.url, facade.read_log())
    return findings


def check_after(url: str, log: str) -> list[str]:
    """
    Look for what a request left behind.

    Args:
        url: The façade's base URL.

        log: All that it wrote.

    Returns:
        What must not be.
    """
    found = []
    ready = requests.get(f"{url}/health/ready", timeout=SLOWEST_S)
    if ready.status_code != 200:
        found.append(f"not ready any more: {ready.text}")
    metrics = requests.get(f"{url}/metrics", headers={"X-API-Key": KEY}, timeout=SLOWEST_S).text
    if "facade_requests_in_flight 1.0" not in metrics:
        found.append("requests that never ended are in flight")
    found += [f"in the log: {line[:2000]}" for line in log.splitlines() if "Traceback" in line]
    return found


def main() -> int:
    """
    Run from the command line.

    Returns:
        The exit code: 1 if anything was found.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.security.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, help="requests (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=1, help="what the requests follow from (default: %(default)s)"
    )
    options = parser.parse_args()
    findings = fuzz(options.cases, options.seed)
    lines = [f"{count:7} {label}" for label, count in sorted(findings.cases.items())]
    lines.append(f"{findings.cases.total():7} in all; answers: {dict(sorted(findings.statuses.items()))}")
    lines.append(f"slowest answer: {findings.slowest_s:.2f} s; findings: {len(findings.failures)}")
    sys.stdout.write("\n".join([*lines, *dict.fromkeys(findings.failures)]) + "\n")
    return 1 if findings.failures else 0


if __name__ == "__main__":
    sys.exit(main())
