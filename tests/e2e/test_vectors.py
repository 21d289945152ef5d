"""The same vectors on every way: through the façade, straight to Triton, and from the original in PyTorch."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import openai
import pytest
import tritonclient.grpc

from tests.e2e.conftest import KEY

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from deploy.local.triton import TritonServer
    from tests.e2e.conftest import Facade

pytestmark = pytest.mark.e2e

MIN_COSINE = 0.9999

TEXTS = [
    "Hello, world.",
    "",
    "The quick brown fox jumps over the lazy dog.",
    "Größe, naïve café, 你好世界, здравствуй, 🙂🙃",
    "word",
    "  spaces \t and\nlines  ",
    "a" * 300,
    "antidisestablishmentarianism " * 3,
    "https://example.org/?q=1&x=%20 <b>html</b> {json: [1, 2]}",
    *(
        " ".join(random.Random(seed).choices(["alpha", "beta", "gamma", "delta", "naive"], k=seed))
        for seed in range(1, 200, 13)
    ),
]

TOO_LONG = "one two three four five six seven eight " * 60


def cosine(a: Any, b: Any) -> float:
    """Cosine of the angle between two vectors."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def post(facade: Facade, **body: Any) -> httpx.Response:
    """Ask for embeddings."""
    return httpx.post(
        f"{facade.url}/v1/embeddings", headers=facade.headers, json={"model": "minilm", **body}, timeout=60
    )


def ask_triton(triton: TritonServer, texts: list[bytes]) -> tuple[Any, Any]:
    """Ask the door directly; return vectors and token counts."""
    with tritonclient.grpc.InferenceServerClient(triton.grpc_url) as client:
        text = tritonclient.grpc.InferInput("text", [len(texts), 1], "BYTES")
        text.set_data_from_numpy(np.array(texts, dtype=np.object_).reshape(-1, 1))
        answer = client.infer("minilm", [text])
        return answer.as_numpy("embedding"), answer.as_numpy("num_input_tokens")


def test_all_three_ways_give_the_same_vectors(
    facade: Facade, triton: TritonServer, original: SentenceTransformer
) -> None:
    """REST, gRPC and sentence-transformers agree on every text."""
    expected = original.encode(TEXTS)
    over_rest = [entry["embedding"] for entry in post(facade, input=TEXTS).json()["data"]]
    over_grpc, _ = ask_triton(triton, [text.encode() for text in TEXTS])

    for index, text in enumerate(TEXTS):
        assert cosine(expected[index], over_rest[index]) >= MIN_COSINE, text
        assert cosine(expected[index], over_grpc[index]) >= MIN_COSINE, text


def test_one_text_alone_is_the_same_as_among_many(facade: Facade) -> None:
    """Neighbours in a batch don't change a vector."""
    together = [entry["embedding"] for entry in post(facade, input=TEXTS).json()["data"]]

    for text, among in zip(TEXTS, together, strict=True):
        assert cosine(post(facade, input=text).json()["data"][0]["embedding"], among) >= MIN_COSINE


def test_tokens_are_counted_as_the_original_does(facade: Facade, original: SentenceTransformer) -> None:
    """Usage has the true number, special tokens included."""
    expected = sum(len(original.tokenizer(text)["input_ids"]) for text in TEXTS)

    assert post(facade, input=TEXTS).json()["usage"] == {"prompt_tokens": expected, "total_tokens": expected}


def test_a_long_text_is_refused_or_cut_as_the_original_cuts(
    facade: Facade, triton: TritonServer, original: SentenceTransformer
) -> None:
    """400 with the counts unless asked; then the original's own vector."""
    refused = post(facade, input=["fine", TOO_LONG])
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "input[1]"
    assert "at most 256" in refused.json()["error"]["message"]

    cut = post(facade, input=TOO_LONG, truncate=True).json()
    _, counts = ask_triton(triton, [TOO_LONG.encode()])

    assert cosine(cut["data"][0]["embedding"], original.encode(TOO_LONG)) >= MIN_COSINE
    assert cut["usage"]["prompt_tokens"] == 256
    assert counts[0, 0] == 482


def test_bytes_that_are_not_utf8_are_refused_by_the_door(triton: TritonServer) -> None:
    """INVALID_ARGUMENT that names the row, over gRPC."""
    with pytest.raises(
        tritonclient.grpc.InferenceServerException, match="Row 1 of 'text' is not UTF-8"
    ) as caught:
        ask_triton(triton, [b"fine", b"\xff\xfe"])

    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_openais_client_has_base64_and_shorter_vectors(facade: Facade, original: SentenceTransformer) -> None:
    """The real client with its defaults; dimensions are the leading ones, at length 1."""
    client = openai.OpenAI(api_key=KEY, base_url=f"{facade.url}/v1")
    whole = client.embeddings.create(model="minilm", input="Hello, world.").data[0].embedding
    short = client.embeddings.create(model="minilm", input="Hello, world.", dimensions=64).data[0].embedding
    client.close()

    assert cosine(whole, original.encode("Hello, world.")) >= MIN_COSINE
    assert np.linalg.norm(short) == pytest.approx(1, abs=1e-5)
    assert cosine(short, whole[:64]) >= MIN_COSINE


def test_predict_and_models_know_the_model(facade: Facade, original: SentenceTransformer) -> None:
    """The plain route and the list."""
    answer = httpx.post(f"{facade.url}/predict", headers={"X-API-Key": KEY}, json={"prompt": "Hello, world."})
    listed = httpx.get(f"{facade.url}/v1/models", headers=facade.headers).json()["data"]

    assert cosine(answer.json()["result"], original.encode("Hello, world.")) >= MIN_COSINE
    known = {entry["id"]: entry for entry in listed}
    assert set(known) == {"minilm", "tiny-chat"}
    assert (known["minilm"]["dimension"], known["minilm"]["max_input_tokens"]) == (384, 256)
    assert known["tiny-chat"]["max_input_tokens"] == 1023


def test_two_thousand_texts_travel_in_one_request(facade: Facade) -> None:
    """The largest request is answered whole and in order; one more is refused."""
    texts = [f"text number {i}" for i in range(2048)]
    answer = post(facade, input=texts).json()["data"]

    assert [entry["index"] for entry in answer] == list(range(2048))
    for index in (0, 1000, 2047):
        alone = post(facade, input=texts[index]).json()["data"][0]["embedding"]
        assert cosine(alone, answer[index]["embedding"]) >= MIN_COSINE
    assert post(facade, input=[*texts, "one more"]).status_code == 400
