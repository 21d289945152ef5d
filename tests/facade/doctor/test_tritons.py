"""Tritons at the wire: away, hanging, not ready, failing, differing. The real one is in tests/e2e/test_doctor.py."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from facade.doctor.repository import examine_repository
from facade.doctor.tritons import TritonLook, compare_with_disk, examine_default_model, examine_tritons
from tests.facade.doctor.small_repository import write_config, write_repository
from tests.facade.redis_server import RedisServer, free_port
from tests.facade.wire_triton import WireTriton

if TYPE_CHECKING:
    from pathlib import Path

    from facade.doctor.finding import Finding

pytestmark = pytest.mark.anyio


async def examine(url: str, timeout_s: float = 5) -> TritonLook:
    """Look at all of them."""
    return await examine_tritons(url, None, timeout_s=timeout_s, now=time.time())


def worst(findings: list[Finding]) -> Finding:
    """Give the first that isn't fine; it has a remedy."""
    found = next(one for one in findings if one.status != "ok")
    assert found.remedy
    return found


async def test_a_good_triton_is_described(triton: WireTriton) -> None:
    """Version, round trip, models."""
    look = await examine(triton.url)

    assert [finding.status for finding in look.findings] == ["ok", "ok"]
    assert "triton 2.51.0" in look.findings[0].found
    assert look.findings[1].found == "serves minilm (1); 1 without a card, on /v2 only"


async def test_a_wrong_port_a_wrong_name_and_no_port() -> None:
    """Each says what to correct."""
    refused = worst((await examine(f"127.0.0.1:{free_port()}")).findings)
    unknown = worst((await examine("no-such-host.invalid:8001")).findings)
    by_dns = worst((await examine("dns:///no-such-host.invalid:8001")).findings)
    without = worst((await examine("localhost")).findings)

    assert ("connection refused" in refused.found, "FACADE_TRITON_URL" in refused.remedy) == (True, True)
    assert ["can't be resolved" in one.found for one in (unknown, by_dns)] == [True, True]
    assert "host:port" in without.remedy


async def test_another_server_on_the_port() -> None:
    """It takes the connection and speaks something else."""
    with RedisServer() as server:
        found = worst((await examine(f"127.0.0.1:{server.port}", 1)).findings)

    assert (found.status, "gRPC port" in found.remedy or "hangs" in found.remedy) == ("problem", True)


async def test_a_triton_that_hangs_ends_in_time(triton: WireTriton) -> None:
    """The connection opens, and nothing comes."""
    triton.thawed.clear()
    before = time.monotonic()
    found = worst((await examine(triton.url, 0.3)).findings)
    triton.thawed.set()

    assert "doesn't answer" in found.found
    assert time.monotonic() - before < 3


async def test_models_that_failed_are_told_with_tritons_reason(triton: WireTriton) -> None:
    """And the server isn't ready."""
    triton.failed["broken"] = "Internal: ModuleNotFoundError: No module named 'tokenizers'"
    triton.is_ready = False
    findings = (await examine(triton.url)).findings

    assert "isn't ready" in findings[0].found
    assert "broken 1 is unavailable: Internal: ModuleNotFoundError" in findings[1].found
    assert "/v2/repository/models/broken/load" in findings[1].remedy


async def test_a_card_that_cannot_be_used_is_told(triton: WireTriton) -> None:
    """The others are served all the same."""
    triton.models["strange"] = {"versions": [1], "max_batch_size": 1, "card": '{"task": 7}'}
    findings = (await examine(triton.url)).findings

    assert findings[1].found.startswith("serves minilm (1); 1 without a card")
    assert (findings[2].status, "model strange: its card can't be read" in findings[2].found) == (
        "problem",
        True,
    )
    assert "Export it again" in findings[2].remedy


async def test_two_tritons_that_differ(triton: WireTriton) -> None:
    """One line an endpoint, and what differs; the one that is away doesn't hide the other."""
    other = WireTriton()
    other.models["minilm"]["versions"] = [1, 2]
    await other.start()
    look = await examine(f"127.0.0.1:{free_port()},{triton.url},{other.url}")
    await other.stop()

    assert look.endpoint == triton.url
    assert [one.found for one in look.findings if one.status == "warning"] == [
        f"differs from {triton.url} in minilm"
    ]
    assert [one.status for one in look.findings].count("problem") == 1


async def test_what_is_on_disk_and_not_loaded_is_told(triton: WireTriton, tmp_path: Path) -> None:
    """A whole model, and a version that is to answer."""
    look = await examine(triton.url)
    repository = write_repository(tmp_path)
    assert [one.status for one in compare_with_disk(look, _on_disk(repository))] == ["ok"]

    (repository / "minilm/2").mkdir()
    write_config(
        repository / "minilm",
        backend="python",
        card={"task": "embedding", "release": {"stable": 2}},
        versions="2",
    )
    (repository / "chat/1").mkdir(parents=True)
    write_config(repository / "chat", backend="python", card=None)
    absent, unloaded = compare_with_disk(look, _on_disk(repository))

    assert (absent.status, absent.found) == ("warning", "chat is on disk and not loaded")
    assert (unloaded.status, unloaded.found) == ("problem", "minilm: version 2 is to answer and isn't loaded")
    assert f"--triton grpc://{triton.url}" in unloaded.remedy


async def test_a_default_model_that_is_not_served(triton: WireTriton) -> None:
    """The remedy lists what is."""
    look = await examine(triton.url)

    assert examine_default_model(look, "minilm") == []
    assert "minilm" in examine_default_model(look, "chat")[0].remedy


def _on_disk(repository: Path) -> dict[str, object]:
    return dict(examine_repository(repository, is_deep=False).models)
