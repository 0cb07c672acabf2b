"""One vector, its views, and where it starts."""

import numpy as np
import scipy.stats

from minivae import parameters

SHAPES = {"one.W": (300, 200), "one.b": (200,), "two.W": (200, 100), "two.b": (100,)}


def test_views_are_the_vector_itself_in_order_and_without_a_gap():
    theta = np.arange(float(parameters.size(SHAPES)))
    named = parameters.views(theta, SHAPES)
    assert {name: view.shape for name, view in named.items()} == SHAPES
    assert np.array_equal(np.concatenate([view.ravel() for view in named.values()]), theta)
    named["two.b"][:] = -1
    assert (theta[-100:] == -1).all()


def test_E15_glorot_uniform():
    theta = parameters.glorot_uniform(SHAPES, seed=0)
    assert theta.dtype == np.float32
    for name, view in parameters.views(theta, SHAPES).items():
        if name.endswith(".b"):
            assert (view == 0).all()
            continue
        r = np.sqrt(6 / (view.shape[0] + view.shape[1]))
        # Of n uniform draws the largest is within r (1 − 20/n), but for exp(−20) of cases.
        assert r * (1 - 20 / view.size) < abs(view).max() <= r * (1 + 1e-6)
        uniform = scipy.stats.uniform(-r, 2 * r)
        assert scipy.stats.kstest(view.ravel(), uniform.cdf).pvalue > 1e-6
        # The variance that the paper asks for, 2 / (n_in + n_out); 5 standard errors.
        standard_error = 2 / sum(view.shape) * np.sqrt(0.8 / view.size)
        assert abs(view.var() - 2 / sum(view.shape)) < 5 * standard_error


def test_a_seed_gives_its_weights_again_and_another_seed_others():
    again = [parameters.glorot_uniform(SHAPES, seed) for seed in (0, 0, 1)]
    assert np.array_equal(again[0], again[1])
    assert not np.array_equal(again[0], again[2])
