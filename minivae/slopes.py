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
    """(E21)  f′(0) = (f(h) − f(−h)) / 2h − h² f‴(0) / 6 + O(h⁴),  h = step

    A smaller h makes that error smaller, and the rounding of f, divided by h, larger.
    Source: Nocedal, Wright 2006, "Numerical Optimization", section 8.1.
    """
    return (f(step) - f(-step)) / (2 * step)


METHODS = {"complex": complex_step, "central": central_difference}


def is_kinked(f, step, analytic, slack):
    """Whether kinks within the step explain that the central difference is not the analytic value.

    At a shorter step they lie outside, or on one side only: its central difference, or the slope of
    the other side, then is the analytic value. A wrong value stays wrong; the error of a smooth f
    falls to a hundredth at a tenth of the step. slack: how far apart two slopes count as equal.

    It is no proof. Rounding of f, fifty times larger at a fiftieth of the step, can make a value
    that is wrong by little more than slack pass for a kink; a kink at 0.099 of the step is missed,
    and one within a fiftieth beside another on the other side. The complex step stays at 0, and
    tells.
    """
    middle = f(0.0)

    def slopes(h):
        return np.array([middle - f(-h), f(h) - middle]) / h

    far, near, nearest = slopes(step), slopes(step / 10), slopes(step / 50)
    off = abs(np.mean(far) - analytic)
    if 0.005 * off < abs(np.mean(near) - analytic) < 0.02 * off:
        return False
    at_0 = (5 * nearest - near) / 4  # of each side: its slope over h is off by ½ h f″
    candidates = [np.mean(near), np.mean(nearest), *at_0]
    return any(abs(slope - analytic) <= slack for slope in candidates)
