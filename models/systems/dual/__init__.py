"""Dual encoders: CLIP, FLIP, SigLIP and LiT. One system; they differ in loss, dropped patches and a locked image tower.

- All serve as judge in a run, with the column `clip`: `--set 'score.judges=["DIR"]'`. `capfilt evaluate --judge DIR`
  measures their retrieval. `AutoModel` and `AutoProcessor` of `transformers` load the checkpoint.
- Every pair of a batch is a negative of every other, so large batches help. `contrast.part` encodes some pairs at a
  time: less memory, the same loss. `schedule.accumulate` does not add negatives. Pairs of the same image or of the same
  text are not negatives of each other.
- `flip` drops half of the patches in training, and is judged with all. Tune it for some steps without drop afterwards:
  `capfilt train clip DATA --out TUNED --start DIR --steps 500`.
- `siglip` needs no softmax over the batch; its bias starts at -ln(batch), which for its paper's 32,768 pairs is -10.
- `lit` never changes the tower of `model.vision`: a CLIP, a ViT or a MED with a plain stem. Its features are computed
  once an image. Take it where pairs are few or noisy. `--set contrast.lock=false` trains the tower as well.
- Words are those of the data. `--start` keeps a checkpoint's words, shape and image size.
"""
