"""kserve's own REST client for the V2 protocol: health, readiness, JSON and binary inference."""

from __future__ import annotations

import asyncio
import os

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

URL, KEY = os.environ["BASE_URL"].removesuffix("/v1"), os.environ["API_KEY"]


async def main() -> None:
    """Ask everything once."""
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    headers = {"X-API-Key": KEY}
    assert await client.is_server_ready(URL, headers=headers)
    assert await client.is_model_ready(URL, "minilm", headers=headers)
    texts = np.array([["one text"], ["another text"]], dtype=np.object_)
    for binary in (False, True):
        asked = InferInput("text", [2, 1], "BYTES")
        asked.set_data_from_numpy(texts, binary_data=binary)
        request = InferRequest("minilm", [asked], request_id="an-id")
        answer = await client.infer(URL, request, model_name="minilm", headers=headers)
        assert answer.id == "an-id"
        assert answer.outputs[0].as_numpy().shape == (2, 384)


asyncio.run(main())
