"""The only body among the V2 protocol's questions: which of the repository's models are asked for."""

from __future__ import annotations

import msgspec


class RepositoryIndexRequest(msgspec.Struct):
    """The body of ``POST /v2/repository/index``."""

    ready: bool = False
    """Whether only models that can be asked now are listed."""


INDEX_DECODER = msgspec.json.Decoder(RepositoryIndexRequest)
