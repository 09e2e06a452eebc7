"""Q-Former: BLIP-2 in two stages, which need little memory, for image tower and language model stay as they are.

- Stage 1 reads the tower of a MED: `--set model.vision=MED`.
- Stage 2 starts from a stage 1 and names a language model: `--start STAGE1 --set model.language=DIR`. It captions.
"""
