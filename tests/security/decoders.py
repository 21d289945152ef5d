"""
What reads bytes of somebody else's, each with a good example, and the one error that it may end in.

`test_decoders` mutates the examples with hypothesis. ``python -m tests.security.decoders`` lets atheris do so, guided
by coverage; ``make fuzz`` runs it where atheris is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import contextlib
import gzip
import importlib
import importlib.util
import inspect
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import MagicMock

from uvicorn.server import ServerState

from export.config_pbtxt import CONFIG_FILE, read_card, read_config
from export.errors import RepositoryError
from export.manifest import MANIFEST_FILE, read_manifest
from export.release_state import read_release
from facade.access.key_text import parse_keys
from facade.access.keys import KeysInvalid
from facade.errors import FacadeError
from facade.http_protocol import BoundedHttpProtocol
from facade.inference import catalogue
from facade.routes.v2_encoding import decompress
from facade.schemas.v2 import read_request
from facade.server import build_config
from facade.triton.interface import ModelDescription

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FunctionType, ModuleType

    from starlette.types import Receive, Scope, Send

FOLDER = Path(tempfile.mkdtemp(prefix="triton-facade-decoders-"))
"""Where what is read from files is put; gone at the end."""

atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


class Decoder(NamedTuple):
    """One of them."""

    decode: Callable[[bytes], object]
    """Reads."""

    examples: tuple[bytes, ...]
    """What it reads well."""

    refusal: type[Exception] | tuple[()] = ()
    """How it says that it can't."""


def decode_keys(data: bytes) -> None:
    """Read a keys file, and look somebody up."""
    parse_keys(data.decode("utf-8", "replace")).find("a secret")


def decode_card(data: bytes) -> None:
    """Read a model card, and ask it for the version that answers."""
    description = ModelDescription(
        "m", (1, 2), 8, is_decoupled=False, model_card=data.decode("utf-8", "replace")
    )
    served = catalogue.to_served_model(description)
    assert served is None or served.version in {1, 2}


def decode_manifest(data: bytes) -> None:
    """Read a version's manifest."""
    (FOLDER / MANIFEST_FILE).write_bytes(data)
    read_manifest(FOLDER)


def decode_release(data: bytes) -> None:
    """Read a door's config, its card, and the release in it."""
    (FOLDER / CONFIG_FILE).write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # protobuf warns of odd escapes, and reads them
        read_release(read_card(read_config(FOLDER)), (1, 2, 3))


def decode_v2_binary(data: bytes) -> None:
    """Read a V2 body with binary data; the first two bytes say where its JSON ends, as a header does."""
    read_request(data[2:], int.from_bytes(data[:2], "big"))


def decode_gzip(data: bytes) -> None:
    """Unfold a compressed V2 body, within a limit."""
    assert len(decompress(data, b"gzip", LIMIT_BYTES)) <= LIMIT_BYTES


