"""Forms that answers must have: what may come next, what ends, and which wishes are refused in the parser's words."""

import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest

from export.runtime.decoder.choices import Choice
from export.runtime.decoder.constraints import ConstraintCompiler
from export.runtime.decoder.detokenizing import Vocabulary
from export.runtime.decoder.parameters import Constraint, Parameters
from export.runtime.decoder.sampling import RowRefused, Sampled, Sampler
from export.runtime.decoder.values import InvalidParameter
from tests.export.runtime.decoder.tiny_tokenizers import save_byte_level, save_metaspace

VOCAB_SIZE = 420
EOS_ID = 1


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level tokenizer; the model has some more outputs than it has tokens."""
    return save_byte_level(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def compiler(tokenizer_file: Path) -> ConstraintCompiler:
    """A compiler for it."""
    return ConstraintCompiler(tokenizer_file, VOCAB_SIZE, [EOS_ID])


def write(compiler: ConstraintCompiler, vocabulary: Vocabulary, constraint: Constraint, seed: int) -> str:
    """Let a model of random logits write an answer of a form; give its text."""
    parameters = Parameters(temperature=1.0, seed=seed, max_tokens=300, constraint=constraint)
    choice = Choice(
        0,
        0,
        parameters,
        [],
        vocabulary=vocabulary,
        eos_token_ids=[EOS_ID],
        constraint=compiler.compile(constraint),
    )
    sampler, random = Sampler(VOCAB_SIZE), np.random.default_rng(seed)
    text = ""
    while choice.finish_reason is None:
        logits = random.standard_normal((1, VOCAB_SIZE)).astype(np.float32)
        logits[0, [EOS_ID, *vocabulary.encode('"}')[1:]]] += 3  # so that it comes to an end
        sampled = sampler.sample(logits, [choice])[0]
        assert isinstance(sampled, Sampled)
        text += choice.accept(sampled).text
    assert choice.finish_reason == "stop"
    return text


@pytest.mark.parametrize("seed", range(4))
def test_random_logits_write_what_was_asked_for(
    compiler: ConstraintCompiler, tokenizer_file: Path, seed: int
) -> None:
    """Whatever the model would say, the answer is JSON of the schema, matches the regex, or is one of the choices."""
    vocabulary = Vocabulary(tokenizer_file)
    properties = {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "maximum": 99}}
    schema = {"type": "object", "properties": properties, "required": ["name", "age"]}
    closed = json.dumps(schema | {"additionalProperties": False})
    read = json.loads(write(compiler, vocabulary, Constraint("json", closed), seed))
    assert isinstance(read["name"], str)
    assert read["age"] <= 99
    assert re.fullmatch("[ab]{3}-?", write(compiler, vocabulary, Constraint("regex", "[ab]{3}-?"), seed))
    options = ["yes", 'n"o', "per\nhaps", "ä\\x"]
    assert write(compiler, vocabulary, Constraint("choice", json.dumps(options)), seed) in options
    grammar = Constraint("grammar", 'start: "(" start ")" | "x"')
    assert re.fullmatch(r"\(*x\)*", write(compiler, vocabulary, grammar, seed))


def test_any_json_object_will_do(compiler: ConstraintCompiler, tokenizer_file: Path) -> None:
    """`json_object` gives an object and neither a list nor endless spaces."""
    state = compiler.compile(Constraint("json_object", "{}"))
    vocabulary = Vocabulary(tokenizer_file)
    allowed = {vocabulary.token_text(int(token_id)) for token_id in np.flatnonzero(state.allowed_tokens())}
    assert "{" in allowed
    assert "[" not in allowed
    state.accept(vocabulary.encode("{")[-1])
    space = vocabulary.encode("x ")[-1]
    spaces = 0
    while state.allowed_tokens()[space]:
        state.accept(space)
        spaces += 1
    assert spaces == 40


def test_a_complete_form_finishes_the_answer(compiler: ConstraintCompiler, tokenizer_file: Path) -> None:
    """Where nothing can follow the state is finished; where something can, it isn't."""
    vocabulary = Vocabulary(tokenizer_file)
    state = compiler.compile(Constraint("choice", '["a", "ab"]'))
    state.accept(vocabulary.encode("a")[-1])
    assert not state.is_finished
    assert state.allowed_tokens()[EOS_ID]
    state.accept(vocabulary.encode("b")[-1])
    assert state.is_finished


