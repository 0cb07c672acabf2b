"""The gradient checks find what is wrong, name it, and explain what a central difference misses."""

import math

import numpy as np
import pytest
from derivatives import relative_error

from minivae import VAE, VAEConfig, datasets
from minivae.config import stream
from minivae.devices import ops
from minivae.distributions import reparameterize_backward
from minivae.errors import ConfigError
from minivae.gradcheck import (
    check_direction,
    check_entries,
    check_model,
    check_pair,
    loss_and_gradient,
    slopes,
    tolerances,
)
from minivae.layers import relu_backward, relu_forward, softmax_backward, softmax_forward

RNG = np.random.default_rng(0)
A = RNG.standard_normal((4, 3))
SMALL = VAEConfig(data_dim=6, latent_dim=2, encoder_layers=(5,), num_classes=0)
X = RNG.random((4, 6))
LABELS = np.array([0, 1, 2, 0])
SINGLE = tolerances("float32")["complex"]
by_each_method = pytest.mark.parametrize("method", ["complex", "central", "both"])
on_both_sides = pytest.mark.parametrize("distance", [-9.9e-5, -3e-5, -1e-7, 1e-7, 3e-5, 9.9e-5])


def right(d, a):
    return [softmax_backward(d, softmax_forward(a))]


def one_entry_off(d, a):
    gradient = right(d, a)[0]
    gradient[2, 1] *= 1.00001
    return [gradient]


def diagonal_only(d, a):
    p = softmax_forward(a)
    return [d * p * (1 - p)]


def relu_of_input(dh, a):
    return [relu_backward(dh, relu_forward(a))]


def exponential(a):
    """exp(300 a): its slopes on the two sides of a step differ by 3 percent, without a kink."""
    return np.exp(300 * a)


def exponential_backward(d, a):
    return [300 * d * np.exp(300 * a)]


def joined(report):
    """The printed report, with its line breaks undone."""
    return " ".join(str(report).split())


slopes_at_0 = pytest.mark.parametrize(
    "f, slope", [(np.exp, 1.0), (np.sin, 1.0), (lambda t: (t - 3) ** 2, -6.0)]
)


@slopes_at_0
def test_E20_complex_step_is_the_derivative_to_rounding(f, slope):
    assert slopes.complex_step(f) == pytest.approx(slope, rel=1e-15)
    assert slopes.complex_step(f, 1e-200) == pytest.approx(slope, rel=1e-15)
    errors = [slopes.complex_step(np.exp, h) - 1 for h in (1e-1, 1e-2)]
    assert errors == pytest.approx([-1e-2 / 6, -1e-4 / 6], rel=1e-3)  # −h² f‴ / 6


@slopes_at_0
def test_E21_central_difference_is_the_derivative(f, slope):
    assert slopes.central_difference(f) == pytest.approx(slope, rel=1e-8)
    errors = [slopes.central_difference(np.exp, h) - 1 for h in (1e-1, 1e-2)]
    assert errors == pytest.approx([1e-2 / 6, 1e-4 / 6], rel=1e-3)  # h² f‴ / 6


@pytest.mark.parametrize("f", [np.abs, lambda t: np.real(t) ** 2])
def test_a_function_without_a_complex_step_is_refused(f):
    with pytest.raises(ConfigError, match='real for a complex .* method="central"'):
        slopes.complex_step(f)


@by_each_method
def test_a_right_pair_passes(method):
    report = check_pair(softmax_forward, right, [A], names=["logits"], method=method)
    [row] = report.rows
    assert report.passed and row.name == "logits" and row.kinks == row.unresolved == 0
    assert row.error < (1e-6 if method == "central" else 1e-15)
    if method == "both":
        assert 1e-15 < row.central_error < 1e-6
        assert row.central == pytest.approx(row.numeric, rel=1e-6)
    else:
        assert row.central is row.central_error is None


@by_each_method
@pytest.mark.parametrize("wrong", [one_entry_off, diagonal_only])
def test_a_wrong_pair_fails_and_its_worst_entry_is_named(wrong, method):
    report = check_pair(softmax_forward, wrong, [A], method=method)
    [row] = report.rows
    assert not report.passed and "FAILED: input 0" in str(report)
    if wrong is one_entry_off:
        assert row.index == (2, 1)
        assert row.analytic == pytest.approx(1.00001 * row.numeric, rel=1e-7)


