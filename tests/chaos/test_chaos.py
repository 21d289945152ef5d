"""The short form of `make chaos`: the whole stack, two faults; nothing about speed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.chaos.__main__ import run
from tests.network.namespaces import why_impossible

pytestmark = pytest.mark.e2e


@pytest.mark.skipif(bool(why_impossible()), reason=f"needs networks of its own: {why_impossible()}")
def test_no_answer_is_wrong_and_none_is_waited_for_in_vain() -> None:
    """A killed Triton and a broken keys file: nobody gets another's vector, and nobody hangs."""
    results: dict[str, Any] = asyncio.run(run(["kill-triton", "broken-keys-file"], 15.0, 6.0))
    for fault in results["faults"]:
        verdict = fault["verdict"]
        assert verdict["wrong"] == 0, fault
        assert verdict["late"] == 0, fault
        assert verdict["right"] > 0.9 * verdict["due"], fault
