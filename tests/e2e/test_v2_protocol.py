"""
`tritonclient.http` notices no difference between Triton's own HTTP port and the façade: the protocol's cases, at both.

The cases are those of the protocol's documents and its extensions (binary data, classification, parameters, sequence,
statistics, model configuration), each asked of both, answers compared.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import numpy as np
import pytest
import tritonclient.http
import tritonclient.http.aio
from tritonclient.http import InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from deploy.local.install import Places, install_triton
from deploy.local.triton import CHECKOUT, TritonServer
from tests.e2e.v2_models import DATATYPES, write_models
from tests.stack import KEY, start_facade

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.e2e

KINDS: dict[str, Any] = {
    "BOOL": [False, True],
    "UINT8": [0, 2**8 - 1],
    "UINT16": [0, 2**16 - 1],
    "UINT32": [0, 2**32 - 1],
    "UINT64": [0, 2**64 - 1],
    "INT8": [-(2**7), 2**7 - 1],
    "INT16": [-(2**15), 2**15 - 1],
    "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**63 - 1],
    "FP16": [-65504, 0.5],
    "FP32": [3.4028235e38, 1.17549435e-38],
    "FP64": [1.7976931348623157e308, 0.1],
    "BYTES": [b"", "déjà vu".encode()],
}
DTYPES = {name: f"{'u' * name.startswith('U')}int{name.lstrip('UINT')}" for name in KINDS if "INT" in name}
DTYPES |= {"BOOL": "bool", "FP16": "float16", "FP32": "float32", "FP64": "float64", "BYTES": "object"}


class Side(NamedTuple):
    """One of both servers."""

    url: str
    """``host:port``."""

    client: tritonclient.http.InferenceServerClient
    """Triton's own client."""


@pytest.fixture(name="sides", scope="module")
def _sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """Triton's own port, and a façade before it that caches nothing."""
    repository = tmp_path_factory.mktemp("v2-repository")
    write_models(repository)
    install_triton(Places(CHECKOUT), print)
    with TritonServer(repository) as triton, start_facade(triton.grpc_url) as facade:
        urls = (triton.http_url, facade.url.removeprefix("http://"))
        clients = [tritonclient.http.InferenceServerClient(url, concurrency=2) for url in urls]
        yield Side(urls[0], clients[0]), Side(urls[1], clients[1])
        for client in clients:
            client.close()


def headers() -> dict[str, str]:
    """Make a caller's headers, each time anew: the client writes its own into them."""
    return {"X-API-Key": KEY}


def make_input(name: str, datatype: str, array: Any, *, binary: bool = True) -> InferInput:
    """Make one of the client's inputs."""
    made = InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def both(sides: tuple[Side, Side], ask: Callable[[tritonclient.http.InferenceServerClient], Any]) -> Any:
    """Ask both, and give what both say."""
    first, second = (ask(side.client) for side in sides)
    assert first == second
    return second


def numbers(values: Any) -> Any:
    """Forget the values of a statistic that grow with time."""
    if isinstance(values, dict):
        return {name: numbers(value) for name, value in values.items()}
    return [numbers(value) for value in values[:1]] if isinstance(values, list) else type(values)


def test_what_is_told_of_server_and_models(sides: tuple[Side, Side]) -> None:
    """Metadata, config, health, index, statistics: field by field."""
    server = [side.client.get_server_metadata(headers=headers()) for side in sides]
    assert {"binary_tensor_data", "classification", "parameters", "statistics"} <= set(
        server[1]["extensions"]
    )
    assert set(server[1].pop("extensions")) < set(server[0].pop("extensions"))
    assert server[0] == server[1]
    both(sides, lambda one: one.get_model_repository_index(headers=headers()))
    both(sides, lambda one: (one.is_server_live(headers=headers()), one.is_server_ready(headers=headers())))
    for name in ("every", "pair", "labelled", "sum"):
        for version in ("", "1"):
            both(sides, lambda one, n=name, v=version: one.get_model_metadata(n, v, headers=headers()))
            both(sides, lambda one, n=name, v=version: one.get_model_config(n, v, headers=headers()))
            both(
                sides,
                lambda one, n=name, v=version: numbers(one.get_inference_statistics(n, v, headers=headers())),
            )
    both(sides, lambda one: numbers(one.get_inference_statistics(headers=headers())))
    ready = both(
        sides,
        lambda one: [
            one.is_model_ready(*asked, headers=headers())
            for asked in (("every",), ("every", "1"), ("every", "7"), ("nobody",))
        ],
    )
    assert ready == [True, True, False, False]


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_every_datatype_comes_back(
    sides: tuple[Side, Side], compression: str | None, *, binary: bool
) -> None:
    """All in one request, to the extremes of each; FP16 always as binary data."""
    arrays = {name: np.array(KINDS[name], dtype=DTYPES[name]) for name in DATATYPES}

    def ask(client: tritonclient.http.InferenceServerClient) -> Any:
        answer = client.infer(
            "every",
            [make_input(name, name, arrays[name], binary=binary or name == "FP16") for name in DATATYPES],
            outputs=[InferRequestedOutput(f"{name}_OUT", binary or name == "FP16") for name in DATATYPES],
            request_id="an-id",
            headers=headers(),
            request_compression_algorithm=compression,
            response_compression_algorithm=compression,
        )
        said = answer.get_response()
        described = [(one["name"], one["datatype"], one["shape"]) for one in said["outputs"]]
        values = {name: answer.as_numpy(f"{name}_OUT").tolist() for name in DATATYPES}
        return said["id"], said["model_name"], said["model_version"], described, values

    *_, values = both(sides, ask)
    texts = [value if isinstance(value, bytes) else value.encode() for value in values.pop("BYTES")]
    assert texts == KINDS["BYTES"]
    for name, found in values.items():
        assert np.array_equal(np.array(found, dtype=DTYPES[name]), arrays[name]), name


