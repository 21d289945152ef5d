"""
Who the façade is compared with, and with which settings on two cores.

Settings come from each project's documentation. ``make bench BENCH="--only tune-litserve"`` and so on compare them with
the `alternatives`. Each setting is an environment variable ``PEER_…`` of the peer's program in this folder.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.load import machine
from tests.load.peers import install

CORES = str(machine.cores())


@dataclass(frozen=True)
class Peer:
    """A server of the same model."""

    name: str
    """Its environment's name below `.peers`, or that of its program."""

    title: str
    """How reports call it."""

    command: tuple[str, ...]
    """What its interpreter is told; ``{port}`` and settings are filled in."""

    settings: dict[str, str]
    """``PEER_…`` variables, without the prefix."""

    alternatives: tuple[dict[str, str], ...] = ()
    """Other settings that were tried: what differs."""

    dialect: str = "openai"
    """How it is asked, see `dialects.DIALECTS`."""

    ready_path: str = "/health"
    """What answers 200 when it is ready."""

    other_paths: tuple[str, ...] = ("/health",)
    """What else it can be asked."""

    batches: bool = True
    """Whether it merges requests."""

    environment: dict[str, str] = field(default_factory=dict)
    """Further variables, none of them about performance unless its documentation says so."""

    has_environment: bool = True
    """Whether it is installed below `.peers`; otherwise it runs in ours."""

    @property
    def is_installed(self) -> bool:
        """Whether it can be started."""
        return not self.has_environment or install.is_installed(self.name)


def _uvicorn(module: str) -> tuple[str, ...]:
    return (
        *("-m", "uvicorn", f"tests.load.peers.{module}:app", "--port", "{port}", "--workers", "{WORKERS}"),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
    )


STARTING_POINT = Peer(
    name="sentence_transformers",
    title="FastAPI + PyTorch",
    command=_uvicorn("sentence_transformers_app"),
    settings={"WORKERS": "1", "THREADS": CORES},
    alternatives=({"THREADS": "1"}, {"WORKERS": CORES, "THREADS": "1"}),
    batches=False,
    has_environment=False,
)
"""Where many services start: one PyTorch call a request, no batch, no cache."""

FASTAPI_ONNXRUNTIME = Peer(
    name="fastapi_onnxruntime",
    title="FastAPI + onnxruntime",
    command=_uvicorn("fastapi_onnxruntime"),
    settings={"WORKERS": "1", "THREADS": CORES},
    alternatives=({"WORKERS": CORES, "THREADS": "1"}, {"WORKERS": CORES, "THREADS": CORES}),
    batches=False,
    has_environment=False,
)
"""No batching: on mixed lengths hard to beat on a CPU, as it pads nothing."""

LITSERVE = Peer(
    name="litserve",
    title="LitServe",
    command=("-m", "tests.load.peers.litserve_server"),
    settings={"WORKERS": CORES, "SERVERS": "1", "BATCH": "32", "WAIT_MS": "5", "FAST_QUEUE": "0"},
    alternatives=(
        {"BATCH": "16"},
        {"BATCH": "8"},
        {"FAST_QUEUE": "1"},
        {"WAIT_MS": "1"},
        {"SERVERS": CORES},
    ),
)

BENTOML = Peer(
    name="bentoml",
    title="BentoML",
    command=(
        *("-m", "bentoml", "serve", "tests.load.peers.bentoml_service:Embedder"),
        *("--host", "127.0.0.1", "--port", "{port}"),
    ),
    settings={"WORKERS": CORES, "BATCH": "32", "LATENCY_MS": "10000"},
    alternatives=({"BATCH": "16"}, {"BATCH": "8"}, {"WORKERS": "1"}, {"LATENCY_MS": "1000"}),
    dialect="texts",
    ready_path="/readyz",
    other_paths=("/livez", "/readyz"),
    environment={"BENTOML_DO_NOT_TRACK": "True"},
)

MLSERVER = Peer(
    name="mlserver",
    title="MLServer",
    command=("-m", "tests.load.peers.mlserver_runtime"),
    settings={"WORKERS": CORES, "BATCH": "32", "WAIT_MS": "5"},
    alternatives=({"BATCH": "16"}, {"BATCH": "8"}, {"WORKERS": "0"}, {"WAIT_MS": "1"}),
    dialect="v2",
    ready_path="/v2/models/minilm/ready",
    other_paths=("/v2/health/live", "/v2/health/ready", "/v2/models/minilm"),
)

RAY = Peer(
    name="ray",
    title="Ray Serve",
    command=("-m", "tests.load.peers.ray_server"),
    settings={"WORKERS": CORES, "BATCH": "32", "WAIT_MS": "5"},
    alternatives=({"BATCH": "16"}, {"BATCH": "8"}, {"WORKERS": "1"}, {"WAIT_MS": "1"}),
    environment={"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
)

INFINITY = Peer(
    name="infinity",
    title="infinity",
    command=_uvicorn("infinity_server"),
    settings={"WORKERS": CORES, "BATCH": "32"},
    alternatives=({"BATCH": "16"}, {"BATCH": "8"}),
    other_paths=("/health", "/v1/models"),
    environment={"INFINITY_ANONYMOUS_USAGE_STATS": "0", "DO_NOT_TRACK": "1"},
)

PEERS = (FASTAPI_ONNXRUNTIME, LITSERVE, BENTOML, MLSERVER, INFINITY, RAY)
"""All but the starting point, which is compared for itself."""


def find_installed() -> tuple[list[Peer], list[str]]:
    """
    Find out who can take part.

    Returns:
        Peers, and a sentence for each that is left out.
    """
    missing = [peer for peer in PEERS if not peer.is_installed]
    sentences = [
        f"{peer.title} was left out: it isn't installed (python -m tests.load.peers.install {peer.name})."
        for peer in missing
    ]
    return [peer for peer in PEERS if peer not in missing], sentences
