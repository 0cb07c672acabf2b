"""The pictures show what they say."""

import numpy as np
import pytest
import scipy.stats
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle

from minivae import VAE, VAEConfig, datasets, plots
from minivae.errors import DataError
from minivae.training import terms

HISTORY = [
    {"epoch": 1, "train_loss_auto_encode": 9.0, "test_loss_auto_encode": 8.0, "train_ce": 2.0},
    {"epoch": 2, "train_loss_auto_encode": 7.0, "test_loss_auto_encode": 6.5, "train_ce": 1.0},
]
SIZES = {"encoder_layers": (8,), "decoder_layers": (8,), "classifier_layers": (8,)}


def new_axes():
    return Figure().add_subplot()


@pytest.fixture
def ax():
    return new_axes()


@pytest.fixture
def few():
    images, labels, _ = datasets.strokes(60)
    return images, labels


def model(latent_dim, num_classes=10):
    """Weights far from their start, so that two codes never give one picture."""
    vae = VAE(VAEConfig(latent_dim=latent_dim, num_classes=num_classes, **SIZES))
    vae.theta *= 3
    return vae


def tiles(ax, side=28):
    """The picture of an ax -> its tiles (R, C, side · side)."""
    picture = ax.images[0].get_array()
    R, C = picture.shape[0] // side, picture.shape[1] // side
    cut = picture.reshape(R, side, C, side).transpose(0, 2, 1, 3)
    return np.ma.filled(cut, np.nan).reshape(R, C, side * side)


def ticks(axis):
    return [tick.get_text() for tick in axis.get_ticklabels()]


def test_a_digit_grid_has_its_rows_and_columns_and_blanks(ax):
    images = plots.in_rows(np.random.default_rng(0).uniform(size=(7, 9)), 4)
    assert images.shape == (2, 4, 9) and np.isnan(images[1, 3]).all()
    assert plots.digit_grid(images, ax, ["first", "second"], "abcd") is ax
    np.testing.assert_array_equal(tiles(ax, 3), images)
    assert ticks(ax.yaxis) == ["first", "second"] and ticks(ax.xaxis) == list("abcd")
    np.testing.assert_array_equal(ax.get_xticks(), [1, 4, 7, 10])
    assert ax.get_aspect() == 1 and ax.images[0].get_clim() == (0, 1)
    assert ax.images[0].get_cmap().name == "gray"


def test_an_image_that_is_no_square_is_refused(ax):
    with pytest.raises(DataError, match="10 pixels"):
        plots.digit_grid(np.zeros((1, 1, 10)), ax)


def test_loss_curve_draws_training_and_test(ax):
    plots.loss_curve(HISTORY, "loss_auto_encode", ax)
    curves = {curve.get_label(): curve.get_xydata().tolist() for curve in ax.lines}
    assert curves["test"] == [[1, 8.0], [2, 6.5]]
    assert curves["training (mean during the epoch)"] == [[1, 9.0], [2, 7.0]]
    assert ax.get_ylabel() == "nats an image" and ax.get_xlabel() == "epoch"
    assert len(plots.loss_curve(HISTORY, "ce", new_axes()).lines) == 1


def test_reconstructions_stand_under_their_originals(ax, few):
    images = few[0][:13]
    plots.reconstructions(images, {"a": images / 2, "b": images / 4}, ax)
    shown = tiles(ax)
    assert ticks(ax.yaxis) == 2 * ["original", "a", "b"]
    for k, scale in enumerate([1, 2, 4]):
        np.testing.assert_allclose(shown[k], images[:10] / scale)
        np.testing.assert_allclose(shown[3 + k, :3], images[10:] / scale)
        assert np.isnan(shown[3 + k, 3:]).all()


@pytest.mark.parametrize("num_classes", [0, 10])
def test_the_manifold_s_codes_are_equally_probable(ax, num_classes):
    vae = model(2, num_classes)
    plots.manifold(vae, ax, digit=4, n=5)
    shown = tiles(ax)
    z = scipy.stats.norm.ppf([0.1, 0.3, 0.5, 0.7, 0.9])
    assert ticks(ax.xaxis) == ["−1.3", "−0.5", "0.0", "0.5", "1.3"] == ticks(ax.yaxis)[::-1]
    probs = np.eye(10)[[4]] if num_classes else None
    for row, up in enumerate(z[::-1]):
        for column, across in enumerate(z):
            expected = vae.decode(np.array([[across, up]]), probs)[0]
            np.testing.assert_allclose(shown[row, column], expected, atol=1e-6)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("z[0]", "z[1]")


def test_posterior_means_are_drawn_as_their_digits(ax, few):
    images, labels = few
    vae = model(3)
    plots.posterior_means(vae, images, labels, ax)
    mu, _ = vae.encode(images)
    colours = set()
    for digit, drawn in enumerate(ax.collections):
        np.testing.assert_array_equal(drawn.get_offsets(), mu[labels == digit, :2])
        marker = MarkerStyle(f"${digit}$")
        shape = marker.get_path().transformed(marker.get_transform())
        np.testing.assert_array_equal(drawn.get_paths()[0].vertices, shape.vertices)
        colours.add(tuple(drawn.get_facecolor()[0]))
    assert len(colours) == len(ax.collections) == 10
    few_digits = plots.posterior_means(vae, images[labels > 6], labels[labels > 6], new_axes())
    assert tuple(few_digits.collections[0].get_facecolor()[0]) == to_rgba(plots.TEN_COLOURS[7])
    with pytest.raises(DataError, match="no plane"):
        plots.posterior_means(model(1), images, labels, ax)


