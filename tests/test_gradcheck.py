"""The checkers find what is wrong, and name it."""

import math
import time

import numpy as np
import pytest
from derivatives import relative_error

from minivae import VAE, VAEConfig, datasets, distributions
from minivae.errors import ConfigError
from minivae.gradcheck import (
    DIRECTION,
    TOLERANCE_FLOAT32,
    TOLERANCES,
    check_direction,
    check_entries,
    check_model,
    check_pair,
    problem,
)
from minivae.layers import relu_backward, relu_forward, softmax_backward, softmax_forward
from minivae.slopes import central_difference, complex_step, is_kinked

RNG = np.random.default_rng(0)
A = RNG.standard_normal((4, 3))
METHODS = ["complex", "central", "both"]
SMALL = VAEConfig(data_dim=6, latent_dim=2, encoder_layers=(5,), num_classes=0)
X = RNG.random((4, 6))


def right(d, a):
    return [softmax_backward(d, softmax_forward(a))]


def one_entry_off(d, a):
    gradient = right(d, a)[0]
    gradient[2, 1] *= 1.00001
    return [gradient]


def not_a_number(d, a):
    return [right(d, a)[0] * np.nan]


def diagonal_only(d, a):
    p = softmax_forward(a)
    return [d * p * (1 - p)]


def relu_of_input(dh, a):
    return [relu_backward(dh, relu_forward(a))]


@pytest.mark.parametrize("f, slope", [(np.exp, 1.0), (np.sin, 1.0), (lambda t: (t - 3) ** 2, -6.0)])
def test_E20_complex_step_is_the_derivative_to_rounding(f, slope):
    assert complex_step(f) == pytest.approx(slope, rel=1e-15)
    assert complex_step(f, 1e-200) == pytest.approx(slope, rel=1e-15)


def test_E20_complex_step_has_an_error_of_second_order():
    errors = [complex_step(np.exp, h) - 1 for h in (1e-1, 1e-2)]
    assert errors == pytest.approx([-1e-2 / 6, -1e-4 / 6], rel=1e-3)  # −h² f‴ / 6


@pytest.mark.parametrize("f, slope", [(np.exp, 1.0), (np.sin, 1.0), (lambda t: (t - 3) ** 2, -6.0)])
def test_E21_central_difference_is_the_derivative(f, slope):
    assert central_difference(f) == pytest.approx(slope, rel=1e-8)


def test_E21_central_difference_has_an_error_of_second_order():
    errors = [central_difference(np.exp, h) - 1 for h in (1e-1, 1e-2)]
    assert errors == pytest.approx([1e-2 / 6, 1e-4 / 6], rel=1e-3)


@pytest.mark.parametrize("f", [np.abs, lambda t: np.real(t) ** 2])
def test_a_function_without_a_complex_step_is_refused(f):
    with pytest.raises(ConfigError, match="real for a complex"):
        complex_step(f)


@pytest.mark.parametrize("method", METHODS)
def test_a_right_pair_passes(method):
    report = check_pair(softmax_forward, right, [A], names=["logits"], method=method)
    assert report.passed and [row.name for row in report.rows] == ["logits"]
    [row] = report.rows
    assert row.error < (1e-6 if method == "central" else 1e-15)
    if method == "both":
        assert 1e-15 < row.central_error < 1e-6
        assert row.central == pytest.approx(row.numeric, rel=1e-6)
    else:
        assert row.central is row.central_error is None


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wrong", [one_entry_off, not_a_number, diagonal_only])
def test_a_wrong_pair_fails(wrong, method):
    assert not check_pair(softmax_forward, wrong, [A], method=method).passed


@pytest.mark.parametrize("method", METHODS)
def test_the_worst_entry_is_named(method):
    row = check_pair(softmax_forward, one_entry_off, [A], method=method).rows[0]
    assert row.index == (2, 1)
    assert row.analytic == pytest.approx(1.00001 * row.numeric, rel=1e-7)


