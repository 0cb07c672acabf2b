"""`minivae trace`: its numbers are the model's, every gradient is checked, the page is sound."""

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import refusal
from test_bug_zoo import CAUGHT_BY, zoo

import minivae
from minivae import VAE, VAEConfig, distributions, fit, layers, networks, save
from minivae.cli import main
from minivae.devices import ops, readable
from minivae.study.page import page
from minivae.study.trace import BACKWARDS, FORWARDS, summary, table, trace

B, D, J, K = 3, 16, 2, 4
SMALL = {"data_dim": D, "latent_dim": J, "num_classes": K}
SMALL |= dict.fromkeys(("encoder_layers", "decoder_layers", "classifier_layers"), (5,))
LINEAR = dict.fromkeys(("encoder_layers", "decoder_layers", "classifier_layers"), ())
CONFIGS = {
    "gaussian": {},
    "gaussian_learned": {"likelihood": "gaussian_learned", "activation": "tanh"},
    "bernoulli": {"likelihood": "bernoulli", "activation": "leaky_relu"},
    "no_classes": {"num_classes": 0, "activation": "relu"},
    "cut": {"label_gradient": False, "beta": 3.0, "classifier_weight": 2.0},
    "cut_learned": {"label_gradient": False, "likelihood": "gaussian_learned"},
    "linear": {**LINEAR, "decoder_output": "identity"},
    "linear_learned": {**LINEAR, "likelihood": "gaussian_learned", "num_classes": 0},
    "deep": {"encoder_layers": (6, 5), "decoder_layers": (4, 5, 6), "likelihood": "bernoulli"},
    "no_kl": {"beta": 0.0, "decoder_layers": (), "decoder_output": "identity"},
}


@pytest.fixture(params=CONFIGS)
def model(request):
    return VAE(VAEConfig(**SMALL | CONFIGS[request.param]), seed=1, dtype="float64")


def batch(vae):
    rng = np.random.default_rng(2)
    x = rng.random((B, vae.config.data_dim))
    return x, rng.integers(K, size=B) if vae.config.num_classes else None


def traced_of(vae, seed=0):
    return trace(vae, *batch(vae), seed)


def calls_of(statements):
    return [call for statement in statements for call in statement.calls]


def same(a, b):
    """Equal to the bit."""
    a, b = np.asarray(a), np.asarray(b)
    return (a.shape, a.dtype, a.tobytes()) == (b.shape, b.dtype, b.tobytes())


def test_values_and_gradients_are_those_of_the_model_to_the_bit(model):
    traced, (x, labels) = traced_of(model), batch(model)
    loss, acts = model.forward(x, traced.values["eps"], labels)
    model.backward(acts)
    assert same(traced.values["loss"], loss)
    for field, value in vars(acts).items():
        if isinstance(value, list):
            named = [traced.values.get(f"{field}[{i}]") for i in range(len(value))]
            assert all(mine is None or same(mine, h) for mine, h in zip(named, value))
        elif np.ndim(value):
            assert same(traced.values[field], value), field
    for name, gradient in model.gradients().items():
        assert same(traced.values[f"d {name}"], gradient), name


def test_every_call_is_recorded_and_every_backward_call_has_its_forward_call(model):
    counted = []

    def counting(name, function):
        return lambda *args: counted.append(name) or function(*args)

    functions = vars(ops.pick("cpu", "float64"))
    names = (*FORWARDS, *BACKWARDS)
    with ops.replaced(**{name: counting(name, functions[name]) for name in names}):
        twin = model.astype("float64")
    traced, (x, labels) = traced_of(model), batch(model)
    twin.backward(twin.forward(x, traced.values["eps"], labels)[1])
    forward, backward = calls_of(traced.forward), calls_of(traced.backward)
    assert [call.name for call in forward + backward] == counted
    assert len({call.forward for call in backward}) == len(backward)
    for call in backward:
        assert call.forward in forward and BACKWARDS[call.name].forward == call.forward.name
    # What no gradient comes back to is only reported.
    unanswered = {call.name for call in forward} - {call.forward.name for call in backward}
    assert unanswered <= {"squared_error_forward", "sigmoid_forward"}


