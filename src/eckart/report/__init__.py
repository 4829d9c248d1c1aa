"""The frontier for a person to read: a table in the terminal, or one HTML page."""

from eckart.report.page import write_report
from eckart.report.tables import frontier_table

__all__ = ["frontier_table", "write_report"]
