"""What a run survives: a table of faults, each tried.

docs/reliability.md lists the promises, each with the test that proves it.
"""

import ast
import dataclasses
import gzip
import hashlib
import json
import os
import pickle
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import safetensors.numpy

from minivae import VAE, VAEConfig, datasets, errors, files, fit, load, save, training
from minivae.cli import main
from minivae.cli.train import stop_signals
from minivae.datasets import mnist
from minivae.runs import checkpoint, folder
from minivae.runs.checkpoint import load_training
from minivae.runs.options import Options, Record

ROOT = Path(__file__).parent.parent
SMALL = ["--hidden", "8", "--latent", "3"]
CONFIG = VAEConfig(latent_dim=2, encoder_layers=(8,), decoder_layers=(8,), classifier_layers=(8,))
# A program of its own: `minivae` on three batches of strokes an epoch, that saves all the time.
DRIVER = """
import sys
from minivae import datasets
from minivae.cli import main
datasets.STROKES = {"train": (300, 0), "test": (100, 1)}
main(sys.argv[1:])
"""


def driver(*arguments, **options):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-u", "-c", DRIVER, "train", *SMALL, *map(str, arguments)]
    return subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def first_epoch(process):
    """Wait until the first epoch has been saved and printed: the run now is in its loop."""
    while not process.stdout.readline().startswith("     1 "):
        assert process.poll() is None, process.stderr.read()


def wait(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def outcome(run):
    """What two runs of the same bits share: weights, moments, the generator, the numbers."""
    vae, state, record = load_training(run)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in state.history]
    pictures = {name: x.tobytes() for name, x in record.pictures.items()}
    bits = (vae.theta.tobytes(), state.adam.m.tobytes(), state.adam.v.tobytes())
    return bits, state.adam.t, state.generator, rows, pictures


