"""What a gradient check found: a row a tensor, printed as a table."""

from dataclasses import dataclass

from .errors import ConfigError


@dataclass
class Row:
    """One tensor: its error, and the entry where analytic and numeric lie furthest apart."""

    name: str
    index: tuple[int, ...]
    analytic: float
    numeric: float  # by the method; the complex step where it is both
    error: float
    passed: bool
    kinks: int = 0  # entries with a kink within the step, left out of the central differences
    central: float | None = None  # both: the central difference of the same entry
    central_error: float | None = None  # both: of the whole tensor


@dataclass
class Report:
    """The rows, the worst first; printed, each with its worst entry."""

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
            line += f" {row.central:15.7e} {row.central_error:8.1e}" if both else ""
            lines.append(line)
        failed = [row.name for row in self.rows if not row.passed]
        kinks = [f"{row.name} {row.kinks}" for row in self.rows if row.kinks]
        if kinks:
            lines.append(_cut(f"kinks within the step, left out: {', '.join(kinks)}", 100))
        verdict = _cut(f"FAILED: {', '.join(failed)}", 74) if failed else "passed"
        lines.append(f"{verdict}; largest error {self.max_error:.1e}")
        return "\n".join(lines)


def _cut(text, width):
    return text if len(text) <= width else text[: width - 1] + "…"
