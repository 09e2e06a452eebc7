"""Pictures: from the bytes of one file to an upright RGB picture, and from that to what models and tables want.

- `picture`: bytes -> upright RGB picture, or the reason why not
- `colour`: every mode of Pillow -> RGB on white
- `truncation`: does a file break off?
- `scans`: JPEGs that would take hours
- `pillow`: Pillow's process-wide switches and the formats let in
- `room`: a bound on the pixels decoded at once
- `resize`: picture -> the square of a PixelSpec
- `phash`: picture -> 64-bit perceptual hash
"""
