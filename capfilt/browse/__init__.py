"""A local page to decide by looking: images with all their texts and scores, a threshold to move, marks to set.

- `index`: the run's tables without the images, in a database in memory; pages of what a filter lets through
- `numbers`: how many texts and images every threshold keeps, counted once
- `thumbnails`: images made small, a few row groups and some hundred thumbnails remembered
- `app`: what the page may ask and do
- `guard`: who may ask: this machine's browser, with the key of this process
- `server`: the socket on the loopback address
- `static/`: the page

The server reads what was committed when it started. It writes two things: marks/ and, when asked to, a selection.
"""
