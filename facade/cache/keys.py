"""
One key for one item, from everything that could change its answer.

A key is its own Redis key: ``tf:c1:<model>:<version>:<digest>``. Model and version are readable, so that a purge
can find them by prefix; the digest covers them too, with scope, task, parameters and the item's bytes.

Rules a later editor must keep:

* Fields are length-prefixed before they are hashed: ``("ab", "c")`` and ``("a", "bc")`` are different items.
* No braces in a key. Redis Cluster would take ``{...}`` for a hash tag and put a whole model on one shard.
* A change to what is hashed, or to the frames, needs a new generation in `NAMESPACE`.
"""

import binascii
import hashlib
from collections.abc import Mapping
from urllib.parse import quote

import msgspec

NAMESPACE = b"tf:c1:"
"""Start of each key; the digit is the generation of this layout."""

# Deterministic order sorts mappings by key at every depth; msgpack keeps 1, 1.0, True, "1" and b"1" apart.
_CANONICAL = msgspec.msgpack.Encoder(order="deterministic")


def model_prefix(model: str) -> bytes:
    """
    Start of all keys of *model*, whatever version.

    Percent-encoding leaves no ``:``, no brace, and none of the characters that mean something in a Redis pattern,
    so the prefix of one model is never that of another.
    """
    return NAMESPACE + quote(model, safe="").encode() + b":"


def _framed(field: bytes) -> bytes:
    """*field* behind its own length, so that neighbours can't run into each other."""
    return len(field).to_bytes(8, "little") + field


class ItemKeys:
    """
    Keys of the items of one request: what they share is hashed once, then copied for each item.

    Args:
        scope: Who shares the entry; see `facade.cache.policy.cache_scope`.

        model: Name as Triton knows it.

        version: The resolved version that answers, so that canary and stable never share an entry.

        task: The model card's task.

        parameters: Everything else that changes an answer. Order doesn't matter; values are JSON-like or bytes.

    Raises:
        TypeError: If a parameter is of a type that has no canonical form.
    """

    __slots__ = ("_prefix", "_shared")

    def __init__(
        self, *, scope: str, model: str, version: str | int, task: str, parameters: Mapping[str, object]
    ) -> None:
        version_text = str(version)
        fields = (
            scope.encode(),
            model.encode(),
            version_text.encode(),
            task.encode(),
            _CANONICAL.encode(dict(parameters)),
        )
        self._shared = hashlib.sha256(b"".join(map(_framed, fields)))
        self._prefix = model_prefix(model) + quote(version_text, safe="").encode() + b":"

    def key(self, item: bytes) -> bytes:
        """
        Key of one item.

        Args:
            item: The input as it would be sent to Triton.

        Returns:
            Printable ASCII bytes; about 44 plus the length of model and version.
        """
        digest = self._shared.copy()
        # The last field needs no length: all before it have theirs.
        digest.update(item)
        return self._prefix + binascii.b2a_base64(digest.digest(), newline=False)
