"""Images: from the bytes of one file to an upright RGB image, and from that to what models and tables want.

- `image_file`: bytes -> upright RGB image, or the reason why not
- `color`: every mode of Pillow -> RGB on white
- `signatures`: what a file is by its first bytes
- `metadata`: what a file declares beside its first image
- `truncation`: does a file break off?
- `scans`: JPEGs that would take hours
- `pillow`: Pillow's process-wide switches and the formats let in
- `pixel_budget`: a bound on the pixels decoded at once
- `geometry`: image -> the pixels of a PixelSpec; boxes of any unit -> shares of the upright image
- `decode_images`: many files -> facts and pixels
- `stored_file`: what a run stores of an image, if not the file that came
- `plain_file`: a file that every loader decodes alike
- `fingerprints`: numbers that are near each other for images that look alike
- `isolation`: decoding in a process of its own
"""
