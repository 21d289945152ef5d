"""langchain-openai: chat whole and streamed, embeddings, structured output, a tool."""

from __future__ import annotations

import os

from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel

BASE_URL, KEY = os.environ["BASE_URL"], os.environ["API_KEY"]


class Answer(BaseModel):
    """What the model shall fill in."""

    city: str


def main() -> None:
    """Ask everything once."""
    # Without the length check it sends texts; with it, tokens of OpenAI's own tokenizer.
    embeddings = OpenAIEmbeddings(
        model="minilm", base_url=BASE_URL, api_key=KEY, check_embedding_ctx_length=False
    )
    vectors = embeddings.embed_documents(["one text", "another text"])
    assert [len(vector) for vector in vectors] == [384, 384]
    assert len(embeddings.embed_query("one text")) == 384

    chat = ChatOpenAI(model="tiny-chat", base_url=BASE_URL, api_key=KEY, temperature=0, max_tokens=60)
    whole = chat.invoke("What is the capital of France?")
    assert "Paris" in str(whole.content), whole
    assert whole.usage_metadata["output_tokens"] > 0
    streamed = "".join(str(piece.content) for piece in chat.stream("What is the capital of France?"))
    assert streamed == whole.content
    assert [one.content for one in chat.batch(["What is the capital of France?"] * 2)] == [whole.content] * 2

    formed = chat.with_structured_output(Answer, method="json_schema").invoke(
        "What is the capital of France?"
    )
    assert isinstance(formed, Answer)
    called = chat.bind_tools([Answer], tool_choice="Answer").invoke("What is the capital of France?")
    assert called.tool_calls[0]["name"] == "Answer", called


main()
