"""What is sent: recorded requests, checked line by line, or made ones."""

import base64
import json
import math
from pathlib import Path

import pytest

from export.errors import BadInput
from export.tune_traffic import FEWEST_WORDS, MOST_WORDS, make_traffic, read_traffic


def write(folder: Path, *lines: object) -> Path:
    """Write a file of JSON lines; a text is a line as it is."""
    path = folder / "traffic.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_requests_come_in_the_order_of_their_arrival(tmp_path: Path) -> None:
    """What says no time arrived at the start; empty lines are nothing."""
    path = write(tmp_path, {"text": "late", "at_s": 2.5}, "", {"text": "early"}, {"text": "é", "at_s": 1})

    traffic = read_traffic(path, ["text"])

    assert [request["text"].decode() for request in traffic.requests] == ["early", "é", "late"]
    assert traffic.source == "recorded: traffic.jsonl, 3 requests"


def test_pairs_and_images_are_read(tmp_path: Path) -> None:
    """Each door's own inputs, an image as the bytes of its file."""
    pairs = read_traffic(write(tmp_path, {"query": "q", "document": "d"}), ["query", "document"])
    images = read_traffic(write(tmp_path, {"image": base64.b64encode(b"\xff\xd8").decode()}), ["image"])

    assert pairs.requests == ({"query": b"q", "document": b"d"},)
    assert images.requests == ({"image": b"\xff\xd8"},)


@pytest.mark.parametrize(
    ("line", "inputs", "words"),
    [
        ("{", ["text"], "Line 2 of .* is no JSON"),
        ("[1]", ["text"], "Line 2 of .* is no JSON object.*'text'"),
        ('{"text": ""}', ["text"], "Line 2 of .*: 'text' must be a text that isn't empty"),
        ('{"text": 3}', ["text"], "Line 2 of .*: 'text' must be"),
        ('{"query": "q"}', ["query", "document"], "Line 2 of .*: 'document' must be"),
        ('{"text": "a", "extra": 1}', ["text"], "Line 2 of .*: 'extra' is no field of this model"),
        ('{"text": "a", "at_s": -1}', ["text"], "Line 2 of .*: 'at_s' must be seconds"),
        ('{"text": "a", "at_s": NaN}', ["text"], "Line 2 of .*: 'at_s' must be seconds"),
        ('{"text": "a", "at_s": true}', ["text"], "Line 2 of .*: 'at_s' must be seconds"),
        ('{"text": "\\ud800"}', ["text"], "Line 2 of .*: 'text' is no valid Unicode"),
        ('{"image": "%"}', ["image"], "Line 2 of .*: 'image' is no base64"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, inputs: list[str], words: str) -> None:
    """With its number and the field."""
    good = {name: base64.b64encode(b"good").decode() for name in inputs}

    with pytest.raises(BadInput, match=words):
        read_traffic(write(tmp_path, good, line), inputs)


def test_a_file_without_requests_is_refused(tmp_path: Path) -> None:
    """So is one that isn't UTF-8."""
    with pytest.raises(BadInput, match="holds no request"):
        read_traffic(write(tmp_path, ""), ["text"])
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="can't be read as UTF-8"):
        read_traffic(tmp_path / "binary", ["text"])


def test_made_texts_are_spread_as_peoples_are(tiny_model: Path) -> None:
    """Words of the model's own vocabulary, most texts short and a few long, the same for the same seed."""
    traffic = make_traffic(["query", "document"], tiny_model / "tokenizer.json", 7)

    counts = sorted(len(request["document"].split()) for request in traffic.requests)
    assert FEWEST_WORDS <= counts[0] <= counts[-1] <= MOST_WORDS
    assert math.isclose(counts[len(counts) // 2], 20, abs_tol=4)
    assert counts[-1] > 100
    assert traffic == make_traffic(["query", "document"], tiny_model / "tokenizer.json", 7)
    assert traffic != make_traffic(["query", "document"], tiny_model / "tokenizer.json", 8)


@pytest.mark.parametrize("vocabulary", [["[UNK]", "Ġhello"], [["▁hello", -1.5], ["##x", -2.0]], {"12": 0}])
def test_words_are_found_in_every_kind_of_vocabulary(tmp_path: Path, vocabulary: object) -> None:
    """A mapping, or a list of pieces with their scores; without any word there is still a text."""
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"vocab": vocabulary}}))

    words = {word for request in make_traffic(["text"], path, 0).requests for word in request["text"].split()}

    assert words in ({b"hello"}, {b"word"})


def test_made_images_are_files(tmp_path: Path) -> None:
    """JPEG of several sizes; no tokenizer is needed."""
    traffic = make_traffic(["image"], tmp_path / "none", 0)

    assert all(request["image"].startswith(b"\xff\xd8") for request in traffic.requests)
    assert len({len(request["image"]) for request in traffic.requests}) > 10
