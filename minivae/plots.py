"""Pictures of a run. Each function draws into an `ax` of matplotlib and returns it."""

import numpy as np


def digit_grid(images, ax, side=28):
    """images (rows, columns, side · side) in [0, 1], one row an epoch, one column a digit."""
    rows, columns = images.shape[:2]
    tiles = images.reshape(rows, columns, side, side).transpose(0, 2, 1, 3)
    ax.imshow(tiles.reshape(rows * side, columns * side), cmap="gray", vmin=0, vmax=1)
    ax.set_xticks(side * np.arange(columns) + side / 2, range(columns))
    ax.set_yticks(side * np.arange(rows) + side / 2, range(1, rows + 1))
    ax.tick_params(length=0)
    ax.set_ylabel("epoch")
    return ax


def loss_curve(history, term, ax):
    """One term of the history, "loss_auto_encode" say, over the epochs: training and test."""
    epochs = [row["epoch"] for row in history]
    styles = {"train": ("o--", "training, as the weights moved"), "test": ("o-", "test")}
    for split, (style, label) in styles.items():
        if f"{split}_{term}" in history[0]:
            values = [row[f"{split}_{term}"] for row in history]
            ax.plot(epochs, values, style, markersize=3, label=label)
    ax.set_xlabel("epoch")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend()
    return ax
