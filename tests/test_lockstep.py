"""`minivae lockstep`: the first number that differs is found and named."""

import numpy as np
import pytest
from conftest import refusal

from minivae import VAE, VAEConfig, datasets, errors
from minivae.cli import main
from minivae.devices import find
from minivae.study.lockstep import drift, first_out

SMALL = VAEConfig(latent_dim=3, encoder_layers=(8,), decoder_layers=(8,), classifier_layers=(8,))
IMAGES, LABELS, _ = datasets.strokes(60)
OPTIONS = ["lockstep", "--hidden", "8", "--latent", "3", "--batch-size", "20"]


def twins(*dtypes, config=SMALL):
    return [VAE(config, seed=0, dtype=dtype) for dtype in dtypes]


def test_the_same_arithmetic_never_drifts():
    errors = drift(*twins("float64", "float64"), IMAGES, LABELS, steps=3, batch_size=20)
    assert all(np.array_equal(each, np.zeros(3)) for each in errors.values())
    assert first_out(errors, 1e-300) is None


def test_every_value_every_gradient_and_every_weight_is_compared_in_the_order_of_computation():
    vae, twin = twins("float64", "float32")
    errors = drift(vae, twin, IMAGES, LABELS, steps=2, batch_size=20)
    names = list(errors)
    weights = list(vae.parameters())
    at_loss = names.index("loss")
    assert names[at_loss + 1 :] == [f"d {name}" for name in weights[::-1]] + weights
    assert names[:at_loss] == [
        "x", "eps", "encoder[1]", "encoder_h", "mu", "log_var", "var", "kl", "z",
        "classifier[1]", "classifier_h", "logits", "probs", "y", "ce", "code",
        "decoder[1]", "decoder_h", "heads[0]", "mean", "sse", "nll", "cost",
    ]  # fmt: skip
    assert 0 < max(each.max() for each in errors.values()) < 1e-3


def test_an_array_with_several_names_is_listed_once():
    """Without classes the code is z; a linear network's last value is its input."""
    linear = VAEConfig(
        latent_dim=3, encoder_layers=(), decoder_layers=(), num_classes=0, decoder_output="identity"
    )
    names = list(drift(*twins("float64", "float64", config=linear), IMAGES, None, 1, 20))
    assert names[: names.index("loss")] == [
        "x", "eps", "mu", "log_var", "var", "kl", "z", "mean", "sse", "nll", "cost"
    ]  # fmt: skip


def test_what_it_compares_is_a_training(rng):
    """Steps of Adam at the learning rate, from the same weights on the same batches."""
    one, other = twins("float64", "float32")
    start = one.theta.copy()
    drift(one, other, IMAGES, LABELS, steps=5, batch_size=20, lr=1e-2)
    moved = np.max(np.abs(one.theta - start))
    assert 0.01 < moved < 0.051
    assert np.allclose(one.theta, other.theta, atol=1e-4)


@pytest.mark.parametrize("wrong", [1e-3, np.nan], ids=["a little wrong", "not a number"])
def test_the_first_number_that_leaves_the_tolerance_is_named(wrong, monkeypatch):
    vae, twin = twins("float64", "float64")
    backward, calls = twin.backward, []

    def planted(acts):
        backward(acts)
        calls.append(acts)
        if len(calls) == 3:
            twin.gradients()["decoder.0.W"][2, 1] += wrong

    monkeypatch.setattr(twin, "backward", planted)
    errors = drift(vae, twin, IMAGES, LABELS, steps=5, batch_size=20)
    assert first_out(errors, 1e-9) == (3, "d decoder.0.W")
    assert errors["d decoder.0.W"][1] == 0 and errors["decoder.out.W"][2] == 0


@pytest.mark.parametrize("options", [[], ["--no-classifier", "--likelihood", "gaussian_learned"]])
def test_the_command_compares_two_dtypes(capsys, options):
    main([*OPTIONS, "--steps", "4", "--second", "cpu:float32", *options])
    printed = capsys.readouterr().out
    assert "float64 against" in printed and "decoder.out.W" in printed
    assert "step 4" in printed and printed.endswith("no tolerance: reported only\n")
    main([*OPTIONS, "--steps", "4", "--second", "cpu:float64", *options])
    assert capsys.readouterr().out.endswith("all within 1e-09\n")


def test_the_command_fails_at_the_first_number_beyond_the_tolerance(capsys):
    with pytest.raises(SystemExit) as stop:
        main([*OPTIONS, "--steps", "2", "--second", "cpu:float32", "--tolerance", "1e-12"])
    assert stop.value.code == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("step 1: encoder[1] is the first")


@pytest.mark.parametrize("machine", ["tpu:float64", "cpu", "cpu:float16", "auto:float32"])
def test_what_is_no_device_or_dtype_is_refused(machine, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*OPTIONS, "--second", machine])
    assert stop.value.code == 2 and "invalid choice" in capsys.readouterr().err


def test_a_gpu_that_is_not_there_is_refused_with_its_reason(monkeypatch, capsys):
    def prove():
        raise errors.DeviceError("no GPU: it is somewhere else")

    monkeypatch.setattr(find, "prove", prove)
    for options in (["lockstep", "--second", "gpu:float64"], ["train", "--device", "gpu"]):
        with pytest.raises(SystemExit) as stop:
            main(options)
        assert refusal(stop, capsys) == "minivae: no GPU: it is somewhere else"
