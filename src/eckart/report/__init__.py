"""What a person reads: the frontier as a table in the terminal and as one HTML page."""

from eckart.report.page import write_report
from eckart.report.tables import frontier_table

__all__ = ["frontier_table", "write_report"]
