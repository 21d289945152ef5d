"""
The callers' side: requests that are due at random times, sent to one of the façades as a load balancer would.

Like nginx with ``proxy_next_upstream error timeout http_502 http_503 non_idempotent`` and ``max_fails``: a request goes
to the façades in turn; one that refuses the connection, hangs up, answers 502 or 503 or nothing within `TRY_S` is left
for the other one, once; after `MAX_FAILS` such in a row a façade gets nothing for `FAIL_TIMEOUT_S`. An embedding has no
effect but its answer, so asking twice is safe.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.chaos.truth import draw_text
from tests.chaos.verdict import FAILED, LATE, RIGHT, WRONG, Outcome
from tests.load.client import Answer, AnswerUnreadable, Connection, embeddings_body, make_request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.truth import Truth

DEADLINE_S = 3.0
"""What callers allow a request; they tell by ``X-Request-Timeout``."""

GRACE_S = 0.5
"""An answer that comes so much after its deadline is late by the machine's load, not by a hang."""

TRY_S = 1.2
"""Seconds after which the other façade is asked."""

MAX_FAILS = 3
FAIL_TIMEOUT_S = 2.0


@dataclass(eq=False)
class _Upstream:
    """One façade, as the balancer sees it."""

    host: str
    port: int
    idle: list[Connection] = field(default_factory=list)
    fails: int = 0
    left_out_until: float = 0.0

    def note(self, *, is_well: bool, now: float) -> None:
        self.fails = 0 if is_well else self.fails + 1
        if self.fails >= MAX_FAILS:
            self.left_out_until, self.fails = now + FAIL_TIMEOUT_S, 0


class Balancer:
    """
    Sends requests and notes what becomes of them.

    Args:
        addresses: ``host:port`` of the façades.

        key: What they ask for.

        truth: What is sent, and what is right.

        rate_per_s: Requests a second, in the mean.

        seed: Fixes texts and times.
    """

    def __init__(
        self, addresses: Sequence[str], key: str, truth: Truth, rate_per_s: float, seed: int
    ) -> None:
        self._upstreams = [
            _Upstream(host, int(port)) for host, _, port in (a.partition(":") for a in addresses)
        ]
        self._key = key
        self._truth = truth
        self._rate_per_s = rate_per_s
        self._random = random.Random(seed)
        self._turn = 0

    async def run(self, seconds: float) -> list[Outcome]:
        """
        Send requests for some time, and wait until each has ended.

        Args:
            seconds: How long new ones are due.

        Returns:
            What became of them.
        """
        began = time.monotonic()
        tasks = []
        due_s = self._random.expovariate(self._rate_per_s)
        while due_s < seconds:
            await asyncio.sleep(began + due_s - time.monotonic())
            tasks.append(asyncio.create_task(self._ask(began, due_s)))
            due_s += self._random.expovariate(self._rate_per_s)
        outcomes = await asyncio.gather(*tasks)
        for upstream in self._upstreams:
            for connection in upstream.idle:
                connection.close()
            upstream.idle.clear()
        return list(outcomes)

    async def _ask(self, began: float, due_s: float) -> Outcome:
        due = began + due_s
        index = draw_text(self._random)
        # Half of the requests want a new answer, so that the model is needed whatever the cache knows.
        is_fresh = self._random.random() < 0.5
        how, detail = LATE, "nothing came"
        try:
            async with asyncio.timeout(due + DEADLINE_S + GRACE_S - time.monotonic()):
                how, detail = await self._ask_in_turn(index, due, is_fresh=is_fresh)
        except TimeoutError:
            pass
        return Outcome(due_s, time.monotonic() - due, how, detail)

    async def _ask_in_turn(self, index: int, due: float, *, is_fresh: bool) -> tuple[str, str]:
        """Ask one façade, and the other if that gives nothing."""
        first = self._choose()
        second = self._upstreams[1 - self._upstreams.index(first)]
        detail = ""
        for upstream, is_last in ((first, False), (second, True)):
            left_s = due + DEADLINE_S - time.monotonic()
            if left_s <= 0:
                return LATE, detail or "its time was over"
            patience_s = left_s + GRACE_S if is_last else TRY_S
            try:
                async with asyncio.timeout(patience_s):
                    answer = await self._exchange(upstream, index, left_s, is_fresh=is_fresh)
            except (AnswerUnreadable, OSError, TimeoutError) as error:
                upstream.note(is_well=False, now=time.monotonic())
                detail = f"{type(error).__name__}: {error}"
                continue
            upstream.note(is_well=answer.status not in {502, 503}, now=time.monotonic())
            if answer.status == 200:
                return (
                    (RIGHT, "") if self._is_right(index, answer.body) else (WRONG, answer.body[:80].decode())
                )
            detail = f"{answer.status}: {_message(answer.body)}"
            if answer.status not in {502, 503}:
                break
        is_late = time.monotonic() > due + DEADLINE_S + GRACE_S
        return (LATE if is_late else FAILED), detail

    def _choose(self) -> _Upstream:
        self._turn += 1
        ordered = self._upstreams[self._turn % 2 :] + self._upstreams[: self._turn % 2]
        now = time.monotonic()
        return next((one for one in ordered if one.left_out_until <= now), ordered[0])

    async def _exchange(self, upstream: _Upstream, index: int, left_s: float, *, is_fresh: bool) -> Answer:
        headers = {"authorization": f"Bearer {self._key}", "x-request-timeout": f"{left_s:.3f}"}
        if is_fresh:
            headers["cache-control"] = "no-cache"
        body = embeddings_body("tiny", self._truth.texts[index])
        request = make_request(f"{upstream.host}:{upstream.port}", "/v1/embeddings", headers, body)
        connection = upstream.idle.pop() if upstream.idle else None
        if connection is not None:
            try:
                return await self._use(upstream, connection, request)
            except AnswerUnreadable:
                # It was closed while it was idle, or its server died: a new one tells which.
                pass
        return await self._use(upstream, await Connection.open(upstream.host, upstream.port), request)

    async def _use(self, upstream: _Upstream, connection: Connection, request: bytes) -> Answer:
        try:
            answer = await connection.exchange(request)
        except BaseException:
            connection.close()
            raise
        upstream.idle.append(connection)
        return answer

    def _is_right(self, index: int, body: bytes) -> bool:
        encoded = json.loads(body)["data"][0]["embedding"]
        return self._truth.is_right(index, base64.b64decode(encoded))


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return repr(body[:80])
