"""Finding a model: folders, hub answers, tasks, limits."""

import errno
import json
import math
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import MappingProxyType

import huggingface_hub
import pytest

from export.errors import BadInput, ModelNotFound, ModelUnreadable
from export.from_hub import find_model
from export.options import ExportOptions
from tests.export.tiny_model import MAX_TOKENS

TRANSFORMER = {"type": "sentence_transformers.models.Transformer"}


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return shutil.copytree(tiny_model, tmp_path / "copy")


@pytest.fixture
def asked(folder: Path, tmp_path: Path) -> ExportOptions:
    """An export of that copy."""
    return ExportOptions(model=str(folder), name="tiny", repository=tmp_path / "repository")


def edit_json(path: Path, **changes: object) -> None:
    """Change values of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_folder_says_what_it_is(asked: ExportOptions, folder: Path) -> None:
    """Task, limit and pad id come from the model's own files; its id is the folder's name."""
    source = find_model(asked)
    assert (source.task, source.max_input_tokens, source.pad_id) == ("embedding", MAX_TOKENS, 0)
    assert (source.model_id, source.revision, source.folder) == ("copy", None, folder)


def test_the_recorded_id_can_be_given(asked: ExportOptions) -> None:
    """A folder's model can be recorded under its real id."""
    assert find_model(replace(asked, model_id="org/tiny")).model_id == "org/tiny"


@pytest.mark.parametrize("model", ["/no/such/folder", "./nowhere", "a/b/c", "", "https://example.org/x"])
def test_a_path_that_is_not_there_is_not_found(asked: ExportOptions, model: str) -> None:
    """A missing folder is told without asking any hub."""
    with pytest.raises(ModelNotFound, match="no model folder"):
        find_model(replace(asked, model=model))


def test_a_revision_needs_a_hub(asked: ExportOptions) -> None:
    """A revision of a folder would be ignored, so it is refused."""
    with pytest.raises(BadInput, match="--revision"):
        find_model(replace(asked, revision="main"))


@pytest.mark.parametrize(
    ("file", "message"), [("config.json", "no config.json"), ("tokenizer.json", "no tokenizer.json")]
)
def test_missing_files_are_named(asked: ExportOptions, folder: Path, file: str, message: str) -> None:
    """A folder without its config or tokenizer is unreadable, and says which file."""
    (folder / file).unlink()
    with pytest.raises(ModelUnreadable, match=message):
        find_model(asked)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "{"),
        ("config.json", "[]"),
        ("modules.json", "{}"),
        ("modules.json", "[1]"),
        ("config.json", "\xff"),
    ],
)
def test_damaged_files_are_named(asked: ExportOptions, folder: Path, file: str, content: str) -> None:
    """A file that isn't what it should be is unreadable, and says which file."""
    (folder / file).write_text(content, encoding="latin-1")
    with pytest.raises(ModelUnreadable, match=file):
        find_model(asked)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("config.json", {"architectures": 7}),
        ("config.json", {"pad_token_id": "none"}),
        ("config.json", {"pad_token_id": [0]}),
        ("config.json", {"matryoshka_dimensions": 64}),
        ("config.json", {"sbert_ce_default_activation_function": {}}),
        ("sentence_bert_config.json", {"max_seq_length": "long"}),
        ("sentence_bert_config.json", {"max_seq_length": math.inf}),
    ],
)
def test_values_of_another_kind_are_unreadable(
    asked: ExportOptions, folder: Path, file: str, changes: dict[str, object]
) -> None:
    """A text where a number belongs, or a number where a list does, ends in a sentence and not in a traceback."""
    edit_json(folder / file, **changes)
    with pytest.raises(ModelUnreadable, match="isn't of the kind that belongs there"):
        find_model(asked)


def test_a_limit_below_one_token_is_unreadable(asked: ExportOptions, folder: Path) -> None:
    """The tokenizer would only overflow on it, long after the graph was made."""
    edit_json(folder / "sentence_bert_config.json", max_seq_length=-1)
    with pytest.raises(ModelUnreadable, match="is -1; set it to a number of tokens"):
        find_model(asked)


def test_remote_code_is_refused_unless_trusted(asked: ExportOptions, folder: Path) -> None:
    """A model that brings Python code needs the flag, wherever it hides the code."""
    edit_json(folder / "config.json", auto_map={"AutoModel": "modeling.py"})
    with pytest.raises(BadInput, match="--trust-remote-code"):
        find_model(asked)
    assert find_model(replace(asked, trust_remote_code=True)).trust_remote_code


