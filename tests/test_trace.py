"""`minivae trace`: the numbers are the model's own, the page is sound."""

import base64
import configparser
import inspect
import re
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from conftest import refusal

from minivae import VAE, VAEConfig, checkpoint, distributions, layers, save
from minivae.cli import main
from minivae.page import page
from minivae.trace import table, trace

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
    return x, rng.integers(K, size=B) if vae.classifier else None


def passed(vae, seed=0):
    """The trace, and the model's own forward and backward on the same numbers."""
    x, labels = batch(vae)
    traced = trace(vae, x, labels, seed)
    loss, acts = vae.forward(x, traced.values["eps"], labels)
    vae.backward(acts)
    return traced, loss, acts


def calls(function, *args):
    """What the functions of layers.py and distributions.py were given and gave; VAE.backward's
    own variables."""
    files = {layers.__file__, distributions.__file__}
    seen, local = [], {}

    def watch(frame, event, result):
        code = frame.f_code
        if event != "return":
            return
        if code is VAE.backward.__code__:
            local.update(frame.f_locals)
        if code.co_filename in files and re.search("_(for|back)ward", code.co_name):
            given = [frame.f_locals[name] for name in code.co_varnames[: code.co_argcount]]
            seen.append((code.co_name, [np.copy(x) for x in [*given, *as_tuple(result)]]))

    sys.setprofile(watch)
    try:
        function(*args)
    finally:
        sys.setprofile(None)
    return seen, local


def as_tuple(result):
    return result if isinstance(result, tuple) else () if result is None else (result,)


def same(a, b):
    """To the bit."""
    a, b = np.asarray(a), np.asarray(b)
    return (a.shape, a.dtype, a.tobytes()) == (b.shape, b.dtype, b.tobytes())


def test_it_calls_the_pairs_of_the_model_in_the_same_order_with_the_same_numbers(model):
    x, labels = batch(model)
    eps = trace(model, x, labels).values["eps"]

    def once():
        model.backward(model.forward(x, eps, labels)[1])

    theirs, _ = calls(once)
    ours, _ = calls(trace, model, x, labels)
    assert len(theirs) > 10
    assert [name for name, _ in ours[: len(theirs)]] == [name for name, _ in theirs]
    for (_, mine), (name, arrays) in zip(ours, theirs):
        assert len(mine) == len(arrays)
        assert all(map(same, mine, arrays)), name


def test_loss_values_and_gradients_are_those_of_the_model(model):
    traced, loss, acts = passed(model)
    values = traced.values
    assert same(values["loss"], loss)
    seen = set()
    for name, value in vars(acts).items():
        if isinstance(value, list) and name != "heads":
            assert all(same(values[f"{name}[{i}]"], h) for i, h in enumerate(value[1:], 1))
            seen |= {f"{name}[{i}]" for i in range(1, len(value))}
        elif isinstance(value, list):
            assert all(same(values[f"heads[{i}]"], head) for i, head in enumerate(value))
            seen |= {f"heads[{i}]" for i in range(len(value))}
        elif value is not None:
            assert same(values[name], value), name
            seen.add(name)
    made = {name for line in traced.forward for name in line.outputs}
    assert {name for name in made - seen if "_a[" not in name} <= {"code", "cost", "loss"}
    for name, gradient in model.gradients().items():
        assert same(values[f"d {name}"], gradient), name

    _, local = calls(model.backward, acts)
    for name, value in local.items():
        if name.startswith("d") and name in values:
            assert same(values[name], value), name
    inside = {"dcost", "dnll", "dkl", "dmu_z", "dvar_z", "dmu_kl", "dvar_kl", "dmu", "dvar"}
    inside |= {"dz", "dlog_var", "dh_log_var", "dh_mu"}
    if model.classifier:
        inside |= {"dcode", "dprobs", "dce", "dlogits_ce", "dlogits_code", "dlogits"}
    assert inside <= set(traced.rows)
    assert {"dcode", *inside} <= set(local)


