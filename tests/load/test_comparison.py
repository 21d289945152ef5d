"""The comparison with peers, without peers: a small server of made-up vectors stands in for all of them."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections import Counter
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.load import machine, report, texts
from tests.load.comparison import arrivals, field, offline, perf_analyzer, truth
from tests.load.comparison.tuning import write_settings
from tests.load.dialects import DIALECTS
from tests.load.generator import LoadSpec, make_sendings
from tests.load.measure import (
    Arrivals,
    BenchFailed,
    Contender,
    Load,
    measure,
    measure_open,
    read_padding,
)
from tests.load.peers import install, roster
from tests.load.rounds import describe_figures
from tests.load.suites import Options, take_turns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WIDTH = 384
WORDS = [f"word{first}{second}" for first in "abcdefghij" for second in "abcdefghij"]
OPTIONS = Options(rounds=1, repetitions=0, warmup_s=0.0, measure_s=0.2, starts=1, calm_timeout_s=0.0)


def _vector(text: str) -> Any:
    source = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]))
    vector = source.standard_normal(WIDTH).astype("<f4")
    return vector / np.linalg.norm(vector)


class StandIn(ThreadingHTTPServer):
    """Answers as OpenAI does; `salt` changes its vectors, and it refuses every `refuse_every`-th request."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, salt: str = "", refuse_every: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.salt, self.refuse_every, self.asked = salt, refuse_every, 0

    def as_contender(self, name: str) -> Contender:
        """Describe it."""
        return Contender(
            name,
            "http",
            f"127.0.0.1:{self.server_address[1]}",
            "m",
            {},
            other_paths=["/health"],
            may_refuse=True,
        )


class _Handler(BaseHTTPRequestHandler):
    server: StandIn
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, b"ok")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        asked = [body["input"]] if isinstance(body["input"], str) else body["input"]
        self.server.asked += 1
        if self.server.refuse_every and self.server.asked % self.server.refuse_every == 0:
            self._answer(503, b"")
            return
        encoded = [base64.b64encode(_vector(text + self.server.salt).tobytes()).decode() for text in asked]
        self._answer(200, json.dumps({"data": [{"embedding": one} for one in encoded]}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.wfile.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body))

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def servers() -> Iterator[list[StandIn]]:
    """A right stand-in, a wrong one, and one that refuses every third request."""
    made = [StandIn(), StandIn(salt="!"), StandIn(refuse_every=3)]
    threads = [threading.Thread(target=server.serve_forever, args=(0.02,)) for server in made]
    for thread in threads:
        thread.start()
    yield made
    for server, thread in zip(made, threads, strict=True):
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    """A vocabulary."""
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps({"model": {"vocab": dict.fromkeys(WORDS, 1)}}), encoding="utf-8")
    return file


# Contenders


def test_padding_is_read_from_tritons_metrics() -> None:
    """All versions of the door count together; other models and a door that counts nothing don't."""
    text = (
        'door_tokens_total{model="m",version="1"} 30\n'
        'door_tokens_total{model="m",version="2"} 15\n'
        'door_padded_tokens_total{model="m",version="1"} 50\n'
        'door_tokens_total{model="other",version="1"} 1000\n'
    )

    class Metrics(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Metrics) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        assert read_padding(address, "m") == {"tokens": 45, "padded_tokens": 50}
        assert read_padding(address, "nobody") == {}
        server.shutdown()


def test_a_contender_that_answers_otherwise_fails_the_run(
    servers: list[StandIn], tokenizer_file: Path
) -> None:
    """The same vectors pass; others are named with their cosine."""
    right, wrong, _ = servers

    assert (
        truth.check_truth([right.as_contender("ours"), right.as_contender("same")], tokenizer_file) > 0.9999
    )
    with pytest.raises(BenchFailed, match="other answers wrongly"):
        truth.check_truth([right.as_contender("ours"), wrong.as_contender("other")], tokenizer_file)


