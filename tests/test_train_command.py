"""`minivae train`: its options, what it prints, and the run folder that it leaves."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from conftest import refusal

from minivae import VAE, VAEConfig, config, datasets, load, training
from minivae.cli import main, parser
from minivae.cli.options import typed_options
from minivae.cli.train import COLUMNS, header, line
from minivae.runs import figures
from minivae.runs.options import Options
from minivae.training import evaluate


def test_the_line_of_an_epoch_stands_under_its_header():
    row = {split + term: -1549.61 for split, term, _ in COLUMNS} | {"epoch": 1}
    row |= {"train_kl": 0.0, "train_ce": None}
    splits, terms = header().splitlines()
    assert len(line(row | {"test_nll": 1.0}).split()) == len(terms.split()) == len(COLUMNS)
    small = line({key: value if value is None else 1 for key, value in row.items()})
    assert len(small) == len(splits) == len(terms)
    assert " 0.00 " in line(row) and " - " in line(row)


def test_it_leaves_a_run_folder(few_strokes, tmp_path, capsys):
    out = tmp_path / "run"
    main(["train", "--epochs", "2", "--hidden", "16,8", "--latent", "3", "--out", str(out)])
    printed = capsys.readouterr().out
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == [
        "figures/epochs.png",
        "figures/latent.png",
        "figures/losses.png",
        "figures/reconstructions.png",
        "history.jsonl",
        "model.safetensors",
        "summary.json",
    ]
    vae = load(out)
    assert vae.config.encoder_layers == (16, 8) and vae.config.decoder_layers == (8, 16)
    history = [json.loads(text) for text in (out / "history.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in history] == [1, 2]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["final"] == history[-1]
    assert summary["data"] == "strokes" and "not binarised" in summary["pixels"]
    assert summary["images"] == {"train": 300, "validation": 0, "test": 100}
    assert summary["config"] == json.loads(json.dumps(dataclasses.asdict(vae.config)))
    assert f"{history[-1]['test_neg_elbo']:.2f}" in printed
    assert "no reference for this protocol" in printed
    pictures = [str(path) for path in (out / "figures").iterdir()]
    assert sorted(printed.splitlines()[-4:]) == sorted(pictures)
    images, labels = datasets.load("strokes", "test")
    assert evaluate(vae, images, labels)["nll"] == history[-1]["test_nll"]


@pytest.mark.parametrize("plain", [False, True])
def test_its_numbers_and_its_pictures_are_those_of_the_model(
    few_strokes, tmp_path, monkeypatch, plain
):
    given = []
    monkeypatch.setattr(figures, "save_figures", lambda *call: given.append(call) or [])
    out = tmp_path / "run"
    arguments = "--epochs 2 --seed 5 --lr 0.002 --batch-size 60 --hidden 8 --latent 2 --holdout 30"
    arguments += " --no-classifier" if plain else ""
    main(["train", *arguments.split(), "--out", str(out)])
    summary = json.loads((out / "summary.json").read_text())
    expected = {"seed": 5, "epochs": 2, "lr": 0.002, "batch_size": 60, "dtype": "float32"}
    assert expected.items() <= summary.items()
    assert summary["images"] == {"train": 270, "validation": 30, "test": 100}
    assert summary["config"]["num_classes"] == (0 if plain else 10)
    assert summary["final"]["step"] == 2 * 5
    [(_, _, history, pictures, (shown, _))] = given
    assert summary["training_seconds"] == sum(row["seconds"] for row in history) > 0
    (images, labels), test = datasets.load("strokes"), datasets.load("strokes", "test")
    vae = load(out)
    assert summary["final"]["test_nll"] == evaluate(vae, *test, seed=5)["nll"]
    validation = evaluate(vae, images[:30], labels[:30], seed=5)
    assert summary["final"]["validation_nll"] == validation["nll"]
    rng = config.stream(5, "styles", 2)
    z = rng.standard_normal((10 if plain else 1, 2), dtype=np.float32)
    kept = {name: images / 255 for name, images in pictures.items()}
    assert sorted(kept) == ["digits.1", "digits.2", "test.1", "test.2"]
    probs = None if plain else np.eye(10)
    digits = vae.decode(np.broadcast_to(z, (10, 2)), probs)
    np.testing.assert_allclose(kept["digits.2"], digits, atol=0.502 / 255)
    first = [list(test[1]).index(digit) for digit in range(10)]
    decoded = vae.reconstruct(test[0][first])
    np.testing.assert_allclose(kept["test.2"], decoded, atol=0.502 / 255)
    assert not np.array_equal(kept["test.1"], kept["test.2"])
    assert np.array_equal(shown, test[0])


class Fitted(Exception):
    """Raised instead of training, with what fit was called with."""


@pytest.fixture
def fitted(monkeypatch):
    """minivae train, as far as the call of fit -> (vae, train, test, options)."""

    def fit_called(vae, train, test, **options):
        raise Fitted(vae, train, test, options)

    def run(*arguments):
        with pytest.raises(Fitted) as call:
            main(["train", *arguments])
        return call.value.args

    monkeypatch.setattr(training, "fit", fit_called)
    return run


def test_every_option_reaches_the_training(few_strokes, fitted, tmp_path):
    vae, (images, labels), test, options = fitted(
        *"strokes --epochs 3 --batch-size 7 --lr 0.01 --latent 4 --hidden 9,8 --activation tanh "
        "--likelihood gaussian_learned --decoder-std 0.2 --decoder-output identity --beta 2 "
        "--cut-label-gradient --holdout 40 --seed 5 --dtype float64 --out".split(),
        str(tmp_path / "run"),
    )
    assert vae.config == VAEConfig(
        latent_dim=4,
        encoder_layers=(9, 8),
        decoder_layers=(8, 9),
        classifier_layers=(9, 8),
        activation="tanh",
        likelihood="gaussian_learned",
        decoder_std=0.2,
        decoder_output="identity",
        beta=2.0,
        label_gradient=False,
    )
    assert np.array_equal(vae.theta, VAE(vae.config, seed=5, dtype="float64").theta)
    assert vae.dtype == "float64"
    everything = datasets.load("strokes")
    assert np.array_equal(images, everything[0][40:]) and np.array_equal(labels, everything[1][40:])
    assert np.array_equal(test[0], datasets.load("strokes", "test")[0])
    assert options.pop("state").adam.lr == 0.01
    del options["on_epoch"], options["on_step"]
    assert options == {"epochs": 3, "batch_size": 7, "seed": 5, "progress": True}


def test_without_options_it_is_the_article_s_model(few_strokes, fitted, tmp_path):
    vae, (images, _), _, options = fitted("--out", str(tmp_path / "run"))
    assert vae.config == VAEConfig() and len(images) == 300
    assert np.array_equal(vae.theta, VAE(seed=0).theta)
    assert options.pop("state").adam.lr == 1e-3
    del options["on_epoch"], options["on_step"]
    assert options == {"epochs": 20, "batch_size": 100, "seed": 0, "progress": True}


def test_only_options_that_were_typed_are_given():
    assert typed_options(parser().parse_args(["train"])) == {}
    typed = "mnist --epochs 20 --hidden none --no-classifier --seed 0"  # some as the defaults are
    assert typed_options(parser().parse_args(["train", *typed.split()])) == {
        "data": "mnist", "epochs": 20, "hidden": (), "no_classifier": True, "seed": 0,
    }  # fmt: skip
    assert Options(data="mnist").holdout == 5000 and Options().holdout == 0


def test_both_splits_come_from_the_folder_that_was_named(fitted, tmp_path, monkeypatch):
    asked = []

    def load(name, split, root):
        asked.append((name, split, root))
        return np.zeros((2, 784), np.float32), np.zeros(2, int)

    monkeypatch.setattr(datasets, "load", load)
    fitted("mnist", "--data-dir", "there", "--holdout", "0", "--out", str(tmp_path / "run"))
    assert asked == [("mnist", "train", "there"), ("mnist", "test", "there")]


def test_mnist_holds_out_its_first_5000_images(mnist, fitted, tmp_path):
    _, (images, _), _, _ = fitted("mnist", "--out", str(tmp_path / "run"))
    assert np.array_equal(images, mnist[0][0][5000:])


def test_a_new_run_has_a_new_folder(few_strokes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        main(["train", "--epochs", "1", "--hidden", "none"])
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["strokes", "strokes-2"]
    with pytest.raises(SystemExit, match="runs/strokes"):
        main(["train", "--epochs", "1", "--out", "runs/strokes"])


def test_a_run_folder_that_cannot_be_made_is_refused(few_strokes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to("nowhere")
    with pytest.raises(SystemExit, match="cannot make the run folder"):
        main(["train", "--epochs", "1"])


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--hidden", "0"], "numbers from 1 to"),
        (["--batch-size", "0"], "numbers from 1 to"),
        (["--lr", "nan"], "above 0"),
        (["--seed", "-1"], "numbers from 0 to"),
        (["--hidden", "ten"], "numbers from 1 to"),
        (["--likelihood", "poisson"], "invalid choice"),
        (["fashion"], "invalid choice"),
    ],
)
def test_wrong_usage_exits_with_2(arguments, complaint, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", *arguments])
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--decoder-std", "0"], "decoder_std=0"),
        (["--holdout", "300"], "--holdout 300"),
        (["mnist", "--data-dir", "nowhere"], "nowhere"),
    ],
)
def test_an_error_is_one_line_and_leaves_no_folder(
    few_strokes, tmp_path, monkeypatch, capsys, arguments, complaint
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["train", *arguments])
    assert complaint in refusal(stop, capsys)
    assert list(tmp_path.iterdir()) == []


def test_help_needs_no_matplotlib():
    code = """
import sys
from minivae.cli import main
try:
    main(["train", "--help"])
finally:
    print("matplotlib" in sys.modules)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "usage: minivae train" in printed and printed.endswith("False\n")


def test_python_m_minivae_is_the_same_command():
    command = [sys.executable, "-m", "minivae", "train", "--help"]
    printed = subprocess.run(command, capture_output=True, text=True)
    assert printed.returncode == 0 and "usage: minivae train" in printed.stdout
