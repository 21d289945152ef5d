"""Whatever bytes come: a decoder reads them or says that it can't, by the one error that its callers expect."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facade.inference.catalogue import CardUnusable
from tests.security.decoders import DECODERS

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKENS = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b":",
        b",",
        b"\\",
        b"\n",
        b"\r\n",
        b" ",
        b"\t",
        b"\x00",
        b"\xff",
        b"&a",
        b"*a",
    ),
    *(b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"18446744073709551616", b"\\ud800", b"\xe2\x80\xae"),
    *(
        b"!!python/object:os.system",
        b"<<: *a",
        b"- ",
        b"? ",
        b"| ",
        b"#",
        b"%",
        b"'",
        b"[" * 5000,
        b'{"a":' * 5000,
    ),
    *(b"0x", b"chunked", b"HTTP/1.1", b"Content-Length: 5\r\n", b"a" * 70_000),
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Each refusal is a line in the log; thousands of them help nobody."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@st.composite
def mutations(draw: st.DrawFn, examples: tuple[bytes, ...]) -> bytes:
    """A good example with a few cuts, copies and insertions, and sometimes mere bytes."""
    data = draw(st.sampled_from(examples) | st.binary(max_size=60))
    for _ in range(draw(st.integers(0, 5))):
        start, width = draw(st.integers(0, len(data))), draw(st.integers(0, 12))
        piece = draw(st.sampled_from(TOKENS) | st.binary(max_size=4))
        data = data[:start] + piece + data[start + width :]
    return data


@pytest.mark.parametrize("name", DECODERS)
def test_an_example_is_read(name: str) -> None:
    """So that the mutations begin with something good."""
    for example in DECODERS[name].examples:
        DECODERS[name].decode(example)


def test_depth_is_no_way_to_hurt() -> None:
    """One model's card, config or manifest that nests without end is unreadable, and takes no other model along."""
    deep = b"[" * 100_000 + b"]" * 100_000
    with pytest.raises(CardUnusable):
        DECODERS["model-card"].decode(b'{"task":"embedding","default_sampling":{"a":%b}}' % deep)
    DECODERS["manifest"].decode(b'{"schema":1,"recipe":{"a":%b}}' % deep)
    DECODERS["release"].decode(
        b"parameters { key: 'model_card' value { string_value: '{\"a\":%b}' } }" % deep
    )


@pytest.mark.parametrize("name", DECODERS)
def test_mutations_are_read_or_refused(name: str) -> None:
    """No other error, however they nest, repeat or break off."""
    decoder = DECODERS[name]

    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
    @given(mutations(decoder.examples))
    def check(data: bytes) -> None:
        with contextlib.suppress(*([decoder.refusal] if decoder.refusal else [])):
            decoder.decode(data)

    check()
