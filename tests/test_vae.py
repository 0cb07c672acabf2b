"""The whole model: its loss computed another way, its gradient, its dtypes, its functions."""

import copy
import dataclasses
import hashlib
import tracemalloc

import numpy as np
import pytest
import scipy.special
import scipy.stats
from models import MODELS, SMALL, case

from minivae import VAE, Adam, VAEConfig, checks, datasets, errors, networks
from minivae.gradcheck import check_direction, check_model, loss_and_gradient
from minivae.vae import shapes

pytestmark = pytest.mark.usefixtures("readable")


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_E16_gradient_of_every_entry_by_both_methods(name, labelled):
    vae, x, _, labels = case(name)
    report = check_model(vae, x, labels if labelled else None, entries=None, method="both")
    assert report.passed, f"\n{report}"
    assert {row.name for row in report.rows} == set(vae.parameters())


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_learned", "bernoulli"])
def test_E16_gradient_of_the_whole_model_at_full_size(likelihood):
    images, labels, _ = datasets.strokes(4)
    vae = VAE(VAEConfig(likelihood=likelihood))
    report = check_model(vae, images, labels, method="both")
    assert report.passed, f"\n{report}"
    report = check_direction(*loss_and_gradient(vae, images, labels)[:3], method="both")
    assert report.passed, f"\n{report}"


def test_E16_every_entry_of_the_gradient_is_written():
    vae, x, eps, labels = case()
    vae.dtheta[:] = np.nan
    vae.backward(vae.forward(x, eps, labels)[1])
    assert np.isfinite(vae.dtheta).all()


def log_density(name, vae, x, out, log_var):
    """log p(x|z) of each example, by scipy.stats."""
    sigmoid = scipy.special.expit
    mean = out if vae.config.decoder_output == "identity" else sigmoid(out)
    if vae.config.likelihood == "bernoulli":
        p = sigmoid(out)
        return (x * np.log(p) + (1 - x) * np.log1p(-p)).sum(axis=1)
    std = 0.5
    if vae.config.likelihood == "gaussian_learned":
        std = np.sqrt(vae.config.var_floor + np.exp(log_var))
    return scipy.stats.norm(mean, std).logpdf(x).sum(axis=1)


@pytest.mark.parametrize("name", MODELS)
def test_E16_loss_written_down_again(name):
    vae, x, eps, labels = case(name)
    config, p = vae.config, vae.parameters()
    act = {
        "sigmoid": scipy.special.expit,
        "tanh": np.tanh,
        "relu": lambda a: a.clip(0),
        "leaky_relu": lambda a: np.where(a > 0, a, a / 5),
    }[config.activation]

    def linear(layer, h):
        return np.einsum("bi,ij->bj", h, p[f"{layer}.W"]) + p[f"{layer}.b"]

    def hidden(network, h):
        i = 0
        while f"{network}.{i}.W" in p:
            h = act(linear(f"{network}.{i}", h))
            i += 1
        return h

    h = hidden("encoder", x)
    mu, std = linear("encoder.mu", h), np.sqrt(1e-5 + np.exp(linear("encoder.log_var", h)))
    code = mu + std * eps
    kl = (-np.log(std) + (std**2 + mu**2) / 2 - 0.5).sum(axis=1)
    ce = 0
    if config.num_classes:
        probs = scipy.special.softmax(linear("classifier.out", hidden("classifier", x)), axis=1)
        ce = -np.log(probs[np.arange(len(x)), labels])
        code = np.hstack([code, probs])
    h = hidden("decoder", code)
    log_var = linear("decoder.log_var", h) if "decoder.log_var.W" in p else None
    nll = -log_density(name, vae, x, linear("decoder.out", h), log_var)
    loss, acts = vae.forward(x, eps, labels)
    np.testing.assert_allclose(acts.nll, nll, rtol=1e-12)
    np.testing.assert_allclose(acts.kl, kl, rtol=1e-12)
    np.testing.assert_allclose(acts.sse, ((x - acts.mean) ** 2).sum(axis=1), rtol=1e-12)
    if config.num_classes:
        np.testing.assert_allclose(acts.ce, ce, rtol=1e-12)
    np.testing.assert_allclose(loss, np.mean(nll + 0.7 * kl + 2.0 * ce), rtol=1e-12)


