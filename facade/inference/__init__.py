"""
What the façade does with a request once it knows who asks.

# Layout

- `catalogue`: which models Triton serves, followed as they change; `release_split`: which version of one answers.
- `embed`, `classify`, `rerank`: inputs to rows of numbers; the use cases the routes call. `encode` is what they share.
- `infer`: tensors to tensors, of any model; `tensor_items`: those that are one of our tasks' plain requests.
- `runner` and `batcher`: items of many callers into few calls; `contracts`: those calls' tensors.
- `generate`: a prompt to an answer piece by piece. `generation`: its values; `generation_contract`: its tensors;
  `recordings`: answers while they are written and read; `writer`: who has them written.
- `prompts` and `tools`: conversations to prompts, and texts to calls of tools.
"""
