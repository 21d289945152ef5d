"""
The toy that `make serve` lets a newcomer chat with: a small Llama, trained from nothing within minutes.

Reading order:
    world       all that it knows, in tables
    dialogues   questions and answers made of those tables
    corpus      dialogues and the Python documentation as token ids
    wording     its tokenizer and chat template
    train       the script that makes `model/`

`model/` is a Hugging Face folder like any other; `README.md` beside this says how it was made and what it can do.
"""
