"""The door inside a real Triton: whole answers, faults that stay their request's own, versions that never mix."""

import hashlib
import re
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from deploy.local.triton import CHECKOUT, TritonServer
from export import config_pbtxt
from export.artifacts import Publication
from export.config_pbtxt import CONFIG_FILE
from export.from_hub import find_model
from export.options import ExportOptions
from export.original import load_original
from tests.export.test_parity_embedding import edit_json_file
from tests.export.tiny_model import MAX_TOKENS

pytestmark = pytest.mark.e2e

Answer = tuple[np.ndarray, list[int]]
TEXTS = [
    "the cat",
    "",
    "the cat sat on the mat",
    "the cat sat on " * 20,
    "Ünïcode 世界 \x00",
    "mat " * 12,
    "tree",
]


def write_config(folder: Path, **changes: object) -> None:
    """Change name or served versions of a published config."""
    config = config_pbtxt.read_config(folder)
    assert config is not None
    if "name" in changes:
        config.name = changes["name"]
    if "versions" in changes:
        del config.version_policy.specific.versions[:]
        config.version_policy.specific.versions.extend(changes["versions"])
    (folder / CONFIG_FILE).write_text(config_pbtxt.to_text(config))


def negate_output(path: Path) -> None:
    """Make a graph give every vector with the opposite sign."""
    model = onnx.load(str(path))
    last = next(node for node in model.graph.node if "sentence_embedding" in node.output)
    last.output[list(last.output).index("sentence_embedding")] = "positive"
    model.graph.node.append(helper.make_node("Neg", ["positive"], ["sentence_embedding"]))
    onnx.save(model, str(path))


@pytest.fixture(scope="module")
def repository(published: Publication, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    The published tiny model with two alterations.

    Version 2 is served beside version 1 and gives the negative of its vectors. Model `loose` uses the same core, but
    doesn't truncate: a text beyond the core's position embeddings makes the core fail.
    """
    folder = Path(shutil.copytree(published.repository, tmp_path_factory.mktemp("served") / "repository"))
    for name in ("tiny", "tiny_core"):
        shutil.copytree(folder / name / "1", folder / name / "2")
        write_config(folder / name, versions=[1, 2])
    negate_output(folder / "tiny_core" / "2" / "model.onnx")
    shutil.copytree(folder / "tiny", folder / "loose")
    write_config(folder / "loose", name="loose", versions=[1])
    edit_json_file(folder / "loose" / "1" / "door.json", max_input_tokens=10_000)
    return folder


@pytest.fixture(scope="module")
def triton(repository: Path) -> Iterator[TritonServer]:
    """A Triton that serves them."""
    if not (CHECKOUT / ".triton" / "backends" / "onnxruntime" / "model.py").exists():
        pytest.skip("Triton is not installed: run `make install`")
    with TritonServer(repository) as server:
        yield server


@pytest.fixture(scope="module")
def encode(triton: TritonServer) -> Iterator[Callable[..., Answer]]:
    """Call a door with a batch of texts, as str or as raw bytes."""
    with InferenceServerClient(triton.grpc_url) as client:

        def call(*texts: str | bytes, model: str = "tiny", version: str = "1") -> Answer:
            raw = [text.encode() if isinstance(text, str) else text for text in texts]
            tensor = InferInput("text", [len(raw), 1], "BYTES")
            tensor.set_data_from_numpy(np.array(raw, dtype=np.object_).reshape(-1, 1))
            result = client.infer(model, [tensor], model_version=version)
            return result.as_numpy("embedding"), result.as_numpy("num_input_tokens").ravel().tolist()

        yield call


@pytest.fixture(scope="module")
def expected(tiny_model: Path) -> np.ndarray:
    """What sentence-transformers gives for the texts; shape (texts, dimension)."""
    source = find_model(ExportOptions(model=str(tiny_model), name="tiny", repository=tiny_model))
    return np.asarray(load_original(source).encode(TEXTS))


def test_a_mixed_batch_is_answered_like_the_original(
    encode: Callable[..., Answer], expected: np.ndarray
) -> None:
    """Short, empty, odd and over-long texts in one request get the original's vectors and true token counts."""
    vectors, counts = encode(*TEXTS)
    assert vectors.dtype == np.float32
    assert (vectors * expected).sum(axis=1).min() > 0.9999
    assert counts[1] == 2
    assert counts[3] > MAX_TOKENS


def test_requests_merged_by_triton_get_their_own_vectors(
    encode: Callable[..., Answer], expected: np.ndarray
) -> None:
    """Many callers at once, each with another text, are each answered with their own."""
    rows = [row % len(TEXTS) for row in range(140)]
    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda row: encode(TEXTS[row])[0][0], rows))
    cosines = [float(answer @ expected[row]) for answer, row in zip(answers, rows, strict=True)]
    assert min(cosines) > 0.9999