def test_names_and_order_of_the_parameters():
    deep, *_ = case("deep")
    learned, *_ = case("learned")
    layers = [name.removesuffix(".W") for name in deep.parameters() if name.endswith(".W")]
    assert layers == [
        "encoder.0", "encoder.1", "encoder.mu", "encoder.log_var",
        "classifier.0", "classifier.1", "classifier.out",
        "decoder.0", "decoder.1", "decoder.2", "decoder.out",
    ]  # fmt: skip
    assert list(learned.parameters())[-2:] == ["decoder.log_var.W", "decoder.log_var.b"]
    assert list(deep.parameters()) == list(deep.gradients())
    assert all(np.shares_memory(W, deep.theta) for W in deep.parameters().values())
    assert all(np.shares_memory(dW, deep.dtheta) for dW in deep.gradients().values())


def test_the_article_s_model_has_its_size():
    encoder = 784 * 128 + 128 + 2 * (128 * 10 + 10)
    classifier = 784 * 128 + 128 + 128 * 10 + 10
    decoder = 20 * 128 + 128 + 128 * 784 + 784
    assert VAE().theta.shape == VAE().dtheta.shape == (encoder + classifier + decoder,)


def test_without_labels_the_class_costs_nothing():
    vae, x, eps, labels = case()
    loss, acts = vae.forward(x, eps)
    assert acts.ce is None
    np.testing.assert_allclose(loss, np.mean(acts.nll + 0.7 * acts.kl))
    rows = checks.one_hot(labels, (5, 3))
    assert vae.forward(x, eps, labels)[0] == vae.forward(x, eps, rows)[0]


def test_the_values_of_a_pass_are_kept_under_their_names():
    vae, x, eps, labels = case("deep")
    _, acts = vae.forward(x, eps, labels)
    for name, widths in [("encoder", (6, 5, 5, 4, 4)), ("decoder", (5, 4, 4, 5, 5, 3, 3))]:
        values = getattr(acts, name)
        assert tuple(value.shape[1] for value in values) == widths
        assert getattr(acts, f"{name}_h") is values[-1]
    assert acts.encoder[0] is acts.classifier[0] is acts.x
    assert acts.decoder[0] is acts.code
    assert np.array_equal(acts.code, np.hstack([acts.z, acts.decoder_probs]))
    np.testing.assert_array_equal(acts.cost, acts.nll + 0.7 * acts.kl + 2.0 * acts.ce)


def test_without_hidden_layers_the_heads_read_the_input():
    vae, x, eps, labels = case("linear")
    _, acts = vae.forward(x, eps, labels)
    assert acts.encoder_h is acts.x and acts.decoder_h is acts.code
    assert len(acts.encoder) == len(acts.classifier) == len(acts.decoder) == 1


def test_beta_can_be_given_to_forward_and_backward_uses_the_same_one():
    vae, x, eps, labels = case()
    other = copy.deepcopy(vae)
    other.config = dataclasses.replace(vae.config, beta=3.0)
    found = []
    for model, given in ((vae, [3.0]), (other, []), (vae, []), (vae, [None])):
        loss, acts = model.forward(x, eps, labels, *given)
        model.backward(acts)
        found.append((loss, acts.beta, model.dtheta.tolist()))
    assert found[0] == found[1] != found[2] == found[3]
    assert (found[0][1], found[2][1]) == (3.0, 0.7)


def test_label_gradient_decides_only_about_the_classifier():
    """Where it is cut, what the decoder reads counts as a constant."""
    vae, x, eps, labels = case()
    cut, *_ = case("cut")
    vae = VAE(dataclasses.replace(cut.config, label_gradient=True), dtype="float64")
    vae.theta[...] = cut.theta
    for y in (labels, None):
        for model in (vae, cut):
            model.backward(model.forward(x, eps, y)[1])
        for name, dW in cut.gradients().items():
            same = np.array_equal(dW, vae.gradients()[name])
            assert same == (not name.startswith("classifier")), name
    assert not any(dW.any() for name, dW in cut.gradients().items() if "classifier" in name)


