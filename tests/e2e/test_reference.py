"""What the reference pages list is what the real stack has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from docs.reference.metrics_page import door_families, facade_families
from tests.stack import CHAT_NAME, MODEL_NAME

if TYPE_CHECKING:
    from deploy.local.triton import TritonServer
    from tests.stack import Facade

pytestmark = pytest.mark.e2e


def test_no_metric_is_missing(facade: Facade, triton: TritonServer) -> None:
    """After an embedding and a chat, each family of ours is on the page, with its kind."""
    with httpx.Client(base_url=facade.url, headers=facade.headers, timeout=60) as client:
        client.post("/v1/embeddings", json={"model": MODEL_NAME, "input": "text"}).raise_for_status()
        client.post(
            "/v1/completions", json={"model": CHAT_NAME, "prompt": "Hello", "max_tokens": 4}
        ).raise_for_status()
        ours = client.get("/metrics").raise_for_status().text
    theirs = httpx.get(f"http://127.0.0.1:{triton.metrics_port}/metrics").raise_for_status().text

    listed = {family.name.removesuffix("_total"): family.kind for family in facade_families()}
    found = {
        family.name: family.type
        for family in text_string_to_metric_families(ours)
        if not family.name.endswith("_created")  # prometheus_client's own
    }
    assert found.items() <= listed.items()
    doors = {family.name.removesuffix("_total"): family.kind for family in door_families()}
    shown = {
        family.name: family.type
        for family in text_string_to_metric_families(theirs)
        if not family.name.startswith("nv_")
    }
    assert shown == doors
