"""The report of a run: one HTML page that needs no network, with numbers of all rows and images of some."""

from capfilt.report.write import NAME, write_report

__all__ = ["NAME", "write_report"]
