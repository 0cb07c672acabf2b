"""What a gradient check found: one row per tensor, printed as a table."""

import math
import textwrap
from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError

REASONS = {  # why the central difference is off although the complex step agrees, by field of Row
    "unresolved": "not resolved: the difference is off by no more than its rounding error",
    "kinks": "a kink or strong curvature within the step (or the function uses abs, norm, var or "
    "std, which have no complex step)",
}
HINTS = {  # what a failed report says, by method
    "complex": "abs, norm, var and std have no complex step: if the function uses one of them, try "
    'method="both".',
    "central": "A central difference alone cannot tell a wrong gradient from a kink or strong "
    'curvature within the step, or from rounding: try method="both".',
    "both": "Where the central difference agrees with the gradient and the complex step does not, "
    "the function probably uses abs, norm, var or std, which have no complex step.",
}


@dataclass
class Row:
    """One tensor: its errors, and the numbers of the entry that is furthest off; with both methods,
    by the complex step, or, if the tensor passes with central differences that are off, by those.
    """

    name: str
    index: tuple[int, ...]
    analytic: float
    numeric: float  # by the method; with both, the complex step
    error: float  # of the whole tensor
    passed: bool
    central: float | None = None  # with both: the central difference of the same entry
    central_error: float | None = None  # with both: of the whole tensor
    # With both: how many entries the complex step confirms and the central difference does not,
    unresolved: int = 0  # by no more than its rounding error,
    kinks: int = 0  # by more: because of a kink or strong curvature within the step.


@dataclass
class Report:
    """The rows, with the worst first."""

    rows: list[Row]
    method: str

    def __post_init__(self):
        if not self.rows:
            raise ConfigError("there is no gradient to check")
        self.rows = sorted(self.rows, key=lambda row: (row.passed, -row.error))

    @property
    def max_error(self) -> float:
        return max(row.error for row in self.rows)

    @property
    def passed(self) -> bool:
        return all(row.passed for row in self.rows)

    def __str__(self):
        numeric = "central diff." if self.method == "central" else "complex step"
        both = self.method == "both"
        header = f"{'':23} {'entry':>10} {'analytic':>15} {numeric:>15} {'error':>8}"
        lines = [header + (f" {'central diff.':>15} {'error':>8}" if both else "")]
        for row in self.rows:
            lines += [f"{_cut(row.name, 23):23} {_cut(','.join(map(str, row.index)), 10):>10}"]
            lines[-1] += f" {row.analytic:15.7e} {row.numeric:15.7e} {row.error:8.1e}"
            lines[-1] += f" {row.central:15.7e} {row.central_error:8.1e}" if both else ""
        notes = []
        for field, reason in REASONS.items():
            rows = [f"{r.name} ({getattr(r, field)})" for r in self.rows if getattr(r, field)]
            if rows:
                notes += [f"confirmed by the complex step alone; {reason}: {', '.join(rows)}"]
        failed = [row.name for row in self.rows if not row.passed]
        what = f"FAILED: {', '.join(failed)}" if failed else "passed"
        notes += [f"{what}; largest error {self.max_error:.1e}"]
        if both:
            central = max(row.central_error or 0 for row in self.rows)
            notes[-1] += f", of central differences {central:.1e}"
        notes += [HINTS[self.method]] if failed else []
        lines += [textwrap.fill(note, 100, subsequent_indent="    ") for note in notes]
        return "\n".join(lines)


def tolerances(dtype="float64"):
    """{method: the largest error that passes}, for a gradient that was computed in this dtype.

    It allows for some hundred times the rounding error, and for the curvature in a step of 1e-4.
    """
    single = np.dtype(dtype) == np.float32
    return {"complex": 1e-5, "central": 1e-5} if single else {"complex": 1e-13, "central": 1e-6}


def judge(name, analytic, scale, slopes, rounding, dtype):
    """-> Row, without its index, and the position of the entry that it shows.

    analytic (n,) are the entries that backward computed; slopes and rounding come from `measure`.
    scale is the size that errors are compared with, unless a slope is larger.
    """
    decisive = next(iter(slopes))  # with both methods, the complex step
    numeric, allowed = slopes[decisive], tolerances(dtype)
    off, error = _errors(analytic, numeric, scale)
    passed, k = error <= allowed[decisive], int(np.argmax(off))
    by_central: tuple = ()
    if len(slopes) == 2:
        central_off, central_error = _errors(analytic, slopes["central"], scale)
        confirmed = central_off <= allowed["central"] * scale
        unexplained = (off <= allowed[decisive] * scale) & ~confirmed
        unresolved = np.sum(unexplained & (central_off <= rounding))
        if passed and np.any(unexplained):
            k = int(np.argmax(np.where(unexplained, central_off, -1)))
        kinks = int(np.sum(unexplained) - unresolved)
        by_central = float(slopes["central"][k]), central_error, int(unresolved), kinks
    row = Row(name, (), float(analytic[k]), float(numeric[k]), error, passed, *by_central)
    return row, k


def _errors(analytic, numeric, scale):
    """-> |analytic − numeric| (n,), and the error of the tensor, ∞ where it would be NaN."""
    off = np.abs(analytic - numeric)
    worst, largest = float(np.max(off)), max(float(scale), float(np.max(np.abs(numeric))))
    error = worst / largest if worst else 0.0
    return off, error if math.isfinite(error) else math.inf


def _cut(text, width):
    return text if len(text) <= width else text[: width - 1] + "…"
