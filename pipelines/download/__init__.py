"""URLs to bytes, or to the reason why not: `pool.download` is all that the fetch stage needs.

img2dataset's downloader is not used: it takes `file:` URLs and private addresses, has no limit of bytes, tries again
after a refusal, and importing it takes 700 MB.

Nothing is imported here: others ask for the form of a URL, and not for aiohttp (0.3 s).
"""
