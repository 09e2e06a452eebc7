"""Images: from the bytes of one file to an upright RGB image, and from that to what models and tables want.

- `picture`: bytes -> upright RGB image, or the reason why not
- `color`: every mode of Pillow -> RGB on white
- `truncation`: does a file break off?
- `scans`: JPEGs that would take hours
- `pillow`: Pillow's process-wide switches and the formats let in
- `room`: a bound on the pixels decoded at once
- `resize`: image -> the pixels of a PixelSpec
- `metadata`: what a file declares beside its first image
- `look`: many files -> facts and pixels
- `isolated`, `child`, `shared`: the same in a process of its own
- `phash`: image -> 64-bit perceptual hash
"""
