"""URLs to bytes, or to the reason why not: `pool.download` is all that the fetch stage needs.

Nothing is imported here: others ask for the form of a URL, and not for aiohttp (0.3 s).
"""
