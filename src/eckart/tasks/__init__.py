"""Pieces of work that need nothing but their inputs, and who does them: see ``Task``."""

from eckart.tasks.results import results_of
from eckart.tasks.task import Task
from eckart.tasks.workers import Workers, checked_workers

__all__ = ["Task", "Workers", "checked_workers", "results_of"]
