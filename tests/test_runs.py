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
from conftest import refusal

from minivae import VAE, VAEConfig, datasets, load, plots, save
from minivae.cli import main
from minivae.evidence.likelihood import estimate_log_p
from minivae.runs import figures as run_figures
from minivae.runs.checkpoint import load_training
from minivae.runs.options import Options, Record
from minivae.training import start, terms

COMMANDS = ["sample", "reconstruct", "traverse", "interpolate", "evaluate"]
HISTORY = [{"epoch": 1, "train_loss_auto_encode": 9.0, "train_ce": 2.0}]
OPTIONS = {"run": "--latent 2", "plain": "--no-classifier --likelihood bernoulli"}


FEW = {"train": (300, 0), "test": (90, 1)}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two runs of few strokes, to be copied."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "STROKES", FEW)
        for name, options in OPTIONS.items():
            out = ["--out", str(folder / name)]
            main(["train", "--epochs", "1", "--hidden", "16", *options.split(), *out])
    return folder


@pytest.fixture
def run(trained, few, tmp_path):
    return shutil.copytree(trained / "run", tmp_path / "run")


@pytest.fixture
def plain(trained, few, tmp_path):
    return shutil.copytree(trained / "plain", tmp_path / "plain")


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(datasets, "STROKES", FEW)


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


