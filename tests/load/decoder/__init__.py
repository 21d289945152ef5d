"""
The bare decoder engine beside others that generate text on the same cores: ``python -m tests.load.decoder.bench``.

    bench        rounds, figures, the table
    models       one random Llama in every contender's format
    contenders   each in a process of its own, told how many requests to answer
    llama_cpp    builds llama.cpp and runs its own batched bench
    write_gguf   the Llama as GGUF; runs on llama.cpp's own Python package
"""
