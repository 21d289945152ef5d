"""Two small tokenizers of the kinds that matter: bytes as GPT-2's, and SentencePiece's with bytes to fall back on."""

from pathlib import Path

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

TEXTS = ["the cat sat on the mat", "das Mädchen aß Äpfel", '{"name": "cat", "age": 3}', "世界 你好 😀"] * 20
BOS, EOS = "<s>", "</s>"

METASPACE_CAT_ID = 261
"""Id of `▁cat` in the Metaspace tokenizer."""


def save_byte_level(folder: Path) -> Path:
    """
    Make a byte-level BPE tokenizer as GPT-2, Llama 3 and Qwen have it.

    Returns:
        Its `tokenizer.json`; `<s>` is id 0 and added to prompts, `</s>` is id 1.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    path = folder / "byte_level.json"
    tokenizer.save(str(path))
    return path


def save_metaspace(folder: Path) -> Path:
    """
    Make a tokenizer as SentencePiece's of Llama 2 and Gemma: spaces are `▁`, unknown characters fall apart to bytes.

    Returns:
        Its `tokenizer.json`; `<s>` is id 1 and added to prompts, `</s>` is id 2, byte b is id 3 + b.
    """
    words = ["▁", "▁the", "▁cat", "▁sat", "▁on", "▁mat", "s", "a", "t", "h", "e", "c", "ä", "!", "▁▁"]
    tokens = ["<unk>", BOS, EOS, *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    vocabulary = {token: token_id for token_id, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")],
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in ("<unk>", BOS, EOS)])
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 1)])
    path = folder / "metaspace.json"
    tokenizer.save(str(path))
    return path
