"""The loop: deterministic, right for every batch size, and honest in its numbers."""

import dataclasses
import json
import platform
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import refusal

from minivae import VAE, Adam, VAEConfig, datasets, errors, fit, load, runs, training
from minivae.cli import main
from minivae.commands import COLUMNS, STYLES, header, line
from minivae.likelihood import ESTIMATION, neg_elbo
from minivae.training import EPOCHS, EVALUATION, evaluate

CONFIG = VAEConfig(encoder_layers=(8,), decoder_layers=(8,), latent_dim=2, classifier_layers=(8,))
PLAIN = VAEConfig(encoder_layers=(8,), decoder_layers=(8,), latent_dim=2, num_classes=0)
TERMS = ["nll", "sse", "kl", "ce", "accuracy", "loss_auto_encode"]


@pytest.fixture(scope="module")
def data():
    images, labels, _ = datasets.strokes(120)
    return (images[:70], labels[:70]), (images[70:], labels[70:])


def trained(data, config=CONFIG, seed=0, **options):
    vae = VAE(config, seed=seed)
    history = fit(vae, data[0], seed=seed, **options)
    return vae, history


def test_two_runs_with_one_seed_give_the_same_bytes_and_another_seed_others(data):
    weights = [trained(data, seed=seed, epochs=2)[0].theta.tobytes() for seed in (0, 0, 1)]
    assert weights[0] == weights[1] != weights[2]


def test_watching_the_test_set_does_not_change_the_training(data):
    watched, _ = trained(data, test=data[1], epochs=2)
    assert np.array_equal(watched.theta, trained(data, epochs=2)[0].theta)


