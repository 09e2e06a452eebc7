"""The demo: a small web site of drawn images, cleaned on this machine and compared with the truth.

Nothing is imported here: the web site is a process of its own, `python -m capfilt.demo.world.server`, and Python would
import this package, with all the pipeline behind it, before it.
"""