def test_the_error_is_that_of_the_whole_tensor():
    theta = np.array([1.0, 2.0, 3.0])
    gradient = theta + [0, 0.03, 0]
    report = check_entries(lambda t: np.sum(t * t) / 2, theta, gradient)
    assert report.max_error == report.rows[0].error == pytest.approx(0.03 / 3, rel=1e-12)
    gradient = theta + [0, 0, 1]
    report = check_entries(lambda t: np.sum(t * t) / 2, theta, gradient, {"a": (1,), "b": (2,)})
    assert {row.name: row.error for row in report.rows} == pytest.approx({"a": 0, "b": 1 / 4})
    assert report.rows[0].name == "b" and report.rows[0].index == (1,)


def test_a_mistake_that_only_both_methods_together_explain():
    """|a| has no complex step inside a sum that is complex: central differences tell."""
    report = check_pair(
        lambda a: a + np.abs(a), lambda d, a: [d * (1 + np.sign(a))], [A], method="both"
    )
    [row] = report.rows
    assert not report.passed and row.error > 0.1 and row.central_error < 1e-6
    assert "The two derivatives disagree" in " ".join(str(report).split())
    alone = check_pair(lambda a: a + np.abs(a), lambda d, a: [d * (1 + np.sign(a))], [A])
    assert not alone.passed and 'method="both"' in str(alone)
    wrong = check_pair(softmax_forward, diagonal_only, [A], method="both")
    assert not wrong.passed and "disagree" not in str(wrong) and "method=" not in str(wrong)


def test_several_outputs_several_inputs_and_one_without_a_gradient():
    def forward(a, b, constant):
        return a * b, a + constant

    def backward(dproduct, dsum, a, b, constant):
        return dproduct * b + dsum, dproduct * a, None

    report = check_pair(forward, backward, [A, A + 1, A], names=["a", "b", "constant"])
    assert report.passed and {row.name for row in report.rows} == {"a", "b"}


def test_whole_numbers_stay_whole_numbers():
    rows = np.array([2, 0, 0])

    def backward(d, a, rows):
        da = np.zeros_like(a)
        np.add.at(da, rows, d)
        return da, None

    assert check_pair(lambda a, rows: a[rows], backward, [A, rows]).passed


def test_the_reader_s_own_default_rng_is_not_the_upstream_s():
    """Were the upstream gradient the input itself, d · (d > 0) would be a right ReLU's."""
    for seed in range(3):
        a = np.random.default_rng(seed).standard_normal((4, 6))
        wrong = check_pair(relu_forward, lambda d, a: [d * (d > 0)], [a], seed=seed)
        assert not wrong.passed
        [row] = check_direction(lambda t: t @ t / 2, a.ravel(), a.ravel(), seed=seed).rows
        assert abs(row.analytic) < 0.9 * np.linalg.norm(a)  # the direction is not theta's


def test_upstream_is_random_and_not_ones():
    """The rows of a softmax add up to 1: of ones its gradient is 0, whatever the Jacobian."""
    nothing = check_pair(softmax_forward, lambda d, a: [0 * a], [A])
    assert not nothing.passed


def test_the_memory_layout_of_an_input_does_not_matter():
    assert check_pair(softmax_forward, right, [np.asfortranarray(A)]).passed
    assert check_pair(softmax_forward, right, [A.T]).passed


def test_a_backward_that_changes_its_operands_raises_where_it_does():
    def mutates_upstream(d, a):
        d *= a
        return [d]

    def mutates_input(d, a):
        a *= 2
        return [d * a]

    for wrong in (mutates_upstream, mutates_input):
        with pytest.raises(ValueError, match="read-only"):
            check_pair(lambda a: a * a / 2, wrong, [A])


