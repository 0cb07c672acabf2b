"""The benchmarks run, and their timer measures what it says. No number is held to a value."""

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread

from minivae import VAE, VAEConfig
from minivae.devices.find import fault
from minivae.devices.ops import pick

FOLDER = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture
def timer(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import timer

    return timer


@pytest.fixture
def peers(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import peers

    return peers


@pytest.fixture
def clock(monkeypatch, timer):
    """A clock that only the arms and the pauses move; .events tells what happened, in order."""
    now = SimpleNamespace(seconds=0.0, events=[])

    def sleep(seconds):
        now.seconds += seconds
        now.events.append("pause")

    fake = SimpleNamespace(perf_counter=lambda: now.seconds, sleep=sleep)
    monkeypatch.setattr(timer, "time", fake)
    return now


def arm(clock, name, seconds):
    """Of two arms, one that takes these seconds a call, round for round."""

    def call():
        clock.seconds += seconds[(clock.events.count("pause") - 1) // 2]
        clock.events.append(name)

    return call


def numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for part in value for number in numbers(part)]
    return [value] if isinstance(value, float) else []


def test_the_order_is_reversed_every_other_round(timer, clock):
    arms = {name: arm(clock, name, [1.0] * 4) for name in "ab"}
    options = SimpleNamespace(rounds=3, pause=0.3, calls=2)
    waits = {"b": lambda: clock.events.append("wait")}
    timer.time_arms(arms, options, waits)
    a = ["pause", "a", "a", "a"]  # the first wakes its threads
    b = ["pause", "b", "wait", "b", "b", "wait"]  # before the clock starts, and before it stops
    assert clock.events == [*b, *a, *a, *b, *b, *a, *a, *b]


def test_the_pause_and_the_first_round_are_not_counted(timer, clock):
    slept = []

    def first_call_slow():
        clock.seconds += 0.5 if slept else 99.0
        slept.append(1)

    options = SimpleNamespace(rounds=2, pause=0.3, calls=1)
    assert timer.time_arms({"a": first_call_slow}, options)["a"] == pytest.approx([0.5, 0.5])


def test_a_block_wakes_its_threads_before_it_is_timed(timer, clock):
    calls = []

    def call():
        clock.seconds += 1.0
        calls.append(1)

    options = SimpleNamespace(rounds=1, pause=0, calls=40)
    assert timer.time_arms({"a": call}, options) == {"a": [1.0]}
    assert len(calls) == 2 * (40 + 2)


@pytest.mark.parametrize("seconds, calls", [(1e-6, 300), (0.01, 100), (0.4, 2), (30.0, 1)])
def test_a_block_has_some_hundred_calls_or_lasts_a_second(timer, clock, seconds, calls):
    def call():
        clock.seconds += seconds

    assert timer.calls_a_block(call) == calls


def test_a_ratio_is_taken_within_the_rounds(timer, clock):
    """The machine is three times as slow in one round: the ratio does not know."""
    arms = {"ours": arm(clock, "ours", [9.0, 1.0, 3.0, 1.0]),
            "theirs": arm(clock, "theirs", [1.0, 2.0, 6.0, 2.0])}
    seconds = timer.time_arms(arms, SimpleNamespace(rounds=3, pause=0.3, calls=1))
    assert seconds["ours"] == pytest.approx([1, 3, 1])
    ratio = timer.ratio(seconds, "ours", "theirs")
    assert ratio == pytest.approx({"median": 0.5, "low": 0.5, "high": 0.5})


def test_a_summary_is_median_and_quartiles(timer):
    assert timer.summary([4.0, 1.0, 3.0, 2.0, 5.0]) == {"median": 3.0, "low": 2.0, "high": 4.0}


def test_a_table_is_markdown_of_one_width(timer):
    text = timer.table(["arm", "ms"], [["minivae", 1.5], ["it", 12.25]]).splitlines()
    assert text == [
        "| arm     |    ms |",
        "| :------ | ----: |",
        "| minivae |   1.5 |",
        "| it      | 12.25 |",
    ]


@pytest.mark.parametrize("script", ["step", "scaling", "gradcheck", "epoch"])
def test_a_script_runs(script, tmp_path):
    command = [sys.executable, FOLDER / f"{script}.py", "--quick", "--out", tmp_path]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    [path] = tmp_path.glob("*.json")
    found = json.loads(path.read_text())
    assert path.name.startswith(f"{script}-cpu") and found["script"] == script
    assert {"machine", "rounds", "left_out", "results"} <= set(found)
    machine = {"cpu", "cores", "devices", "functions", "blas", "versions", "products"}
    machine |= {"environment", "date"}
    assert set(found["machine"]) == machine
    measured = numbers(found["results"])
    assert measured and all(math.isfinite(number) for number in measured)
    assert found["machine"]["functions"]["cpu"] == pick("cpu").name
    if fault() and script != "gradcheck":
        assert found["left_out"]["minivae, gpu"] == fault()
    if script == "scaling":
        assert imread(tmp_path / "scaling-quick.png").ndim == 3


def test_a_step_is_compared_with_that_of_another_checkout(tmp_path):
    """Here with a copy of this one, and with the readable functions."""
    shutil.copytree(FOLDER.parent / "minivae", tmp_path / "other" / "minivae")
    command = [sys.executable, FOLDER / "step.py", "--quick", "--against", "other", "--out", "."]
    env = os.environ | {"MINIVAE_OPS": "readable"}
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
    assert run.returncode == 0, run.stderr
    found = json.loads((tmp_path / "step-against-cpu-quick.json").read_text())
    for problem in found["results"].values():
        assert {"minivae, cpu", "the other checkout, cpu"} <= set(problem["arms"])
    assert found["machine"]["functions"]["cpu"] == "readable" and "readable.py" in run.stdout


CONFIGS = {
    "article": VAEConfig(encoder_layers=(8,), decoder_layers=(8,), classifier_layers=(8,)),
    "cut": VAEConfig(encoder_layers=(8, 7), label_gradient=False, activation="leaky_relu"),
    "bernoulli": VAEConfig(likelihood="bernoulli", num_classes=0, activation="tanh", beta=2.0),
    "identity": VAEConfig(decoder_output="identity", decoder_std=1.5, activation="relu"),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("package", ["torch", "jax"])
def test_a_peer_takes_the_same_step(peers, package, config):
    pytest.importorskip(package)
    vae = VAE(replace(config, data_dim=36))
    batch = peers.random_batch(vae.config, 8)
    arm = {"torch": peers.pytorch_arm, "jax": peers.jax_arm}[package](vae, batch, "cpu")
    loss = arm.step()
    peers.verify(loss, arm.weights(), vae, batch)


def test_a_wrong_step_is_seen(peers):
    vae = VAE(CONFIGS["article"])
    batch = peers.random_batch(vae.config, 8)
    arm = peers.minivae_arm(vae.astype("float32"), batch)
    loss, weights = arm.step(), arm.weights()
    peers.verify(loss, weights, vae, batch)
    with pytest.raises(AssertionError):
        peers.verify(loss * np.float32(1.0001), weights, vae, batch)
    weights["decoder.out.b"][3] += 1e-5
    with pytest.raises(AssertionError, match=r"decoder.out.b: 1 of 784"):
        peers.verify(loss, weights, vae, batch)


def test_flops_are_those_of_the_matrix_products(peers):
    vae = VAE(VAEConfig(data_dim=6, latent_dim=2, encoder_layers=(5,), decoder_layers=(4,),
                        num_classes=0))
    reads_data, others = 6 * 5, 2 * 5 * 2 + 2 * 4 + 4 * 6
    arm, flops = peers.matrix_products(vae, 3)
    assert flops == 2 * 3 * (2 * reads_data + 3 * others)
    arm.step()