@pytest.mark.parametrize("version", ["", "1"])
def test_several_inputs_and_batches(sides: tuple[Side, Side], version: str) -> None:
    """Outputs all, some, mixed in how they travel; empty ones too."""
    numbers_ = np.arange(12, dtype=np.int32).reshape(2, 2, 3)
    texts = np.array([["a", "b"], ["ç", ""]], dtype=np.object_)
    as_json, as_binary = (
        [InferRequestedOutput(f"{name}_OUT", binary_data=False) for name in "AB"],
        [InferRequestedOutput("B_OUT", binary_data=True)],
    )
    for outputs in (None, as_json, as_binary, [*as_binary, as_json[0]]):

        def ask(client: tritonclient.http.InferenceServerClient, outputs: Any = outputs) -> Any:
            inputs = [make_input("A", "INT32", numbers_), make_input("B", "BYTES", texts, binary=False)]
            answer = client.infer("pair", inputs, version, outputs=outputs, headers=headers())
            found = [answer.as_numpy(name) for name in ("A_OUT", "B_OUT")]
            return [None if one is None else one.tolist() for one in found], sorted(
                one["name"] for one in answer.get_response()["outputs"]
            )

        both(sides, ask)
    empty = np.zeros((0,), dtype=np.float32)
    both(
        sides,
        lambda one: one.infer("floats", [make_input("A", "FP32", empty)], headers=headers()).get_response(),
    )


def test_the_largest_classes_with_their_labels(sides: tuple[Side, Side]) -> None:
    """As the classification extension has it, in both forms."""
    array = np.array([[1, 2, 9, 3], [0.1, 0, 0, 0]], dtype=np.float32)
    for binary in (True, False):
        found = both(
            sides,
            lambda one, b=binary: (
                one.infer(
                    "labelled",
                    [make_input("A", "FP32", array)],
                    outputs=[InferRequestedOutput("A_OUT", b, class_count=2)],
                    headers=headers(),
                )
                .as_numpy("A_OUT")
                .tolist()
            ),
        )
        assert str(found[0][0]).strip("b'") == "9.000000:2:two"


def test_parameters_reach_the_model(sides: tuple[Side, Side]) -> None:
    """Texts, numbers, flags."""
    given = {"text": "a", "flag": True, "number": -3}
    seen = both(
        sides,
        lambda one: json.loads(
            one.infer(
                "parameters",
                [make_input("A", "FP32", np.zeros(1, dtype=np.float32))],
                parameters=dict(given),
                headers=headers(),
            ).as_numpy("SEEN")[0]
        ),
    )
    assert seen == given


def test_a_sequence_belongs_to_its_caller(sides: tuple[Side, Side]) -> None:
    """It goes on from call to call, and somebody else's of the same number is another."""
    totals = []
    for at, side in ((0, sides[0]), (0, sides[1]), (1, sides[0]), (1, sides[1])):
        value = np.array([[5 if side is sides[0] else 7]], dtype=np.int32)
        answer = side.client.infer(
            "sum",
            [make_input("IN", "INT32", value)],
            sequence_id=42,
            sequence_start=at == 0,
            headers=headers(),
        )
        totals.append(int(answer.as_numpy("OUT")[0, 0]))
    assert totals == [5, 7, 10, 14]


