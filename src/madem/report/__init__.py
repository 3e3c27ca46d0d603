"""Figures and the self-contained HTML page, from run directories only."""

from madem.report.page import write_report

__all__ = ["write_report"]