@by_each_method
@pytest.mark.parametrize("gradient, error", [(0, 0), (1, 1), (np.nan, math.inf)])
def test_a_function_that_is_0_everywhere(gradient, error, method):
    report = check_pair(lambda a: 0 * a, lambda d, a: [gradient * d], [A], method=method)
    assert report.max_error == error and report.passed == (error == 0)
    assert f"largest error {error:.1e}" in str(report)


def test_several_outputs_several_inputs_and_whole_numbers_without_a_gradient():
    def forward(a, b, rows):
        return a * b, a[rows]

    def backward(dproduct, dchosen, a, b, rows):
        da = dproduct * b
        np.add.at(da, rows, dchosen)
        return da, dproduct * a, None

    names = ["a", "b", "rows"]
    report = check_pair(forward, backward, [A, A.T.copy().T, np.array([2, 0, 0])], names)
    assert report.passed and {row.name for row in report.rows} == {"a", "b"}


def test_the_upstream_gradient_is_random_and_not_ones():
    """The rows of a softmax add up to 1: with ones the gradient is 0, whatever the Jacobian is."""
    assert not check_pair(softmax_forward, lambda d, a: [0 * a], [A]).passed


def test_the_random_numbers_are_not_those_of_the_user_s_default_rng():
    """If the upstream gradient were the input itself, d · (d > 0) would be the ReLU's gradient."""
    for seed in range(3):
        a = np.random.default_rng(seed).standard_normal((4, 6))
        assert not check_pair(relu_forward, lambda d, a: [d * (d > 0)], [a], seed=seed).passed
        [row] = check_direction(lambda t: t @ t / 2, a.ravel(), a.ravel(), seed=seed).rows
        assert abs(row.analytic) < 0.9 * np.linalg.norm(a)  # the direction is not theta's


def test_a_backward_that_changes_its_operands_raises_where_it_does():
    def mutates_upstream(d, a):
        d *= a
        return [d]

    def mutates_input(d, a):
        a *= 2
        return [d * a]

    a = A.copy()
    for wrong in (mutates_upstream, mutates_input):
        with pytest.raises(ValueError, match="read-only"):
            check_pair(lambda a: a * a / 2, wrong, [a])
    assert a.flags.writeable and np.array_equal(a, A)


@on_both_sides
def test_a_kink_within_the_step_is_explained_and_does_not_fail(distance):
    a = A.copy()
    a[1, 2] = distance
    report = check_pair(relu_forward, relu_of_input, [a], method="both")
    [row] = report.rows
    assert report.passed and report.max_error < 1e-15
    assert (row.kinks, row.unresolved) == (1, 0)
    assert row.index == (1, 2) and row.central_error > 1e-4  # the entry that is explained is shown
    assert "complex step alone; a kink or strong curvature within the step" in joined(report)
    assert "input 0 (1) passed" in joined(report)
    assert check_pair(relu_forward, relu_of_input, [a]).rows[0].kinks == 0


@on_both_sides
@pytest.mark.parametrize("wrong", [1e-12, -1e-7, 0.3])
def test_a_wrong_gradient_at_a_kink_fails_by_the_complex_step(wrong, distance):
    def loss(theta):
        return theta[0] + relu_forward(theta[0] - distance)

    gradient = np.array([1.0 + (distance < 0) + wrong])
    for method in ("complex", "both"):
        report = check_entries(loss, np.zeros(1), gradient, method=method)
        assert not report.passed and report.rows[0].kinks == 0
    assert check_entries(loss, np.zeros(1), gradient - wrong, method="both").passed


def test_a_kink_does_not_excuse_the_other_entries():
    def loss(theta):
        return 1e4 * relu_forward(theta[0] - 5e-5) + theta[0] + np.sum(theta[1:] ** 2)

    theta, dtheta = np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.001, 4.0])
    [row] = check_entries(loss, theta, dtheta, method="both").rows
    assert row.kinks == 1 and not row.passed and row.index == (1,)
    assert row.error == pytest.approx(2.5e-4, rel=0.01)