@pytest.mark.parametrize("seed", [0, 1])
def test_every_gradient_is_the_derivative(model, seed):
    traced = traced_of(model, seed)
    assert not traced.wrong
    for name, row in traced.gradients.items():
        gradient = traced.values[name]
        by_hand = row.entry.analytic
        assert by_hand == gradient[row.entry.index] and abs(by_hand) == np.abs(gradient).max()
        assert row.error <= 1e-10 or row.verdict == "too small to tell", (name, row)
    for call in calls_of(traced.backward):
        assert set(call.takes + call.gives) <= set(traced.gradients)
    assert {f"d {name}" for name in model.parameters()} <= set(traced.gradients)


def test_gradients_that_add_are_shown_apart():
    traced = traced_of(VAE(VAEConfig(**SMALL), dtype="float64"))
    for whole, parts in {
        "dmu": ["dmu via z", "dmu via kl"],
        "dvar": ["dvar via z", "dvar via kl"],
        "dlogits": ["dlogits via ce", "dlogits via probs"],
        "dencoder_h": ["dencoder_h via mu", "dencoder_h via log_var"],
    }.items():
        one, other = (traced.values[name] for name in parts)
        np.testing.assert_allclose(one + other, traced.values[whole], rtol=1e-14)
    arithmetic = {statement.text for statement in traced.backward if not statement.calls}
    assert {"dmu = dmu_z + dmu_kl", "dkl = acts.beta * dcost"} <= arithmetic
    assert "acts.cost = acts.nll + acts.beta * acts.kl + config.classifier_weight * ce" in {
        statement.text for statement in traced.forward
    }


def test_labels_may_be_missing():
    vae = VAE(VAEConfig(**SMALL), dtype="float64")
    x, _ = batch(vae)
    traced = trace(vae, x)
    assert traced.values["loss"] == vae.forward(x, traced.values["eps"])[0]
    assert not np.any(traced.values["dlogits via categorical_nll"]) and not traced.wrong


def test_a_model_in_float32_is_traced_in_float64_and_left_as_it_is():
    vae = VAE(VAEConfig(**SMALL))
    before = vae.theta.copy(), vae.dtheta.copy()
    traced = traced_of(vae)
    assert {value.dtype for value in traced.values.values() if np.ndim(value)} == {np.dtype(float)}
    assert same(vae.theta, before[0]) and same(vae.dtheta, before[1])


def test_label_gradient_false_counts_probs_as_a_constant():
    traced = traced_of(VAE(VAEConfig(**SMALL | CONFIGS["cut"]), dtype="float64"))
    assert not np.any(traced.values["dlogits via probs"]) and not traced.wrong
    assert traced.gradients["dlogits via probs"].entry.numeric == 0


def test_the_lines_of_source_are_those_that_make_the_calls(model):
    traced = traced_of(model)
    package = Path(minivae.__file__).parent
    for statement in traced.forward + traced.backward:
        file, number = statement.place.split(":")
        line = (package / file).read_text().splitlines()[int(number) - 1].strip()
        assert statement.text.startswith(line.partition("  #")[0].rstrip("(")) and file == "vae.py"
    places = {call.gives[0]: s.text for s in traced.forward for call in s.calls}
    assert places["mu"] == "acts.mu = self.mu_head.forward(acts.encoder_h, params)"
    executed = " ".join(statement.text for statement in traced.forward)
    assert ("softmax" in executed) == bool(model.classifier)


