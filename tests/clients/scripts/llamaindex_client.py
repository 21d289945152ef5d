"""llama-index's OpenAI-like packages: embeddings, chat, completion, streams."""

from __future__ import annotations

import os

from llama_index.core.llms import ChatMessage
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike

BASE_URL, KEY = os.environ["BASE_URL"], os.environ["API_KEY"]


def main() -> None:
    """Ask everything once."""
    embedding = OpenAILikeEmbedding(model_name="minilm", api_base=BASE_URL, api_key=KEY)
    assert len(embedding.get_text_embedding("one text")) == 384
    assert len(embedding.get_text_embedding_batch(["a", "b", "c"])) == 3

    chatting = OpenAILike(
        model="tiny-chat", api_base=BASE_URL, api_key=KEY, is_chat_model=True, temperature=0, max_tokens=60
    )
    asked = [ChatMessage(role="user", content="What is the capital of France?")]
    whole = chatting.chat(asked).message.content
    assert whole is not None
    assert "Paris" in whole
    assert "".join(piece.delta or "" for piece in chatting.stream_chat(asked)) == whole

    completing = OpenAILike(
        model="tiny-chat", api_base=BASE_URL, api_key=KEY, is_chat_model=False, temperature=0, max_tokens=8
    )
    assert completing.complete("Hello").text


main()