def test_curvature_is_explained_like_a_kink():
    report = check_pair(exponential, exponential_backward, [A / 100], method="both")
    [row] = report.rows
    assert report.passed and row.error < 1e-13 and row.kinks > 0 and row.unresolved == 0
    assert row.central_error == pytest.approx(0.03**2 / 6, rel=0.01)  # h² f‴ / 6 f′
    assert "central differences 1.5e-04" in str(report) and "strong curvature" in joined(report)
    assert abs(row.central / row.analytic - 1) > 1e-4
    finer = check_pair(exponential, exponential_backward, [A / 100], method="both", step=1e-6)
    assert finer.rows[0].kinks == 0 and finer.rows[0].error == row.error


def flat_beside_a_large_number(theta):
    return 1e9 + np.sum(theta * theta) / 2


@pytest.mark.parametrize("theta", [[1e-3, 2e-3, 3e-3], [1e-3, 0.0, 0.0], [0.0, 0.0, 0.0]])
def test_a_difference_below_its_rounding_error_is_called_not_resolved(theta):
    """10 |f| ε / h is 0.022, so a gradient of 0.003 is lost in it."""
    report = check_entries(flat_beside_a_large_number, theta, theta, method="both")
    [row] = report.rows
    assert report.passed and row.error < 1e-15 and row.kinks == 0
    assert ("alone; not resolved: the difference" in joined(report)) == (row.unresolved > 0)
    assert (row.unresolved > 0) == (row.central_error > 0)
    wrong = np.add(theta, [0, 1e-12, 0])
    report = check_entries(flat_beside_a_large_number, theta, wrong, method="both")
    assert not report.passed and report.rows[0].index == (1,)


@pytest.mark.parametrize("jump, step, kinks", [(1, 1e-4, 1), (0.01, 1e-4, 0), (0.01, 1e-2, 1)])
def test_a_kink_is_told_from_rounding_where_it_is_larger(jump, step, kinks):
    """The rounding error is estimated as 0.022 at a step of 1e-4, and as 0.00022 at 1e-2."""
    def loss(theta):
        return flat_beside_a_large_number(theta) + jump * relu_forward(theta[0] - 1e-5)

    theta = np.array([0.0, 1e-3, 2e-3])
    [row] = check_entries(loss, theta, theta, method="both", step=step).rows
    assert row.passed and row.kinks == kinks and row.unresolved >= 1 - kinks
    assert row.index == (0,) or not kinks


@pytest.mark.parametrize(
    "options",
    [
        {f"{part}_layers": (32,) * 8 for part in ("encoder", "decoder", "classifier")},
        {"beta": 1e6},
        {"decoder_std": 100.0},
    ],
    ids=["eight layers", "beta", "decoder_std"],
)
def test_models_whose_gradients_are_small_beside_the_loss_pass(options):
    """Central differences alone cannot resolve them."""
    images, labels, _ = datasets.strokes(4)
    vae = VAE(VAEConfig(**options), seed=2)
    loss, theta, dtheta, names = loss_and_gradient(vae, images, labels)
    entries = check_entries(loss, theta, dtheta, names, entries=10, method="both")
    direction = check_direction(loss, theta, dtheta, method="both")
    assert entries.passed and direction.passed and entries.max_error < 1e-13
    assert max(row.central_error for row in entries.rows) > 1e-6
    assert sum(row.unresolved for row in entries.rows) > 0 == sum(row.kinks for row in entries.rows)


@pytest.mark.parametrize(
    "forward, backward, inputs",
    [
        (relu_forward, relu_of_input, [np.full((1, 1), 1e-5)]),
        (exponential, exponential_backward, [A / 100]),
        (lambda a: 1e12 + a, lambda d, a: [d], [A]),
        (softmax_forward, diagonal_only, [A]),
    ],
    ids=["kink", "curvature", "rounding", "mistake"],
)
def test_central_differences_alone_cannot_tell_a_mistake_and_say_so(forward, backward, inputs):
    report = check_pair(forward, backward, inputs, method="central")
    assert not report.passed and report.rows[0].kinks == report.rows[0].unresolved == 0
    assert "cannot tell a wrong gradient from a kink or strong curvature" in joined(report)
    assert 'or from rounding: try method="both".' in joined(report)
    right = forward is not softmax_forward
    assert check_pair(forward, backward, inputs, method="both").passed == right