def test_the_kl_of_the_dimensions_adds_up(ax, few):
    images, labels = few
    vae = model(4)
    plots.kl_by_dimension(vae, images, ax)
    heights = [bar.get_height() for bar in ax.patches]
    assert sum(heights) == pytest.approx(terms(vae, images, labels)["kl"].mean(), rel=1e-5)
    mu, var = vae.encode(images)
    dead = 0.5 * np.mean(mu**2 + var - np.log(var) - 1, axis=0)
    np.testing.assert_allclose(heights, dead, rtol=1e-4)
    assert f"{sum(heights):.1f} nats" in ax.get_title()


def test_the_histogram_of_posterior_std(ax, few):
    vae = model(4)
    std = np.array([0.1, 1, 0.63, 50])  # the last above what is drawn
    vae.parameters()["encoder.log_var.W"][...] = 0
    vae.parameters()["encoder.log_var.b"][...] = 2 * np.log(std)
    plots.posterior_std(vae, few[0], ax)
    share = ax.collections[0].get_array().reshape(-1, 4)
    corners = ax.collections[0].get_coordinates()
    np.testing.assert_array_equal(corners[0, :, 0], np.arange(5) - 0.5)
    edges = corners[:, 0, 1]
    assert np.diff(edges).max() < 0.03
    for j, value in enumerate(np.minimum(std, 2)):
        [only] = np.flatnonzero(share[:, j])
        assert edges[only] < value < edges[only + 1] and share[only, j] == 100
    [prior] = ax.lines
    assert set(prior.get_ydata()) == {1} and "σ" in ax.get_ylabel()
    vae.parameters()["encoder.log_var.b"][0] = 200  # more than float32 has
    with np.errstate(over="ignore"):
        plots.posterior_std(vae, few[0], new_axes()).figure.draw_without_rendering()


@pytest.mark.parametrize("num_classes", [0, 10])
def test_a_traversal_moves_one_dimension(ax, few, num_classes):
    x = few[0][3]
    vae = model(3, num_classes)
    plots.traversal(vae, x, [2, 0], ax, values=(-1.5, 0, 2))
    shown = tiles(ax)
    assert ticks(ax.yaxis) == ["z[2]", "z[0]"] and ticks(ax.xaxis) == ["−1.5", "0.0", "2.0"]
    mu, _ = vae.encode(x[None])
    probs = vae.classify(x[None]) if num_classes else None
    for row, j in enumerate([2, 0]):
        for column, value in enumerate([-1.5, 0, 2]):
            z = mu.copy()
            z[0, j] = value
            np.testing.assert_allclose(shown[row, column], vae.decode(z, probs)[0], atol=1e-6)


@pytest.mark.parametrize("num_classes", [0, 10])
def test_an_interpolation_goes_straight_from_code_to_code(ax, few, num_classes):
    x, x_to = few[0][:2], few[0][2:4]
    vae = model(3, num_classes)
    plots.interpolation(vae, x, x_to, ax, steps=3)
    shown = tiles(ax)
    assert ticks(ax.xaxis) == ["0", "50", "100"] and "%" in ax.get_xlabel()
    assert ticks(ax.yaxis) == ["codes", "pixels"] * 2
    np.testing.assert_allclose(shown[::2, 0], vae.reconstruct(x), atol=1e-6)
    np.testing.assert_allclose(shown[::2, 2], vae.reconstruct(x_to), atol=1e-6)
    z = (vae.encode(x)[0] + vae.encode(x_to)[0]) / 2
    probs = (vae.classify(x) + vae.classify(x_to)) / 2 if num_classes else None
    np.testing.assert_allclose(shown[::2, 1], vae.decode(z, probs), atol=1e-6)
    np.testing.assert_allclose(shown[1::2], np.stack([x, (x + x_to) / 2, x_to], 1), atol=1e-6)


def test_a_box_a_digit(ax):
    labels = np.repeat([0, 3], 101)
    plots.by_digit(np.arange(202.0), labels, ax)
    assert ticks(ax.xaxis) == ["0", "3"]
    medians = [line.get_ydata()[0] for line in ax.lines if line.get_color() == plots.BLUE]
    assert medians == [50, 151]
    lowest, highest = (pick(min(line.get_ydata()) for line in ax.lines) for pick in (min, max))
    assert lowest == 5 and highest <= 196


def test_error_rates(ax):
    accuracy = np.array([1, 0, 0, 1, 1, 1, 1])
    plots.error_rates(accuracy, np.array([0, 0, 0, 0, 4, 4, 9]), ax)
    bars = {bar.get_x() + bar.get_width() / 2: bar.get_height() for bar in ax.patches}
    assert bars == pytest.approx({0: 50, 4: 0, 9: 0})


def test_one_epoch_and_one_dimension_have_whole_numbers_under_them(few):
    for ax in (
        plots.loss_curve(HISTORY[:1], "ce", new_axes()),
        plots.kl_by_dimension(model(1), few[0], new_axes()),
    ):
        low, high = ax.get_xlim()
        shown = [tick for tick in ax.get_xticks() if low <= tick <= high]
        assert shown and all(tick == round(tick) for tick in shown)


def test_a_picture_is_written_whole(tmp_path, monkeypatch):
    ax = plots.digits_ax(2, 3)
    path = plots.save(ax.figure, tmp_path / "picture.png")
    before = path.read_bytes()
    assert before.startswith(b"\x89PNG")

    def broken(figure, file, **options):
        file.write(b"half")
        raise RuntimeError("no more")

    monkeypatch.setattr(Figure, "savefig", broken)
    with pytest.raises(RuntimeError):
        plots.save(ax.figure, path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
