"""LLaVA: a language model that reads an image's patches as words (Liu et al. 2023, arXiv 2304.08485 and 2310.03744).

- `llava` is stage 1: it trains the connector alone, on captions. `llava-tune` is stage 2: connector and language model,
  on questions, with the loss on the answers. The image tower never changes.
- Stage 2 reads the column `questions`, each as a talk of its own, or talks of several turns that `capfilt export
  --instruct` wrote, joined to the images by uid: `--set data.talks=DEST/talks.parquet`. The last turns of a talk that
  is longer than the language model's positions are left out.
- `llava.connector=mlp` is LLaVA 1.5's, `linear` that of LLaVA 1.
- `llava.tiles=true` is LLaVA-NeXT: images keep their shape and are read whole and in up to four tiles, with five times
  the tokens. A plain LLaVA can be the start of either stage. `LlavaNextForConditionalGeneration` loads the checkpoint.
- `model.language` is a causal language model shaped like Llama (Llama, Mistral, Qwen, Gemma, Phi, ...);
  `demo-language`, of the demo's 72 words, ships.
- Both caption in a run. `LlavaForConditionalGeneration` of `transformers` loads the checkpoint.
"""