def test_a_function_without_a_complex_step_inside_a_complex_sum():
    """The complex step of a + |a| is wrong, and the central difference is right."""
    def backward(d, a):
        return [d * (1 + np.sign(a))]

    for method in ("complex", "both"):
        report = check_pair(lambda a: a + np.abs(a), backward, [A], method=method)
        assert not report.passed and report.max_error > 0.1 and "abs, norm" in str(report)
    assert report.rows[0].central_error < 1e-6
    assert check_pair(lambda a: a + np.abs(a), backward, [A], method="central").passed


def test_the_error_is_that_of_the_whole_tensor():
    theta = np.array([1.0, 2.0, 3.0])
    report = check_entries(lambda t: np.sum(t * t) / 2, theta, theta + [0, 0.03, 0])
    assert report.max_error == report.rows[0].error == pytest.approx(0.03 / 3, rel=1e-12)
    names = {"a": (1,), "b": (2,)}
    report = check_entries(lambda t: np.sum(t * t) / 2, theta, theta + [0, 0, 1], names)
    assert {row.name: row.error for row in report.rows} == pytest.approx({"a": 0, "b": 1 / 4})
    assert report.rows[0].name == "b" and report.rows[0].index == (1,)


def test_the_largest_gradient_of_a_tensor_is_always_among_its_entries():
    """Otherwise a few entries of a tensor that is mostly zeros would compare nothing."""
    theta, gradient = np.ones(1000), np.zeros(1000)
    gradient[417] = 1
    for entries in (1, 3):
        report = check_entries(lambda t: t[417] ** 2, theta, gradient, entries=entries)
        assert not report.passed and report.rows[0].index == (417,)


def test_entries_are_distinct():
    moved = []

    def loss(theta):
        moved.extend(np.flatnonzero(theta.imag).tolist())
        return np.sum(theta)

    check_entries(loss, np.ones(50), np.arange(50.0), entries=49)
    assert len(moved) == len(set(moved)) == 49 and 49 in moved


def test_check_direction_measures_the_error_relative_to_the_gradient():
    theta = RNG.standard_normal(1000)
    v = stream(7, "direction").standard_normal(1000)
    v /= np.linalg.norm(v)
    for wrong in (0.01 * v, 0 * v):
        analytic = theta + wrong
        [row] = check_direction(lambda t: np.sum(t * t) / 2, theta, analytic, seed=7).rows
        size = max(np.linalg.norm(analytic) / np.sqrt(1000), abs(theta @ v))
        assert row.error == pytest.approx(abs(wrong @ v) / size, rel=1e-10, abs=1e-13)
        assert row.analytic == pytest.approx(analytic @ v, rel=1e-12)


def test_the_usual_size_of_a_derivative_along_a_direction():
    gradient = np.array([3.0, 4.0] + 98 * [0.0])
    slopes = [
        check_direction(lambda t: t @ gradient, gradient, gradient, seed=seed).rows[0].numeric
        for seed in range(400)
    ]
    assert np.sqrt(np.mean(np.square(slopes))) == pytest.approx(5 / math.sqrt(100), rel=0.2)


@pytest.mark.parametrize("method, calls", [("complex", 1), ("central", 2), ("both", 4)])
def test_a_direction_takes_the_same_few_calls_for_a_million_parameters(method, calls):
    images, _, _ = datasets.strokes(4)
    layers = {"encoder_layers": (500,), "decoder_layers": (500,), "activation": "tanh"}
    config = VAEConfig(latent_dim=20, likelihood="gaussian_learned", num_classes=0, **layers)
    loss, theta, dtheta, _ = loss_and_gradient(VAE(config), images)
    counted = []

    def counting(theta):
        counted.append(theta.dtype)
        return loss(theta)

    assert len(theta) == 1_208_608
    report = check_direction(counting, theta, dtheta, method=method)
    assert report.passed and len(counted) == calls
    assert report.max_error <= tolerances()["central" if method == "central" else "complex"]
    counted.clear()
    check_entries(counting, theta, dtheta, entries=2, method=method)
    assert len(counted) == {"complex": 2, "central": 4, "both": 2 + 4 + 1}[method]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="no gradient"):
        check_pair(softmax_forward, lambda d, a: [None], [A])
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


