"""One self-contained HTML file of a sweep, from its studies and saved files; it opens from disk, with no network."""

from siren_sweep.views.report.page import write_report

__all__ = ["write_report"]
