"""What a model's files say: tasks, limits, labels, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest

from export.errors import BadInput, ModelUnreadable
from export.from_files import (
    check_weights,
    find_labels,
    find_max_input_tokens,
    find_notes,
    find_tasks,
    fingerprint_files,
    refuse_remote_code,
)

TRANSFORMER = {"type": "sentence_transformers.models.Transformer"}
ONE_LABEL = {"id2label": {"0": "LABEL_0"}}


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return shutil.copytree(tiny_model, tmp_path / "copy")


def edit_json(path: Path, **changes: object) -> None:
    """Change values of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("architecture", "further", "modules", "kind", "tasks"),
    [
        ("BertModel", {}, [TRANSFORMER], None, ("embedding",)),
        ("BertModel", {}, [TRANSFORMER], "SentenceTransformer", ("embedding",)),
        ("BertForSequenceClassification", {}, [], None, ("text-classification",)),
        ("BertForSequenceClassification", ONE_LABEL, [], None, ("reranking", "text-classification")),
        ("BertForSequenceClassification", ONE_LABEL, [TRANSFORMER], "CrossEncoder", ("reranking",)),
        (
            "BertForSequenceClassification",
            ONE_LABEL | {"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"},
            [],
            None,
            ("reranking",),
        ),
        ("ViTForImageClassification", {}, [], None, ("image-classification",)),
        ("LlamaForCausalLM", {}, [], None, ("text-generation",)),
        ("BertModel", {}, [], None, ()),
        ("BertForMaskedLM", {}, [], None, ()),
    ],
)
def test_the_task_is_found(
    architecture: str,
    further: dict[str, object],
    modules: list[dict[str, str]],
    kind: str | None,
    tasks: tuple[str, ...],
) -> None:
    """modules.json makes an embedder, a cross-encoder says so, otherwise the architecture's name and labels decide."""
    assert find_tasks({"architectures": [architecture]} | further, modules, kind) == tasks


@pytest.mark.parametrize(
    ("config", "kind", "words"),
    [
        ({"architectures": ["BertForMaskedLM"]}, "SparseEncoder", "sparse vectors"),
        ({"architectures": ["Qwen3ForCausalLM"]}, "CrossEncoder", "without a classification head"),
        ({"architectures": ["BertForSequenceClassification"]}, "CrossEncoder", "with 2 labels"),
    ],
)
def test_kinds_without_a_task_are_refused(config: dict[str, object], kind: str, words: str) -> None:
    """A sparse encoder, a generating reranker and a pair classifier are each told apart and refused."""
    with pytest.raises(BadInput, match=words):
        find_tasks(config, [TRANSFORMER], kind)


def test_labels_are_in_the_order_of_the_scores() -> None:
    """Labels go by their numbers, not by their place in the file; left out, they are transformers' own two."""
    assert find_labels({"id2label": {"1": "bad", "0": "good"}}) == ("good", "bad")
    assert find_labels({}) == ("LABEL_0", "LABEL_1")
    with pytest.raises(ModelUnreadable, match="id2label"):
        find_labels({"id2label": {"1": "a", "3": "b"}})


def test_open_questions_are_told() -> None:
    """A plain encoder's pooling and a reranker's activation are the reader's assumptions, so they are said."""
    assert "mean of its tokens" in find_notes({}, [], "embedding")[0]
    assert "sigmoid" in find_notes({}, [], "reranking")[0]
    assert find_notes({}, [TRANSFORMER], "embedding") == ()
    assert find_notes({}, [], "text-classification") == ()


@pytest.mark.parametrize(
    ("config", "modules"),
    [
        ({"auto_map": {"AutoModel": "modeling.Own"}}, []),
        ({}, [TRANSFORMER, {"type": "custom_pool.Pool"}]),
        ({"sentence_transformers": {"activation_fn": "own_code.Squash"}}, []),
        ({"sbert_ce_default_activation_function": "own_code.Squash"}, []),
    ],
)
def test_code_of_the_models_own_is_refused(config: dict[str, object], modules: list[dict[str, str]]) -> None:
    """Wherever a model names Python code of its own, it runs only if the caller trusts it."""
    with pytest.raises(BadInput, match="--trust-remote-code"):
        refuse_remote_code("own", config, modules, is_trusted=False)
    refuse_remote_code("own", config, modules, is_trusted=True)


def test_known_modules_and_activations_are_no_code() -> None:
    """What sentence-transformers and torch bring is not the model's own."""
    config = {"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}
    refuse_remote_code("known", config, [TRANSFORMER], is_trusted=False)


def test_a_pointer_in_place_of_the_weights_is_named(folder: Path) -> None:
    """A clone without its large files is told as such, with the command that fetches them."""
    check_weights(folder, "tiny")
    (folder / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    )
    with pytest.raises(ModelUnreadable, match=r"model\.safetensors .*git lfs pull"):
        check_weights(folder, "tiny")


def test_the_limit_falls_back_to_tokenizer_and_positions(folder: Path) -> None:
    """Without sentence-transformers' own limit the smaller of the other two counts; without any it is refused."""
    (folder / "sentence_bert_config.json").unlink(missing_ok=True)
    edit_json(folder / "tokenizer_config.json", model_max_length=512)
    assert find_max_input_tokens(folder, {"max_position_embeddings": 20}, "embedding") == 20
    edit_json(folder / "tokenizer_config.json", model_max_length=10**30)
    with pytest.raises(ModelUnreadable, match="max_seq_length"):
        find_max_input_tokens(folder, {}, "embedding")


def test_positions_that_are_never_used_do_not_count(folder: Path) -> None:
    """RoBERTa's first positions belong to padding, so a classifier's limit is that much lower."""
    (folder / "sentence_bert_config.json").unlink(missing_ok=True)
    edit_json(folder / "tokenizer_config.json", model_max_length=10**30)
    config = {"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}
    assert find_max_input_tokens(folder, config, "text-classification") == 512
    assert find_max_input_tokens(folder, config | {"model_type": "bert"}, "text-classification") == 514


def test_the_fingerprint_follows_names_and_contents(folder: Path) -> None:
    """One changed byte, name or file changes the fingerprint; hidden files don't."""
    seen = {fingerprint_files(folder)}
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x").write_text("")
    assert fingerprint_files(folder) in seen
    for change in (
        lambda: (folder / "new").write_text("a"),
        lambda: (folder / "new").write_text("b"),
        lambda: (folder / "new").rename(folder / "other"),
    ):
        change()
        fingerprint = fingerprint_files(folder)
        assert fingerprint not in seen
        seen.add(fingerprint)