def test_modules_of_its_own_are_remote_code(asked: ExportOptions, folder: Path) -> None:
    """A module type outside sentence-transformers is code of the model's own."""
    (folder / "modules.json").write_text(json.dumps([TRANSFORMER, {"type": "custom_pool.Pool"}]))
    with pytest.raises(BadInput, match="its own Python code"):
        find_model(asked)


def test_a_default_prompt_is_refused(asked: ExportOptions, folder: Path) -> None:
    """A prompt before every text would be lost, so such a model is refused with the way out."""
    edit_json(folder / "config_sentence_transformers.json", default_prompt_name="query")
    with pytest.raises(ModelUnreadable, match="default_prompt_name"):
        find_model(asked)


def test_a_task_that_does_not_fit_is_refused(asked: ExportOptions, folder: Path) -> None:
    """A classifier is recognised, and refused for anything else; a plain encoder can't classify."""
    edit_json(folder / "config.json", architectures=["BertForMaskedLM"])
    (folder / "modules.json").unlink()
    with pytest.raises(BadInput, match="is a BertForMaskedLM, which has no head for reranking"):
        find_model(replace(asked, task="reranking"))
    edit_json(folder / "config.json", architectures=["BertForSequenceClassification"])
    assert find_model(asked).labels == ("LABEL_0", "LABEL_1")
    with pytest.raises(BadInput, match="is a model for text-classification, not for embedding"):
        find_model(replace(asked, task="embedding"))


def test_a_model_with_one_label_reranks_or_classifies(asked: ExportOptions, folder: Path) -> None:
    """One score is taken for a pair's, with a word about it, and for a text's when that is asked for."""
    (folder / "modules.json").unlink()
    edit_json(
        folder / "config.json", architectures=["BertForSequenceClassification"], id2label={"0": "LABEL_0"}
    )
    found = find_model(asked)
    assert (found.task, found.labels) == ("reranking", ())
    assert "sigmoid" in found.notes[0]
    assert find_model(replace(asked, task="text-classification")).labels == ("LABEL_0",)


def test_a_bare_encoder_needs_its_task_named(asked: ExportOptions, folder: Path) -> None:
    """A model whose files don't say is exported only with --task."""
    (folder / "modules.json").unlink()
    with pytest.raises(BadInput, match="--task"):
        find_model(asked)
    assert find_model(replace(asked, task="embedding")).task == "embedding"


class Hub(BaseHTTPRequestHandler):
    """A hub that has no model; its answers are those of the real one, by the model's name."""

    ANSWERS = MappingProxyType(
        {"missing": (401, "RepoNotFound"), "gated": (403, "GatedRepo"), "broken": (500, "")}
    )

    def do_GET(self) -> None:
        """Answer with the error that the path names."""
        status, code = next(answer for name, answer in self.ANSWERS.items() if name in self.path)
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        """Answer as to GET; there is no body to leave out."""
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def hub_url() -> Iterator[str]:
    """Address of a local hub."""
    server = HTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("model", "words"),
    [("org/missing", "no hub model"), ("org/gated", "gated"), ("org/broken", "can't be reached")],
)
def test_the_hubs_refusals_become_sentences(hub_url: str, tmp_path: Path, model: str, words: str) -> None:
    """A missing, a gated and an unreachable model each end with code 3 and their own advice."""
    ended = subprocess.run(
        [sys.executable, "-m", "export", "export", model, "--name", "x", "--repository", str(tmp_path / "r")],
        env=os.environ | {"HF_ENDPOINT": hub_url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 3
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_full_disk_is_not_taken_for_a_lost_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download that fills the disk says so, and names the variable that moves the cache."""

    def fill_disk(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fill_disk)
    with pytest.raises(ModelNotFound, match=r"No space left on device\. .* HF_HOME"):
        find_model(ExportOptions(model="org/large", name="x", repository=tmp_path))


def test_a_hub_model_in_the_cache_is_found_with_its_commit(tiny_model: Path, tmp_path: Path) -> None:
    """A downloaded model is found by its id without a network, and its commit is what is recorded."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "hub" / "models--org--tiny"
    shutil.copytree(tiny_model, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    code = (
        "from pathlib import Path; from export.from_hub import find_model; from export.options import ExportOptions\n"
        "found = find_model(ExportOptions(model='org/tiny', name='x', repository=Path('r')))\n"
        "print(found.model_id, found.revision, found.folder)"
    )
    printed = subprocess.check_output(
        [sys.executable, "-c", code],
        env=os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
        text=True,
        timeout=60,
    )
    assert printed.split() == ["org/tiny", commit, str(cached / "snapshots" / commit)]
