"""``POST /v1/completions``, as OpenAI's API reference describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from facade.routes.direct import Documented, EventStream
from facade.routes.openai_generation import (
    completion_logprobs,
    end_stream,
    gather,
    make_event,
    make_head,
    merge,
    start_generation,
)
from facade.routes.plain_generation import count_usage
from facade.schemas.completions import (
    CompletionsRequest,
    completions_sampling,
    list_prompts,
    read_completions,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from facade.context import RequestContext
    from facade.inference.generate import Generate
    from facade.inference.generation import Generation, Piece, Sampling
    from facade.routes.direct import Endpoint


DOCUMENTED = Documented("/v1/completions", "openai", CompletionsRequest, "Go on with one prompt or several.")


def build_endpoint(generate: Generate) -> Endpoint:
    """
    Make the endpoint.

    Args:
        generate: The use case.

    Returns:
        What answers ``POST /v1/completions``.
    """

    async def create_completion(context: RequestContext, body: bytes) -> bytes | EventStream:
        wanted = read_completions(body)
        prompts = list_prompts(wanted)
        model = generate.find(wanted.model, context)
        sampling = completions_sampling(wanted, model.card)
        is_one = isinstance(wanted.prompt, str)
        # Where response_format asked for the constraint, the model's words about it are about that field.
        names = {} if wanted.response_format is None else {"structured_outputs": "response_format"}
        generations: list[Generation] = await gather(
            *(
                start_generation(
                    generate,
                    model.name,
                    prompt,
                    sampling,
                    context,
                    param="prompt" if is_one else f"prompt[{index}]",
                    renamed=names,
                )
                for index, prompt in enumerate(prompts)
            )
        )
        answer = _Answer(wanted, prompts, sampling, context)
        return EventStream(answer.frames(generations)) if wanted.stream else await answer.whole(generations)

    return create_completion


class _Answer:
    """
    Writes answers; choices are numbered prompt by prompt.

    Args:
        wanted: The request.

        prompts: Its prompts.

        sampling: With how many answers to each.

        context: Who asks.
    """

    def __init__(
        self,
        wanted: CompletionsRequest,
        prompts: Sequence[str],
        sampling: Sampling,
        context: RequestContext,
    ) -> None:
        self._context = context
        self._n = sampling.n
        self._has_logprobs = sampling.logprobs is not None
        self._include_usage = bool(wanted.stream_options and wanted.stream_options.include_usage)
        echoes = prompts if wanted.echo else [""] * len(prompts)
        self._echoes = [echo for echo in echoes for _ in range(self._n)]
        self._offsets = [0] * len(self._echoes)

    async def whole(self, generations: Sequence[Generation]) -> bytes:
        """Write the answers when they are whole."""
        read: list[list[Piece]] = [[] for _ in self._echoes]
        async for place, piece in merge(generations, self._context):
            read[place * self._n + piece.index].append(piece)
        choices = [self._choice(index, pieces) for index, pieces in enumerate(read)]
        head = make_head("cmpl", "text_completion", generations[0])
        return orjson.dumps(head._asdict() | {"choices": choices, "usage": count_usage(*generations)})

    async def frames(self, generations: Sequence[Generation]) -> AsyncIterator[bytes]:
        """Write the answers as they come."""
        head = make_head("cmpl", "text_completion", generations[0])
        event = make_event(head, include_usage=self._include_usage)
        begun = [not echo for echo in self._echoes]
        async for place, piece in merge(generations, self._context):
            index = place * self._n + piece.index
            if piece.text or piece.finish_reason is not None or piece.logprobs or not begun[index]:
                choice = self._choice(index, [piece], has_begun=begun[index])
                begun[index] = True
                yield event.write(orjson.dumps(choice))
        yield end_stream(head, generations, include_usage=self._include_usage)

    def _choice(self, index: int, pieces: Sequence[Piece], *, has_begun: bool = False) -> dict[str, Any]:
        """Write some pieces of one answer, with the echo before the first."""
        echo = self._echoes[index]
        logprobs = None
        if self._has_logprobs:
            likely = [entry for piece in pieces for entry in piece.logprobs]
            logprobs = completion_logprobs(likely, self._offsets[index])
            self._offsets[index] += sum(len(entry.token) for entry in likely)
        return {
            "index": index,
            "text": ("" if has_begun else echo) + "".join(piece.text for piece in pieces),
            "logprobs": logprobs,
            "finish_reason": pieces[-1].finish_reason,
        }
