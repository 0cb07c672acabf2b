"""What is saved comes back, and nothing else does."""

import numpy as np
import pytest
import safetensors.numpy

from minivae import VAE, VAEConfig, checkpoint, errors, load, save

CONFIG = VAEConfig(data_dim=6, latent_dim=2, encoder_layers=(), likelihood="bernoulli")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_comes_back_bit_for_bit(tmp_path, dtype):
    vae = VAE(CONFIG, seed=3, dtype=dtype)
    path = save(vae, tmp_path / "model.safetensors")
    for place in (path, tmp_path):
        again = load(place)
        assert again.config == CONFIG and again.dtype == dtype
        assert np.array_equal(again.theta, vae.theta)
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_safetensors_alone_opens_the_weights_by_their_names(tmp_path):
    vae = VAE(CONFIG)
    tensors = safetensors.numpy.load_file(save(vae, tmp_path / "weights"))
    assert set(tensors) == set(vae.parameters())
    for name, W in vae.parameters().items():
        assert np.array_equal(tensors[name], W)


def test_equal_models_are_equal_files(tmp_path):
    files = [save(VAE(CONFIG, seed=3), tmp_path / name).read_bytes() for name in "ab"]
    assert files[0] == files[1]


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = save(VAE(CONFIG, seed=1), tmp_path / "model.safetensors")
    old = path.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(errors.FileError, match="No space left"):
        save(VAE(CONFIG, seed=2), path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_a_saved_file_is_as_readable_as_any_other(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    path = save(VAE(CONFIG), tmp_path / "model.safetensors")
    assert path.stat().st_mode == plain.stat().st_mode


def test_a_complex_model_is_not_saved(tmp_path):
    with pytest.raises(errors.ConfigError, match="complex128"):
        save(VAE(CONFIG, dtype="complex128"), tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_cannot_be_is_no_fault_of_the_file(tmp_path):
    with pytest.raises(errors.ConfigError, match="device="):
        load(save(VAE(CONFIG), tmp_path / "model.safetensors"), device="tpu")


def damage(content, about):
    """The same file with the first text replaced by the second, of equal length."""
    before, after = about
    assert before in content and len(before) == len(after)
    return content.replace(before, after, 1)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[:-1],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: b"",
        lambda content: b"\x80\x04\x95pickle",
        lambda content: damage(content, (b'\\"format\\": 3', b'\\"format\\": 4')),
        lambda content: damage(content, (b'\\"latent_dim\\": 2', b'\\"latent_dim\\": 3')),
        lambda content: damage(content, (b'\\"latent_dim\\": 2', b'\\"latent_dim\\": 0')),
        lambda content: damage(content, (b'\\"latent_dim\\"', b'\\"latent_dam\\"')),
        lambda content: damage(content, (b'\\"beta\\": 1.0', b'\\"beta\\": 2.0')),
        lambda content: damage(content, (b'\\"sha256\\"', b'\\"sha-25\\"')),
        lambda content: damage(content, (b'"encoder.mu.W"', b'"encoder.xx.W"')),
        lambda content: damage(content, (b'"minivae"', b'"minivea"')),
        lambda content: safetensors.numpy.save({"W": np.zeros(3)}),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_by_name(tmp_path, spoil):
    path = save(VAE(CONFIG), tmp_path / "model.safetensors")
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(errors.FileError, match=str(path)):
        load(path)


def test_weights_that_do_not_fit_their_config_are_all_named(tmp_path):
    class Renamed(VAE):
        def parameters(self):
            named = super().parameters()
            return {name.replace("mu", "mean"): W for name, W in named.items()}

    path = save(Renamed(CONFIG), tmp_path / "model.safetensors")
    with pytest.raises(errors.FileError, match="does not fit its config") as refused:
        load(path)
    for name in ("encoder.mean.W", "encoder.mean.b", "encoder.mu.W", "encoder.mu.b"):
        assert name in str(refused.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(errors.FileError, match="model.safetensors"):
        load(tmp_path)
