"""A run's pictures, and the commands on a saved run."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minivae import VAE, VAEConfig, datasets, load, plots, runs, save
from minivae.cli import main
from minivae.likelihood import estimate_log_p
from minivae.training import terms

COMMANDS = ["sample", "reconstruct", "traverse", "interpolate", "evaluate"]
HISTORY = [{"epoch": 1, "train_loss_auto_encode": 9.0, "train_ce": 2.0}]


OPTIONS = {"run": "--latent 2", "plain": "--no-classifier --likelihood bernoulli"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs of few strokes, to be copied."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "STROKES", {"train": (300, 0), "test": (100, 1)})
        for name, options in OPTIONS.items():
            out = ["--out", str(folder / name)]
            main(["train", "--epochs", "1", "--hidden", "16", *options.split(), *out])
    return folder


@pytest.fixture
def run(trained, few_strokes, tmp_path):
    return shutil.copytree(trained / "run", tmp_path / "run")


@pytest.fixture
def plain(trained, few_strokes, tmp_path):
    return shutil.copytree(trained / "plain", tmp_path / "plain")


@pytest.fixture
def figures(monkeypatch):
    """What is written: {path: figure}."""
    written = {}
    save = plots.save

    def kept(figure, path):
        written[Path(path)] = figure
        return save(figure, path)

    monkeypatch.setattr(plots, "save", kept)
    return written


def shape(figure):
    """Rows and columns of the grid of digits that a figure holds."""
    height, width = figure.axes[0].images[0].get_array().shape
    return height // 28, width // 28


@pytest.mark.parametrize("classes, latent", [(10, 2), (0, 2), (10, 3), (0, 3)])
def test_a_run_s_pictures(tmp_path, figures, classes, latent):
    vae = VAE(VAEConfig(latent_dim=latent, num_classes=classes, encoder_layers=(4,)))
    images, labels, _ = datasets.strokes(50)
    history = [row | {"train_ce": row["train_ce"] if classes else None} for row in HISTORY]
    grid = {epoch: np.zeros((10, 784)) for epoch in range(1, 101)}
    stages = {"epoch 1": np.zeros((10, 784))}
    folder = tmp_path / "figures"
    paths = runs.save_figures(folder, vae, history, grid, stages, (images, labels))
    assert paths == list(figures) and all(path.exists() for path in paths)
    names = ["epochs", "losses", "reconstructions", "latent"]
    assert [path.stem for path in paths] == names + (latent == 2) * ["posterior", "manifold"]
    epochs, losses, reconstructions, use = list(figures.values())[:4]
    shown = [int(tick.get_text()) for tick in epochs.axes[0].get_yticklabels()]
    assert shown[0] == 1 and shown[-1] == 100 and len(shown) == 20
    assert set(np.diff(shown)) == {5, 6}
    assert len(losses.axes) == (2 if classes else 1)
    assert shape(reconstructions) == (2, 10)
    assert len(use.axes) == 3  # the bars, the histogram and its scale
    if latent == 2:
        assert len(list(figures.values())[5].axes) == (10 if classes else 1)


def test_sample(run, plain, figures, capsys):
    for options, rows in {"--digit 7 --n 16 --seed 3": (4, 4), "": (3, 10)}.items():
        main(["sample", str(run), *options.split()])
        path, figure = figures.popitem()
        assert path == run / "figures" / "sample.png" and shape(figure) == rows
        assert capsys.readouterr().out.splitlines()[-1] == str(path)
    main(["sample", str(run), "--digit", "7", "--n", "16", "--seed", "3"])
    [figure] = figures.values()
    assert figure.axes[0].get_title() == "16 samples of the digit 7"
    picture = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(picture[28:56, :28].ravel(), load(run).sample(16, 7, 3)[4])
    main(["sample", str(plain), "--n", "5"])
    assert shape(figures[plain / "figures" / "sample.png"]) == (2, 3)
    with pytest.raises(SystemExit, match="trained without digits"):
        main(["sample", str(plain), "--digit", "7"])


def test_reconstruct(run, plain, figures):
    images, labels = datasets.load("strokes", "test")
    for folder in (run, plain):
        main(["reconstruct", str(folder), "--n", "3"])
        figure = figures[folder / "figures" / "reconstruct.png"]
        assert shape(figure) == (6, 10)
        picture = figure.axes[0].images[0].get_array()
        fours = np.flatnonzero(labels == 4)
        x = images[fours[[2]]]
        np.testing.assert_array_equal(picture[4 * 28 : 5 * 28, 4 * 28 : 5 * 28].ravel(), x[0])
        decoded = picture[5 * 28 :, 4 * 28 : 5 * 28].ravel()
        np.testing.assert_allclose(decoded, load(folder).reconstruct(x)[0], atol=1e-5)
    with pytest.raises(SystemExit, match="10 images of the digit 0"):
        main(["reconstruct", str(run), "--n", "11"])


def test_traverse_puts_the_dimension_of_the_largest_kl_first(plain, figures):
    images, _ = datasets.load("strokes", "test")
    main(["traverse", str(plain), "--digit", "3", "--n", "4"])
    [figure] = figures.values()
    assert shape(figure) == (4, 11) and "a 3" in figure.axes[0].get_title()
    kl = plots.kl_of_dimensions(load(plain), images)
    rows = [tick.get_text().split() for tick in figure.axes[0].get_yticklabels()]
    order = [int(name[2:-1]) for name, _ in rows]
    assert order == sorted(range(10), key=lambda j: -kl[j])[:4]
    assert [float(value) for _, value in rows] == pytest.approx(kl[order], abs=0.0051)


def test_interpolate(run, figures):
    images, labels = datasets.load("strokes", "test")
    main(["interpolate", str(run), "--from", "1", "--to", "0", "--n", "2"])
    [figure] = figures.values()
    assert shape(figure) == (4, 11) and figure.axes[0].get_title().startswith("From 1 to 0")
    picture = figure.axes[0].images[0].get_array()
    for rows, digit, columns in [(3, 1, slice(28)), (3, 0, slice(-28, None))]:
        pixels = picture[28 * rows :, columns].ravel()
        np.testing.assert_allclose(pixels, images[labels == digit][1], atol=1e-6)


def test_evaluate_prints_means_and_standard_errors(run, capsys):
    capsys.readouterr()
    main(["evaluate", str(run), "--seed", "1"])
    other = capsys.readouterr().out
    main(["evaluate", str(run)])
    printed = capsys.readouterr().out
    assert "test set of strokes, 100 images" in printed and printed != other
    found = {
        name: (float(mean), float(error))
        for name, mean, error in re.findall(r"^(\w+) +([\d.]+) ± ([\d.]+)$", printed, re.M)
    }
    values = terms(load(run), *datasets.load("strokes", "test"))
    assert set(found) == set(values) and "neg_elbo" in found
    assert re.search(r"^ce +\d\.\d{4} ± 0\.\d{4}$", printed, re.M)
    for name, (mean, error) in found.items():
        assert mean == pytest.approx(np.mean(values[name]), abs=0.006)
        assert error == pytest.approx(np.std(values[name]) / 10, rel=0.01, abs=0.006)
    assert "log p(x)" not in printed
    assert printed.splitlines()[-1] == str(run / "figures" / "evaluate.png")


def test_evaluate_draws_the_errors_of_each_digit(run, plain, figures):
    main(["evaluate", str(run)])
    [figure] = figures.values()
    values = terms(load(run), *datasets.load("strokes", "test"))
    heights = [bar.get_height() for bar in figure.axes[1].patches]
    assert len(heights) == 10
    assert np.mean(heights) == pytest.approx(100 * (1 - values["accuracy"].mean()))
    figures.clear()
    main(["evaluate", str(plain)])
    [figure] = figures.values()
    assert len(figure.axes) == 1


def test_evaluate_estimates_log_p(run, capsys):
    main(["evaluate", str(run), "--samples", "50", "--images", "7", "--seed", "2"])
    printed = capsys.readouterr().out
    images, _ = datasets.load("strokes", "test")
    values = terms(load(run), *datasets.load("strokes", "test"), seed=2)
    elbo = -np.mean(values["neg_elbo"][:7])
    assert f"ELBO of the first 7 images: {elbo:.2f} nats" in printed
    for proposal in ("q", "prior"):
        assert str(estimate_log_p(load(run), images[:7], 50, proposal, seed=2)) in printed


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_draws_where_it_is_told_and_nowhere_else(command, run, tmp_path, capsys):
    before = sorted(run.rglob("*"))
    out = tmp_path / "picture.png"
    main([command, str(run), "--out", str(out)])
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    assert out.read_bytes().startswith(b"\x89PNG") and sorted(run.rglob("*")) == before


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("wrong", ["nowhere", "empty", "a file"])
def test_a_wrong_folder_is_refused_in_one_line(command, wrong, tmp_path):
    path = tmp_path / wrong
    if wrong == "empty":
        path.mkdir()
    if wrong == "a file":
        path.write_text("text")
    with pytest.raises(SystemExit) as stop:
        main([command, str(path)])
    assert "\n" not in stop.value.code and wrong in stop.value.code


@pytest.mark.parametrize("wreck", ["missing", "not json", "of another kind"])
def test_a_summary_that_names_no_data_is_refused(run, wreck):
    summary = run / "summary.json"
    if wreck == "missing":
        summary.unlink()
    else:
        summary.write_text({"not json": "{", "of another kind": "[1]"}[wreck])
    with pytest.raises(SystemExit, match="summary.json"):
        main(["evaluate", str(run)])


def test_a_model_s_file_alone_is_sampled_where_out_says(run, tmp_path):
    file = run / "model.safetensors"
    with pytest.raises(SystemExit, match="name a file with --out"):
        main(["sample", str(file)])
    main(["sample", str(file), "--out", str(tmp_path / "picture.png")])


@pytest.mark.parametrize(
    "options, refusal",
    [
        ("sample RUN --out picture.jpg", "ends in .png"),
        ("sample RUN --n 0", "from 1 to 400"),
        ("traverse RUN --n 1000000", "from 1 to 400"),
        ("interpolate RUN --from 10", "invalid choice"),
    ],
)
def test_options_that_cannot_be_are_refused(options, refusal, capsys):
    with pytest.raises(SystemExit) as stop:
        main(options.split())
    assert stop.value.code == 2 and refusal in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs_from_another_folder_with_no_display(command, tmp_path):
    """With the whole test set, within ten seconds."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "summary.json").write_text(json.dumps({"data": "strokes"}))
    save(VAE(), run / "model.safetensors")
    env = {name: text for name, text in os.environ.items() if name not in ("DISPLAY", "MPLBACKEND")}
    arguments = [sys.executable, "-m", "minivae", command, "run"]
    how = {"cwd": tmp_path, "env": env, "capture_output": True, "text": True, "timeout": 10}
    done = subprocess.run(arguments, **how)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / done.stdout.splitlines()[-1]).is_file() and not done.stderr