@pytest.mark.parametrize("batch_size", [1, 30, 70, 1000])
def test_every_batch_size_is_the_loop_written_down_again(data, batch_size):
    vae, history = trained(data, epochs=2, batch_size=batch_size)
    images, labels = data[0]
    again = VAE(CONFIG, seed=0)
    adam = Adam(again.theta)
    rng = np.random.default_rng([0, EPOCHS])
    for epoch in range(2):
        order = rng.permutation(70)
        noise = rng.standard_normal((70, 2), dtype=np.float32)
        nll = []
        for start in range(0, 70, batch_size):
            rows = order[start : start + batch_size]
            _, acts = again.forward(images[rows], noise[start : start + batch_size], labels[rows])
            again.backward(acts)
            adam.step(again.theta, again.dtheta)
            nll.extend(acts.nll)
        assert len(nll) == 70  # a smaller last batch counts by its size
        assert history[epoch]["train_nll"] == pytest.approx(np.mean(nll), rel=1e-5)
    assert np.array_equal(vae.theta, again.theta)
    assert history[-1]["step"] == 2 * -(-70 // batch_size)


def test_history_has_its_keys(data):
    _, history = trained(data, test=data[1], epochs=3)
    keys = ["epoch", "step", "seconds"]
    keys += [f"train_{term}" for term in TERMS] + [f"test_{term}" for term in TERMS]
    assert [set(row) for row in history] == [{*keys, "test_neg_elbo"}] * 3
    assert [row["epoch"] for row in history] == [1, 2, 3]
    for row in history:
        assert row["train_loss_auto_encode"] == row["train_nll"] + row["train_kl"]
    assert history[-1]["train_nll"] < history[0]["train_nll"]
    assert json.loads(json.dumps(history)) == history


def test_a_model_without_classes_needs_no_labels_and_has_no_class_numbers(data):
    (images, labels), _ = data
    vae, history = trained([(images, None)], PLAIN, test=(images, None), epochs=1)
    assert history[0]["train_ce"] is history[0]["test_accuracy"] is None
    assert history[0]["test_neg_elbo"] == pytest.approx(history[0]["test_loss_auto_encode"])
    assert np.array_equal(trained([(images, labels)], PLAIN, epochs=1)[0].theta, vae.theta)


def test_evaluate_is_the_mean_over_the_set_whatever_the_batch(data):
    vae, _ = trained(data, epochs=1)
    images, labels = data[1]
    noise = np.random.default_rng([7, EVALUATION]).standard_normal((50, 2), dtype=np.float32)
    _, acts = vae.forward(images, noise, labels)
    for batch_size in (50, 7, 1000):
        means = evaluate(vae, images, labels, seed=7, batch_size=batch_size)
        assert means["nll"] == pytest.approx(acts.nll.mean(), rel=1e-5)
        assert means["accuracy"] == np.mean(acts.probs.argmax(axis=1) == labels)
        assert means["neg_elbo"] == pytest.approx(neg_elbo(vae, acts).mean(), rel=1e-5)


def test_a_float64_model_trains_on_float32_images(data):
    vae = VAE(CONFIG, dtype="float64")
    fit(vae, data[0], epochs=1)
    single, _ = trained(data, epochs=1)
    np.testing.assert_allclose(vae.theta, single.theta, atol=1e-4)


def test_training_and_evaluation_draw_from_streams_of_their_own():
    assert len({EPOCHS, EVALUATION, STYLES, ESTIMATION}) == 4


def test_means_are_taken_in_float64(data):
    images, labels = data[0]
    vae = VAE(CONFIG)
    assert {values.dtype for values in training.terms(vae, images, labels).values()} == {
        np.dtype("float64")
    }
    [row] = fit(vae, (images, labels), epochs=1, batch_size=70, lr=1e-12)
    rng = np.random.default_rng([0, EPOCHS])
    order, noise = rng.permutation(70), rng.standard_normal((70, 2), dtype=np.float32)
    _, acts = VAE(CONFIG).forward(images[order], noise, labels[order])
    assert acts.nll.dtype == np.float32
    assert row["train_nll"] == pytest.approx(np.mean(acts.nll, dtype=np.float64), rel=1e-12)


def test_an_epoch_s_line_stands_under_its_header():
    row = {split + term: -1549.61 for split, term, _ in COLUMNS} | {"epoch": 1}
    row |= {"train_kl": 0.0, "train_ce": None}
    splits, terms = header().splitlines()
    assert len(line(row | {"test_nll": 1.0}).split()) == len(terms.split()) == len(COLUMNS)
    small = line({key: value if value is None else 1 for key, value in row.items()})
    assert len(small) == len(splits) == len(terms)
    assert " 0.00 " in line(row) and " - " in line(row)


def test_the_learning_rate_is_adam_s(data):
    (images, labels), _ = data
    vae = VAE(CONFIG)
    start = vae.theta.copy()
    fit(vae, (images, labels), epochs=1, batch_size=70, lr=0.5)
    assert np.max(abs(vae.theta - start)) == pytest.approx(0.5, rel=1e-3)  # its first step is lr


@pytest.mark.parametrize("options", [{"epochs": -1}, {"batch_size": 0}, {"lr": 0}])
def test_options_that_cannot_be_are_refused(data, options):
    with pytest.raises(errors.ConfigError, match=next(iter(options))):
        trained(data, **options)


def test_train_leaves_a_run_folder(few_strokes, tmp_path, capsys):
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


def test_train_holds_out_images_for_validation(few_strokes, tmp_path):
    out = tmp_path / "run"
    arguments = ["--epochs", "1", "--holdout", "50", "--batch-size", "50", "--no-classifier"]
    main(["train", *arguments, "--out", str(out)])
    summary = json.loads((out / "summary.json").read_text())
    assert summary["images"] == {"train": 250, "validation": 50, "test": 100}
    assert summary["final"]["step"] == 5
    images, labels = datasets.load("strokes")
    means = evaluate(load(out), images[:50], labels[:50])
    assert summary["final"]["validation_nll"] == means["nll"]
    assert summary["config"]["num_classes"] == 0


class Fitted(Exception):
    """Raised in place of training, with what it was asked to do."""


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


def test_both_splits_come_from_the_folder_that_was_named(fitted, tmp_path, monkeypatch):
    asked = []

    def load(name, split, root):
        asked.append((name, split, root))
        return np.zeros((2, 784), np.float32), np.zeros(2, int)

    monkeypatch.setattr(datasets, "load", load)
    fitted("mnist", "--data-dir", "there", "--holdout", "0", "--out", str(tmp_path / "run"))
    assert asked == [("mnist", "train", "there"), ("mnist", "test", "there")]


@pytest.mark.parametrize("plain", [False, True])
def test_the_run_s_record_and_its_styles(few_strokes, tmp_path, monkeypatch, plain):
    pictures = []
    monkeypatch.setattr(runs, "save_figures", lambda *given: pictures.append(given) or [])
    out = tmp_path / "run"
    arguments = "--epochs 2 --seed 5 --lr 0.002 --batch-size 60 --hidden 8 --latent 2 --holdout 30"
    start = time.perf_counter()
    main(["train", *arguments.split(), "--out", str(out), *(["--no-classifier"] if plain else [])])
    elapsed = time.perf_counter() - start
    summary = json.loads((out / "summary.json").read_text())
    expected = {"seed": 5, "epochs": 2, "lr": 0.002, "batch_size": 60, "dtype": "float32"}
    assert expected.items() <= summary.items()
    [(_, _, state, (shown, _))] = pictures
    history = state.history
    assert summary["training_seconds"] == sum(row["seconds"] for row in history)
    assert all(0 < row["seconds"] for row in history) and summary["training_seconds"] < elapsed
    (images, labels), test = datasets.load("strokes"), datasets.load("strokes", "test")
    vae = load(out)
    assert summary["final"]["test_nll"] == evaluate(vae, *test, seed=5)["nll"]
    validation = evaluate(vae, images[:30], labels[:30], seed=5)
    assert summary["final"]["validation_nll"] == validation["nll"]
    rng = np.random.default_rng([5, STYLES, 2])
    z = rng.standard_normal((10 if plain else 1, 2), dtype=np.float32)
    kept = {name: images / 255 for name, images in state.pictures.items()}
    assert sorted(kept) == ["digits.1", "digits.2", "test.1", "test.2"]
    probs = None if plain else np.eye(10)
    digits = vae.decode(np.broadcast_to(z, (10, 2)), probs)
    np.testing.assert_allclose(kept["digits.2"], digits, atol=0.502 / 255)
    first = [list(test[1]).index(digit) for digit in range(10)]
    decoded = vae.reconstruct(test[0][first])
    np.testing.assert_allclose(kept["test.2"], decoded, atol=0.502 / 255)
    assert not np.array_equal(kept["test.1"], kept["test.2"])
    assert np.array_equal(shown, test[0])


def test_mnist_holds_out_its_first_5000_images(mnist, fitted, tmp_path):
    _, (images, _), _, _ = fitted("mnist", "--out", str(tmp_path / "run"))
    assert np.array_equal(images, mnist[0][0][5000:])


def test_a_new_run_has_a_new_folder(few_strokes, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        main(["train", "--epochs", "1", "--hidden", "none"])
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["strokes", "strokes-2"]
    with pytest.raises(SystemExit, match="runs/strokes"):
        main(["train", "--epochs", "1", "--out", "runs/strokes"])


def test_a_run_folder_that_cannot_be_made_is_refused(few_strokes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to("nowhere")
    with pytest.raises(SystemExit, match="cannot make a run folder"):
        main(["train", "--epochs", "1"])


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (["--hidden", "0"], "numbers from 1 to"),
        (["--batch-size", "0"], "numbers from 1 to"),
        (["--lr", "nan"], "above 0"),
        (["--seed", "-1"], "numbers from 0 to"),
        (["--hidden", "ten"], "widths like 500,200"),
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
def test_a_refusal_is_one_line_and_leaves_no_folder(
    few_strokes, tmp_path, monkeypatch, capsys, arguments, complaint
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["train", *arguments])
    assert complaint in refusal(stop, capsys)
    assert list(tmp_path.iterdir()) == []


def test_python_m_minivae_is_the_same_command():
    printed = subprocess.run(
        [sys.executable, "-m", "minivae", "train", "--help"], capture_output=True, text=True
    )
    assert printed.returncode == 0 and "usage: minivae train" in printed.stdout


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
def test_a_step_of_a_large_batch_takes_no_memory_anew():
    """In a process of its own: how much is free, and where, depends on all that went before."""
    code = """
import resource
import numpy as np
from minivae import VAE, fit
faults = []
images = np.random.default_rng(0).random((6000, 784), dtype=np.float32)
count = lambda: faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
fit(VAE(), (images, np.arange(6000) % 10), epochs=2, batch_size=1000, on_step=count)
print(np.median(np.diff(faults[:6])), np.median(np.diff(faults[6:])))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(float(count) < 200 for count in run.stdout.split()), run.stdout