def decode_http(data: bytes) -> None:
    """Take bytes from a connection, in two parts, with an application that answers nothing."""
    loop = asyncio.new_event_loop()
    protocol = BoundedHttpProtocol(HTTP_CONFIG, ServerState(), {}, loop)
    transport = MagicMock()
    transport.is_closing.return_value = False
    transport.get_write_buffer_size.return_value = 0
    protocol.connection_made(transport)
    protocol.data_received(data[: len(data) // 2])
    protocol.data_received(data[len(data) // 2 :])
    protocol.connection_lost(None)
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


async def answer_nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Wait for ever."""
    await asyncio.Event().wait()


HTTP_CONFIG = build_config(answer_nothing, BoundedHttpProtocol)
HTTP_CONFIG.load()

KEYS = b"""tiers:
  small: {requests_per_minute: 3, tokens_per_minute: 1000, priority: 2, weight: 1, max_in_flight: 8}
keys:
  - name: alice
    sha256: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
    tier: small
    models: ["mini*"]
    networks: ["10.0.0.0/8", "::1/128"]
    expires: 2027-01-31
    scopes: [infer, metrics]
    cache: private
"""
CARD: dict[str, Any] = {
    "task": "embedding",
    "dimension": 8,
    "labels": ["a"],
    "default_sampling": {"temperature": 0.5},
    "release": {"stable": 2, "canary": 1, "canary_percent": 10.0, "previous": [1], "rolled_back_from": None},
}
MANIFEST = {
    "schema": 1,
    "recipe": {},
    "tools": {},
    "graph": {},
    "parity": {"figures": {"a": 1.0}},
    "files": {},
}
CONFIG = 'name: "m" backend: "python" version_policy { specific { versions: [1, 2] } } parameters { key: "model_card" '
CONFIG += f"value {{ string_value: {json.dumps(json.dumps(CARD))} }} }}"
V2_INPUT = {"name": "x", "datatype": "BYTES", "shape": [1, 1]}
V2_JSON = json.dumps({"inputs": [{**V2_INPUT, "data": ["text"]}], "outputs": [{"name": "y"}]}).encode()
V2_HEAD = json.dumps({"inputs": [{**V2_INPUT, "parameters": {"binary_data_size": 8}}]}).encode()
V2_BINARY = len(V2_HEAD).to_bytes(2, "big") + V2_HEAD + b"\x04\x00\x00\x00text"
LIMIT_BYTES = 1024 * 1024

REQUESTS = (
    b"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}GET / HTTP/1.1\r\n\r\n",
    b"POST /predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nExpect: 100-continue\r\n\r\n",
)

DECODERS = {
    "keys-file": Decoder(decode_keys, (KEYS,), KeysInvalid),
    "model-card": Decoder(decode_card, (json.dumps(CARD).encode(),), catalogue.CardUnusable),
    "manifest": Decoder(decode_manifest, (json.dumps(MANIFEST).encode(),)),
    "release": Decoder(decode_release, (CONFIG.encode(),), RepositoryError),
    "v2-json": Decoder(read_request, (V2_JSON,), FacadeError),
    "v2-binary": Decoder(decode_v2_binary, (V2_BINARY,), FacadeError),
    "v2-gzip": Decoder(decode_gzip, (gzip.compress(V2_JSON),), FacadeError),
    "http": Decoder(decode_http, REQUESTS),
}
"""By name."""


INSTRUMENTED = (
    "export.config_pbtxt",
    "export.manifest",
    "export.release_state",
    "facade.access.key_text",
    "facade.access.keys",
    "facade.access.networks",
    "facade.http_protocol",
    "facade.inference.catalogue",
    "facade.routes.v2_encoding",
    "facade.schemas.v2",
    "facade.schemas.v2_tensors",
    "google.protobuf.text_format",
    "json.decoder",
    "json.scanner",
    "yaml.composer",
    "yaml.constructor",
    "yaml.resolver",
)
"""Modules whose branches guide atheris."""


def functions_of(module: ModuleType) -> list[FunctionType]:
    """List a module's functions and its classes' methods."""
    owners: list[object] = [module, *(value for value in vars(module).values() if inspect.isclass(value))]
    own = [
        owner for owner in owners if owner is module or getattr(owner, "__module__", "") == module.__name__
    ]
    return [value for owner in own for value in vars(owner).values() if inspect.isfunction(value)]


def run_atheris(name: str, seconds: int) -> int:
    """
    Let atheris search for bytes that a decoder breaks on, in a process of its own.

    Args:
        name: Of `DECODERS`.

        seconds: How long.

    Returns:
        The exit code: 0 if nothing was found.
    """
    corpus = FOLDER / f"corpus-{name}"
    corpus.mkdir(exist_ok=True)
    for number, example in enumerate(DECODERS[name].examples):
        (corpus / str(number)).write_bytes(example)
    command = [sys.executable, "-m", "tests.security.decoders", "--one", name, "--seconds", str(seconds)]
    return subprocess.run([*command, "--corpus", str(corpus)], check=False).returncode


def search(name: str, seconds: int, corpus: str) -> None:
    """Hand this process over to atheris; it ends here."""
    import atheris  # type: ignore[import-not-found]  # noqa: PLC0415

    decoder = DECODERS[name]

    def take(data: bytes) -> None:
        with contextlib.suppress(*([decoder.refusal] if decoder.refusal else [])):
            decoder.decode(data)

    options = [
        f"-max_total_time={seconds}",
        "-max_len=8192",
        "-timeout=20",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    # All that is loaded would take minutes: what reads is enough.
    for name_of_module in INSTRUMENTED:
        for function in functions_of(importlib.import_module(name_of_module)):
            atheris.instrument_func(function)
    logging.disable(logging.CRITICAL)
    atheris.Setup([sys.argv[0], corpus, f"-artifact_prefix={FOLDER}/", *options], take)
    atheris.Fuzz()


def main() -> int:
    """
    Run from the command line.

    Returns:
        The exit code: 1 if anything was found.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.security.decoders", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each decoder (default: %(default)s)")
    parser.add_argument("--one", choices=DECODERS, help="search in this process")
    parser.add_argument("--corpus", default="", help="folder of examples")
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        sys.stdout.write(
            "atheris is not installed: pip install atheris; the decoders' coverage-guided search is skipped\n"
        )
        return 0
    if options.one:
        search(options.one, options.seconds, options.corpus)
    failed = [name for name in DECODERS if run_atheris(name, options.seconds) != 0]
    sys.stdout.write(f"decoders that broke: {failed or 'none'}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
