"""The decoder inside a real Triton: the vLLM backend's contract, faults that stay their caller's, cancellation."""

import asyncio
import itertools
import json
import random
import shutil
import struct
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc
from tritonclient.utils import deserialize_bytes_tensor

import export.runtime.decoder
from deploy.local.triton import CHECKOUT, TritonServer
from export.runtime.decoder.metrics import OUTCOMES
from tests.export.runtime.decoder.tiny_tokenizers import save_byte_level

pytestmark = pytest.mark.e2e

OPTIONAL_FLAGS = (
    "stream",
    "exclude_input_in_output",
    "return_finish_reason",
    "return_cumulative_logprob",
    "return_logprobs",
    "return_num_input_tokens",
    "return_num_output_tokens",
)
TOLD = {"return_finish_reason": True, "return_num_input_tokens": True, "return_num_output_tokens": True}
GREEDY = {"temperature": 0, "max_tokens": 12}
PROMPTS = ["the cat", "das Mädchen", "世界", '{"name":', "on the mat the cat sat " * 8]
PATIENCE_S = 60.0
"""How long a test waits for what must happen, before it fails."""


BREAK_UNDER_LOAD = """
def _decode(self, token_ids, lengths):
    if len(lengths) == 6:
        raise RuntimeError("no memory left")
    return _sound_decode(self, token_ids, lengths)

_sound_decode, OnnxGraph.decode = OnnxGraph.decode, _decode
"""


def write_config(folder: Path) -> None:
    """Write the config of a decoupled model with the vLLM backend's inputs and outputs."""
    config = model_config_pb2.ModelConfig(name=folder.name, backend="python", max_batch_size=0)
    config.model_transaction_policy.decoupled = True
    config.instance_group.add(count=1, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)
    kinds = model_config_pb2.DataType
    config.input.add(name="text_input", data_type=kinds.TYPE_STRING, dims=[1])
    config.input.add(name="image", data_type=kinds.TYPE_STRING, dims=[-1], optional=True)
    config.input.add(name="sampling_parameters", data_type=kinds.TYPE_STRING, dims=[1], optional=True)
    for name in OPTIONAL_FLAGS:
        config.input.add(name=name, data_type=kinds.TYPE_BOOL, dims=[1], optional=True)
    for name, kind, size in (
        ("text_output", kinds.TYPE_STRING, -1),
        ("finish_reason", kinds.TYPE_STRING, -1),
        ("cumulative_logprob", kinds.TYPE_FP32, -1),
        ("logprobs", kinds.TYPE_STRING, -1),
        ("num_input_tokens", kinds.TYPE_UINT32, 1),
        ("num_output_tokens", kinds.TYPE_UINT32, -1),
    ):
        config.output.add(name=name, data_type=kind, dims=[size])
    (folder / "config.pbtxt").write_text(text_format.MessageToString(config))