def test_a_cut_gradient_stays_cut_where_it_is_not_finite():
    cut, x, eps, labels = case("cut")
    cut.parameters()["decoder.out.W"][...] = np.inf
    with np.errstate(all="ignore"):
        cut.backward(cut.forward(x, eps, labels)[1])
    for name, dW in cut.gradients().items():
        assert np.isfinite(dW).all() == name.startswith("classifier"), name


class Watched(np.ndarray):
    """An array that records the dtype of everything that is computed from it."""

    seen: set = set()

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        plain = [x.view(np.ndarray) if isinstance(x, Watched) else x for x in inputs]
        if out is not None:
            kwargs["out"] = tuple(x.view(np.ndarray) for x in out)
        return self.note(getattr(ufunc, method)(*plain, **kwargs))

    def __array_function__(self, function, types, args, kwargs):
        return self.note(super().__array_function__(function, types, args, kwargs))

    @classmethod
    def note(cls, result):
        if isinstance(result, (list, tuple)):
            return [cls.note(part) for part in result]
        if isinstance(result, (np.ndarray, np.generic)):
            cls.seen.add(result.dtype.name)
            return np.asarray(result).view(cls)
        return result


@pytest.mark.parametrize("name", [*MODELS, "numpy scalars"])
def test_a_float32_step_stays_float32_in_every_intermediate(name):
    vae, x, eps, labels = case("article" if name == "numpy scalars" else name, dtype="float32")
    if name == "numpy scalars":
        fields = ("decoder_std", "classifier_weight", "var_floor", "beta")
        scalars = {field: np.float64(getattr(vae.config, field)) for field in fields}
        vae = VAE(dataclasses.replace(vae.config, **scalars))
    Watched.seen = set()
    loss, acts = vae.forward(x.view(Watched), eps.view(Watched), labels)
    vae.backward(acts)
    theta = vae.theta.view(Watched)
    Adam(theta).step(theta, vae.dtheta.view(Watched))
    assert isinstance(loss, Watched) and isinstance(acts.encoder_h, Watched)
    assert Watched.seen - {"bool"} == {"float32"}
    assert np.isfinite(vae.theta).all()


def test_the_watch_sees_float64_creeping_in():
    Watched.seen = set()
    _ = np.zeros(3, np.float32).view(Watched) * np.float64(3.0)
    assert Watched.seen == {"float64"}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("encoder", [-80, 80])
@pytest.mark.parametrize("decoder", [-80, 80])
def test_far_log_variances_give_finite_numbers_in_float32(name, encoder, decoder):
    finite_at(*case(name, dtype="float32"), encoder, decoder)


@pytest.mark.parametrize("encoder", [-80, 80])
def test_far_log_variances_of_a_large_batch_at_full_size(encoder):
    images, labels, _ = datasets.strokes(1000)
    eps = np.random.default_rng(0).standard_normal((1000, 10), dtype=np.float32)
    finite_at(VAE(), images, eps, labels, encoder, 0)


def finite_at(vae, x, eps, labels, encoder, decoder):
    """Loss and gradient are finite where every log_var of the encoder, of the decoder, is this."""
    for tensor, W in vae.parameters().items():
        if "log_var" in tensor:
            bias = encoder if tensor.startswith("encoder") else decoder
            W[...] = bias if tensor.endswith(".b") else 0
    loss, acts = vae.forward(x, eps, labels)
    vae.backward(acts)
    assert np.isfinite(loss) and np.isfinite(vae.dtheta).all()


def test_dtypes_agree():
    vae, x, eps, labels = case("learned")
    loss, _ = vae.forward(x, eps, labels)
    single, _ = vae.astype("float32").forward(x, eps, labels)
    double, _ = vae.astype("complex128").forward(x, eps, labels)
    assert single.dtype == np.float32 and double.dtype == np.complex128
    np.testing.assert_allclose(single, loss, rtol=1e-6)
    np.testing.assert_allclose(double, loss, rtol=1e-14)