def test_the_step_is_that_of_the_method_and_with_both_of_the_central_difference():
    errors = [check_model(VAE(SMALL), X, method="central", step=h).max_error for h in (1e-2, 1e-4)]
    assert errors[0] > 100 * errors[1]
    coarse, fine = (
        check_pair(softmax_forward, right, [A], method="both", step=step) for step in (1e-2, 1e-4)
    )
    assert coarse.max_error == fine.max_error < 1e-13
    assert coarse.rows[0].central_error > 1000 * fine.rows[0].central_error
    assert check_entries(lambda t: t @ t / 2, [2.5], [2.5], method="central", step=1).passed


def planted(tensor):
    """A model whose backward leaves a thousandth of one tensor's gradient out."""

    class Planted(VAE):
        def backward(self, acts):
            super().backward(acts)
            self.gradients()[tensor] *= 0.999

    return Planted(VAEConfig(data_dim=6, latent_dim=2, num_classes=3))


class OneEntryLost(VAE):
    def backward(self, acts):
        super().backward(acts)
        self.gradients()["encoder.0.W"][3, 1] = 0


@by_each_method
@pytest.mark.parametrize("tensor", ["encoder.0.W", "encoder.log_var.b", "decoder.out.W"])
def test_check_model_finds_the_tensor_that_is_wrong(tensor, method):
    report = check_model(planted(tensor), X, LABELS, entries=None, method=method)
    assert not report.passed
    assert report.rows[0].name == tensor
    assert report.rows[0].error == pytest.approx(1e-3, rel=1e-3)
    assert all(row.passed for row in report.rows[1:])
    loss, theta, dtheta, _ = loss_and_gradient(planted(tensor), X, LABELS)
    assert not check_direction(loss, theta, dtheta, method=method).passed


def test_entries_are_drawn_by_the_seed_and_the_worst_is_named_by_its_place():
    vae = OneEntryLost(SMALL)
    rows = {row.name: row for row in check_model(vae, X, entries=None).rows}
    assert rows["encoder.0.W"].index == (3, 1) and rows["encoder.0.W"].error > 1e-4
    reports = [check_model(vae, X, seed=seed, entries=10) for seed in range(30)]
    found = [report for report in reports if not report.passed]
    assert 3 < len(found) < 20  # 10 entries of 30
    assert all(report.rows[0].index == (3, 1) for report in found)
    for seed in range(30):
        given = loss_and_gradient(vae, X, seed=seed)
        assert not check_direction(given.loss, given.theta, given.dtheta, seed=seed).passed


def test_loss_and_gradient_is_the_model_s():
    vae = planted("encoder.0.W")
    loss, theta, dtheta, names = loss_and_gradient(vae, X, LABELS, seed=5)
    exact = vae.astype("float64")
    value, acts = exact.forward(X, stream(5, "noise").standard_normal((4, 2)), LABELS)
    exact.backward(acts)
    assert loss(theta) == value and loss(theta.astype(complex)) == pytest.approx(value, rel=1e-15)
    assert np.array_equal(theta, vae.theta) and np.array_equal(dtheta, exact.dtheta)
    assert names == {name: W.shape for name, W in vae.parameters().items()}
    assert loss(theta + 0.1) != loss(theta)
    assert np.array_equal(theta, vae.theta) and not np.any(vae.dtheta)  # as they were


def test_images_of_bytes_are_scaled_as_in_training():
    images = np.round(255 * X).astype(np.uint8)
    for dtype in ("float32", "float64"):
        loss, theta, dtheta, _ = loss_and_gradient(VAE(SMALL), images, dtype=dtype)
        scaled = loss_and_gradient(VAE(SMALL), images / np.array(255, dtype), dtype=dtype)
        assert loss(theta + 0.0) == scaled.loss(theta + 0.0)
        assert np.array_equal(dtheta, scaled.dtheta)