def test_every_equation_that_the_model_uses_is_in_the_table_and_on_the_page(model):
    traced = traced_of(model)
    printed, shown = table(traced), page(traced, "")
    for call in calls_of(traced.forward):
        assert call.tag or call.name == "stop_gradient_forward"
        assert re.search(rf"^{call.tag or '-'} ", printed, re.M)
        assert f"<b>({call.tag})</b>" in shown or not call.tag
    assert max(map(len, printed.splitlines())) <= 120
    assert all(f"d {name} " in printed for name in model.gradients())


# Mistakes


def wrong_kl(dkl, mu, var):
    dkl = dkl.reshape(-1, 1)
    return dkl * mu, dkl * (1 - 1 / var)


def test_a_wrong_backward_shows_at_its_line(tmp_path, capsys):
    file = tmp_path / "trace.html"
    with ops.replaced(gaussian_kl_backward=wrong_kl), pytest.raises(SystemExit) as stop:
        main(["trace", "--hidden", "6", "--out", str(file)])
    printed = capsys.readouterr().out
    assert stop.value.code == 1
    said = " ".join(printed.split())
    assert re.search(r"Begin with dvar via kl, vae.py:\d+: dmu_kl, dvar_kl = ", said)
    # What is computed from a wrong gradient is wrong, too.
    wrong = re.search(r"WRONG: (.*)\. Begin", said)[1].split(", ")
    downstream = {"dvar", "dlog_var", "dencoder_h", "dencoder[1]", "dencoder_h via log_var"}
    downstream |= {f"d encoder.{part}" for part in ("log_var.W", "log_var.b", "0.W", "0.b")}
    downstream = {name.replace("dencoder[1]", "d encoder[1]") for name in downstream}
    assert set(wrong) == {"dvar via kl", *downstream}
    assert file.read_text().count('<dd class="wrong">') == 6 * len(wrong)


def test_wrong_arithmetic_between_right_calls_shows():
    class Wrong(VAE):
        """Its backward weights the KL twice as much as its forward."""

        def forward(self, x, eps, labels=None, beta=None):
            loss, acts = super().forward(x, eps, labels, beta)
            acts.beta *= 2
            return loss, acts

    traced = traced_of(Wrong(VAEConfig(**SMALL), dtype="float64"))
    assert traced.wrong[0] == "dkl" and "dkl = acts.beta * dcost" in {
        statement.text for statement in traced.backward
    }


def test_a_slope_of_the_variance_that_forgets_the_floor_shows():
    def wrong(dvar, log_var):
        return dvar * distributions.variance_forward(log_var, VAEConfig.var_floor)

    with ops.replaced(variance_backward=wrong):
        traced = traced_of(VAE(VAEConfig(**SMALL), dtype="float64"))
    assert traced.wrong[0] == "dlog_var" and 1e-6 < traced.gradients["dlog_var"].error < 1e-4


def test_one_wrong_entry_that_is_not_the_largest_shows():
    def wrong(dh, h):
        da = layers.sigmoid_backward(dh, h)
        if da.shape == (B, 5):
            da[1, 2] *= 1.01
        return da

    with ops.replaced(sigmoid_backward=wrong):
        traced = traced_of(VAE(VAEConfig(**SMALL), seed=1, dtype="float64"))
    assert traced.wrong[0] == "d decoder[1]"
    row = traced.gradients["d decoder[1]"]
    assert row.entry.index != (1, 2) and row.error > 1e-4


def test_the_identity_gives_another_value_than_it_takes():
    """Otherwise a mistake in it would be blamed on its neighbour."""
    config = VAEConfig(**SMALL, decoder_output="identity")
    traced = traced_of(VAE(config, dtype="float64"))
    identities = [call for call in calls_of(traced.forward) if call.name == "identity_forward"]
    assert [call.gives for call in identities] == [["decoder_probs"], ["mean"]]
    with ops.replaced(identity_backward=lambda dh, h: 1.01 * dh):
        traced = traced_of(VAE(config, dtype="float64"))
    assert traced.wrong[0] == "d heads[0]" and "dprobs" in traced.wrong


