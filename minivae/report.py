"""What a gradient check found: a row a tensor, printed as a table."""

import textwrap
from dataclasses import dataclass
from functools import partial

from .errors import ConfigError


@dataclass
class Row:
    """One tensor: its error, and the numbers of the entry that is furthest off.

    Where both methods are asked, the entry is that of the complex step, but of the central
    difference where only that one fails.
    """

    name: str
    index: tuple[int, ...]
    analytic: float
    numeric: float  # by the method; the complex step where it is both
    error: float  # of the whole tensor
    passed: bool
    kinks: int = 0  # entries with a kink within the step, left out of the central differences
    central: float | None = None  # both: the central difference of the same entry
    central_error: float | None = None  # both: of the whole tensor


@dataclass
class Report:
    """The rows, the worst first."""

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
        header = f"{'':23} {'entry':>10} {'analytic':>15} {numeric:>15} {'error':>8}"
        both = self.method == "both"
        lines = [header + (f" {'central diff.':>15} {'error':>8}" if both else "")]
        for row in self.rows:
            index = _cut(",".join(map(str, row.index)), 10)
            line = f"{_cut(row.name, 23):23} {index:>10} {row.analytic:15.7e} {row.numeric:15.7e}"
            line += f" {row.error:8.1e}"
            lines.append(line + (f" {row.central:15.7e} {row.central_error:8.1e}" if both else ""))
        wrap = partial(textwrap.fill, width=100, subsequent_indent="    ")
        return "\n".join([*lines, *map(wrap, self._notes())])

    def _notes(self):
        kinks = ", ".join(f"{row.name} ({row.kinks})" for row in self.rows if row.kinks)
        if kinks:
            left_out = "entries with a kink within the step, left out of the central differences"
            yield f"{left_out}: {kinks}"
        failed = [row for row in self.rows if not row.passed]
        error = f"largest error {self.max_error:.1e}"
        if self.method == "both":
            central = max(row.central_error or 0 for row in self.rows)
            error += f", of central differences {central:.1e}"
        what = f"FAILED: {', '.join(row.name for row in failed)}" if failed else "passed"
        yield f"{what}; {error}"
        if failed and self.method == "complex":
            yield (
                "abs, norm, var and std have no complex step: if the function has one of them, try "
                'method="both"'
            )
        if any(_disagree(row) for row in failed if self.method == "both"):
            yield (
                "The two derivatives disagree with each other. Either the function has abs, norm, "
                "var or std, which have no complex step, or the central difference is off: by a "
                "kink, or by a step too long (curvature) or too short (rounding). Look there first."
            )


def _disagree(row):
    return abs(row.numeric - row.central) > 1e-4 * max(abs(row.numeric), abs(row.central))


def _cut(text, width):
    return text if len(text) <= width else text[: width - 1] + "…"