def test_without_label_gradient_the_probabilities_are_constants():
    config = VAEConfig(data_dim=6, latent_dim=2, num_classes=3, label_gradient=False)
    for labels in (LABELS, None):
        assert check_model(VAE(config), X, labels, method="both").passed
    cut, whole = (
        loss_and_gradient(VAE(VAEConfig(**options)), X, LABELS)
        for options in (vars(config), vars(config) | {"label_gradient": True})
    )
    assert cut.loss(cut.theta) == whole.loss(cut.theta)
    report = check_entries(whole.loss, cut.theta, cut.dtheta, cut.names)
    failed = {row.name for row in report.rows if not row.passed}
    assert failed == {name for name in cut.names if name.startswith("classifier")}


def test_float32_shows_its_own_rounding():
    report = check_model(VAE(SMALL), X, method="both", dtype="float32")
    assert report.passed and 1e-9 < report.max_error < SINGLE
    report = check_pair(softmax_forward, right, [A.astype(np.float32)])
    assert report.passed and 1e-9 < report.max_error < SINGLE
    loss, theta, dtheta, _ = loss_and_gradient(VAE(SMALL), X, dtype="float32")
    assert dtheta.dtype == np.float32
    assert 1e-9 < check_direction(loss, theta, dtheta).max_error < SINGLE
    double = loss_and_gradient(VAE(SMALL), X).dtheta
    assert 0 < relative_error(dtheta, double) < 1e-6  # at the same weights


def test_check_model_draws_noise():
    """A mistake in the path through eps is seen only where eps is not 0."""
    def wrong(dz, var, eps):
        dmu, dvar = reparameterize_backward(dz, var, eps)
        return dmu, 0.9 * dvar

    with ops.replaced(reparameterize_backward=wrong):
        assert not check_model(VAE(SMALL), X).passed
    assert check_model(VAE(SMALL), X).passed


def test_the_seed_draws_the_noise_and_the_upstream_gradient():
    dtheta = [loss_and_gradient(VAE(SMALL), X, seed=seed).dtheta for seed in (0, 0, 1)]
    assert np.array_equal(dtheta[0], dtheta[1]) and not np.array_equal(dtheta[0], dtheta[2])
    rows = [check_pair(softmax_forward, right, [A], seed=seed).rows[0] for seed in (0, 0, 1)]
    assert rows[0] == rows[1] and rows[0].analytic != rows[2].analytic


@by_each_method
def test_a_report_prints_as_a_table_of_100_columns_with_the_worst_first(method):
    report = check_model(planted("encoder.0.W"), X, LABELS, method=method)
    lines = str(report).splitlines()
    assert "encoder.0.W" in lines[1]
    assert any(line.startswith("FAILED: encoder.0.W; largest error 1.0e-03") for line in lines)
    assert ("complex step" in lines[0]) == (method != "central")
    assert ("central diff." in lines[0]) == (method != "complex")
    errors = [row.error for row in report.rows]
    assert errors == sorted(errors, reverse=True)
    names = {f"a long name, number {i}": (1,) for i in range(60)}
    wrong = check_entries(np.sum, np.ones(60), -1e-300 * np.ones(60), names, method=method)
    assert all(name in joined(wrong) for name in names)
    long = check_entries(np.sum, np.ones(1), np.ones(1), {"x" * 30: (1,)}, method=method)
    assert f"{'x' * 22}… " in str(long) and "kink" not in str(long)
    assert max(len(line) for each in (report, wrong) for line in str(each).splitlines()) <= 100


def test_a_row_that_fails_stands_before_one_that_passes_with_a_larger_error():
    inputs = [A, A.astype(np.float32)]
    report = check_pair(
        lambda a, b: (a * a, softmax_forward(b)),
        lambda da, db, a, b: (2 * a * da * (1 + 1e-10), *right(db, b)),
        inputs, ["double", "single"],
    )  # fmt: skip
    assert [(row.name, row.passed) for row in report.rows] == [("double", False), ("single", True)]
    assert report.max_error == report.rows[1].error > report.rows[0].error


def test_the_tolerances_are_those_that_are_promised():
    assert tolerances() == {"complex": 1e-13, "central": 1e-6}
    assert tolerances(np.float32) == {"complex": 1e-5, "central": 1e-5}
