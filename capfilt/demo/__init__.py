"""The demo: a small web of drawn pictures, cleaned on this machine, and held against the truth."""

from capfilt.demo.runner import DemoResult, demo
from capfilt.demo.summary import DemoSummary, TextCounts

__all__ = ["DemoResult", "DemoSummary", "TextCounts", "demo"]