def test_refusals_are_counted_and_right_answers_too(servers: list[StandIn], tokenizer_file: Path) -> None:
    """A third is refused: answers a second are those of the rest; who may not refuse fails the run."""
    contender = servers[2].as_contender("peer")
    load = Load(str(tokenizer_file), 2, 0.0, 0.4, most_texts=8, other_share=0.3)

    figures = measure(contender, load, "1")

    assert 0.2 < figures["refused_share"] < 0.45
    assert figures["answered"] > 0
    assert figures["requests_per_s"] > 0
    with pytest.raises(BenchFailed, match="refused"):
        measure(replace(contender, may_refuse=False), load, "1")


def test_refusals_count_as_never_answered_in_an_open_loop(
    servers: list[StandIn], tokenizer_file: Path
) -> None:
    """Who answers everything has a latency, who refuses a third has a p99 of the whole wait."""
    contenders = [servers[0].as_contender("all"), servers[2].as_contender("some")]

    def measure_one(contender: Contender, number: int, attempt: int) -> dict[str, Any]:
        plan = Arrivals(str(tokenizer_file), 60, 0.0, OPTIONS.measure_s, most_connections=4, drain_s=3.0)
        return measure_open(contender, plan, str(number), attempt)

    rounds = take_turns(contenders, measure_one, OPTIONS, lambda _line: None)

    assert [list(one) for one in rounds] == [["all", "some"]]
    assert all(one["some"]["p99_ms"] == 3000.0 and one["some"]["refused_share"] > 0 for one in rounds)
    assert all(one["all"]["p99_ms"] < 3000.0 and one["all"]["unanswered"] == 0 for one in rounds)
    assert field.ratio_to_best(rounds, "all", ["some"], "p99_ms", is_least=True).most < 1


def test_the_best_is_looked_for_in_each_round() -> None:
    """Another peer may be the best in another round."""
    rounds = [
        {"ours": {"texts_per_s": 20}, "a": {"texts_per_s": 10}, "b": {"texts_per_s": 5}},
        {"ours": {"texts_per_s": 20}, "a": {"texts_per_s": 5}, "b": {"texts_per_s": 20}},
    ]

    ratio = field.ratio_to_best(rounds, "ours", ["a", "b"])

    assert (ratio.least, ratio.most) == (1.0, 2.0)


# What is sent


def test_each_dialect_asks_for_vectors_and_reads_them() -> None:
    """Two texts go out, and what its server would answer comes back as two vectors."""
    vectors = [_vector("a").tobytes(), _vector("b").tobytes()]
    encoded = [base64.b64encode(vector).decode() for vector in vectors]
    head = json.dumps({"outputs": [{"shape": [2, WIDTH]}]}).encode()
    answers = {
        "openai": (b"", json.dumps({"data": [{"embedding": one} for one in encoded]}).encode()),
        "texts": (b"", json.dumps(encoded).encode()),
        "v2": (b"", json.dumps({"outputs": [{"data": encoded}]}).encode()),
        "triton": (b"X\r\nInference-Header-Content-Length: %d" % len(head), head + b"".join(vectors)),
    }

    for name, dialect in DIALECTS.items():
        assert b'"a"' in dialect.body("m", ["a", "b"])
        assert dialect.read(*answers[name]) == vectors


def test_requests_have_the_sizes_and_the_others_that_are_asked_for() -> None:
    """Sizes reach from 1 to the largest, and a fifth of all requests asks for something else, in turn."""
    spec = LoadSpec(
        *("http", "", "m", "", "short", "seed", "c", 1, 0, 1),
        most_texts=16,
        other_share=0.2,
        other_paths=["/a", "/b"],
    )
    made = list(islice(make_sendings(spec, texts.make_texts(WORDS, "short", "s", "c")), 2_000))

    sizes = {len(sending.texts) for sending in made if sending.texts}
    others = Counter(sending.path for sending in made if not sending.texts)
    assert (min(sizes), max(sizes)) == (1, 16)
    assert 300 < others.total() < 500
    assert abs(others["/a"] - others["/b"]) <= 1


