"""Alpha-CLIP: a CLIP that also sees which part of an image a text is about, so that region captions can be judged.

- It starts from a CLIP, by `--start`, and reads the captions of a corpus with their `box`. At least one must have one.
- As shipped it trains the convolution over masks alone: a text about the whole image is scored exactly as by the CLIP
  it started from. `regions.rest` above 0 trains the image tower too; then keep captions of whole images among the data
  (`data.share`), or it forgets them. Text tower and temperature never change.
- It serves as judge in a run, with the column `clip`: a caption with a box is compared with that part of the image, one
  without with all of it. The [guide](../guides/models/regions.md) has a run.
- Published weights (`.pth`, the image tower alone) become a checkpoint by `capfilt convert FILE --base CLIP --to DIR`.
- A box cannot be augmented: `data.crop`, `data.flip` and `data.changes` are refused.
"""