def history(run):
    return [json.loads(text) for text in (run / "history.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Six epochs that nobody interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    code, _, err = wait(driver("--epochs", 6, "--out", run))
    assert code == 0, err
    return run


# While it runs


def stopped_after(steps, number=signal.SIGINT):
    """A stand-in for training.fit whose state has a signal sent after so many steps."""
    fit = training.fit

    def interrupted(*given, on_step, state, **options):
        def step():
            if state.adam.t == steps:
                signal.raise_signal(number)
            on_step()

        return fit(*given, on_step=step, state=state, **options)

    return interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("steps", [1, 3, 8])
def test_a_signal_saves_where_the_run_stands_and_it_goes_on_to_the_same_bits(
    few_strokes, tmp_path, monkeypatch, capsys, whole, steps, number
):
    run = tmp_path / "run"
    before = signal.getsignal(number)
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(training, "fit", stopped_after(steps, number))
        main(["train", *SMALL, "--epochs", "6", "--out", str(run)])
    assert stop.value.code == 128 + number and signal.getsignal(number) == before
    assert f"to continue: minivae train --resume {run}" in capsys.readouterr().err
    _, state, _ = load_training(run)
    assert state.adam.t == steps and len(state.history) == (steps - 1) // 3
    main(["train", "--resume", str(run)])
    assert outcome(run) == outcome(whole)
    assert [row["epoch"] for row in history(run)] == [1, 2, 3, 4, 5, 6]
    assert (run / "figures" / "epochs.png").is_file() and (run / "summary.json").is_file()


def test_a_second_signal_acts_at_once():
    before = signal.getsignal(signal.SIGINT)
    with stop_signals() as noted:
        signal.raise_signal(signal.SIGINT)
        assert noted == [signal.SIGINT] and signal.getsignal(signal.SIGINT) == before
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def survive(run, kills, whole):
    """Kill a run again and again, at a random moment after it has begun; then let it end."""
    rng = random.Random(0)
    before = 0
    for _ in range(kills):
        process = driver("--epochs", 6, "--resume", run)
        if rng.random() < 0.7:
            process.stdout.readline()  # its imports are done, and its folder is made
            time.sleep(rng.choice([rng.uniform(0, 0.05), rng.uniform(0, 0.6)]))
        else:
            time.sleep(rng.uniform(0.2, 0.6))
        process.kill()
        process.communicate()
        if run.exists():
            _, state, _ = load_training(run)
            assert state.adam.t >= before
            before = state.adam.t
        if before == 18:  # it has ended, or was drawing its pictures
            assert wait(driver("--resume", run))[0] == 0
            assert outcome(run) == outcome(whole)
            assert [row["epoch"] for row in history(run)] == [1, 2, 3, 4, 5, 6]
            shutil.rmtree(run)
            before = 0
    assert wait(driver("--epochs", 6, "--resume", run))[0] == 0
    assert outcome(run) == outcome(whole)
    assert [row["epoch"] for row in history(run)] == [1, 2, 3, 4, 5, 6]


def test_5_kills_at_random_moments(tmp_path, whole):
    survive(tmp_path / "run", 5, whole)


@pytest.mark.slow
def test_25_kills_at_random_moments(tmp_path, whole):
    survive(tmp_path / "run", 25, whole)


def test_a_kill_leaves_no_half_written_files_for_ever(tmp_path):
    old, new = (tmp_path / f"{files.UNFINISHED}{name}" for name in ("old", "new"))
    for left in (old, new):
        left.mkdir()
        (left / "model.safetensors").touch()
    os.utime(old, (0, time.time() - 2 * files.ABANDONED))
    save(VAE(CONFIG), tmp_path / "model.safetensors")
    assert not old.exists() and new.exists()


def diverging(**options):
    images, labels, _ = datasets.strokes(60)
    vae = VAE(dataclasses.replace(CONFIG, decoder_output="identity"))
    fit(vae, (images, labels), batch_size=10, epochs=5, **options)


def test_a_loss_that_is_not_finite_stops_the_run_and_is_named():
    with pytest.raises(FloatingPointError, match=r"epoch 1, step 2, learning rate 1e\+30: \w+ is"):
        diverging(lr=1e30)


def test_the_first_value_that_is_not_finite_is_named():
    images, labels, _ = datasets.strokes(20)
    first = {"encoder.mu.b": "mu", "classifier.out.W": "logits", "decoder.0.b": r"decoder\[1\]"}
    for name, shown in first.items():
        vae = VAE(CONFIG)
        vae.parameters()[name][...] = np.nan
        with pytest.raises(errors.DivergedError, match=f"step 1, .*: {shown} is not finite"):
            fit(vae, (images, labels))


def test_what_the_last_step_of_an_epoch_spoils_is_not_saved(few_strokes, tmp_path):
    """One step an epoch: no later step sees the weights."""
    run = tmp_path / "run"
    options = ["--batch-size", "300", "--epochs", "1", "--lr", "1e38", "--out", str(run)]
    with pytest.raises(SystemExit, match="epoch 1, step 1, learning rate 1e.38: .* not finite"):
        main(["train", *SMALL, *options])
    vae, state, _ = load_training(run)
    assert np.isfinite(vae.theta).all() and state.adam.t == 0


def test_a_gradient_that_is_not_finite_is_named_and_touches_no_weight(monkeypatch):
    vae = VAE(CONFIG)
    before = vae.theta.copy()
    images, labels, _ = datasets.strokes(20)
    backward = VAE.backward

    def broken(self, acts):
        backward(self, acts)
        self.gradients()["encoder.mu.b"][1] = np.inf
        self.gradients()["decoder.out.W"][0, 0] = np.nan

    monkeypatch.setattr(VAE, "backward", broken)
    with pytest.raises(errors.DivergedError, match="step 1, .* the gradient of encoder.mu.b"):
        fit(vae, (images, labels))
    assert np.array_equal(vae.theta, before)


def test_large_finite_gradients_are_no_fault(monkeypatch):
    images, labels, _ = datasets.strokes(20)
    backward = VAE.backward

    def large(self, acts):
        backward(self, acts)
        self.dtheta[...] = 1e19  # whose square is more than float32 has

    monkeypatch.setattr(VAE, "backward", large)
    vae = VAE(CONFIG)
    before = vae.theta.copy()
    fit(vae, (images, labels), epochs=1)
    assert not np.array_equal(vae.theta, before)


def test_the_last_good_checkpoint_of_a_diverged_run_stays(few_strokes, tmp_path, monkeypatch):
    run = tmp_path / "run"
    backward = VAE.backward

    def broken(self, acts):
        backward(self, acts)
        if (run / "history.jsonl").exists():
            self.dtheta[0] = np.nan

    monkeypatch.setattr(VAE, "backward", broken)
    with pytest.raises(SystemExit, match="epoch 2, step 4, learning rate 0.001") as stop:
        main(["train", *SMALL, "--epochs", "3", "--out", str(run)])
    assert "\n" not in stop.value.code
    _, state, _ = load_training(run)
    assert state.adam.t == 3 and len(history(run)) == 1


def test_out_of_memory_tells_the_batch_and_the_bytes_and_leaves_the_weights(monkeypatch):
    vae = VAE(CONFIG)
    before = vae.theta.copy()
    images, labels, _ = datasets.strokes(20)

    def full(self, *given):
        raise MemoryError("Out of memory allocating 1,024 bytes")

    monkeypatch.setattr(VAE, "forward", full)
    with pytest.raises(errors.OutOfMemoryError, match="batch of 7 images: .* 1,024 bytes"):
        fit(vae, (images, labels), batch_size=7)
    assert np.array_equal(vae.theta, before)


def limited():
    """Let this process write no file of more than 20 kB: errno EFBIG, as a full disk is ENOSPC."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_disk_that_is_full_leaves_the_old_checkpoint_and_names_the_file(tmp_path):
    run = tmp_path / "run"
    code, _, err = wait(driver("--epochs", 2, "--out", run))
    assert code == 0, err
    before = (run / "model.safetensors").read_bytes()
    code, _, err = wait(driver("--epochs", 4, "--resume", run, preexec_fn=limited))
    assert code == 1 and "model.safetensors cannot be written: File too large" in err
    assert (run / "model.safetensors").read_bytes() == before
    assert not list(run.glob(".*")) and "Traceback" not in err
    code, _, err = wait(driver("--epochs", 4, "--resume", run))
    assert code == 0 and len(history(run)) == 4


# Resume


def test_a_finished_run_ends_with_0_and_the_same_weights(few_strokes, whole, tmp_path, capsys):
    run = shutil.copytree(whole, tmp_path / "run")
    before = (run / "model.safetensors").read_bytes()
    main(["train", "--resume", str(run)])
    assert capsys.readouterr().out.splitlines()[-1].endswith("latent.png")
    assert (run / "model.safetensors").read_bytes() == before


def test_more_epochs_go_on_to_the_bits_of_a_longer_run(few_strokes, tmp_path, whole):
    run = tmp_path / "run"
    main(["train", *SMALL, "--epochs", "4", "--out", str(run)])
    main(["train", "--epochs", "6", "--resume", str(run), "--out", str(run), "--data-dir", "."])
    bits, *numbers = outcome(run)
    whole_bits, *whole_numbers = outcome(whole)
    assert bits == whole_bits and numbers[:3] == whole_numbers[:3]


@pytest.mark.parametrize("content", ["nothing", "an empty folder", "other files"])
def test_a_folder_without_a_checkpoint_starts_from_the_beginning(
    few_strokes, tmp_path, whole, content
):
    run = tmp_path / "run"
    if content != "nothing":
        run.mkdir()
    if content == "other files":
        (run / "history.jsonl").write_text('{"epoch": 1, "tor')
    main(["train", *SMALL, "--epochs", "6", "--resume", str(run)])
    assert outcome(run) == outcome(whole)


@pytest.mark.parametrize(
    "option, was",
    [
        ("mnist", "strokes"), ("--epochs 5", 6), ("--batch-size 50", 100), ("--lr 0.01", 0.001),
        ("--latent 4", 3), ("--hidden 8,8", 8), ("--activation relu", "sigmoid"),
        ("--likelihood bernoulli", "gaussian"), ("--decoder-std 1.0", 0.5),
        ("--decoder-output identity", "sigmoid"), ("--beta 2.0", 1.0), ("--no-classifier", False),
        ("--cut-label-gradient", False), ("--holdout 5", 0), ("--seed 1", 0),
        ("--dtype float64", "float32"),
    ],
)  # fmt: skip
def test_a_changed_option_is_refused_by_its_name(whole, option, was, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", *option.split(), "--resume", str(whole)])
    said = capsys.readouterr().err
    name = "data" if option == "mnist" else option.split()[0]
    assert stop.value.code == 2 and f"{name} " in said and f"has {was}" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("epochs", [6, 7])
def test_a_torn_or_doubled_history_is_mended(few_strokes, whole, tmp_path, epochs):
    run = shutil.copytree(whole, tmp_path / "run")
    lines = (run / "history.jsonl").read_text().splitlines(keepends=True)
    (run / "history.jsonl").write_text("".join(lines[:3] + lines[2:4]) + '{"epoch": 5, "st')
    main(["train", "--epochs", str(epochs), "--resume", str(run)])
    assert [row["epoch"] for row in history(run)] == list(range(1, epochs + 1))


def test_a_model_without_a_training_does_not_go_on(tmp_path):
    for state in (None, training.start(VAE(CONFIG))):  # fit from Python knows no options
        save(VAE(CONFIG), tmp_path / "model.safetensors", state)
        with pytest.raises(SystemExit, match="without a training that could continue"):
            main(["train", "--resume", str(tmp_path)])


@pytest.mark.parametrize("spoil", [
    lambda state: setattr(state, "batches", 1),
    lambda state: setattr(state, "batches", -1),
    lambda state: setattr(state.adam, "t", 5),
    lambda state: state.history.pop(),
    lambda state: setattr(state, "adam", training.start(VAE()).adam),
])  # fmt: skip
def test_fit_refuses_a_state_that_is_not_of_this_training(spoil):
    images, labels, _ = datasets.strokes(20)
    vae = VAE(CONFIG)
    state = training.start(vae)
    fit(vae, (images, labels), epochs=2, batch_size=10, state=state)
    spoil(state)
    with pytest.raises(errors.ConfigError, match="another model, data set or batch_size"):
        fit(vae, (images, labels), epochs=3, batch_size=10, state=state)


def test_out_is_no_changed_option_and_makes_nothing(few_strokes, whole, tmp_path):
    run = shutil.copytree(whole, tmp_path / "run")
    main(["train", "--resume", str(run), "--out", str(tmp_path / "other")])
    assert list(tmp_path.iterdir()) == [run]


# The run folder


def test_a_run_folder_appears_whole(few_strokes, tmp_path, monkeypatch):
    seen = []
    rename = os.rename

    def watched(source, target):
        seen.append(sorted(path.name for path in Path(source).iterdir()))
        rename(source, target)

    monkeypatch.setattr(folder.os, "rename", watched)
    main(["train", *SMALL, "--epochs", "1", "--out", str(tmp_path / "a" / "run")])
    assert seen == [["model.safetensors"]]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["run"]


NEW = ["train", *SMALL, "--epochs", "1", "--seed", "3", "--out"]


def test_a_run_is_overwritten_only_where_told(few_strokes, tmp_path, whole):
    run = shutil.copytree(whole, tmp_path / "run")
    with pytest.raises(SystemExit, match="--resume continues this run, --overwrite replaces it"):
        main([*NEW, str(run)])
    assert outcome(run) == outcome(whole)
    (run / "notes").write_text("mine")
    (tmp_path / "link").symlink_to(run)
    main([*NEW, str(tmp_path / "link"), "--overwrite"])  # a link is followed
    assert len(history(run)) == 1 and (run / "notes").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "run"]


def test_what_is_not_a_run_is_never_overwritten(few_strokes, tmp_path):
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "text").write_text("mine")
    for content in ("no model", "a model of something else"):
        for place in (other, other / "text", tmp_path / "missing" / ".." / "thesis"):
            with pytest.raises(SystemExit, match="cannot make the run folder"):
                main([*NEW, str(place), "--overwrite"])
        (other / "model.safetensors").write_text(content)
    assert (other / "text").read_text() == "mine" and len(list(other.iterdir())) == 2


# --overwrite, killed before its n-th step: the checkpoint, the history, and what is removed.
KILLED = """
import os, pathlib, sys
left = [int(sys.argv.pop(1))]
def counted(function):
    def call(*given, **options):
        left[0] -= 1
        if left[0] == 0:
            os._exit(9)
        return function(*given, **options)
    return call
os.replace, pathlib.Path.unlink = counted(os.replace), counted(pathlib.Path.unlink)
"""


@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_a_kill_while_a_run_is_replaced_leaves_the_old_run_or_the_new_one(
    few_strokes, tmp_path, whole, step
):
    run = shutil.copytree(whole, tmp_path / "run")
    command = [sys.executable, "-c", KILLED + DRIVER, str(step), *NEW, str(run), "--overwrite"]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 9
    if step == 1:
        assert outcome(run) == outcome(whole)
        main(["train", "--resume", str(run)])
        assert outcome(run) == outcome(whole)
    else:
        _, state, record = load_training(run)
        assert state.adam.t == 0 and record.options.seed == 3
        main(["train", "--resume", str(run)])
        assert len(history(run)) == 1
        assert json.loads((run / "summary.json").read_text())["seed"] == 3


def test_nothing_is_made_before_options_and_data_are_checked(tmp_path, monkeypatch, few_strokes):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for options in (
        ["--latent", "0"], ["--holdout", "300"], ["--decoder-std", "-1"], ["--lr", "nan"],
        ["mnist", "--data-dir", "data"], ["--hidden", "0"], ["--resume", ""], ["--out", ""],
        ["--epochs", "99999999999999999999"],
    ):  # fmt: skip
        with pytest.raises(SystemExit):
            main(["train", *options])
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_if_replacing_a_run_fails_the_old_one_stays(few_strokes, tmp_path, monkeypatch, whole):
    run = shutil.copytree(whole, tmp_path / "run")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(SystemExit, match="No space left"):
        main([*NEW, str(run), "--overwrite"])
    assert outcome(run) == outcome(whole) and list(tmp_path.iterdir()) == [run]
    assert (run / "summary.json").is_file() and (run / "figures" / "epochs.png").is_file()


@pytest.mark.parametrize("path", ["x" * 300, "a\0b"])
def test_a_path_that_cannot_be_is_refused_in_one_line(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments in (["train", "--out", path], ["train", "--resume", path], ["sample", path]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code.startswith("minivae: ") and "\n" not in stop.value.code
    assert not list(tmp_path.iterdir())


def test_more_memory_than_there_is_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="out of memory: "):
        main(["train", "--hidden", "100000000,100000000"])
    assert not list(tmp_path.iterdir())


def test_under_nohup_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_signals() as noted:
            signal.raise_signal(signal.SIGINT)
            assert not noted and signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    "options, named",
    [
        ({"epochs": -1}, "epochs"), ({"epochs": 1.5}, "epochs"), ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2.5}, "batch_size"), ({"batch_size": "10"}, "batch_size"),
        ({"lr": 0}, "lr"), ({"lr": -1e-3}, "lr"), ({"lr": float("nan")}, "lr"),
        ({"lr": float("inf")}, "lr"), ({"lr": "fast"}, "lr"),
        ({"seed": -1}, "seed"), ({"seed": None}, "seed"),
    ],
)  # fmt: skip
def test_an_option_of_fit_that_cannot_be_is_refused_by_its_name(options, named):
    images, labels, _ = datasets.strokes(20)
    with pytest.raises(errors.ConfigError, match=f"^{named}="):
        fit(VAE(CONFIG), (images, labels), **options)


def test_a_seed_or_a_number_that_cannot_be_is_refused_by_its_name():
    images, labels, _ = datasets.strokes(20)
    vae = VAE(CONFIG)
    for call in (
        lambda: VAE(CONFIG, seed=-1),
        lambda: vae.sample(3, seed=-1),
        lambda: training.evaluate(vae, images, labels, seed=-1),
        lambda: vae.sample(-1),
        lambda: datasets.strokes(-1),
        lambda: datasets.strokes(10, seed=-1),
        lambda: training.evaluate(vae, images, labels, batch_size=0),
    ):
        with pytest.raises(errors.ConfigError, match=r"^(seed|n|batch_size)=-?\d"):
            call()


# Checkpoints


def spoiled(content, about):
    before, after = about
    assert before in content and len(before) == len(after)
    return content.replace(before, after, 1)


@pytest.fixture
def trained(tmp_path):
    vae = VAE(CONFIG)
    path = save(vae, tmp_path / "model.safetensors", training.start(vae))
    return path, path.read_bytes()


FAULTS = {
    "cut": (lambda c: c[:-1], "not a model of minivae"),
    "cut to nothing": (lambda c: b"", "not a model of minivae"),
    "too long": (lambda c: c + b"\0", "not a model of minivae"),
    "a flipped bit": (lambda c: c[:-9] + bytes([c[-9] ^ 1]) + c[-8:], "damaged"),
    "a header that promises terabytes": (lambda c: b"\xff" * 7 + b"\x7f" + c[8:], "not a model"),
    "a tensor that promises terabytes": (
        lambda c: spoiled(c, (b'"shape":[784,8]', b'"shape":[999,9]')), "not a model of minivae"),
    "a pickle": (lambda c: pickle.dumps(np.zeros(3)), "not a model of minivae"),
    "a newer format": (
        lambda c: spoiled(c, (b'\\"format\\": 4', b'\\"format\\": 5')), "format 5; .* reads 3"),
    "an older format": (
        lambda c: spoiled(c, (b'\\"format\\": 4', b'\\"format\\": 2')), "format 2; .* reads 3"),
    "a huge model": (
        lambda c: spoiled(c, (b'\\"data_dim\\": 784', b'\\"data_dim\\": 9e9')), "whole numbers"),
    "another architecture": (
        lambda c: spoiled(c, (b'\\"latent_dim\\": 2', b'\\"latent_dim\\": 9')), "encoder.mu.W is"),
    "a foreign file": (lambda c: safetensors.numpy.save({"W": np.zeros(3)}), "not a model of"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_file_is_one_clear_error(trained, fault):
    path, content = trained
    spoil, message = FAULTS[fault]
    path.write_bytes(spoil(content))
    tracemalloc.start()
    with pytest.raises(errors.FileError, match=message) as refused:
        load(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)
    assert peak < 50e6


def test_another_architecture_is_listed_whole(tmp_path):
    class Other(VAE):
        def parameters(self):
            named = super().parameters()
            named = {name.replace("encoder.mu", "encoder.mean"): W for name, W in named.items()}
            return named | {"decoder.0.W": named["decoder.0.W"].T}

    path = save(Other(CONFIG), tmp_path / "model.safetensors")
    with pytest.raises(errors.FileError) as refused:
        load(path)
    said = str(refused.value)
    for part in (
        "encoder.mu.W is missing, not (8, 2)", "encoder.mu.b is missing, not (2,)",
        "encoder.mean.W is (8, 2), not expected", "encoder.mean.b is (2,), not expected",
        "decoder.0.W is (8, 12), not (12, 8)",
    ):  # fmt: skip
        assert part in said


@pytest.mark.parametrize("network", ["encoder", "decoder", "classifier"])
def test_a_model_of_very_many_layers_is_refused_at_once(tmp_path, network, monkeypatch):
    """Without a look at any of the layers."""
    vae = VAE(CONFIG)
    vae.config = dataclasses.replace(CONFIG, **{f"{network}_layers": (1,) * 50_000})
    path = save(vae, tmp_path / "model.safetensors")
    monkeypatch.setattr(checkpoint, "shapes", None)
    with pytest.raises(errors.FileError, match="fewer tensors than layers") as refused:
        load(path)
    assert len(str(refused.value)) < 500


def test_a_huge_model_is_refused_before_it_is_made(tmp_path):
    """The config promises 8 TB of weights; the file has a few."""
    vae = VAE(CONFIG)
    vae.config = dataclasses.replace(CONFIG, encoder_layers=(10**9, 10**3))
    path = save(vae, tmp_path / "model.safetensors")
    tracemalloc.start()
    with pytest.raises(errors.FileError, match="encoder.1.W is missing"):
        load(path)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_a_fifo_or_a_folder_in_the_file_s_place_is_refused(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(errors.FileError, match="is not a file"):
        load(tmp_path)


def test_a_state_comes_back_whole(tmp_path):
    vae = VAE(CONFIG)
    images, labels, _ = datasets.strokes(25)
    state = training.start(vae, lr=0.01, seed=7)
    record = Record(Options(hidden=(8, 9), epochs=2), {"digits.1": np.eye(3, dtype=np.uint8)})

    def stop():
        if state.adam.t == 5:  # in the second epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(vae, (images, labels), batch_size=10, seed=7, state=state, on_step=stop)
    path = save(vae, tmp_path / "model.safetensors", state, record)
    again, found, kept = load_training(path)
    assert np.array_equal(again.theta, vae.theta)
    for name in ("generator", "batches", "seconds", "history"):
        assert getattr(found, name) == getattr(state, name)
    assert np.array_equal(found.sums, state.sums) and found.batches == 2
    for name in ("lr", "beta1", "beta2", "eps", "t"):
        assert getattr(found.adam, name) == getattr(state.adam, name)
    assert np.array_equal(found.adam.m, state.adam.m) and found.adam.m.any()
    assert np.array_equal(found.adam.v, state.adam.v) and found.adam.v.any()
    assert kept.options == record.options
    assert np.array_equal(kept.pictures["digits.1"], np.eye(3))


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["overwrite", "cut", "insert", "repeat"]),
        st.integers(0, 1 << 12),
        st.binary(min_size=1, max_size=40),
    ),
    min_size=1,
    max_size=4,
)


def mutated(content, edits):
    content = bytearray(content)
    for kind, at, new in edits:
        at = at % (len(content) + 1)
        end = at + len(new)
        content[at : at if kind in ("insert", "repeat") else end] = {
            "overwrite": new,
            "cut": b"",
            "insert": new,
            "repeat": content[at:end],
        }[kind]
    return bytes(content)


def small_checkpoint(folder):
    sizes = {"data_dim": 4, "latent_dim": 1, "encoder_layers": (), "decoder_layers": ()}
    vae = VAE(VAEConfig(num_classes=0, **sizes))
    state = training.start(vae)
    fit(vae, (np.full((8, 4), 0.5), None), epochs=1, batch_size=4, state=state)
    return save(vae, folder / "model.safetensors", state).read_bytes()


def idx(folder, packed):
    content = bytes([0, 0, 8, 3, 0, 0, 0, 5, 0, 0, 0, 4, 0, 0, 0, 4]) + bytes(range(80))
    return gzip.compress(content, mtime=0) if packed else content


def read_idx(path):
    return mnist.read_idx(path, hashlib.sha256(idx(path.parent, False)).hexdigest())


KINDS = {
    "checkpoint": (small_checkpoint, load_training, "model.safetensors"),
    "idx": (lambda folder: idx(folder, False), read_idx, "images"),
    "gzip": (lambda folder: idx(folder, True), read_idx, "images.gz"),
}


def mutate(kind, folder, count):
    """Success or the one error family, within 50 MB, for so many mutations."""
    make, read, name = KINDS[kind]
    content = make(folder)
    path = folder / name
    outcomes = {"loaded": 0, "refused": 0}

    @hypothesis.settings(max_examples=count, derandomize=True, deadline=None, database=None)
    @hypothesis.given(EDITS)
    def try_it(edits):
        path.write_bytes(mutated(content, edits))
        tracemalloc.start()
        try:
            read(path)
            outcomes["loaded"] += 1
        except errors.MinivaeError as error:
            outcomes["refused"] += 1
            assert name in str(error) and "\n" not in str(error)
        assert tracemalloc.get_traced_memory()[1] < 50e6
        tracemalloc.stop()

    try_it()
    return outcomes


@pytest.mark.parametrize("kind", KINDS)
def test_700_mutations_are_loaded_or_refused(kind, tmp_path):
    outcomes = mutate(kind, tmp_path, 700)
    assert sum(outcomes.values()) >= 700 and outcomes["refused"] > 500, outcomes


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_33400_mutations_are_loaded_or_refused(kind, tmp_path):
    outcomes = mutate(kind, tmp_path, 33_400)
    print(kind, outcomes)
    assert sum(outcomes.values()) >= 33_400


# The command line


def test_debug_shows_where_an_error_comes_from(tmp_path):
    with pytest.raises(errors.FileError):
        main(["sample", str(tmp_path / "nowhere"), "--debug"])
    with pytest.raises(SystemExit) as stop:
        main(["sample", str(tmp_path / "nowhere")])
    assert "nowhere" in stop.value.code and "\n" not in stop.value.code


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_is_130_without_a_traceback(tmp_path, number, status):
    process = driver("--epochs", 100000, "--out", tmp_path / "run")
    first_epoch(process)
    process.send_signal(number)
    code, _, err = wait(process)
    assert code == status
    assert err == f"stopped; to continue: minivae train --resume {tmp_path}/run\n"


def test_ctrl_c_before_the_first_step_is_130(monkeypatch):
    def interrupted(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets, "load", interrupted)
    with pytest.raises(SystemExit) as stop:
        main(["train"])
    assert stop.value.code == 130


def test_a_broken_pipe_is_quiet():
    command = f"{sys.executable} -m minivae gradcheck --latent 2 --hidden 4 | head -n 1"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", command], env=env, capture_output=True, text=True)
    assert done.stdout == "pairs\n" and done.stderr == ""


def test_a_stdout_that_is_full_or_closed_is_no_traceback(tmp_path):
    save(VAE(CONFIG), tmp_path / "model.safetensors")
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = f"{sys.executable} -m minivae sample {tmp_path} --out {tmp_path}/p.png"
    for where, code in {"> /dev/full": 1, ">&-": 0}.items():
        done = subprocess.run(["bash", "-c", f"{command} {where}"], env=env, capture_output=True)
        assert done.returncode == code and b"Traceback" not in done.stderr
        assert done.stderr.count(b"\n") == code


def test_a_signal_in_the_last_evaluation_is_heeded(few_strokes, tmp_path, monkeypatch, whole):
    costs = training.costs

    def interrupted(*given):
        signal.raise_signal(signal.SIGTERM)
        return costs(*given)

    run = tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(training, "costs", interrupted)
        main(["train", *SMALL, "--epochs", "1", "--out", str(run)])
    assert stop.value.code == 143 and len(history(run)) == 1
    main(["train", "--resume", str(run), "--epochs", "6"])
    assert outcome(run)[0] == outcome(whole)[0]


def test_no_pickle_no_eval_no_shell():
    for path in [*ROOT.glob("minivae/**/*.py"), *ROOT.glob("examples/*.py"), *ROOT.glob("b*/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in ("eval", "exec", "os.system", "os.popen"), path
                assert not any(k.arg == "shell" or k.arg == "allow_pickle" for k in node.keywords)
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not names & {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}


def test_every_promise_of_the_page_names_its_test():
    page = (ROOT / "docs" / "reliability.md").read_text()
    promised = re.findall(r"`(test_\w+)`", page)
    tests = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        tests |= {node.name for node in ast.walk(ast.parse(path.read_text()))
                  if isinstance(node, ast.FunctionDef)}  # fmt: skip
    assert len(promised) > 30 and set(promised) <= tests
    here = ast.parse(Path(__file__).read_text())
    ours = {node.name for node in here.body if isinstance(node, ast.FunctionDef)}
    assert {name for name in ours if name.startswith("test_")} - set(promised) <= {
        "test_every_promise_of_the_page_names_its_test"
    }