@pytest.fixture(scope="module")
def repository(tiny_decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with the tiny decoder as `chat`, and as `fragile`, whose graph fails with six rows."""
    repository = tmp_path_factory.mktemp("served")
    for name in ("chat", "fragile"):
        version = repository / name / "1"
        shutil.copytree(tiny_decoder, version)
        for module in Path(export.runtime.decoder.__file__).parent.glob("*.py"):
            shutil.copy(module, version / module.name)
        shutil.move(save_byte_level(version), version / "tokenizer.json")
        write_config(repository / name)
    with (repository / "fragile" / "1" / "graph.py").open("a") as graph:
        graph.write(BREAK_UNDER_LOAD)
    return repository


@pytest.fixture(scope="module")
def triton(repository: Path) -> Iterator[TritonServer]:
    """A Triton that serves it."""
    if not (CHECKOUT / ".triton" / "backends" / "onnxruntime" / "model.py").exists():
        pytest.skip("Triton is not installed: run `make install`")
    # A model whose process died keeps Triton waiting for as long as it may when it is stopped.
    with TritonServer(repository, exit_timeout_s=2) as server:
        yield server


@dataclass
class Reply:
    """What a request got."""

    messages: list[dict[str, list[Any]]] = field(default_factory=list)
    error: str = ""
    is_complete: bool = False

    @property
    def text(self) -> str:
        """The first answer's text."""
        return "".join(message["text_output"][0] for message in self.messages)

    def last(self, name: str) -> list[Any]:
        """One output of the last message."""
        return self.messages[-1][name]


@dataclass
class Client:
    """Sends requests as gRPC streams, one each."""

    stub: Any
    """Speaks with Triton."""

    ledger: Counter[str]
    """How the requests of all clients ended, as their callers saw it."""

    async def ask(
        self, text: str | None, *, leave_after: int | None = None, stops: bool = False, **inputs: Any
    ) -> Reply:
        """
        Send a request and read its answer.

        Args:
            text: The prompt.

            leave_after: Cancel after this many messages; 0 at once.

            stops: Have it stopped by a request instead, as the façade does.

            inputs: More inputs by name; `sampling` is a dict, `parameters` are the request's own, `model` is
                another model.
        """
        name = uuid4().hex
        call = self.stub.ModelStreamInfer(self._write(text, inputs, name), timeout=PATIENCE_S)
        reply = Reply()

        async def leave() -> None:
            if stops:
                await self.stop(name)
            else:
                call.cancel()

        try:
            if leave_after == 0:
                await asyncio.sleep(0.001)
                await leave()
            async for response in call:
                if response.error_message:
                    reply.error = response.error_message
                    continue
                reply.is_complete = response.infer_response.parameters["triton_final_response"].bool_param
                if response.infer_response.outputs:
                    reply.messages.append(read_outputs(response.infer_response))
                if leave_after and len(reply.messages) == leave_after:
                    await leave()
        except asyncio.CancelledError:
            if leave_after is None:
                raise
        finally:
            has_left = reply.error == "[CANCELLED] The request was cancelled."
            is_refused, is_whole = bool(reply.error) and not has_left, reply.is_complete
            self.ledger["refused" if is_refused else "finished" if is_whole else "left"] += 1
        return reply

    async def stop(self, name: str) -> None:
        """Have a request stopped; the answer to that has no outputs and no error."""
        parameters = {"stop_request": name}
        async for response in self.stub.ModelStreamInfer(self._write("", {"parameters": parameters}, "")):
            assert not response.error_message
            assert not response.infer_response.outputs

    async def _write(self, text: str | None, inputs: dict[str, Any], request_id: str) -> AsyncIterator[Any]:
        request = service_pb2.ModelInferRequest(model_name=inputs.pop("model", "chat"), id=request_id)
        values = {"text_input": text, "sampling_parameters": inputs.pop("sampling", None)}
        for parameter, value in inputs.pop("parameters", {}).items():
            kind = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
            setattr(request.parameters[parameter], kind[type(value)], value)
        for name, value in (values | inputs).items():
            if value is None:
                continue
            is_flag = isinstance(value, bool)
            request.inputs.add(name=name, datatype="BOOL" if is_flag else "BYTES", shape=[1])
            raw = json.dumps(value).encode() if isinstance(value, dict) else value
            raw = raw.encode() if isinstance(raw, str) else raw
            request.raw_input_contents.append(
                struct.pack("?", value) if is_flag else struct.pack("<I", len(raw)) + raw
            )
        yield request


def read_outputs(response: Any) -> dict[str, list[Any]]:
    """Turn a response's tensors into lists; bytes into text."""
    kinds = {"FP32": np.float32, "UINT32": np.uint32}
    outputs = {}
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        if output.datatype == "BYTES":
            outputs[output.name] = [item.decode() for item in deserialize_bytes_tensor(raw)]
        else:
            outputs[output.name] = np.frombuffer(raw, kinds[output.datatype]).tolist()
        assert output.shape == [len(outputs[output.name])]
    return outputs


@pytest.fixture(scope="module")
def ledger(triton: TritonServer) -> Counter[str]:
    """How all requests to this server ended."""
    return Counter()


@pytest.fixture
async def client(triton: TritonServer, ledger: Counter[str]) -> AsyncIterator[Client]:
    """A client of the served model."""
    async with grpc.aio.insecure_channel(triton.grpc_url) as channel:
        yield Client(service_pb2_grpc.GRPCInferenceServiceStub(channel), ledger)


def read_metrics(triton: TritonServer) -> dict[str, float]:
    """Read the metrics of `chat`; labels other than the outcome and the bucket are dropped from the names."""
    with urllib.request.urlopen(f"http://{triton.metrics_url}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    found = {}
    for line in lines:
        if line.startswith("decoder_") and 'model="chat"' in line:
            name, value = line.rsplit(" ", 1)
            outcome = name.split('outcome="')[1].split('"')[0] if 'outcome="' in name else ""
            bucket = name.split('le="')[1].split('"')[0] if 'le="' in name else ""
            found[name.split("{")[0] + outcome + bucket] = float(value)
    return found


async def wait_for_metrics(
    triton: TritonServer, is_reached: Callable[[dict[str, float]], bool]
) -> dict[str, float]:
    """Wait until the metrics say something; they are published every half second."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = await asyncio.to_thread(read_metrics, triton)
        if is_reached(found):
            return found
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)


def agrees(found: dict[str, float], ledger: Counter[str]) -> bool:
    """Tell whether the metrics know of all that ended, and of nothing under way."""
    ended = {outcome: found[f"decoder_requests_total{outcome}"] for outcome in OUTCOMES}
    assert ended["failed"] == ended["overloaded"] == 0
    # Who left may have been answered just before, and is counted nowhere if Triton never saw the request.
    assert ended["finished"] + ended["cancelled"] <= ledger["finished"] + ledger["left"]
    is_idle = found["decoder_active"] == found["decoder_queued"] == 0
    return is_idle and ended["finished"] >= ledger["finished"] and ended["refused"] == ledger["refused"]


@pytest.mark.anyio
async def test_a_stream_and_a_whole_answer_say_the_same(client: Client) -> None:
    """Greedy answers are alike streamed and whole; the whole one begins with the prompt unless told otherwise."""
    for prompt in PROMPTS:
        streamed = await client.ask(prompt, stream=True, sampling=GREEDY, **TOLD)
        whole = await client.ask(prompt, sampling=GREEDY, **TOLD)
        alone = await client.ask(prompt, exclude_input_in_output=True, sampling=GREEDY)
        assert streamed.is_complete
        assert whole.is_complete
        assert len(whole.messages) == len(alone.messages) == 1
        assert streamed.text == alone.text
        assert whole.text == prompt + alone.text
        assert list(alone.messages[0]) == ["text_output"]
        assert streamed.last("finish_reason") == whole.last("finish_reason")
        assert all(message["finish_reason"] == ["None"] for message in streamed.messages[:-1])
        total = sum(message["num_output_tokens"][0] for message in streamed.messages)
        assert [total] == whole.last("num_output_tokens")
        assert streamed.last("num_input_tokens") == whole.last("num_input_tokens")


@pytest.mark.anyio
async def test_several_answers_come_in_one_message_each_time(client: Client) -> None:
    """With `n` every output has one element an answer; a seed makes them different, and the same next time."""
    sampling = {"n": 3, "seed": 5, "temperature": 1.0, "max_tokens": 8, "ignore_eos": True}
    streamed = await client.ask("the cat", stream=True, sampling=sampling, **TOLD)
    whole = await client.ask("the cat", exclude_input_in_output=True, sampling=sampling, **TOLD)
    texts = ["".join(message["text_output"][place] for message in streamed.messages) for place in range(3)]
    assert texts == whole.last("text_output")
    assert len(set(texts)) == 3
    assert whole.last("num_output_tokens") == [8, 8, 8]
    assert whole.last("finish_reason") == ["length"] * 3
    assert all(len(message["text_output"]) == 3 for message in streamed.messages)


@pytest.mark.anyio
async def test_log_probabilities_add_up(client: Client) -> None:
    """Each token has its alternatives; the sum is told; without `logprobs` there is "null" and NaN."""
    flags = {"return_logprobs": True, "return_cumulative_logprob": True}
    sampling = GREEDY | {"logprobs": 2, "ignore_eos": True}
    streamed = await client.ask("the cat", stream=True, sampling=sampling, **flags)
    entries = [entry for message in streamed.messages for entry in json.loads(message["logprobs"][0])]
    assert len(entries) == 12
    assert all(len(entry) == 2 for entry in entries)
    chosen = [next(iter(entry.values())) for entry in entries]
    assert all(token["rank"] == 1 and token["logprob"] <= 0 for token in chosen)
    total = streamed.last("cumulative_logprob")[0]
    assert total == pytest.approx(sum(token["logprob"] for token in chosen), rel=1e-4)
    bare = await client.ask("the cat", sampling=GREEDY, **flags)
    assert bare.last("logprobs") == ["null"]
    assert np.isnan(bare.last("cumulative_logprob")[0])


@pytest.mark.anyio
async def test_stop_strings_and_constraints_end_answers(client: Client) -> None:
    """An answer is cut before its stop string; one of a given form has that form, and ends with it."""
    free = await client.ask("the cat", stream=True, sampling=GREEDY | {"ignore_eos": True})
    middle = free.text[2:4]
    cut = await client.ask(
        "the cat", stream=True, sampling=GREEDY | {"ignore_eos": True, "stop": [middle]}, **TOLD
    )
    assert cut.text == free.text[: free.text.index(middle)]
    assert cut.last("finish_reason") == ["stop"]
    choice = GREEDY | {"structured_outputs": json.dumps({"choice": ["yes", "no"]})}
    chosen = await client.ask("the cat", stream=True, sampling=choice, **TOLD)
    assert chosen.text in {"yes", "no"}
    assert chosen.last("finish_reason") == ["stop"]


@pytest.mark.anyio
async def test_request_parameters_stand_in_for_the_tensor(client: Client) -> None:
    """`max_tokens` and others may be parameters of the request, as the generate extension sends them."""
    parameters = {"max_tokens": 3, "temperature": 0.0, "ignore_eos": True}
    reply = await client.ask("the cat", exclude_input_in_output=True, parameters=parameters, **TOLD)
    assert reply.last("num_output_tokens") == [3]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("text", "inputs", "message"),
    [
        ("a", {"sampling": {"top_p": 3}}, "'top_p' must be a number above 0 and at most 1, not 3."),
        ("a", {"sampling": {"n": 99}}, "'n' must be a whole number from 1 to "),
        ("a", {"sampling": {"max_token": 1}}, "'max_token' is unknown"),
        ("a", {"sampling": b"{"}, "'sampling_parameters' is not valid JSON"),
        (
            "a",
            {"sampling": {"structured_outputs": {"json": {"type": "x"}}}},
            "'structured_outputs' has an unusable",
        ),
        ("a", {"image": b"aGk="}, "'image' can't be used"),
        (None, {"stream": True}, "'text_input' is missing"),
        ("a" * 5000, {}, "'text_input' has 5001 tokens; the model reads at most "),
        ("a", {"stream": True, "exclude_input_in_output": False}, "'exclude_input_in_output' must be true"),
    ],
)
async def test_bad_requests_are_refused_by_name(
    client: Client, text: str | None, inputs: dict[str, Any], message: str
) -> None:
    """What can't be answered is an error that begins with the field's name, streamed or not."""
    reply = await client.ask(text, **inputs)
    assert reply.error.startswith(f"[INVALID_ARG] {message}")
    assert not reply.messages


@pytest.mark.anyio
async def test_metrics_tell_what_triton_cannot(
    client: Client, triton: TritonServer, ledger: Counter[str]
) -> None:
    """Tokens, outcomes, the prefix cache and the time to first token are on Triton's own metrics endpoint."""
    before = await wait_for_metrics(triton, lambda found: agrees(found, ledger))
    await client.ask("a cat", sampling=GREEDY | {"ignore_eos": True})
    await client.ask("a cat", sampling={"n": 0})
    after = await wait_for_metrics(triton, lambda found: agrees(found, ledger))
    first_tokens = "decoder_time_to_first_token_seconds_count"
    assert after[first_tokens] >= ledger["finished"]
    assert after["decoder_time_to_first_token_seconds_bucket+Inf"] == after[first_tokens]
    assert after["decoder_generated_tokens_total"] == before["decoder_generated_tokens_total"] + 12
    assert after["decoder_prompt_tokens_total"] > before["decoder_prompt_tokens_total"]
    assert {"decoder_prefix_hit_tokens_total", "decoder_prefix_queried_tokens_total"} <= after.keys()


@pytest.mark.anyio
async def test_a_caller_who_leaves_frees_its_slot(
    client: Client, triton: TritonServer, ledger: Counter[str]
) -> None:
    """A streamed and a whole answer are stopped soon after their callers cancel, long before their end."""
    endless = {"temperature": 0, "max_tokens": 100_000, "ignore_eos": True}
    whole = asyncio.create_task(client.ask("the cat", sampling=endless))
    await client.ask("the cat", stream=True, sampling=endless, leave_after=2)
    whole.cancel()
    await asyncio.gather(whole, return_exceptions=True)
    cancelled = "decoder_requests_totalcancelled"
    await wait_for_metrics(triton, lambda found: agrees(found, ledger) and found[cancelled] >= 1)
    assert (await client.ask("the cat", sampling=GREEDY)).is_complete


@pytest.mark.anyio
async def test_requests_that_leave_at_any_moment_harm_nobody(
    client: Client, triton: TritonServer, ledger: Counter[str]
) -> None:
    """Of 400 requests half are stopped at any moment: every survivor is exact, no slot is lost, the server lives."""
    expected = {prompt: (await client.ask(prompt, stream=True, sampling=GREEDY)).text for prompt in PROMPTS}
    choose = random.Random(7)
    places = asyncio.Semaphore(100)
    survivors = itertools.count()

    async def ask(number: int) -> None:
        prompt = choose.choice(PROMPTS)
        streams = choose.random() < 0.7
        leave_after = choose.choice([0, 1, 2, 5]) if number % 2 else None
        flags = {"stream": True} if streams else {"exclude_input_in_output": True}
        async with places:
            reply = await client.ask(prompt, leave_after=leave_after, stops=True, sampling=GREEDY, **flags)
        if leave_after is None:
            assert reply.error == ""
            assert reply.is_complete
            assert reply.text == expected[prompt]
            next(survivors)

    await asyncio.gather(*(ask(number) for number in range(400)))
    assert next(survivors) == 200
    await wait_for_metrics(triton, lambda found: agrees(found, ledger))
    assert triton.is_running()
    assert not triton.dead_stubs()
    assert (await client.ask(PROMPTS[0], stream=True, sampling=GREEDY)).text == expected[PROMPTS[0]]


@pytest.mark.anyio
async def test_a_reload_waits_for_those_under_way(client: Client) -> None:
    """A model that is unloaded finishes what it has begun, and answers as before once it is loaded again."""
    long = {"temperature": 0, "max_tokens": 300, "ignore_eos": True}
    under_way = [asyncio.create_task(client.ask("the cat", stream=True, sampling=long)) for _ in range(4)]
    expected = await client.ask("the cat", stream=True, sampling=GREEDY)
    await client.stub.RepositoryModelUnload(service_pb2.RepositoryModelUnloadRequest(model_name="chat"))
    for reply in await asyncio.gather(*under_way):
        assert reply.error == ""
        assert reply.is_complete
    await client.stub.RepositoryModelLoad(service_pb2.RepositoryModelLoadRequest(model_name="chat"))
    assert (await client.ask("the cat", stream=True, sampling=GREEDY)).text == expected.text


@pytest.mark.anyio
async def test_a_graph_that_fails_for_good_is_no_silent_hang(client: Client, triton: TritonServer) -> None:
    """Everybody under way gets the reason, later callers an error at once; the process is gone for all to see."""
    endless = {"temperature": 0, "max_tokens": 500, "ignore_eos": True}
    assert (await client.ask("the cat", model="fragile", stream=True, sampling=GREEDY)).is_complete
    asked = [
        client.ask("the cat", model="fragile", stream=place % 2 == 0, sampling=endless) for place in range(6)
    ]
    for reply in await asyncio.gather(*asked):
        assert reply.error == "[INTERNAL] The model failed: no memory left"
    in_the_end = await asyncio.gather(
        *(client.ask("the cat", model="fragile", sampling=GREEDY) for _ in range(6))
    )
    assert all(reply.error for reply in in_the_end)
    deadline = time.monotonic() + PATIENCE_S
    while not triton.dead_stubs():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert (await client.ask("the cat", model="fragile", sampling=GREEDY)).error
    assert triton.is_running()
    assert (await client.ask("the cat", sampling=GREEDY)).is_complete