@pytest.mark.parametrize("bug", zoo.BUGS)
def test_the_mistakes_of_the_bug_zoo_are_named(bug):
    """All that the gradient check sees; the others have right gradients of a wrong function."""
    wrong = []
    with zoo.planted(zoo.BUGS[bug]):
        for config in zoo.MODELS:
            x = np.random.default_rng(0).random((4, config.data_dim))
            labels = np.arange(4) % config.num_classes if config.num_classes else None
            traced = trace(VAE(config, dtype="float64"), x, labels)
            table(traced)
            wrong += traced.wrong
    assert bool(wrong) == ("gradient" in CAUGHT_BY[bug])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_is_wrong(value):
    wrong = ops.replaced(tanh_backward=lambda dh, h: dh * value)
    with wrong, np.errstate(invalid="ignore"):
        traced = traced_of(VAE(VAEConfig(**SMALL, activation="tanh"), dtype="float64"))
    assert traced.wrong and "WRONG" in summary(traced)


@pytest.mark.parametrize(
    "options, lr",
    [({"activation": "relu"}, 0.01), ({"activation": "relu", "num_classes": 0}, 0.003)],
)
def test_right_gradients_of_a_trained_model_are_called_right(options, lr):
    """A saturated classifier has gradients of 1e-50 that consist of rounding."""
    images, labels, _ = minivae.datasets.strokes(2000)
    for seed in range(2):
        vae = VAE(VAEConfig(**options), seed=seed)
        fit(vae, (images, labels), epochs=4, lr=lr, seed=seed)
        assert not trace(vae, images[:4], labels[:4]).wrong


# What joins the model is traced without a change to the tracer


def test_a_new_layer_is_traced(monkeypatch):
    """A scaling by a learned number."""

    def scale_forward(a, s):
        """(E99)  h = s a"""
        return a * s

    @layers.backward_of(scale_forward, wrt=("a", "s"))
    def scale_backward(dh, a, s, ds):
        """da = s dh,  ds = Σ dh a"""
        ds[...] = np.sum(dh * a)
        return dh * s

    class Scale:
        def __init__(self, name, width, ops):
            self.s, self.shapes, self.ops = f"{name}.s", {f"{name}.s": (1,)}, ops

        def init(self, rng, params):
            params[self.s][...] = 1.5

        def forward(self, a, params):
            return self.ops.scale_forward(a, params[self.s])

        def backward(self, dh, a, h, params, grads):
            return self.ops.scale_backward(dh, a, params[self.s], grads[self.s])

    monkeypatch.setitem(networks.ACTIVATIONS, "scale", Scale)
    monkeypatch.setitem(BACKWARDS, "scale_backward", scale_backward)
    FORWARDS.add("scale_forward")
    try:
        for function in (scale_forward, scale_backward):
            monkeypatch.setattr(readable, function.__name__, function, raising=False)
            monkeypatch.setattr(minivae.devices.cpu, function.__name__, function, raising=False)
        vae = VAE(VAEConfig(**SMALL, activation="scale"), dtype="float64")
        assert "encoder.1.s" in vae.parameters()
        traced = traced_of(vae)
    finally:
        FORWARDS.remove("scale_forward")
    assert not traced.wrong and traced.gradients["d encoder.1.s"].error < 1e-12
    assert "E99  h = s a".replace("  ", " ") in table(traced)


def test_a_statement_over_several_lines_is_one_statement(model):
    texts = [statement.text for statement in traced_of(model).backward]
    joined = "dencoder_h_log_var = self.log_var_head.backward("
    assert sum(text.startswith(joined) and text.endswith(")") for text in texts) == 1


# The command and the page


