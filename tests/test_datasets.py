"""Strokes show what their factors say; MNIST is MNIST."""

import numpy as np
import pytest

from minivae import datasets, errors


@pytest.fixture(scope="module")
def sheet():
    return datasets.strokes(4000, seed=3)


def test_load_strokes():
    images, labels = datasets.load("strokes")
    test_images, test_labels = datasets.load("strokes", "test")
    assert images.shape == (20_000, 784) and test_images.shape == (4_000, 784)
    assert images.dtype == np.float32 and labels.dtype == np.int64
    assert images.min() == 0 and images.max() == 1
    assert (np.bincount(labels) == 2_000).all() and (np.bincount(test_labels) == 400).all()


def test_strokes_are_levels_of_grey_as_in_a_file():
    levels = datasets.strokes(50)[0] * 255
    np.testing.assert_allclose(levels, levels.round(), atol=1e-4)


def test_a_seed_gives_its_strokes_again(sheet):
    again, other = datasets.strokes(4000, seed=3), datasets.strokes(4000, seed=4)
    assert np.array_equal(again[0], sheet[0]) and np.array_equal(again[1], sheet[1])
    assert not np.array_equal(other[0], sheet[0])


def test_nothing_is_cut_off_at_the_border(sheet):
    frames = sheet[0].reshape(-1, 28, 28)
    border = np.concatenate([frames[:, [0, -1], :], frames[:, :, [0, -1]].swapaxes(1, 2)], axis=1)
    assert np.mean(border.max(axis=(1, 2)) > 0.5) < 0.01


def test_a_digit_is_like_its_kind(sheet):
    images, labels, _ = sheet
    means = np.stack([images[:2000][labels[:2000] == digit].mean(axis=0) for digit in range(10)])
    distance = ((images[2000:, None] - means) ** 2).sum(axis=2)
    assert np.mean(distance.argmin(axis=1) == labels[2000:]) > 0.9


def moments(images):
    """Centre (x, y), variances and covariance of the ink of each image, and its amount."""
    ink = images.reshape(-1, 28, 28).astype(float)
    total = ink.sum(axis=(1, 2))
    pixel = np.arange(28) - 13.5
    x = (ink.sum(axis=1) @ pixel) / total
    y = (ink.sum(axis=2) @ pixel) / total
    xx = (ink.sum(axis=1) @ pixel**2) / total - x**2
    yy = (ink.sum(axis=2) @ pixel**2) / total - y**2
    xy = np.einsum("byx,x,y->b", ink, pixel, pixel) / total - x * y
    return {"x": x, "y": y, "xx": xx, "yy": yy, "lean": -xy / yy, "ink": total}


def test_geometric_factors_are_seen_in_the_moments_of_the_ink(sheet):
    images, labels, factors = sheet
    symmetric = np.isin(labels, [0, 1, 8])
    ink = {name: values[symmetric] for name, values in moments(images).items()}
    regressors = np.stack([values[symmetric] for values in factors.values()], axis=1)
    regressors = np.hstack([regressors, np.eye(10)[labels[symmetric]]])
    # d lean / d rotation, by the rotation of the moments; a round thing shows nothing.
    turning = np.mean(1 - ink["xx"] / ink["yy"] + 2 * ink["lean"] ** 2)
    for factor, moment, slope in [
        ("offset_x", "x", 1),  # a pixel to the right moves the ink's centre by one
        ("offset_y", "y", 1),
        ("slant", "lean", 1),
        ("rotation", "lean", turning),
    ]:
        slopes = dict(zip(factors, np.linalg.lstsq(regressors, ink[moment], rcond=None)[0]))
        assert slopes[factor] == pytest.approx(slope, rel=0.1), factor


@pytest.mark.parametrize(
    "factor, moment", [("thickness", "ink"), ("width", "xx"), ("height", "yy")]
)
def test_size_factors_are_seen_in_the_moments_of_the_ink(sheet, factor, moment):
    images, labels, factors = sheet
    for digit in (0, 3, 8):
        of_digit = labels == digit
        seen = moments(images)[moment][of_digit]
        assert np.corrcoef(factors[factor][of_digit], seen)[0, 1] > 0.5


def test_a_straight_stroke_is_as_thick_as_its_factor_says(sheet):
    images, labels, factors = sheet
    ones = np.flatnonzero(labels == 1)
    middle = images[ones].reshape(-1, 28, 28)[:, 14]  # one row of pixels across the stem
    ratio = middle.sum(axis=1) / factors["thickness"][ones]
    assert np.median(ratio) == pytest.approx(1, abs=0.1)


def test_factors_are_independent(sheet):
    values = np.stack(list(sheet[2].values()))
    correlation = np.corrcoef(values) - np.eye(len(values))
    assert abs(correlation).max() < 5 / np.sqrt(4000)


def test_speed_drives_slant_and_thickness_and_leaves_the_rest(sheet):
    images, labels, factors = datasets.strokes(4000, seed=3, speed=True)
    assert list(factors) == [*sheet[2], "speed"]
    assert np.array_equal(labels, sheet[1]) and not np.array_equal(images, sheet[0])
    for name, values in sheet[2].items():
        error = values.std() / np.sqrt(4000)  # of a mean; of a spread it is less than this
        if name not in ("slant", "thickness"):
            assert np.array_equal(factors[name], values)
        assert factors[name].mean() == pytest.approx(values.mean(), abs=5 * error)
        assert factors[name].std() == pytest.approx(values.std(), abs=5 * error)
    slant, thickness, speed = (factors[name] for name in ("slant", "thickness", "speed"))
    assert np.corrcoef(slant, thickness)[0, 1] == pytest.approx(-0.9, abs=0.02)
    assert np.corrcoef(slant, speed)[0, 1] > 0.9 and np.corrcoef(thickness, speed)[0, 1] < -0.9
    assert images.dtype == np.float32 and slant.dtype == np.float32


def test_mnist(mnist):
    (images, labels), (test_images, test_labels) = mnist
    assert images.shape == (60_000, 784) and test_images.shape == (10_000, 784)
    assert images.dtype == np.float32 and images.min() == 0 and images.max() == 1
    assert labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert images.mean() == pytest.approx(0.1307, abs=5e-5)  # the constant that all the world uses


@pytest.mark.parametrize(
    "name, split", [("cifar", "train"), ("mnist", "validation"), ("mnist", [])]
)
def test_an_unknown_name_is_refused(name, split):
    with pytest.raises(errors.DataError, match="'mnist' or 'strokes'"):
        datasets.load(name, split)
