"""What Triton tells about itself: how it is written as JSON, and who is asked where there are several."""

from __future__ import annotations

import pytest
from tritonclient.grpc import service_pb2 as pb

from facade.errors import BackendUnavailable
from facade.triton.client import TritonClient
from facade.triton.inspection import to_json
from tests.facade.triton.test_pool import make_pool
from tests.facade.triton.watcher import Watcher
from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio


def test_messages_are_written_as_tritons_http_endpoint_does() -> None:
    """Numbers as numbers, enums by name, empty lists and maps written out, messages only where they are set."""
    response = pb.ModelConfigResponse()
    config = response.config
    config.name, config.max_batch_size = "m", 8
    config.input.add(name="x", data_type="TYPE_INT64", dims=[-1, 2**40])
    config.parameters["b"].string_value = "2"
    config.parameters["a"].string_value = "1"
    config.version_policy.latest.num_versions = 2
    written = to_json(config)

    assert written["input"][0]["dims"] == [-1, 2**40]
    assert written["input"][0]["data_type"] == "TYPE_INT64"
    assert written["parameters"] == {"a": {"string_value": "1"}, "b": {"string_value": "2"}}
    assert written["version_policy"] == {"latest": {"num_versions": 2}}
    assert written["output"] == []
    assert "dynamic_batching" not in written


async def test_of_several_one_that_is_there_is_asked() -> None:
    """Who is away costs nobody an answer; where all are, that is said."""
    tritons = [WireTriton(), WireTriton()]
    for triton in tritons:
        await triton.start()
    pool = make_pool(tritons, Watcher())
    try:
        await pool.describe_models(timeout_s=5)
        await tritons[0].stop()
        for _ in range(4):
            index = await pool.inspect("index", "minilm", timeout_s=5)
            assert {"name": "minilm", "version": "1", "state": "READY"} in index
        await tritons[1].stop()
        with pytest.raises(BackendUnavailable):
            await pool.inspect("index", "minilm", timeout_s=5)
    finally:
        await pool.aclose()
        for triton in tritons:
            await triton.stop()


async def test_what_a_client_asks_is_what_it_is_told() -> None:
    """Each topic is a call of the protocol's own."""
    triton = WireTriton()
    await triton.start()
    client = TritonClient(triton.url)
    try:
        config = await client.inspect("config", "minilm", timeout_s=5)
        assert (config["name"], config["max_batch_size"]) == ("minilm", 16)
    finally:
        await client.aclose()
        await triton.stop()