def test_padding_is_told_on_tritons_metrics(triton: TritonServer, encode: Callable[..., Answer]) -> None:
    """Tokens and computed positions of both doors are one pair of counters, by model and version."""

    def read(name: str) -> float:
        with urllib.request.urlopen(f"http://{triton.metrics_url}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = re.findall(rf'^{name}{{model="tiny",version="1"}} (\S+)$', text, re.MULTILINE)
        assert len(found) <= 1
        return float(found[0]) if found else 0.0

    before = read("door_tokens_total"), read("door_padded_tokens_total")
    end = time.monotonic() + 60
    # A door publishes at most twice a second, with the batch that comes next.
    while (after := (read("door_tokens_total"), read("door_padded_tokens_total"))) == before:
        assert time.monotonic() < end
        encode(*TEXTS)
    tokens, positions = after[0] - before[0], after[1] - before[1]
    assert 0 < tokens < positions


def test_bad_bytes_fail_their_request_only(encode: Callable[..., Answer], expected: np.ndarray) -> None:
    """A request that isn't UTF-8 is refused with its row, while its neighbours are answered."""

    def call(row: int) -> float | str:
        try:
            if row % 5 == 0:
                encode("fine", b"\xe9t\xe9")
                return "answered"
            return float(encode(TEXTS[2])[0][0] @ expected[2])
        except InferenceServerException as error:
            return f"{error.status()} {error.message()}"

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(call, range(60)))
    for row, answer in enumerate(answers):
        if row % 5 == 0:
            assert isinstance(answer, str)
            assert "INVALID_ARGUMENT" in answer
            assert "Row 1 of 'text' is not UTF-8" in answer
        else:
            assert isinstance(answer, float)
            assert answer > 0.9999


def test_an_encoded_lone_surrogate_is_refused(encode: Callable[..., Answer]) -> None:
    """Half of a surrogate pair is no character, so its bytes are no text."""
    with pytest.raises(InferenceServerException, match="Row 0 of 'text' is not UTF-8"):
        encode("\ud800".encode("utf-8", "surrogatepass"))


def test_a_core_failure_reaches_only_its_rows(encode: Callable[..., Answer], expected: np.ndarray) -> None:
    """When one group fails in the core, requests in other groups of the same merged batch are answered."""

    def call(row: int) -> float | str:
        try:
            text = TEXTS[3] if row % 5 == 0 else TEXTS[0]
            return float(encode(text, model="loose")[0][0] @ expected[0])
        except InferenceServerException as error:
            return str(error.message())

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(call, range(60)))
    for row, answer in enumerate(answers):
        if row % 5 == 0:
            assert isinstance(answer, str)
            assert answer.startswith("The model failed: ")
        else:
            assert isinstance(answer, float)
            assert answer > 0.9999


def test_one_failed_row_fails_its_whole_request(encode: Callable[..., Answer]) -> None:
    """A request never gets some vectors and zeros for the rest."""
    with pytest.raises(InferenceServerException, match="The model failed"):
        encode(TEXTS[0], TEXTS[3], model="loose")


def test_a_door_calls_the_core_of_its_own_version(
    encode: Callable[..., Answer], expected: np.ndarray
) -> None:
    """With two versions served at once, each door's vectors are its own core's."""
    with ThreadPoolExecutor(16) as pool:
        versions = ["1", "2"] * 20
        answers = list(pool.map(lambda version: encode(TEXTS[0], version=version)[0][0], versions))
    cosines = np.array([answer @ expected[0] for answer in answers])
    assert cosines == pytest.approx([1, -1] * 20, abs=1e-4)


def test_a_core_that_is_gone_is_unavailable(triton: TritonServer, encode: Callable[..., Answer]) -> None:
    """While the core is unloaded the door says UNAVAILABLE, which callers may retry; afterwards it answers again."""
    with InferenceServerClient(triton.grpc_url) as client:
        client.unload_model("tiny_core")
        try:
            with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
                encode("the cat")
        finally:
            client.load_model("tiny_core")
    assert encode("the cat")[1] == [4]


def test_a_served_version_does_not_change(triton: TritonServer, published: Publication) -> None:
    """Every file that the manifest names is as it was; Python's cache is all that Triton adds."""
    folder = triton.repository / "tiny" / "1"
    named = {name.removeprefix("door/"): digest for name, digest in published.manifest["files"].items()}
    served = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file()
    }
    assert served.pop("manifest.json")
    assert served == {name: digest for name, digest in named.items() if not name.startswith("core/")}
    assert {path.name for path in folder.iterdir() if path.is_dir()} <= {"__pycache__"}
