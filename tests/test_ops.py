"""The seam: which functions a model calls, and how others are put in their place."""

import inspect
import threading

import numpy as np
import pytest
import twins

from minivae import SGD, VAE, Adam, VAEConfig, errors
from minivae.devices import cpu, cuda, memory, ops, readable

PUBLIC = [name for name, value in vars(readable).items() if inspect.isfunction(value)]


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("MINIVAE_OPS", raising=False)


@pytest.mark.parametrize(
    "asked, device, dtype, module",
    [
        (None, "cpu", "float32", cpu),
        (None, "cpu", "float64", cpu),
        (None, "cpu", "complex128", readable),
        (None, "gpu", "float32", cuda),
        (None, "gpu", "float64", cuda),
        (None, "gpu", "complex128", readable),
        ("", "cpu", "float32", cpu),
        ("readable", "cpu", "float32", readable),
        ("readable", "gpu", "float32", readable),
    ],
)
def test_pick(asked, device, dtype, module, cupy, monkeypatch):
    if asked is not None:
        monkeypatch.setenv("MINIVAE_OPS", asked)
    found = ops.pick(device, dtype)
    assert (found.name, found.device) == (module.__name__.rpartition(".")[2], device)
    assert all(getattr(found, name) is vars(module)[name] for name in PUBLIC)
    array = memory.put(np.zeros(3, dtype), device)
    assert vars(ops.pick_for(array)).keys() == vars(found).keys()
    assert ops.pick_for(array).adam_update is found.adam_update
    assert memory.device_of(found.put(np.zeros(2))) == device
    assert isinstance(found.get(found.put(np.zeros(2))), np.ndarray)


@pytest.mark.parametrize("module", [cpu, cuda], ids=["cpu", "cuda"])
def test_a_faster_module_has_every_function_of_the_lesson(module):
    names = set(twins.names(module))
    assert names and set(PUBLIC) <= set(vars(module))
    for name in PUBLIC:
        same = getattr(module, name) is getattr(readable, name)
        assert same == (name not in names), name


def test_auto_is_the_device_that_can_be_used(cupy):
    assert ops.pick("auto").device == "gpu"


@pytest.mark.parametrize("asked", ["fastest", "Readable", "1"])
def test_an_unknown_choice_is_refused(asked, monkeypatch):
    monkeypatch.setenv("MINIVAE_OPS", asked)
    with pytest.raises(errors.ConfigError, match=f"^MINIVAE_OPS={asked}: readable, or leave it un"):
        VAE()


def test_a_model_and_its_optimiser_use_the_functions_that_were_picked(monkeypatch):
    config = VAEConfig(data_dim=3, encoder_layers=(2,), likelihood="bernoulli")
    for asked, module in ((None, cpu), ("readable", readable)):
        if asked:
            monkeypatch.setenv("MINIVAE_OPS", asked)
        vae = VAE(config)
        [linear, sigmoid] = vae.encoder.layers
        assert linear.ops is vae.ops and vae.ops.linear_forward is module.linear_forward
        assert sigmoid.forward_function is module.sigmoid_forward
        assert sigmoid.backward_function is module.sigmoid_backward
        assert vae.likelihood.ops.bernoulli_nll_forward is module.bernoulli_nll_forward
        assert Adam(vae.theta).update is module.adam_update
        assert SGD(vae.theta).update is readable.sgd_update


def one(*inputs):
    return 1


def two(*inputs):
    return 2


def test_a_function_is_replaced_while_the_context_lasts():
    lesson = readable.tanh_forward
    with ops.replaced(tanh_forward=one, softmax_forward=one):
        inside = ops.pick()
        assert inside.tanh_forward is one and inside.softmax_forward is one
        assert inside.tanh_backward is cpu.tanh_backward
        with ops.replaced(tanh_forward=two):
            assert ops.pick().tanh_forward is two and ops.pick().softmax_forward is one
        assert ops.pick().tanh_forward is one
        assert ops.pick("cpu", "complex128").tanh_forward is one
    assert ops.pick().tanh_forward is lesson
    assert inside.tanh_forward is one  # what was picked inside keeps its functions


def test_it_comes_back_after_an_error():
    with pytest.raises(KeyError):
        with ops.replaced(tanh_forward=one):
            raise KeyError
    assert ops.pick().tanh_forward is readable.tanh_forward


def test_no_other_thread_sees_it():
    found = []
    with ops.replaced(tanh_forward=one):
        thread = threading.Thread(target=lambda: found.append(ops.pick().tanh_forward))
        thread.start()
        thread.join()
    assert found == [readable.tanh_forward]


def test_models_that_were_made_before_keep_their_functions(rng):
    config = VAEConfig(data_dim=3, latent_dim=2, encoder_layers=(4,), num_classes=0)
    before = VAE(config)
    with ops.replaced(sigmoid_forward=lambda a: 0 * a):
        inside = VAE(config)
        x, eps = rng.random((5, 3)), rng.standard_normal((5, 2))
        assert before.forward(x, eps)[1].encoder_h.any()
        assert not inside.forward(x, eps)[1].encoder_h.any()
    assert not inside.forward(x, eps)[1].encoder_h.any()
    assert inside.astype("float64").forward(x, eps)[1].encoder_h.any()
