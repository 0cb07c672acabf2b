"""The checkers find what is wrong, and name it."""

import numpy as np
import pytest

from minivae import VAE, VAEConfig
from minivae import vae as vae_module
from minivae.errors import ConfigError
from minivae.gradcheck import check_model, check_pair
from minivae.layers import softmax_backward, softmax_forward

RNG = np.random.default_rng(0)
A = RNG.standard_normal((4, 3))


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


def test_a_right_pair_passes():
    report = check_pair(softmax_forward, right, [A], names=["logits"])
    assert report.passed and report.max_error < 1e-6
    assert [row.name for row in report.rows] == ["logits"]


@pytest.mark.parametrize("wrong", [one_entry_off, not_a_number, diagonal_only])
def test_a_wrong_pair_fails(wrong):
    assert not check_pair(softmax_forward, wrong, [A]).passed


def test_the_worst_entry_is_named():
    row = check_pair(softmax_forward, one_entry_off, [A]).rows[0]
    assert row.index == (2, 1)
    assert row.analytic == pytest.approx(1.00001 * row.numeric, rel=1e-7)


def test_several_outputs_several_inputs_and_one_without_a_gradient():
    def forward(a, b, constant):
        return a * b, a + constant

    def backward(dproduct, dsum, a, b, constant):
        return dproduct * b + dsum, dproduct * a, None

    report = check_pair(forward, backward, [A, A + 1, A], names=["a", "b", "constant"])
    assert report.passed and {row.name for row in report.rows} == {"a", "b"}


def test_the_memory_layout_of_an_input_does_not_matter():
    assert check_pair(softmax_forward, right, [np.asfortranarray(A)]).passed
    assert check_pair(softmax_forward, right, [A.T]).passed


def test_a_check_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="no gradient"):
        check_pair(softmax_forward, lambda d, a: [None], [A])


def test_both_zero_is_no_error():
    report = check_pair(lambda a: 0 * a, lambda d, a: [0 * d], [A])
    assert report.max_error == 0


def planted(tensor):
    """A model whose backward leaves a thousandth of one tensor's gradient out."""

    class Planted(VAE):
        def backward(self, acts):
            super().backward(acts)
            self.gradients()[tensor] *= 0.999

    return Planted(VAEConfig(data_dim=6, latent_dim=2, num_classes=3))


@pytest.mark.parametrize("tensor", ["encoder.0.W", "encoder.log_var.b", "decoder.out.W"])
def test_check_model_finds_the_tensor_that_is_wrong(tensor):
    report = check_model(planted(tensor), RNG.random((4, 6)), np.array([0, 1, 2, 0]))
    assert not report.passed
    assert report.rows[0].name == tensor
    assert report.rows[0].error == pytest.approx(1e-3, rel=0.01)
    assert all(row.error < 1e-6 for row in report.rows[1:])


def test_entries_are_drawn_by_the_seed_and_the_worst_is_named_by_its_place():
    class OneEntry(VAE):
        def backward(self, acts):
            super().backward(acts)
            self.gradients()["encoder.0.W"][3, 1] += 1

    vae = OneEntry(VAEConfig(data_dim=6, latent_dim=2, encoder_layers=(5,), num_classes=0))
    x = RNG.random((4, 6))
    rows = {row.name: row for row in check_model(vae, x, entries=None).rows}
    assert rows["encoder.0.W"].index == (3, 1) and rows["encoder.0.W"].error > 0.1
    found = [not check_model(vae, x, seed=seed, entries=10).passed for seed in range(30)]
    assert 3 < sum(found) < 20  # one entry of 30, a third of the time
    for seed in range(30):
        if found[seed]:
            assert check_model(vae, x, seed=seed, entries=10).rows[0].index == (3, 1)


def test_a_gradient_of_the_wrong_shape_is_refused():
    for wrong in (lambda d, a: [right(d, a)[0].T], lambda d, a: [np.vstack([d, d])]):
        with pytest.raises(ConfigError, match="shape"):
            check_pair(softmax_forward, wrong, [A])


def test_check_model_draws_noise(monkeypatch):
    """A mistake in the path through eps is seen only where eps is not 0."""
    backward = vae_module.reparameterize_backward

    def wrong(dz, var, eps):
        dmu, dvar = backward(dz, var, eps)
        return dmu, 0.9 * dvar

    monkeypatch.setattr(vae_module, "reparameterize_backward", wrong)
    vae = VAE(VAEConfig(data_dim=6, latent_dim=2, num_classes=0))
    assert not check_model(vae, RNG.random((4, 6))).passed


def test_a_report_prints_as_a_table_of_100_columns_the_worst_first():
    report = check_model(planted("encoder.0.W"), RNG.random((4, 6)), np.array([0, 1, 2, 0]))
    lines = str(report).splitlines()
    assert "encoder.0.W" in lines[1] and "FAILED" in lines[-1]
    assert max(map(len, lines)) <= 100


def test_checking_leaves_the_model_as_it_was():
    vae = VAE(VAEConfig(data_dim=6, latent_dim=2, num_classes=0))
    theta, dtheta = vae.theta.copy(), vae.dtheta.copy()
    check_model(vae, RNG.random((4, 6)))
    assert np.array_equal(vae.theta, theta) and np.array_equal(vae.dtheta, dtheta)
