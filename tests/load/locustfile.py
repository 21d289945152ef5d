"""
Many users with Locust: steps from 50 to 1,000, four requests of five ask for vectors, the fifth for something else.

``make load`` starts a façade and this. Against any other façade::

    LOAD_KEY=… locust -f tests/load/locustfile.py --headless --host http://127.0.0.1:8080

The run fails, by its exit code, if any answer was wrong or if more were refused (429, 503) than `--most-refused`
allows. A refused user waits for as long as Retry-After says. Texts repeat themselves by Zipf's law, as people's do,
unless `--texts` says otherwise.
"""

from __future__ import annotations

import math
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
from locust import FastHttpUser, LoadTestShape, between, events, task

from tests.load.texts import TRAFFIC, ZIPF, make_texts, read_words

if TYPE_CHECKING:
    from collections.abc import Iterator

REFUSALS = (429, 503)
HEADERS = {"authorization": f"Bearer {os.environ.get('LOAD_KEY', '')}"}
WORDS_WITHOUT_TOKENIZER = 2_000
"""Made-up words, for whoever has no tokenizer.json at hand: their tokens can't be counted."""

counts = {"refused": 0, "all": 0}


@events.init_command_line_parser.add_listener
def add_options(parser: Any) -> None:
    """Add this file's own options to Locust's."""
    parser.add_argument("--minutes", type=float, default=30, help="length of the run (default: 30)")
    parser.add_argument("--least-users", type=int, default=50, help="users of the first step (default: 50)")
    parser.add_argument("--most-users", type=int, default=1000, help="users of the last step (default: 1000)")
    parser.add_argument("--steps", type=int, default=6, help="steps, each by the same factor (default: 6)")
    parser.add_argument(
        "--texts", choices=[ZIPF, *TRAFFIC], default=ZIPF, help="kind of texts (default: zipf)"
    )
    parser.add_argument("--model", default="minilm", help="the model's name (default: minilm)")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json whose words are sent")
    parser.add_argument("--most-refused", type=float, default=0.01, help="share of refusals that is allowed")


def step_users(least: int, most: int, steps: int) -> list[int]:
    """
    Say how many users each step has.

    Args:
        least: In the first.

        most: In the last.

        steps: How many steps, at least one.

    Returns:
        Numbers that grow by one factor.
    """
    if steps == 1:
        return [most]
    factor = (most / least) ** (1 / (steps - 1))
    return [round(least * factor**step) for step in range(steps)]


class Steps(LoadTestShape):
    """More users from step to step, each as long as the others."""

    def tick(self) -> tuple[int, float] | None:
        """Say how many users there are to be now, and how many may come in a second; None at the end."""
        options = self.runner.environment.parsed_options
        users = step_users(options.least_users, options.most_users, options.steps)
        step = math.floor(self.get_run_time() / (options.minutes * 60) * len(users))
        return None if step >= len(users) else (users[step], max(50.0, users[step] / 5))


class Caller(FastHttpUser):
    """Somebody who asks, reads, and asks again."""

    wait_time = between(1, 3)
    texts: Iterator[str]

    def on_start(self) -> None:
        """Take the texts that all users share."""
        self.texts = self.environment.shared_texts
        self.model = self.environment.parsed_options.model

    @task(80)
    def embed(self) -> None:
        """Ask for a vector."""
        body = {"model": self.model, "input": next(self.texts), "encoding_format": "base64"}
        self._ask("POST", "/v1/embeddings", json=body)

    @task(10)
    def list_models(self) -> None:
        """Ask which models there are."""
        self._ask("GET", "/v1/models")

    @task(5)
    def show_model(self) -> None:
        """Ask about one model."""
        self._ask("GET", f"/v1/models/{self.model}")

    @task(5)
    def look_at_health(self) -> None:
        """Ask whether it is ready."""
        self._ask("GET", "/health/ready")

    def _ask(self, method: str, path: str, **more: Any) -> None:
        with self.client.request(method, path, headers=HEADERS, catch_response=True, **more) as answer:
            counts["all"] += 1
            if answer.status_code in REFUSALS:
                counts["refused"] += 1
                answer.success()
                gevent.sleep(float(answer.headers.get("retry-after", "1")))
            elif answer.status_code != 200:
                answer.failure(f"{answer.status_code}: {answer.text[:200]}")
            elif method == "POST" and not answer.json()["data"][0]["embedding"]:
                answer.failure("an answer without a vector")


@events.test_start.add_listener
def make_shared_texts(environment: Any, **_: Any) -> None:
    """Make the texts before the first user comes."""
    options = environment.parsed_options
    if options.tokenizer:
        words = read_words(options.tokenizer)
    else:
        source = random.Random("words")
        letters = "abcdefghijklmnopqrstuvwxyz"
        words = ["".join(source.choices(letters, k=6)) for _ in range(WORDS_WITHOUT_TOKENIZER)]
    environment.shared_texts = make_texts(words, options.texts, "load", "users")


@events.quitting.add_listener
def set_exit_code(environment: Any, **_: Any) -> None:
    """Fail the run over wrong answers, over too many refusals, and if nothing was answered."""
    refused_share = counts["refused"] / max(1, counts["all"])
    total = environment.stats.total
    print(f"{counts['all']} requests, {total.num_failures} wrong, {refused_share:.2%} refused")  # noqa: T201
    is_bad = (
        total.num_failures or refused_share > environment.parsed_options.most_refused or not counts["all"]
    )
    environment.process_exit_code = 1 if is_bad else 0