# Every fortieth of the step, on both sides. At 0.099 of it, and only there, a kink passes for
# curvature: a central difference that is off by a hundredth of itself at a tenth of the step.
@pytest.mark.parametrize("distance", np.linspace(-0.975e-4, 0.975e-4, 79))
def test_a_kink_within_the_step_is_reported_and_not_averaged(distance):
    a = A.copy()
    a[1, 2] = distance
    report = check_pair(relu_forward, relu_of_input, [a], method="central")
    assert report.passed and report.rows[0].kinks == 1
    assert "left out of the central differences: input 0 (1)" in str(report)
    report = check_pair(relu_forward, relu_of_input, [a], method="both")
    assert report.passed and report.rows[0].kinks == 1 and report.max_error < 1e-15
    assert check_pair(relu_forward, relu_of_input, [a]).rows[0].kinks == 0


def test_a_kink_is_found_beside_much_curvature():
    """The slopes on the two sides differ by 2 · 40 · step, and by a jump of 0.001."""
    def forward(a):
        return 40 * a * a + 1e-3 * relu_forward(a - 3e-5)

    def backward(d, a):
        return [d * (80 * a + 1e-3 * relu_backward(1, relu_forward(a - 3e-5)))]

    report = check_pair(forward, backward, [np.array([[0.0, 1.0]]) / 100], method="central")
    assert report.passed and report.rows[0].kinks == 1


def test_kinks_that_point_to_both_sides_are_found():
    def f(t):
        return 500 + 5 * t + max(t - 3e-5, 0) - 0.7 * max(-t - 4e-5, 0) + max(t + 6e-5, 0)

    assert abs(central_difference(f) - 6) > 0.1 and is_kinked(f, 1e-4, 6.0, 1e-6)


@pytest.mark.parametrize(
    "f, slope, slack",
    [
        (lambda t: 40 * t * t + t + 1e-3 * max(t - 1e-6, 0), 1, 1e-6),  # one side, and curvature
        (lambda t: t + max(t - 5e-6, 0) - 0.7 * max(-t - 5e-6, 0), 1, 1e-6),  # a fiftieth of it
        (lambda t: 500 + 5 * t + max(t - 3e-5, 0), 5, 1e-8),  # a tenth of it
        (lambda t: t + max(t - 9e-6, 0), 1, 1e-6),
    ],
)
def test_each_way_to_see_past_a_kink(f, slope, slack):
    assert is_kinked(f, 1e-4, slope, slack)


def test_a_kinked_entry_does_not_excuse_its_neighbours():
    """Its central difference, of 2,500, is no measure of a gradient that is 2.001 in place of 2."""
    def loss(theta):
        return 1e4 * max(theta[0] - 5e-5, 0) + theta[0] + np.sum(theta[1:] ** 2)

    theta, dtheta = np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.001, 4.0])
    [row] = check_entries(loss, theta, dtheta, method="central").rows
    assert row.kinks == 1 and not row.passed and row.index == (1,)
    assert row.error == pytest.approx(2.5e-4, rel=0.01)


@pytest.mark.parametrize("wrong", [1e-5, -1e-3, 0.3])
def test_a_kink_excuses_no_wrong_gradient(wrong):
    for distance in np.linspace(-0.975e-4, 0.975e-4, 79):
        slope = float(distance < 0)  # of max(t − distance, 0) at 0
        for scale in (0, 300):  # a loss, and curvature, beside it
            def f(t, distance=distance, scale=scale):
                return scale * math.exp(t) + max(t - distance, 0)

            assert is_kinked(f, 1e-4, scale + slope, 1e-6 * (1 + scale))
            slack = min(1e-6 * (1 + scale), abs(wrong) / 2)
            if abs(central_difference(f) - scale - slope - wrong) > slack:
                assert not is_kinked(f, 1e-4, scale + slope + wrong, slack)


def test_curvature_is_no_kink():
    """exp(300 a) has slopes on its two sides that differ by 3 percent, and no kink."""
    report = check_pair(
        lambda a: np.exp(300 * a), lambda d, a: [300 * d * np.exp(300 * a)], [A / 100],
        method="central",
    )  # fmt: skip
    assert not report.passed and report.rows[0].kinks == 0
    assert report.max_error == pytest.approx(0.03**2 / 6, rel=0.01)
    both = check_pair(
        lambda a: np.exp(300 * a), lambda d, a: [300 * d * np.exp(300 * a)], [A / 100],
        method="both",
    )  # fmt: skip
    [row] = both.rows
    assert not both.passed and row.error < 1e-13 and "central differences 1.5e-04" in str(both)
    assert "curvature" in str(both)
    assert abs(row.central / row.analytic - 1) > 1e-4  # the entry shown is the one that is off
    smaller = check_pair(
        lambda a: np.exp(300 * a), lambda d, a: [300 * d * np.exp(300 * a)], [A / 100],
        method="central", step=1e-6,
    )  # fmt: skip
    assert smaller.passed


