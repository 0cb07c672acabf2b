"""The slope f′(0) of a function of one number, by its definition: two ways, and where both end."""

import numpy as np

from .errors import ConfigError

STEPS = {"complex": 1e-30, "central": 1e-4}


def complex_step(f, step=STEPS["complex"]):
    """(E20)  f′(0) = Im f(ih) / h + O(h²),  h = step

    f is real for real numbers, and analytic. Nothing is subtracted, so that no digit is lost and h
    may be so small that h² is gone.
    Source: Squire, Trapp 1998, "Using complex variables to estimate derivatives of real functions".
    """
    value = f(step * 1j)
    if not np.iscomplexobj(value):
        raise ConfigError(
            "the function is real for a complex argument (abs, a norm, float(), a real buffer), "
            'which leaves no complex step: take method="central"'
        )
    return value.imag / step


def central_difference(f, step=STEPS["central"]):
    """(E21)  f′(0) = (f(h) − f(−h)) / 2h + O(h²),  h = step

    With a smaller h the curvature counts less, and the rounding of f, divided by h, more.
    Source: Nocedal, Wright 2006, "Numerical Optimization", section 8.1.
    """
    return (f(step) - f(-step)) / (2 * step)


METHODS = {"complex": complex_step, "central": central_difference}


def kink_explains(f, step, analytic, slack):
    """Whether a kink of f within the step accounts for a central difference that is not analytic.

    The slopes to the two sides of a smooth f differ by h f″, and for a tenth of the step by a tenth
    of that. A kink adds to the difference: what it adds, the bend, moves the central difference,
    the mean of the two slopes, by its half. Close to the middle the analytic value has to lie
    between the slopes. slack is what rounding may add. Of several kinks within one step this may be
    wrong, and the central difference fails; the complex step, which never leaves the middle, tells.
    """
    middle = f(0.0)

    def slopes(h):
        return (middle - f(-h)) / h, (f(h) - middle) / h

    left, right = slopes(step)
    near_left, near_right = slopes(step / 10)
    bend = (right - left) - 10 * (near_right - near_left)
    off = abs((left + right) / 2 - analytic)
    between = min(near_left, near_right) - slack <= analytic <= max(near_left, near_right) + slack
    return between and off <= 0.55 * abs(bend) + slack  # a half, and a tenth of it for curvature
