"""The demo: a small web of drawn pictures, cleaned on this machine, and held against the truth."""

from capfilt.demo.runner import Result, demo
from capfilt.demo.summary import Account, Texts

__all__ = ["Account", "Result", "Texts", "demo"]
