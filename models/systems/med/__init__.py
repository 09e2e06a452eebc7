"""MED: one model that is pretrained (`med`) and then tuned apart as captioner and as filter (BLIP, section 3).

- `med` serves as captioner and as judge; `captioner` and `filter` start from it.
- `model.vision` takes the image tower of another checkpoint for a new model.
"""
