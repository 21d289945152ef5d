"""The toy that chats, exported, in a real Triton, behind the façade: it writes what transformers writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai
import pytest

from deploy.local.model import CHAT_FOLDER
from tests.stack import CHAT_NAME, KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.stack import Facade

pytestmark = pytest.mark.e2e

CHATS: tuple[list[dict[str, str]], ...] = (
    [{"role": "user", "content": "What is the capital of France?"}],
    [{"role": "user", "content": "Tell me a story about a cat."}],
    [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Nice to meet you, Ada!"},
        {"role": "user", "content": "What is my name?"},
    ],
)
"""Dialogues within the toy's world: of one turn, with a long answer, and of several turns."""


class Original:
    """The toy in transformers."""

    def __init__(self) -> None:
        """Load it."""
        from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415 - seconds of imports

        self.tokenizer = AutoTokenizer.from_pretrained(CHAT_FOLDER)
        self.model = AutoModelForCausalLM.from_pretrained(CHAT_FOLDER, dtype="float32").eval()

    def chat(self, messages: list[dict[str, str]]) -> str:
        """Answer a chat, always with the likeliest token."""
        prompt = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return self.write(prompt, add_special_tokens=False)

    def write(self, prompt: str, *, add_special_tokens: bool = True) -> str:
        """Write after a prompt."""
        given = self.tokenizer(prompt, return_tensors="pt", add_special_tokens=add_special_tokens)
        written = self.model.generate(
            **given, do_sample=False, temperature=None, top_p=None, max_new_tokens=64
        )
        tokens = written[0][given["input_ids"].shape[1] :]
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))


@pytest.fixture(name="original_chat", scope="module")
def _original_chat() -> Original:
    """The toy in transformers, loaded once."""
    return Original()


@pytest.fixture(name="client", scope="module")
def _client(facade: Facade) -> Iterator[openai.OpenAI]:
    """OpenAI's own client."""
    with openai.OpenAI(base_url=f"{facade.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("messages", CHATS)
def test_a_streamed_chat_is_what_transformers_writes(
    messages: Any, client: openai.OpenAI, original_chat: Original
) -> None:
    """Greedy, in pieces that join to the same text, and it ends by itself."""
    chunks = list(
        client.chat.completions.create(
            model=CHAT_NAME, messages=messages, temperature=0, max_tokens=64, stream=True
        )
    )

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == original_chat.chat(messages)
    assert text
    assert len(chunks) > 2
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"


def test_a_plain_text_is_what_transformers_writes(client: openai.OpenAI, original_chat: Original) -> None:
    """The documentation of Python goes on as the original would go on, up to the length asked for."""
    prompt = 'The "for" statement is used to'

    answer = client.completions.create(model=CHAT_NAME, prompt=prompt, temperature=0, max_tokens=64)

    assert answer.choices[0].text == original_chat.write(prompt)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == len(original_chat.tokenizer(prompt)["input_ids"])