def test_repeated_texts_follow_zipfs_law() -> None:
    """The first text comes about twice as often as the second; the same seed repeats them."""
    made = list(islice(texts.make_texts(WORDS, texts.ZIPF, "1", "c"), 20_000))
    (_, first), (_, second) = Counter(made).most_common(2)

    assert 1.6 < first / second < 2.5
    assert 2_000 < len(set(made)) < texts.ZIPF_TEXTS
    assert made == list(islice(texts.make_texts(WORDS, texts.ZIPF, "1", "c"), 20_000))


def test_the_offline_limit_groups_texts_of_like_length() -> None:
    """Every text is in one call, no call has more padded tokens than allowed unless it is a single text."""
    lengths = [5, 600, 100, 7, 100, 5, 100]
    groups = offline.group_by_length(lengths, padded_tokens=200)

    assert sorted(position for group in groups for position in group) == list(range(len(lengths)))
    assert groups == [[0, 5, 3], [2, 4], [6], [1]]


# What is made of it


def test_the_model_alone_has_no_latency_and_is_reported_all_the_same() -> None:
    """A line of progress, the table and the plots do without."""
    alone = {"texts_per_s": 900.0, "others_share": 0.0, "cpu_us_a_text": {"model": 1.0}, "discarded": []}
    suite = {
        "rounds": [{"alone": alone, "ours": {**alone, "p50_ms": 1.0, "p99_ms": 2.0}}],
        "goals": [],
        "notes": [],
    }
    results = {"environment": machine.describe(), "suites": [{**suite, "title": "T", "about": "A"}]}

    assert describe_figures(alone) == "900 texts/s, others 0%"
    assert "| alone | 900 (900-900) | - | - | 1 |" in report.to_markdown(results)
    assert report.to_html(results).count("<svg") == 2


@pytest.mark.parametrize(
    ("bound_ms", "rate"),
    [(5, 0), (10, 100), (1000, 300), (5000, 300), (100, 200)],
    ids=str,
)
def test_the_rate_within_a_bound_is_read_between_two_steps(bound_ms: float, rate: float) -> None:
    """On a logarithmic line between the steps; nothing below the first, no more than the last."""
    steps = [(100.0, 10.0), (300.0, 1000.0)]

    assert arrivals.rate_within(steps, bound_ms) == pytest.approx(rate)


def test_perf_analyzers_report_is_read() -> None:
    """Its latencies are in microseconds."""
    text = "Concurrency,Inferences/Second,p50 latency,p99 latency\n64,512.5,1500,9000\n\n"

    assert perf_analyzer.read_csv(text) == {"texts_per_s": 512.5, "p50_ms": 1.5, "p99_ms": 9.0}


# Who takes part


def test_every_peer_has_versions_and_can_be_told_how_to_start() -> None:
    """Environments and versions.toml know the same names, commands and alternatives name only known settings."""
    assert {peer.name for peer in roster.PEERS if peer.has_environment} == set(install.read_versions()) - {
        perf_analyzer.NAME
    }
    for peer in (*roster.PEERS, roster.STARTING_POINT):
        assert all(part.format(port=1, **peer.settings) for part in peer.command)
        assert all(set(change) <= set(peer.settings) for change in peer.alternatives)
        assert peer.dialect in DIALECTS
    told = [word for words in install.read_versions().values() for word in words]
    assert all("==" in word or word.startswith("--") for word in told)


def test_peers_that_are_not_installed_are_left_out_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that run in our own environment take part; of the others it is said how to install them."""
    monkeypatch.setattr(install, "FOLDER", tmp_path)

    present, sentences = roster.find_installed()

    assert present == [roster.FASTAPI_ONNXRUNTIME]
    assert len(sentences) == len(roster.PEERS) - 1
    assert all("isn't installed (python -m tests.load.peers.install" in sentence for sentence in sentences)


def test_an_unknown_peer_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is installed; the message has the names that there are."""
    with pytest.raises(SystemExit):
        install.main(["no-such-peer"])

    assert "no such peer: no-such-peer; there are litserve" in capsys.readouterr().err


def test_settings_are_written_as_what_differs() -> None:
    """Nothing different is 'as chosen'."""
    assert write_settings({}) == "as chosen"
    assert write_settings({"BATCH": "8", "WAIT_MS": "1"}) == "batch=8 wait_ms=1"
