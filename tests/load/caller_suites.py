"""What the façade does about callers, and what that costs: an answer from memory, and a request that reaches Triton."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

from tests.load import machine
from tests.load.client import embeddings_body
from tests.load.measure import Contender
from tests.load.overload import run_overload
from tests.load.rounds import interleave, ratio_of, spread_of
from tests.load.same_request import SameRequest, find_tool, measure_same
from tests.load.stage import CORE_NAME
from tests.load.suites import Options, SuiteResult, at_least, below, compare
from tests.stack import KEY, MODEL_NAME

if TYPE_CHECKING:
    from tests.load.rounds import Figures, Round, Spread
    from tests.load.stage import Stage
    from tests.load.suites import Say

HIT_CONNECTIONS = 16
HIT_TEXT = "a text of fourteen words that has been asked for before and is known now"
PATH = "/v1/embeddings"

CALLERS = (1, 16)
"""Concurrencies at which the cost of callers is measured."""

CALLS_IN_FLIGHT = "16"
"""As many as callers: each request makes a call of its own, so that merging doesn't blur what one costs."""

PLAIN, WHOLE, SHARED = "without callers", "whole façade", "whole façade + Redis"


def run_hit(stage: Stage, options: Options, say: Say) -> SuiteResult:
    """Compare an answer from the façade's memory with a bare application that sends the same bytes."""
    ours, bare = "façade, from memory", "bare uvicorn"
    facade = stage.start_facade(FACADE_KEYS_FILE=str(stage.write_keys_file()))
    headers = {"authorization": f"Bearer {KEY}"}
    body = embeddings_body(MODEL_NAME, HIT_TEXT)
    answer = post(f"{facade.url}{PATH}", body, headers)
    answer_file = stage.folder / "answer.json"
    answer_file.write_bytes(answer)
    address, pid = stage.start_application("tests.load.peers.bare:app", "/", PEER_ANSWER=str(answer_file))
    servers = {ours: (facade.url.removeprefix("http://"), facade.process.pid), bare: (address, pid)}

    def run_one(name: str, _number: int, _attempt: int) -> Figures:
        machine.wait_for_calm({}, options.calm_timeout_s)
        at, server = servers[name]
        request = SameRequest(at, PATH, headers, body.decode("ascii"), HIT_CONNECTIONS)
        return measure_same(
            request, server, stage.folder, warmup_s=options.warmup_s, measure_s=options.measure_s
        )

    rounds = interleave(
        list(servers), run_one, rounds=options.rounds, repetitions=options.repetitions, say=say
    )
    ratio = ratio_of(rounds, ours, bare)
    return SuiteResult(
        name="hit",
        title="An answer from memory",
        about=(
            f"Closed loop, {HIT_CONNECTIONS} connections, the same text of 14 words in every request, sent by "
            f"{find_tool()}. The façade: POST {PATH}, base64, one worker, a keys file whose tier limits requests, "
            "tokens and requests in flight (none is reached), metrics, a log line a request. Bare: an ASGI application "
            "on uvicorn (uvloop, httptools, no access log) that reads the body and sends the same bytes."
        ),
        goals=[
            at_least("requests/s from memory ÷ bare uvicorn", 0.2, ratio),
            at_least("the same, as is wanted later", 0.35, ratio),
        ],
        rounds=rounds,
    )


def post(url: str, body: bytes, headers: dict[str, str]) -> bytes:
    """
    Send one request, for its answer.

    Args:
        url: Where to.

        body: JSON.

        headers: Beside Content-Type.

    Returns:
        The answer's body.
    """
    request = urllib.request.Request(  # noqa: S310  # ours, always http
        url, data=body, headers={"content-type": "application/json", **headers}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        found: bytes = answer.read()
    return found


def run_callers(stage: Stage, options: Options, say: Say) -> SuiteResult:
    """Measure the CPU time that everything about callers adds to a request that reaches Triton."""
    keys = str(stage.write_keys_file())
    settings = {"FACADE_KEYS_FILE": keys, "FACADE_CALLS_IN_FLIGHT": CALLS_IN_FLIGHT}
    address, pid = stage.start_application(
        "tests.load.peers.plain_facade:app",
        "/",
        PEER_TRITON=stage.triton.grpc_url,
        PEER_CALLS_IN_FLIGHT=CALLS_IN_FLIGHT,
    )
    whole = stage.start_facade(**settings)
    shared = stage.start_facade(**settings, FACADE_REDIS_URL=stage.start_redis())
    rounds: list[Round] = [{} for _ in range(options.rounds)]
    for callers in CALLERS:
        contenders = [
            Contender(
                _name(PLAIN, callers),
                "http",
                address,
                MODEL_NAME,
                {"facade": pid, "triton": stage.triton_pid},
                core=CORE_NAME,
                triton_http=stage.triton.http_url,
            ),
            stage.through(whole, _name(WHOLE, callers)),
            stage.through(shared, _name(SHARED, callers)),
        ]
        for all_of, some in zip(rounds, compare(stage, contenders, callers, options, say), strict=True):
            all_of.update(some)
    goals = [
        below(
            f"CPU that callers add, µs a request, {_count(callers)}",
            200,
            added_cpu_us(rounds, WHOLE, callers),
        )
        for callers in CALLERS
    ]
    notes = []
    for callers in CALLERS:
        added = added_cpu_us(rounds, SHARED, callers)
        notes.append(
            f"With quotas and cache shared through Redis, {_count(callers)}: {added.median:.0f} "
            f"({added.least:.0f}-{added.most:.0f}) µs; no goal is set for it."
        )
    return SuiteResult(
        name="callers",
        title="What callers cost",
        about=(
            "Closed loop, 1 and 16 callers, unique texts of 16 tokens, one a request, each in a call of its own to "
            "the same Triton. CPU time of the façade's process: the whole façade (keys file, tier with limits, cache "
            "that never knows the text, deadlines, metrics, a log line) minus the same endpoint and use case with "
            "none of it on plain uvicorn."
        ),
        goals=goals,
        rounds=rounds,
        notes=notes,
    )


def added_cpu_us(rounds: list[Round], name: str, callers: int) -> Spread:
    """
    Subtract what a request costs without callers.

    Args:
        rounds: What was measured.

        name: Which façade.

        callers: At which concurrency.

    Returns:
        Microseconds of the façade's CPU time a request.
    """
    return spread_of(
        [
            one[_name(name, callers)]["cpu_us_a_text"]["facade"]
            - one[_name(PLAIN, callers)]["cpu_us_a_text"]["facade"]
            for one in rounds
        ]
    )


def _count(callers: int) -> str:
    return f"{callers} caller{'s' if callers > 1 else ''}"


def _name(what: str, callers: int) -> str:
    return f"{what}, {_count(callers)}"


CALLER_SUITES = {"hit": run_hit, "callers": run_callers, "overload": run_overload}
"""Suites about callers by their name on the command line."""