def test_every_dtype_starts_from_the_same_weights():
    single, double = VAE(SMALL, seed=3), VAE(SMALL, seed=3, dtype="float64")
    assert np.array_equal(single.theta, double.theta)


@pytest.mark.parametrize(
    "seed, options, digest",
    [
        (0, {}, "079a5c67571a80e8"),
        (
            0,
            {
                "encoder_layers": (20, 10),
                "decoder_layers": (10, 20),
                "classifier_layers": (15, 5),
                "likelihood": "gaussian_learned",
            },
            "29f510b313da0e82",
        ),
        (7, {"encoder_layers": (), "decoder_layers": (), "num_classes": 0}, "4d5f55b4bbd334da"),
    ],
)
def test_a_seed_gives_the_same_weights_in_every_version(seed, options, digest):
    """The beginning of the SHA-256 of theta; the numbers are those of version 0.1."""
    theta = VAE(VAEConfig(**options), seed=seed).theta
    assert hashlib.sha256(theta.astype("<f4").tobytes()).hexdigest().startswith(digest)


@pytest.mark.parametrize("name", MODELS)
def test_shapes_are_those_of_the_model(name):
    vae, *_ = case(name)
    found = shapes(vae.config)
    assert list(found.items()) == [(key, W.shape) for key, W in vae.parameters().items()]


def test_shapes_of_a_model_that_is_too_large_to_make():
    config = VAEConfig(encoder_layers=(10**9, 10**9))
    tracemalloc.start()
    found = shapes(config)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["encoder.1.W"] == (10**9, 10**9) and peak < 1 << 20


class OfItsOwn(VAE):
    """Its __init__ has other arguments than VAE's."""

    def __init__(self, width):
        super().__init__(dataclasses.replace(SMALL, latent_dim=width), seed=1, dtype="float64")
        self.width = width


@pytest.mark.parametrize("make", [lambda: case()[0], lambda: OfItsOwn(4)], ids=["VAE", "subclass"])
@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda vae: vae.to("cpu"), lambda vae: vae.astype("complex128")],
    ids=["deepcopy", "to", "astype"],
)
def test_a_copy_has_the_same_weights_in_its_own_memory_and_draws_none(make, copied, monkeypatch):
    vae = make()
    monkeypatch.setattr(networks, "glorot_uniform", None)
    twin = copied(vae)
    assert type(twin) is type(vae) and getattr(twin, "width", 4) == 4
    assert np.array_equal(twin.theta, vae.theta) and twin.dtheta.dtype == twin.dtype
    twin.theta += 1
    assert not np.array_equal(twin.theta, vae.theta)
    for name, W in twin.parameters().items():
        assert np.array_equal(W, vae.parameters()[name] + 1)
        assert np.shares_memory(W, twin.theta)
        assert np.shares_memory(twin.gradients()[name], twin.dtheta)


def test_backward_changes_nothing_but_dtheta():
    vae, x, eps, labels = case("deep")
    for array in (x, eps):
        array.flags.writeable = False
    _, acts = vae.forward(x, eps, labels)
    values = copy.deepcopy(vars(acts))
    theta = vae.theta.copy()
    vae.backward(acts)
    first = vae.dtheta.copy()
    vae.backward(acts)
    assert np.array_equal(vae.dtheta, first)
    assert np.array_equal(vae.theta, theta)
    np.testing.assert_equal(vars(acts), values)


@pytest.mark.parametrize("name", MODELS)
def test_encode_classify_decode_and_nll_are_the_parts_of_forward(name):
    vae, x, eps, labels = case(name)
    _, acts = vae.forward(x, eps, labels)
    mu, var = vae.encode(x)
    assert np.array_equal(mu, acts.mu) and np.array_equal(var, acts.var)
    if vae.classifier:
        assert np.array_equal(vae.classify(x), acts.probs)
    assert np.array_equal(vae.decode(acts.z, acts.probs), acts.mean)
    assert np.array_equal(vae.nll(x, acts.z, acts.probs), acts.nll)
    assert np.array_equal(vae.reconstruct(x), vae.decode(mu, acts.probs))


