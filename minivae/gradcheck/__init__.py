"""Gradient checks: compare any gradient with the derivative by its definition."""

from .check import check_direction, check_entries, check_model, check_pair, loss_and_gradient
from .report import Report, Row, tolerances

__all__ = [
    "Report", "Row", "check_direction", "check_entries", "check_model", "check_pair",
    "loss_and_gradient", "tolerances",
]  # fmt: skip