def test_the_entry_that_is_shown_is_one_that_was_compared():
    a = 10 + A
    a[1, 2] = 1e-6
    for method in ("central", "both"):
        [row] = check_pair(relu_forward, relu_of_input, [a], method=method).rows
        assert row.kinks == 1 and row.index != (1, 2)


def test_a_check_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="no gradient"):
        check_pair(softmax_forward, lambda d, a: [None], [A])


def test_what_does_not_fit_is_refused():
    for wrong in (lambda d, a: [right(d, a)[0].T], lambda d, a: [np.vstack([d, d])]):
        with pytest.raises(ConfigError, match="of its own shape"):
            check_pair(softmax_forward, wrong, [A])
    with pytest.raises(ConfigError, match="int64.*any other input None"):
        check_pair(lambda a: a * a, lambda d, a: [5 * d], [np.array([1, 2, 3])])
    with pytest.raises(ConfigError, match="2 inputs, 1 gradients"):
        check_pair(lambda a, b: a + b, lambda d, a, b: d, [A, A])
    with pytest.raises(ConfigError, match="2 names"):
        check_pair(softmax_forward, right, [A], names=["a", "b"])
    with pytest.raises(ConfigError, match="method='forward'"):
        check_pair(softmax_forward, right, [A], method="forward")
    with pytest.raises(ConfigError, match=r"names hold \[3\] entries"):
        check_entries(np.sum, np.ones(4), np.ones(4), {"a": (3,)})
    with pytest.raises(ConfigError, match=r"names hold \[4, 0\] entries"):
        check_entries(np.sum, np.ones(4), np.ones(4), {"a": (4,), "b": (0,)})
    with pytest.raises(ConfigError, match="entries=0"):
        check_entries(np.sum, np.ones(4), np.ones(4), entries=0)
    for check in (check_entries, check_direction):
        with pytest.raises(ConfigError, match="dtheta"):
            check(np.sum, np.ones(4), np.ones((4, 1)))
        assert check(np.sum, [0.5, 1.0], [1.0, 1.0]).passed


@pytest.mark.parametrize("method", METHODS)
def test_both_zero_is_no_error(method):
    report = check_pair(lambda a: 0 * a, lambda d, a: [0 * d], [A], method=method)
    assert report.max_error == 0 and report.passed


def planted(tensor):
    """A model whose backward leaves a thousandth of one tensor's gradient out."""

    class Planted(VAE):
        def backward(self, acts):
            super().backward(acts)
            self.gradients()[tensor] *= 0.999

    return Planted(VAEConfig(data_dim=6, latent_dim=2, num_classes=3))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tensor", ["encoder.0.W", "encoder.log_var.b", "decoder.out.W"])
def test_check_model_finds_the_tensor_that_is_wrong(tensor, method):
    labels = np.array([0, 1, 2, 0])
    report = check_model(planted(tensor), X, labels, entries=None, method=method)
    assert not report.passed
    assert report.rows[0].name == tensor
    assert report.rows[0].error == pytest.approx(1e-3, rel=1e-3)
    assert all(row.passed for row in report.rows[1:])
    direction = problem(planted(tensor), X, labels)[:3]
    assert not check_direction(*direction, method=method).passed


class OneEntryLost(VAE):
    def backward(self, acts):
        super().backward(acts)
        self.gradients()["encoder.0.W"][3, 1] = 0


