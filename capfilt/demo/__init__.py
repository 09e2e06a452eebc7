"""The demo: a small web of drawn pictures, cleaned on this machine, and held against the truth."""

from capfilt.demo.account import Account, Texts
from capfilt.demo.flow import Result, demo

__all__ = ["Account", "Result", "Texts", "demo"]