def test_labels_may_be_missing():
    vae = VAE(VAEConfig(**SMALL), dtype="float64")
    x, _ = batch(vae)
    traced = trace(vae, x)
    assert traced.values["loss"] == vae.forward(x, traced.values["eps"])[0]
    assert not np.any(traced.values["dlogits_ce"]) and not traced.wrong


def test_a_model_in_float32_is_traced_in_float64_and_left_as_it_is():
    vae = VAE(VAEConfig(**SMALL))
    before = vae.theta.copy(), vae.dtheta.copy()
    traced = trace(vae, *batch(vae))
    assert {value.dtype for value in traced.values.values() if np.ndim(value)} == {np.dtype(float)}
    assert same(vae.theta, before[0]) and same(vae.dtheta, before[1])


@pytest.mark.parametrize("seed", [0, 1])
def test_every_gradient_is_the_derivative(model, seed):
    traced, _, _ = passed(model, seed)
    assert [name for line in traced.backward for name in line.outputs] == list(traced.rows)
    assert max(row.error for row in traced.rows.values()) <= 1e-12 and not traced.wrong
    for name, row in traced.rows.items():
        gradient = traced.values[name]
        assert row.analytic == gradient[row.index] and abs(row.analytic) == np.abs(gradient).max()


def test_label_gradient_false_holds_probs_constant():
    traced, _, _ = passed(VAE(VAEConfig(**SMALL | CONFIGS["cut"]), dtype="float64"))
    assert not np.any(traced.values["dlogits_code"]) and traced.rows["dlogits_code"].numeric == 0
    assert np.all(traced.values["dprobs"]) and traced.rows["dprobs"].numeric
    assert same(traced.values["dlogits"], traced.values["dlogits_ce"])


def test_every_equation_that_the_model_uses_is_there(model):
    x, labels = batch(model)
    traced = trace(model, x, labels)
    eps = traced.values["eps"]

    def once():
        model.backward(model.forward(x, eps, labels)[1])

    documented = vars(layers) | vars(distributions)
    forward, backward = {"E16"}, {"E16"}
    for name, _ in calls(once)[0]:
        pair = re.sub("_backward.*", "_forward", name)
        tags = re.findall(r"^\((E\d+)\)", inspect.getdoc(documented[pair]))
        (forward if name == pair else backward).update(tags)
    assert {line.tag for line in traced.forward if line.tag} == forward
    assert {line.tag for line in traced.backward if line.tag} == backward
    printed, shown = table(traced), page(traced, "")
    for tag in forward:
        assert re.search(rf"^{tag} ", printed, re.M) and f"<b>({tag})</b>" in shown


def test_the_lines_of_source_are_there_and_call_what_stands_beside_them(model):
    traced, _, _ = passed(model)
    package = Path(layers.__file__).parent
    for line in traced.forward + traced.backward:
        (file, number), code = line.source[0].split(":"), line.source[1]
        assert (package / file).read_text().splitlines()[int(number) - 1].strip().startswith(code)
        assert file in ("vae.py", "mlp.py", "distributions.py") and line.equation
    places = {line.outputs[0]: line.source[1] for line in traced.forward + traced.backward}
    assert places["mu"].startswith("acts.mu = self.mu_head.forward(")
    assert places["dmu_z"].startswith("dmu_z, dvar_z = ops.reparameterize_backward(")
    assert places["d heads[0]"].startswith("dout = self.")
    assert places["heads[0]"].startswith("acts.heads = [head.forward(")


def test_the_table_fits_120_columns(model):
    printed = table(passed(model)[0])
    assert max(map(len, printed.splitlines())) <= 120
    assert all(f"{d} " in printed for d in model.gradients())


def wrong_kl(dkl, mu, var):
    """dmu = dkl · μ,  dvar = dkl · (1 − 1 / var)"""
    dkl = dkl.reshape(-1, 1)
    return dkl * mu, dkl * (1 - 1 / var)


