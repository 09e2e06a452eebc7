"""Near-duplicates: images by perceptual hash, texts by MinHash.

- `find`: both for one run, recorded in its folder
- `images`, `captions`: the two tables
- `hamming`: all pairs of hashes that differ in few bits, exact
- `minhash`: pairs of similar texts
- `groups`: from pairs to groups, each with one row that stands for it

Embeddings would be a third finder of pairs i < j beside `hamming` and `minhash`; a run does not store any.
"""
