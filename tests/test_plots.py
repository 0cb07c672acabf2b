"""The pictures show what they say."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from minivae import plots

HISTORY = [
    {"epoch": 1, "train_loss_auto_encode": 9.0, "test_loss_auto_encode": 8.0, "train_ce": 2.0},
    {"epoch": 2, "train_loss_auto_encode": 7.0, "test_loss_auto_encode": 6.5, "train_ce": 1.0},
]


def test_digit_grid_has_a_row_an_epoch_and_a_column_a_digit():
    images = np.zeros((3, 10, 784))
    images[1, 4] = np.linspace(0, 1, 784)
    ax = plots.digit_grid(images, Figure().add_subplot())
    picture = ax.images[0].get_array()
    assert picture.shape == (3 * 28, 10 * 28)
    np.testing.assert_array_equal(picture[28:56, 112:140].ravel(), images[1, 4])
    assert np.count_nonzero(picture) == 783
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["1", "2", "3"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == list("0123456789")


def test_loss_curve_draws_training_and_test():
    ax = plots.loss_curve(HISTORY, "loss_auto_encode", Figure().add_subplot())
    curves = {curve.get_label(): curve.get_xydata().tolist() for curve in ax.lines}
    assert curves["test"] == [[1, 8.0], [2, 6.5]]
    assert curves["training, as the weights moved"] == [[1, 9.0], [2, 7.0]]
    assert ax.get_ylabel() == "nats an image"
    assert len(plots.loss_curve(HISTORY, "ce", Figure().add_subplot()).lines) == 1


@pytest.mark.parametrize(
    "ce, losses, samples",
    [
        (0.5, list(plots.TITLES.values()), "After each epoch: one random style"),
        (None, [plots.TITLES["loss_auto_encode"]], "After each epoch: ten samples"),
    ],
)
def test_a_run_s_figures(tmp_path, monkeypatch, ce, losses, samples):
    titles = {}

    def savefig(figure, path, dpi):
        titles[path.name] = [ax.get_title() for ax in figure.axes]

    monkeypatch.setattr(Figure, "savefig", savefig)
    history = [row | {"train_ce": ce} for row in HISTORY]
    paths = plots.save_figures(tmp_path / "figures", history, np.zeros((2, 10, 784)))
    assert titles == {"losses.png": losses, "samples.png": [samples]}
    assert [path.name for path in paths] == list(titles)