def test_a_wrong_backward_shows_at_its_line(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(distributions, "gaussian_kl_backward", wrong_kl)
    file = tmp_path / "trace.html"
    with pytest.raises(SystemExit) as stop:
        main(["trace", "--hidden", "6", "--out", str(file)])
    printed = capsys.readouterr().out
    assert stop.value.code == 1
    said = " ".join(printed.split())
    assert re.search(r"Begin with dvar_kl, vae.py:\d+: dmu_kl, dvar_kl = ", said)
    backward = printed.partition("BACKWARD")[2]
    errors = dict(re.findall(r"^     (d ?\S+) +\(.* (\S+)$", backward, re.M))
    assert float(errors["dvar_kl"]) > 0.1 and float(errors["dmu_kl"]) < 1e-12
    downstream = {"dvar_kl", "dvar", "dlog_var", "dh_log_var", "d encoder_h[1]", "d encoder_a[1]"}
    downstream |= {f"d encoder.{part}" for part in ("log_var.W", "log_var.b", "0.W", "0.b")}
    assert {name for name, error in errors.items() if float(error) > 1e-10} == downstream
    html = file.read_text()
    assert len(re.findall(r'<dd class="wrong">', html)) == 6 * len(downstream)


def test_a_slope_of_the_variance_that_forgets_the_floor_shows(monkeypatch):
    monkeypatch.setattr(distributions, "variance_backward", lambda dvar, log_var: (
        dvar * distributions.variance_forward(log_var, VAEConfig.var_floor)))  # fmt: skip
    traced, _, _ = passed(VAE(VAEConfig(**SMALL), dtype="float64"))
    assert traced.wrong[0] == "dlog_var" and 1e-6 < traced.rows["dlog_var"].error < 1e-4


def test_one_wrong_entry_that_is_not_the_largest_shows(monkeypatch):
    def wrong(dh, h):
        da = right(dh, h)
        da[1, 2] *= 1.01
        return da

    right = layers.sigmoid_backward
    pair = layers.Pair(layers.sigmoid_forward, wrong)
    monkeypatch.setitem(layers.ACTIVATION_PAIRS, "sigmoid", pair)
    traced, _, _ = passed(VAE(VAEConfig(**SMALL), seed=1, dtype="float64"))
    assert traced.wrong[0] == "d decoder_a[1]"
    row = traced.rows["d decoder_a[1]"]
    assert row.index != (1, 2) and row.error > 1e-4


def test_the_command_takes_less_than_five_seconds(tmp_path, capsys):
    start = time.perf_counter()
    main(["trace", "--likelihood", "gaussian_learned", "--out", str(tmp_path / "trace.html")])
    assert time.perf_counter() - start < 5
    assert "all are the derivative" in capsys.readouterr().out


def test_the_model_of_a_run_is_traced(tmp_path, capsys):
    vae = VAE(VAEConfig(latent_dim=3, encoder_layers=(7,), num_classes=0), seed=5)
    save(vae, tmp_path / checkpoint.FILE_NAME)
    main(["trace", str(tmp_path), "--batch-size", "2", "--out", str(tmp_path / "trace.html")])
    printed = capsys.readouterr().out
    assert "(784,7)" in printed and "(2,3)" in printed and "classifier." not in printed
    assert str(tmp_path) in (tmp_path / "trace.html").read_text()


@pytest.mark.parametrize("options", ["RUN --beta 2", "RUN", "--out no/trace.html"])
def test_what_cannot_be_done_is_refused_in_one_line(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["trace", "--hidden", "3", *options.split()] if "out" in options else
             ["trace", *options.split()])  # fmt: skip
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
    traced, _, _ = passed(model)
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
    for line in traced.forward + traced.backward:
        assert {line.equation, line.source[1]} <= texts


def test_the_package_carries_the_frame_of_the_page():
    metadata = configparser.ConfigParser()
    metadata.read(Path(__file__).parent.parent / "setup.cfg")
    assert "page.html" in metadata["options.package_data"]["minivae"].split(", ")


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
                "[...document.querySelectorAll('.step')].map(s => [...s.children].map(c => "
                "c.getBoundingClientRect().left))"
            )
            assert len(boxes) == 21
            assert all((left == right) == (width == 360) for left, right in boxes)
            grounds[scheme] = tab.evaluate("getComputedStyle(document.body).backgroundColor")
            tab.close()
    assert grounds["light"] != grounds["dark"]
