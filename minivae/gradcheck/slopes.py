"""The slope f′(0) of a function of one number, by its definition, in two ways."""

import numpy as np

from ..errors import ConfigError

STEPS = {"complex": 1e-30, "central": 1e-4}


def complex_step(f, step=STEPS["complex"]):
    """(E20)  f′(0) = Im f(ih) / h + O(h²),  h = step

    f is real for real numbers, and analytic. Nothing is subtracted, so no digit is lost, and h may
    be so small that h² vanishes.
    Source: Squire, Trapp 1998, "Using complex variables to estimate derivatives of real functions".
    """
    value = f(step * 1j)
    if not np.iscomplexobj(value):
        raise ConfigError(
            "the function is real for a complex argument (abs, a norm, float(), a real buffer), "
            'so it has no complex step; use method="central"'
        )
    return value.imag / step


def central_difference(f, step=STEPS["central"]):
    """(E21)  f′(0) = (f(h) − f(−h)) / 2h − h² f‴(0) / 6 + O(h⁴),  h = step

    A smaller h makes that error smaller, and the rounding error of f, divided by h, larger.
    Source: Nocedal, Wright 2006, "Numerical Optimization", section 8.1.
    """
    return (f(step) - f(-step)) / (2 * step)


METHODS = {"complex": complex_step, "central": central_difference}


def measure(functions, method, step=None):
    """The slopes of functions that have the same value at 0 -> {method: (n,)}, rounding.

    step is the step of the method, or with "both" of the central difference. rounding, with "both",
    estimates the rounding error of a central difference: 10 |f(0)| ε / h, with ε = 2.2e-16. A tenth
    of it was measured; the rest is for larger numbers inside f.
    """
    if method not in (*METHODS, "both"):
        raise ConfigError(f"method={method!r}: complex, central or both")
    steps = STEPS if step is None else STEPS | {"central" if method == "both" else method: step}
    slopes = {
        each: np.array([float(METHODS[each](f, steps[each])) for f in functions])
        for each in (METHODS if method == "both" else [method])
    }
    size = abs(functions[0](0.0)) if method == "both" else 0.0
    return slopes, 10 * size * np.finfo(float).eps / steps["central"]