@pytest.mark.parametrize(
    ("model", "body"),
    [
        ("floats", np.array([1, 2, 3], dtype=np.float32).tobytes()),
        ("text", "déjà".encode()),
        ("labelled", np.zeros(4, dtype=np.float32).tobytes()),
        ("floats", b"123"),
        ("labelled", b"1234"),
        ("every", b"1234"),
    ],
)
def test_a_body_may_be_one_raw_tensor(sides: tuple[Side, Side], model: str, body: bytes) -> None:
    """As the binary extension has it, and the same of them refused."""
    answers = [
        httpx.post(
            f"http://{side.url}/v2/models/{model}/infer",
            content=body,
            headers={"Inference-Header-Content-Length": "0", **headers()},
        )
        for side in sides
    ]
    assert answers[0].status_code == answers[1].status_code
    if answers[0].status_code == 200:
        said = [(one.headers["inference-header-content-length"], one.content) for one in answers]
        assert said[0] == said[1]


FLOATS = {"name": "A", "datatype": "FP32", "shape": [2], "data": [1, 2]}


@pytest.mark.parametrize(
    ("path", "body", "triton", "facade"),
    [
        ("floats", {"inputs": []}, 400, 400),
        ("floats", {"inputs": [FLOATS, {**FLOATS, "name": "B"}]}, 400, 400),
        ("floats", {"inputs": [{**FLOATS, "name": "B"}]}, 400, 400),
        ("floats", {"inputs": [{**FLOATS, "datatype": "FP64"}]}, 400, 400),
        ("floats", {"inputs": [{**FLOATS, "datatype": "FLOAT"}]}, 400, 400),
        ("floats", {"inputs": [{**FLOATS, "shape": [1, 2]}]}, 400, 400),
        ("floats", {"inputs": [{**FLOATS, "shape": [3]}]}, 500, 400),
        ("floats", {"inputs": [{**FLOATS, "shape": [-2]}]}, None, 400),
        ("floats", {"inputs": [{**FLOATS, "shape": [2**40, 2**40]}]}, None, 400),
        ("floats", {"inputs": [{**FLOATS, "data": ["a", "b"]}]}, 500, 400),
        ("floats", {"inputs": [FLOATS], "outputs": [{"name": "NOBODY"}]}, 400, 400),
        ("floats", {"inputs": [FLOATS], "id": 7}, 500, 400),
        ("floats", {"inputs": [{"name": "A", "datatype": "FP32", "shape": [2]}]}, 400, 400),
        ("labelled", {"inputs": [{**FLOATS, "shape": [5, 4], "data": [0] * 20}]}, 400, 400),
        ("floats/versions/1", {"inputs": [FLOATS]}, 200, 200),
        ("floats/versions/9", {"inputs": [FLOATS]}, 404, 404),
        ("nobody", {"inputs": [FLOATS]}, 404, 404),
    ],
)
def test_what_is_wrong_is_refused_alike(
    sides: tuple[Side, Side], path: str, body: dict[str, Any], triton: int | None, facade: int
) -> None:
    """By status; where Triton's own is 5xx for a caller's fault, ours isn't, and what may end it isn't sent there."""
    url = "http://{}/v2/models/" + path + "/infer"
    if triton is not None:
        assert httpx.post(url.format(sides[0].url), json=body).status_code == triton
    answer = httpx.post(url.format(sides[1].url), json=body, headers=headers())
    assert answer.status_code == facade
    if facade != 200:
        assert list(answer.json()) == ["error"]


def test_what_only_an_operator_may_do_is_refused(sides: tuple[Side, Side]) -> None:
    """The client raises, with our sentence."""
    client = sides[1].client
    for ask in (
        lambda: client.load_model("every", headers=headers()),
        lambda: client.unload_model("every", headers=headers()),
        lambda: client.register_system_shared_memory("r", "/r", 8, headers=headers()),
        lambda: client.get_cuda_shared_memory_status(headers=headers()),
        lambda: client.update_trace_settings(settings={}, headers=headers()),
        lambda: client.update_log_settings({}, headers=headers()),
    ):
        with pytest.raises(InferenceServerException, match="403"):
            ask()
    assert client.is_model_ready("every", headers=headers())


def test_the_asynchronous_client(sides: tuple[Side, Side]) -> None:
    """Several at a time, compressed."""

    async def ask(url: str) -> Any:
        array = np.arange(1000, dtype=np.float32)
        async with tritonclient.http.aio.InferenceServerClient(url) as client:
            answers = await asyncio.gather(
                *(
                    client.infer(
                        "floats",
                        [make_input("A", "FP32", array + at)],
                        headers=headers(),
                        response_compression_algorithm="gzip",
                    )
                    for at in range(8)
                )
            )
        return [float(answer.as_numpy("A_OUT").sum()) for answer in answers]

    assert asyncio.run(ask(sides[0].url)) == asyncio.run(ask(sides[1].url))