def test_the_model_of_a_run_is_traced(tmp_path, capsys):
    vae = VAE(VAEConfig(latent_dim=3, encoder_layers=(7,), num_classes=0), seed=5)
    save(vae, tmp_path / "model.safetensors")
    main(["trace", str(tmp_path), "--batch-size", "2", "--out", str(tmp_path / "trace.html")])
    printed = capsys.readouterr().out
    assert "(784,7)" in printed and "(2,3)" in printed and "classifier." not in printed
    assert "all are the derivative" in printed
    assert str(tmp_path) in (tmp_path / "trace.html").read_text()


@pytest.mark.parametrize("options", ["RUN --beta 2", "RUN", "--hidden 3 --out no/trace.html"])
def test_what_cannot_be_done_is_refused_in_one_line(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["trace", *options.split()])
    refusal(stop, capsys)


class Balanced(HTMLParser):
    """Every tag that is opened is closed, in its place."""

    void = {"meta", "img", "br"}

    def __init__(self, source):
        super().__init__()
        self.open, self.ids, self.links, self.images, self.texts = [], [], [], [], []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "link", "iframe")
        attributes = dict(attributes)
        assert not any(name.startswith("on") for name in attributes)
        if tag not in self.void:
            assert tag != "p" or "p" not in self.open
            self.open.append(tag)
        self.ids += [attributes["id"]] if "id" in attributes else []
        self.links += [attributes["href"]] if tag == "a" else []
        self.images += [attributes] if tag == "img" else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_is_sound_and_alone(model):
    traced = traced_of(model)
    source = page(traced, "<b>RUN & 'run'</b>")
    parsed = Balanced(source)
    assert "<b>RUN & 'run'</b>" in parsed.texts
    assert len(parsed.ids) == len(set(parsed.ids))
    assert set(parsed.links) <= {f"#{name}" for name in parsed.ids}
    assert not re.search(r"https?:|url\(|@import", source)
    alts = " ".join(image["alt"] for image in parsed.images)
    assert "x: 3 of 4 × 4 pixels" in alts and "mean: 3 of 4 × 4 pixels" in alts
    assert re.search(r"encoder\.\w+\.W: \d of 4 × 4 pixels", alts)
    for image in parsed.images:
        kind, data = image["src"].split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")
    texts = {words.strip() for words in parsed.texts}
    for statement in traced.forward + traced.backward:
        assert statement.text in texts
        assert {call.equation for call in statement.calls} <= texts
    shown = {name.removeprefix("v-") for name in parsed.ids}
    assert {re.sub(r"\W+", "-", name) for name in traced.gradients} <= shown


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = Path("/usr/bin/chromium")
    if not chromium.exists():
        pytest.skip("Debian's chromium is not installed")
    with playwright.sync_playwright() as found:
        browser = found.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


def test_the_page_in_a_browser(browser, tmp_path, capsys):
    file = tmp_path / "trace.html"
    main(["trace", "--out", str(file)])
    grounds = {}
    for scheme in ("light", "dark"):
        for width in (360, 1280):
            tab = browser.new_page(viewport={"width": width, "height": 700}, color_scheme=scheme)
            said, asked = [], []
            tab.on("console", lambda message, said=said: said.append(message.text))
            tab.on("pageerror", lambda error, said=said: said.append(str(error)))
            tab.on("request", lambda request, asked=asked: asked.append(request.url))
            tab.goto(file.as_uri())
            tab.wait_for_load_state("networkidle")
            assert not said
            assert [url for url in asked if not url.startswith("data:image/png")] == [file.as_uri()]
            assert tab.evaluate("document.documentElement.scrollWidth") == width
            assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
            boxes = tab.evaluate(
                "[...document.querySelectorAll('.step')].filter(s => s.children.length == 2)"
                ".map(s => [...s.children].map(c => c.getBoundingClientRect().left))"
            )
            assert len(boxes) == 20
            assert all((left == right) == (width == 360) for left, right in boxes)
            grounds[scheme] = tab.evaluate("getComputedStyle(document.body).backgroundColor")
            tab.close()
    assert grounds["light"] != grounds["dark"]