def tiles(ax):
    """The grid of digits that an ax holds -> (rows, columns, 784)."""
    picture = ax.images[0].get_array()
    R, C = (size // 28 for size in picture.shape)
    cut = picture.reshape(R, 28, C, 28).transpose(0, 2, 1, 3).reshape(R, C, 784)
    return np.ma.filled(cut, np.nan)


def shape(figure):
    return tiles(figure.axes[0]).shape[:2]


def close(one, other):
    return np.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("classes, latent", [(10, 2), (0, 2), (10, 3), (0, 3)])
def test_a_run_s_pictures(tmp_path, figures, classes, latent):
    vae = VAE(VAEConfig(latent_dim=latent, num_classes=classes, encoder_layers=(4,)))
    images, labels, _ = datasets.strokes(50)
    history = 100 * [HISTORY[0] | {"train_ce": 2.0 if classes else None}]
    grey = {f"digits.{epoch}": epoch / 100 for epoch in run_figures.shown(100)}
    grey |= {f"test.{epoch}": epoch / 200 for epoch in (1, 9, 50, 100)}
    pictures = {name: np.full((10, 784), round(255 * x), np.uint8) for name, x in grey.items()}
    folder = tmp_path / "figures"
    paths = run_figures.save_figures(folder, vae, history, pictures, (images, labels))
    assert paths == list(figures) and all(path.exists() for path in paths)
    names = ["epochs", "losses", "reconstructions", "latent"]
    assert [path.stem for path in paths] == names + (latent == 2) * ["posterior", "manifold"]
    epochs, losses, reconstructions, use = list(figures.values())[:4]
    shown = [int(tick.get_text()) for tick in epochs.axes[0].get_yticklabels()]
    assert shown[0] == 1 and shown[-1] == 100 and len(shown) == 20
    assert set(np.diff(shown)) == {5, 6} and "20 of 100" in epochs.axes[0].get_title()
    np.testing.assert_allclose(tiles(epochs.axes[0])[:, 3, 5], np.array(shown) / 100, atol=0.002)
    drawn = [ax.lines[0].get_ydata()[0] for ax in losses.axes]
    assert drawn == ([9.0, 2.0] if classes else [9.0])
    assert close(tiles(reconstructions.axes[0])[0, 4], images[list(labels).index(4)])
    drawn = tiles(reconstructions.axes[0])[1:, 2, 3]
    np.testing.assert_allclose(drawn, [1 / 200, 9 / 200, 0.5], atol=0.002)
    rows = [tick.get_text() for tick in reconstructions.axes[0].get_yticklabels()]
    assert rows == ["original", "epoch 1", "epoch 9", "epoch 100"]
    bars, histogram, _ = use.axes
    heights = [bar.get_height() for bar in bars.patches]
    assert heights == pytest.approx(list(plots.kl_of_dimensions(vae, images)))
    if latent == 2:
        posterior, planes = list(figures.values())[4:]
        assert sum(len(c.get_offsets()) for c in posterior.axes[0].collections) == 50
        if not classes:
            [plane] = planes.axes
            assert close(tiles(plane)[8, 8], vae.decode(np.zeros((1, 2))))
        for digit, plane in enumerate(planes.axes if classes else []):
            assert plane.get_title() == f"asked for {digit}"
            assert close(tiles(plane)[4, 4], vae.decode(np.zeros((1, 2)), np.eye(10)[[digit]]))


def test_the_stages_are_epochs_1_and_9_and_the_last(few, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(run_figures, "save_figures", lambda *call: given.append(call) or [])
    for epochs, stages in {1: [1], 9: [1, 9], 11: [1, 9, 11]}.items():
        out = str(tmp_path / str(epochs))
        main(["train", "--epochs", str(epochs), "--hidden", "none", "--out", out])
        kept = [name for name in given[-1][3] if name.startswith("test.")]
        assert kept == [f"test.{stage}" for stage in stages]


def test_sample(run, plain, figures, capsys):
    for options, rows in {"--digit 7 --n 16": (4, 4), "": (3, 10)}.items():
        main(["sample", str(run), *options.split()])
        path, figure = figures.popitem()
        assert path == run / "figures" / "sample.png" and shape(figure) == rows
        assert capsys.readouterr().out.splitlines()[-1] == str(path)
    for seed in (0, 3):
        options = [] if seed == 0 else ["--seed", str(seed)]
        main(["sample", str(run), "--digit", "7", "--n", "16", *options])
        [figure] = figures.values()
        assert figure.axes[0].get_title() == "Samples of the digit 7"
        assert close(tiles(figure.axes[0])[1, 0], load(run).sample(16, 7, seed)[4])
    main(["sample", str(plain), "--n", "5"])
    assert shape(figures[plain / "figures" / "sample.png"]) == (2, 3)
    with pytest.raises(SystemExit) as stop:
        main(["sample", str(plain), "--digit", "7"])
    assert "trained without digits" in refusal(stop, capsys)


def test_reconstruct(run, plain, figures):
    images, labels = datasets.load("strokes", "test")
    for folder in (run, plain):
        main(["reconstruct", str(folder), "--n", "3"])
        figure = figures[folder / "figures" / "reconstruct.png"]
        assert shape(figure) == (6, 10)
        fours = images[labels == 4][:3]
        assert close(tiles(figure.axes[0])[::2, 4], fours)
        assert close(tiles(figure.axes[0])[1::2, 4], load(folder).reconstruct(fours))


def test_traverse_puts_the_dimension_of_the_largest_kl_first(plain, figures):
    images, labels = datasets.load("strokes", "test")
    main(["traverse", str(plain), "--digit", "3", "--n", "4"])
    [figure] = figures.values()
    assert shape(figure) == (4, 11) and "a 3" in figure.axes[0].get_title()
    kl = plots.kl_of_dimensions(load(plain), images)
    texts = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    rows = [re.fullmatch(r"z\[(\d)\], KL ([\d.]+) nats", text).groups() for text in texts]
    order = [int(j) for j, _ in rows]
    assert order == sorted(range(10), key=lambda j: -kl[j])[:4]
    assert [float(value) for _, value in rows] == pytest.approx(kl[order], abs=0.0051)
    z, _ = load(plain).encode(images[labels == 3][:1])
    for row, j in enumerate(order):
        moved = z.copy()
        moved[0, j] = -2.5
        assert close(tiles(figure.axes[0])[row, 0], load(plain).decode(moved)[0])


def test_interpolate(run, figures):
    images, labels = datasets.load("strokes", "test")
    main(["interpolate", str(run), "--from", "1", "--to", "0", "--n", "2"])
    [figure] = figures.values()
    assert shape(figure) == (4, 11) and figure.axes[0].get_title().startswith("From 1 to 0")
    assert close(tiles(figure.axes[0])[1::2, 0], images[labels == 1][:2])
    assert close(tiles(figure.axes[0])[1::2, -1], images[labels == 0][:2])
    main(["interpolate", str(run), "--from", "5", "--to", "5", "--n", "2"])
    [figure] = figures.values()
    assert close(tiles(figure.axes[0])[1::2, 0], images[labels == 5][:2])
    assert close(tiles(figure.axes[0])[1::2, -1], images[labels == 5][2:4])


def test_evaluate_prints_means_and_standard_errors(run, capsys):
    capsys.readouterr()
    main(["evaluate", str(run), "--seed", "1"])
    other = capsys.readouterr().out
    main(["evaluate", str(run)])
    printed = capsys.readouterr().out
    assert "test set of strokes, 90 images" in printed and printed != other
    found = {
        name: (float(mean), float(error))
        for name, mean, error in re.findall(r"^(\w+) +([\d.]+) ± ([\d.]+)", printed, re.M)
    }
    values = terms(load(run), *datasets.load("strokes", "test"))
    assert set(found) == set(values) and "neg_elbo" in found
    assert re.search(r"^ce +\d\.\d{4} ± 0\.\d{4} nats an image$", printed, re.M)
    assert re.search(r"^accuracy +\d\.\d{4} ± 0\.\d{4}$", printed, re.M)
    for name, (mean, error) in found.items():
        assert mean == pytest.approx(np.mean(values[name]), abs=0.006)
        assert error == pytest.approx(np.std(values[name], ddof=1) / 90**0.5, abs=0.0051)
    assert "log p(x)" not in printed
    assert printed.splitlines()[-1] == str(run / "figures" / "evaluate.png")


def test_evaluate_draws_the_errors_of_each_digit(run, plain, figures):
    main(["evaluate", str(run)])
    [figure] = figures.values()
    values = terms(load(run), *datasets.load("strokes", "test"))
    _, labels = datasets.load("strokes", "test")
    bound, errors = figure.axes
    for digit, bar in enumerate(errors.patches):
        right = values["accuracy"][labels == digit]
        assert bar.get_height() == pytest.approx(100 * np.mean(right == 0))
    medians = [line.get_ydata()[0] for line in bound.lines if line.get_color() == plots.BLUE]
    expected = [np.median(values["neg_elbo"][labels == digit]) for digit in range(10)]
    assert medians == pytest.approx(expected)
    figures.clear()
    main(["evaluate", str(plain)])
    [figure] = figures.values()
    assert len(figure.axes) == 1


def test_evaluate_estimates_log_p(run, capsys):
    images, _ = datasets.load("strokes", "test")
    for seed in (0, 2):
        options = ["--samples", "50", "--images", "7", *(["--seed", "2"] if seed else [])]
        main(["evaluate", str(run), *options])
        printed = capsys.readouterr().out
        values = terms(load(run), *datasets.load("strokes", "test"), seed=seed)
        elbo = -np.mean(values["neg_elbo"][:7])
        assert f"ELBO of the first 7 images: {elbo:.2f} nats" in printed
        for proposal in ("q", "prior"):
            assert str(estimate_log_p(load(run), images[:7], 50, proposal, seed)) in printed


def test_evaluate_repeats_the_numbers_of_the_run(few, tmp_path, capsys):
    run = tmp_path / "run"
    main(["train", "--epochs", "1", "--hidden", "8", "--seed", "5", "--out", str(run)])
    capsys.readouterr()
    main(["evaluate", str(run)])
    final = json.loads((run / "summary.json").read_text())["final"]
    assert f"{final['test_neg_elbo']:.2f} ±" in capsys.readouterr().out


def test_mnist_is_looked_for_where_data_dir_says(run, tmp_path, monkeypatch):
    vae, state, _ = load_training(run)
    save(vae, run / "model.safetensors", state, Record(Options(data="mnist")))
    (tmp_path / "there").mkdir()
    for command in COMMANDS[1:]:
        with pytest.raises(SystemExit, match="there has neither"):
            main([command, str(run), "--data-dir", str(tmp_path / "there")])


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


@pytest.mark.parametrize("command", COMMANDS[1:])
def test_a_model_that_does_not_tell_its_data_is_refused(tmp_path, command):
    path = save(VAE(), tmp_path / "model.safetensors")
    for state in (None, start(VAE())):
        save(VAE(), path, state)
        with pytest.raises(SystemExit, match="without a training that could continue"):
            main([command, str(tmp_path)])


def test_a_model_s_file_alone_is_sampled_where_out_says(run, tmp_path):
    file = run / "model.safetensors"
    with pytest.raises(SystemExit, match="--out can name another file"):
        main(["sample", str(file)])
    main(["sample", str(file), "--out", str(tmp_path / "picture.png")])


@pytest.mark.parametrize(
    "options, refusal",
    [
        ("sample RUN --out picture.jpg", "ends in .png"),
        ("sample RUN --n 0", "from 1 to 400"),
        ("sample RUN --n 401", "from 1 to 400"),
        ("traverse RUN --n 41", "from 1 to 40"),
        ("interpolate RUN --from 10", "invalid choice"),
    ],
)
def test_options_that_cannot_be_are_refused(options, refusal, capsys):
    with pytest.raises(SystemExit) as stop:
        main(options.split())
    assert stop.value.code == 2 and refusal in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs_from_another_folder_with_no_display(command, plain, tmp_path):
    env = {name: text for name, text in os.environ.items() if name not in ("DISPLAY", "MPLBACKEND")}
    arguments = [sys.executable, "-m", "minivae", command, plain.name]
    how = {"cwd": tmp_path, "env": env, "capture_output": True, "text": True}
    done = subprocess.run(arguments, **how)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / done.stdout.splitlines()[-1]).is_file()
