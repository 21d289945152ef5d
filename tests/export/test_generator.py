"""What a generator's files say, as transformers reads them."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from export.errors import ModelUnreadable, ParityFailed
from export.generator import as_ids, read_generator, read_json, read_sampling

if TYPE_CHECKING:
    from pathlib import Path

    from export.artifacts import SourceModel


@pytest.fixture(name="copy")
def _copy(chat_source: SourceModel, tmp_path: Path) -> SourceModel:
    """The toy without its weights, to be changed."""
    for path in chat_source.folder.iterdir():
        if path.suffix == ".json":
            shutil.copyfile(path, tmp_path / path.name)
    return replace(chat_source, folder=tmp_path)


def test_the_toy_says_how_it_is_asked(chat_source: SourceModel) -> None:
    """Chats and texts end with tokens of their own, and the tokenizer starts a text itself."""
    generator = read_generator(chat_source)

    assert generator.eos_token_ids == (4, 2)
    assert (generator.bos_token_id, generator.adds_bos) == (1, True)
    assert generator.special_tokens["bos_token"] == "<s>"
    assert "<|im_start|>" in (generator.chat_template or "")
    assert generator.default_sampling == {"temperature": 0.7, "top_p": 0.9}


def test_a_model_without_chats_has_no_template(copy: SourceModel) -> None:
    """And a tokenizer that adds no start token is found out."""
    settings = json.loads((copy.folder / "tokenizer_config.json").read_text())
    del settings["chat_template"]
    (copy.folder / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = json.loads(copy.tokenizer_file.read_text())
    tokenizer["post_processor"] = None
    copy.tokenizer_file.write_text(json.dumps(tokenizer))

    generator = read_generator(copy)

    assert generator.chat_template is None
    assert (generator.bos_token_id, generator.adds_bos) == (1, False)


def test_the_template_may_be_in_a_file_of_its_own(copy: SourceModel) -> None:
    """As transformers writes it since 4.43."""
    settings = json.loads((copy.folder / "tokenizer_config.json").read_text())
    del settings["chat_template"]
    (copy.folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (copy.folder / "chat_template.jinja").write_text("{{ messages[0].content }}")

    assert read_generator(copy).chat_template == "{{ messages[0].content }}"


def test_a_tokenizer_that_transformers_reads_otherwise_is_refused(copy: SourceModel) -> None:
    """Its class may add what the file alone doesn't, and Triton has the file alone."""
    settings = json.loads((copy.folder / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "LlamaTokenizerFast", "add_eos_token": True, "legacy": False}
    (copy.folder / "tokenizer_config.json").write_text(json.dumps(settings))

    with pytest.raises(ParityFailed, match=r"tokenizer\.json of 'model' makes other tokens"):
        read_generator(copy)


def test_a_damaged_tokenizer_is_told(copy: SourceModel) -> None:
    """With what to do."""
    copy.tokenizer_file.write_text("{")

    with pytest.raises(ModelUnreadable, match="tokenizer of 'model' can't be loaded"):
        read_generator(copy)


def test_sampling_counts_only_where_the_authors_sample() -> None:
    """A repetition penalty holds for greedy answers too."""
    asked = {"temperature": 0.6, "top_k": 20, "top_p": None, "repetition_penalty": 1.1}

    assert read_sampling(asked | {"do_sample": True}) == {
        "temperature": 0.6,
        "top_k": 20,
        "repetition_penalty": 1.1,
    }
    assert read_sampling(asked) == {"repetition_penalty": 1.1}


def test_ids_come_in_three_forms() -> None:
    """One, several, none."""
    assert as_ids(2) == (2,)
    assert as_ids([4, 2]) == (4, 2)
    assert as_ids(None) == ()


def test_a_file_that_is_not_json_is_told(tmp_path: Path) -> None:
    """One that isn't there says nothing."""
    (tmp_path / "generation_config.json").write_text("{")

    with pytest.raises(ModelUnreadable, match=r"generation_config\.json can't be read"):
        read_json(tmp_path / "generation_config.json")
    assert read_json(tmp_path / "missing.json") == {}
