"""Figures and the self-contained HTML page, from run directories only."""

from madem.report.page import tell_results, write_report

__all__ = ["tell_results", "write_report"]