def test_thousands_of_choices_can_be_written(compiler: ConstraintCompiler, tokenizer_file: Path) -> None:
    """A choice among thousands of texts ends in one of them, and not in the parser's limits halfway."""
    options = [f"c{number}" for number in range(5000)]
    constraint = Constraint("choice", json.dumps(options))
    assert write(compiler, Vocabulary(tokenizer_file), constraint, 1) in options


def test_copies_go_their_own_ways(compiler: ConstraintCompiler, tokenizer_file: Path) -> None:
    """Answers to the same constraint, compiled once, don't move each other."""
    vocabulary = Vocabulary(tokenizer_file)
    constraint = Constraint("regex", "ab|ba")
    first, second = compiler.compile(constraint), compiler.compile(constraint)
    third = first.fork()
    a, b = vocabulary.encode("a")[-1], vocabulary.encode("b")[-1]
    first.accept(a)
    second.accept(b)
    assert first.allowed_tokens()[b]
    assert not first.allowed_tokens()[a]
    assert second.allowed_tokens()[a]
    assert third.allowed_tokens()[[a, b]].all()


@pytest.mark.parametrize(
    ("constraint", "words"),
    [
        (Constraint("json", '{"type": "nonsense"}'), "Invalid type: nonsense"),
        (Constraint("json", '{"type": "object", "if": {}, "then": {"not": {}}}'), "Unimplemented"),
        (Constraint("json", '{"$ref": "#/$defs/x"}'), "does not exist"),
        (Constraint("json", '{"$ref": "http://localhost/x.json"}'), "does not fetch"),
        (Constraint("json", '{"type": "integer", "minimum": 5, "maximum": 3}'), "Unsatisfiable"),
        (Constraint("json", '{"allOf": [' * 300 + "{}" + "]}" * 300), "recursion limit"),
        (Constraint("regex", "[ab"), "unclosed character class"),
        (Constraint("regex", "(?=a)b"), "look-ahead"),
        (Constraint("regex", "[^\\s\\S]"), "no text fits it"),
        (Constraint("grammar", "start: a"), "unknown name"),
        (Constraint("grammar", "no grammar"), "Expected token"),
    ],
)
def test_an_unusable_constraint_is_refused_in_the_parser_s_words(
    compiler: ConstraintCompiler, constraint: Constraint, words: str
) -> None:
    """What can't be compiled is the caller's to mend: the field, the parser's reason, in one short line."""
    with pytest.raises(InvalidParameter, match=re.escape(words)) as caught:
        compiler.compile(constraint)
    message = str(caught.value)
    assert message.startswith(f"'structured_outputs' has an unusable {constraint.kind}: ")
    assert len(message) < 500
    assert "\n" not in message


def test_a_token_that_was_not_allowed_fails_the_row(compiler: ConstraintCompiler) -> None:
    """A state that was led astray says so, now and at the next step."""
    state = compiler.compile(Constraint("regex", "[0-9]"))
    with pytest.raises(RowRefused, match="'structured_outputs' has a form that failed"):
        state.accept(int(np.flatnonzero(~state.allowed_tokens())[50]))
    with pytest.raises(RowRefused):
        state.allowed_tokens()


def test_a_tokenizer_with_bytes_to_fall_back_on_is_supported(tmp_path: Path) -> None:
    """SentencePiece's tokenizers write constrained answers too."""
    path = save_metaspace(tmp_path)
    vocabulary = Vocabulary(path)
    compiler = ConstraintCompiler(path, 300, [2])
    state = compiler.compile(Constraint("regex", "[äx]"))
    state.accept(vocabulary.encode("ä")[-1])
    assert state.is_finished


def test_an_unsupported_tokenizer_refuses_constraints_alone(tmp_path: Path) -> None:
    """A model whose tokenizer llguidance can't read loads, and says so to who asks for a constraint."""
    path = tmp_path / "tokenizer.json"
    path.write_text('{"model": {"type": "Unheard"}}')
    with pytest.raises(InvalidParameter, match="tokenizer is not supported"):
        ConstraintCompiler(path, 300, [2]).compile(Constraint("regex", "a"))


def test_many_threads_may_compile_at_once(compiler: ConstraintCompiler) -> None:
    """Constraints beyond what is kept, asked for by several threads, are all compiled."""
    states: list[bool] = []

    def compile_some(first: int) -> None:
        for number in range(first, first + 80):
            state = compiler.compile(Constraint("choice", f'["{number}"]'))
            states.append(bool(state.allowed_tokens().any()))

    threads = [threading.Thread(target=compile_some, args=(first,)) for first in (0, 40, 80)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert states == [True] * 240