def test_entries_are_drawn_by_the_seed_and_the_worst_is_named_by_its_place():
    vae = OneEntryLost(SMALL)
    rows = {row.name: row for row in check_model(vae, X, entries=None).rows}
    assert rows["encoder.0.W"].index == (3, 1) and rows["encoder.0.W"].error > 1e-4
    found = [not check_model(vae, X, seed=seed, entries=10).passed for seed in range(30)]
    assert 3 < sum(found) < 20  # one entry of 30, a third of the time
    for seed in range(30):
        if found[seed]:
            assert check_model(vae, X, seed=seed, entries=10).rows[0].index == (3, 1)
        assert not check_direction(*problem(vae, X, seed=seed)[:3], seed=seed).passed


def test_the_largest_gradient_of_a_tensor_is_always_among_its_entries():
    """Else a few entries of a tensor that is mostly zeros would compare nothing."""
    theta, gradient = np.ones(1000), np.zeros(1000)
    gradient[417] = 1
    for entries in (1, 3):
        report = check_entries(lambda t: t[417] ** 2, theta, gradient, entries=entries)
        assert not report.passed and report.rows[0].index == (417,)


def test_check_direction_measures_the_error_relative_to_the_gradient():
    theta = RNG.standard_normal(1000)
    v = np.random.default_rng([7, DIRECTION]).standard_normal(1000)
    v /= np.linalg.norm(v)
    for wrong, analytic in ((0.01 * v, theta + 0.01 * v), (0 * v, theta)):
        report = check_direction(lambda t: np.sum(t * t) / 2, theta, analytic, seed=7)
        [row] = report.rows
        size = max(np.linalg.norm(analytic) / np.sqrt(1000), abs(theta @ v))
        assert row.error == pytest.approx(abs(wrong @ v) / size, rel=1e-10, abs=1e-13)
        assert row.analytic == pytest.approx(analytic @ v, rel=1e-12)


def test_one_direction_of_a_million_parameters():
    """784-500-20 with a learned scale; relative to ‖dtheta‖."""
    images, _, _ = datasets.strokes(20)
    vae = VAE(
        VAEConfig(
            latent_dim=20,
            encoder_layers=(500,),
            decoder_layers=(500,),
            activation="tanh",
            likelihood="gaussian_learned",
            num_classes=0,
        )
    )
    assert vae.theta.size == 1_208_608
    given = problem(vae, images)[:3]
    seconds = []
    for seed in range(5):
        start = time.process_time()  # of all threads; it does not count those of a neighbour
        report = check_direction(*given, seed=seed)
        seconds.append(time.process_time() - start)
        assert report.passed and report.max_error <= 1e-13, f"\n{report}"
    print(f"{report}\nseconds: {min(seconds):.3f}")
    assert min(seconds) < 0.3


def test_float32_shows_its_own_rounding():
    report = check_model(VAE(SMALL), X, method="both", dtype="float32")
    assert report.passed and 1e-9 < report.max_error < TOLERANCE_FLOAT32
    forward, backward = softmax_forward, right
    report = check_pair(forward, backward, [A.astype(np.float32)])
    assert report.passed and 1e-9 < report.max_error < TOLERANCE_FLOAT32
    loss, theta, dtheta, names = problem(VAE(SMALL), X, dtype="float32")
    assert dtheta.dtype == np.float32
    assert 1e-9 < check_direction(loss, theta, dtheta).max_error < TOLERANCE_FLOAT32


def test_the_gradient_of_float32_and_of_float64_are_checked_at_the_same_weights():
    single, double = (problem(VAE(SMALL), X, dtype=dtype)[2] for dtype in ("float32", "float64"))
    assert 0 < relative_error(single, double) < 1e-6


def test_check_model_draws_noise(monkeypatch):
    """A mistake in the path through eps is seen only where eps is not 0."""
    backward = distributions.reparameterize_backward

    def wrong(dz, var, eps):
        dmu, dvar = backward(dz, var, eps)
        return dmu, 0.9 * dvar

    monkeypatch.setattr(distributions, "reparameterize_backward", wrong)
    assert not check_model(VAE(SMALL), X).passed