def test_sample():
    vae, *_ = case()
    z = np.random.default_rng(5).standard_normal((4, 2), dtype=np.float32)
    assert np.array_equal(vae.sample(4, digit=2, seed=5), vae.decode(z, np.eye(3)[[2] * 4]))
    assert np.array_equal(vae.sample(4, seed=5), vae.decode(z, np.eye(3)[[0, 1, 2, 0]]))
    plain, *_ = case("plain")
    assert np.array_equal(plain.sample(4, seed=5), plain.decode(z))


@pytest.mark.parametrize(
    "field, value",
    [
        ("latent_dim", 0),
        ("latent_dim", 2.0),
        ("data_dim", "784"),
        ("num_classes", -1),
        ("num_classes", True),
        ("encoder_layers", (128, 0)),
        ("encoder_layers", 5),
        ("decoder_layers", ("5",)),
        ("classifier_layers", "128"),
        ("decoder_std", 0),
        ("decoder_std", "0.5"),
        ("decoder_std", 1e-200),
        ("beta", 10**400),
        ("beta", -1),
        ("beta", None),
        ("var_floor", float("nan")),
        ("classifier_weight", float("inf")),
        ("label_gradient", 2),
        ("activation", "swish"),
        ("activation", ["relu"]),
        ("likelihood", "poisson"),
        ("decoder_output", "softmax"),
        ("bound", "iwae"),
    ],
)
def test_a_config_that_cannot_be_is_refused_by_the_field_s_name(field, value):
    with pytest.raises(errors.ConfigError, match=f"^{field}="):
        VAEConfig(**{field: value})


def test_numpy_numbers_in_a_config_become_python_s():
    config = VAEConfig(
        latent_dim=np.int64(3),
        encoder_layers=[np.int32(5)],
        beta=np.float32(2),
        label_gradient=np.False_,
    )
    assert config == VAEConfig(latent_dim=3, encoder_layers=(5,), beta=2.0, label_gradient=False)
    assert type(config.beta) is float and type(config.latent_dim) is int


def test_what_does_not_fit_is_refused():
    vae, x, eps, labels = case()
    plain, *_ = case("plain")
    for call, complaint in [
        (lambda: vae.forward(x[:, 1:], eps), "x is"),
        (lambda: vae.forward(x, eps[:1]), r"eps is \(1, 2\); it must be \(5, 2\)"),
        (lambda: vae.forward(x, eps[:, :1]), "eps is"),
        (lambda: vae.forward(x[:0], eps[:0]), "x is"),
        (lambda: vae.forward(x.astype(int), eps), "x has dtype int64; .* or uint8"),
        (lambda: vae.forward(x, eps.astype(np.uint8)), "eps has dtype uint8"),
        (lambda: vae.forward(x + 0j, eps), "complex128"),
        (lambda: vae.forward(x.tolist(), eps), "x is list; it must be"),
        (lambda: vae.forward(x, eps, labels[1:]), r"integers \(5,\)"),
        (lambda: vae.forward(x, eps, labels - 1), r"labels\[0\] is -1"),
        (lambda: vae.forward(x, eps, labels + 0.5), "integers"),
        (lambda: vae.decode(eps), "probs is NoneType"),
        (lambda: plain.nll(x[:1], eps), r"x is \(1, 6\); it must be \(5, 6\)"),
        (lambda: plain.nll(x, None), "z is NoneType"),
        (lambda: vae.sample(2, digit=3), r"labels\[0\] is 3"),
        (lambda: plain.sample(2, digit=3), "0 classes"),
    ]:
        with pytest.raises(errors.DataError, match=complaint):
            call()
    for dtype in ("float16", "foo", int):
        with pytest.raises(errors.ConfigError, match="dtype="):
            VAE(SMALL, dtype=dtype)
        with pytest.raises(errors.ConfigError, match="dtype="):
            vae.astype(dtype)
    for beta in (-1, "x", np.ones(5)):
        with pytest.raises(errors.ConfigError, match="beta="):
            vae.forward(x, eps, labels, beta=beta)
    with pytest.raises(errors.ConfigError, match="no classifier"):
        plain.classify(x)
