"""Which check catches which of the mistakes that shipped elsewhere."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "examples" / "bug_zoo.py"
SPEC = importlib.util.spec_from_file_location("bug_zoo", SCRIPT)
zoo = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(zoo)

CAUGHT_BY = {
    "two noise draws, one forward, another backward": {"gradient"},
    "exp(log σ²) as σ, forward and backward": {"values", "moments", "exact model"},
    "KL without its logarithm": {"values", "exact model"},
    "mean over pixels, sum over latents": {"values", "exact model"},
    "a lost ½ in the KL": {"values", "exact model"},
    "a lost 1/B": {"values"},
    "a lost 1/B, backward only": {"gradient"},
    "the floor's slope: var instead of exp(log_var)": {"gradient"},
    "the sigmoid's factor forgotten": {"gradient"},
    "the sigmoid's factor on a linear head": {"gradient"},
    "softmax: the diagonal of the Jacobian only": {"gradient"},
    "ReLU: the mask of the gradient, not of the value": {"gradient"},
    "Adam without the power t": {"values"},
    "Adam with a moment for each slot of the batch": {"values"},
    "the upstream gradient mutated": {"gradient"},
    "log(p + 1e-8) instead of logits": {"values"},
    "an update inside backward": {"gradient"},
    "float64 creeping into a float32 step": {"dtypes"},
    "noise of scale 0.01": {"values", "moments", "exact model"},
    "the ELBO evaluated at the mean z": {"exact model"},
    "the side channel reported as an ELBO": {"exact model"},
}


def checks_that_catch(changes):
    return {name for name, seen in zoo.caught(changes).items() if seen}


@pytest.mark.parametrize("bug", zoo.BUGS)
def test_a_bug_is_caught_by_these_checks_and_no_other(bug):
    assert checks_that_catch(zoo.BUGS[bug]) == CAUGHT_BY[bug]
    assert CAUGHT_BY[bug]


def test_without_a_bug_and_after_all_of_them_every_check_passes():
    assert set(CAUGHT_BY) == set(zoo.BUGS)
    assert checks_that_catch({}) == set()


def test_a_bug_that_is_not_there_to_plant_is_an_error():
    with pytest.raises(ValueError, match="gaussian_forward: there is no function"):
        with zoo.planted({"gaussian_forward": None}):
            pass


def test_one_command_prints_the_matrix():
    run = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    lines = {line[:48].rstrip(): line[48:].split() for line in run.stdout.splitlines()}
    for bug, checks in CAUGHT_BY.items():
        assert lines[bug] == ["CAUGHT" if name in checks else "." for name in zoo.CHECKS]
    blind = sum("gradient" not in checks for checks in CAUGHT_BY.values())
    assert f"21 bugs, of which {blind} pass the gradient check" in run.stdout