@pytest.mark.parametrize("method", METHODS)
def test_a_report_prints_as_a_table_of_100_columns_the_worst_first(method):
    report = check_model(planted("encoder.0.W"), X, np.array([0, 1, 2, 0]), method=method)
    lines = str(report).splitlines()
    assert "encoder.0.W" in lines[1]
    assert any(line.startswith("FAILED: encoder.0.W; largest error 1.0e-03") for line in lines)
    assert ("complex step" in lines[0]) == (method != "central")
    assert ("central diff." in lines[0]) == (method != "complex")
    assert max(map(len, lines)) <= 100
    errors = [row.error for row in report.rows]
    assert errors == sorted(errors, reverse=True)
    names = {f"a long name, number {i}": (1,) for i in range(60)}
    wrong = check_entries(np.sum, np.ones(60), -1e-300 * np.ones(60), names, method=method)
    assert max(map(len, str(wrong).splitlines())) <= 100
    assert all(name in " ".join(str(wrong).split()) for name in names)
    long = check_entries(np.sum, np.ones(1), np.ones(1), {"x" * 30: (1,)}, method=method)
    assert f"{'x' * 22}… " in str(long) and "kink" not in str(long)


def test_the_step_of_both_is_the_central_difference_s():
    coarse, fine = (
        check_pair(softmax_forward, right, [A], method="both", step=step) for step in (1e-2, 1e-4)
    )
    assert coarse.max_error == fine.max_error < 1e-13
    assert coarse.rows[0].central_error > 1000 * fine.rows[0].central_error


def test_a_row_that_fails_stands_before_one_that_passes_with_a_larger_error():
    def forward(a, b):
        return np.exp(300 * a) + b * b

    def backward(d, a, b):
        return 300 * d * np.exp(300 * a), 2 * d * b * (1 + 1e-14)

    report = check_pair(forward, backward, [A / 100, A], ["curved", "b"], method="both")
    assert [row.name for row in report.rows] == ["curved", "b"]
    assert [row.passed for row in report.rows] == [False, True]
    assert report.max_error == report.rows[1].error > report.rows[0].error


def test_entries_are_distinct():
    moved = []

    def loss(theta):
        moved.extend(np.flatnonzero(theta.imag).tolist())
        return np.sum(theta)

    check_entries(loss, np.ones(50), np.arange(50.0), entries=49)
    assert len(moved) == len(set(moved)) == 49 and 49 in moved


def test_the_step_reaches_check_model():
    errors = [check_model(VAE(SMALL), X, method="central", step=h).max_error for h in (1e-2, 1e-4)]
    assert errors[0] > 100 * errors[1]


def test_the_seed_draws_the_noise_and_the_upstream_gradient():
    dtheta = [problem(VAE(SMALL), X, seed=seed)[2] for seed in (0, 0, 1)]
    assert np.array_equal(dtheta[0], dtheta[1]) and not np.array_equal(dtheta[0], dtheta[2])
    rows = [check_pair(softmax_forward, right, [A], seed=seed).rows[0] for seed in (0, 0, 1)]
    assert rows[0] == rows[1] and rows[0].analytic != rows[2].analytic


def test_checking_leaves_what_it_is_given_as_it_was():
    a = A.copy()
    check_pair(softmax_forward, right, [a], method="both")
    assert a.flags.writeable and np.array_equal(a, A)


def test_nan_is_an_infinite_error():
    report = check_pair(softmax_forward, not_a_number, [A])
    assert report.max_error == math.inf and "inf" in str(report)


def test_checking_leaves_the_model_as_it_was():
    vae = VAE(SMALL)
    theta, dtheta = vae.theta.copy(), vae.dtheta.copy()
    check_model(vae, X, method="both")
    check_direction(*problem(vae, X)[:3])
    assert np.array_equal(vae.theta, theta) and np.array_equal(vae.dtheta, dtheta)


def test_the_tolerances_are_those_that_are_promised():
    assert TOLERANCES == {"complex": 1e-13, "central": 1e-6}
    assert math.log10(TOLERANCE_FLOAT32) == -5
