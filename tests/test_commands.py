"""`minivae gradcheck`."""

import json

import numpy as np
import pytest

from minivae import VAE, VAEConfig, datasets, distributions, gradcheck, plots
from minivae.cli import main
from minivae.devices import ops
from minivae.distributions import LIKELIHOODS
from minivae.gradcheck.pairs import PAIRS

SMALL = ["--hidden", "6", "--latent", "3", "--entries", "10"]


def test_gradcheck_has_every_pair_and_every_tensor_under_each_likelihood(capsys, tmp_path):
    file = tmp_path / "rows.json"
    main(["gradcheck", *SMALL, "--json", str(file)])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100
    assert "all passed" in printed and "FAILED" not in printed
    pairs, *models = json.loads(file.read_text()).items()
    names = {row["name"].partition(" ")[0] for row in pairs[1]}
    assert names == set(PAIRS) and len(names) == 16
    assert [title.partition(":")[0] for title, _ in models] == list(LIKELIHOODS)
    for (_, rows), likelihood in zip(models, LIKELIHOODS):
        sizes = {"encoder_layers": (6,), "decoder_layers": (6,), "classifier_layers": (6,)}
        config = VAEConfig(latent_dim=3, likelihood=likelihood, **sizes)
        tensors = [row["name"] for row in rows if row["name"] != "random direction"]
        assert set(tensors) == set(VAE(config).parameters()) and len(tensors) == len(rows) - 1
    for row in [row for _, rows in [pairs, *models] for row in rows]:
        assert row["error"] <= 1e-13 and row["central_error"] <= 1e-6, row
        assert row["name"][:20] in printed


def test_gradcheck_of_one_model_of_the_reader_s_own(capsys, tmp_path):
    figure = tmp_path / "steps.png"
    options = "--likelihood bernoulli --no-classifier --activation relu --batch-size 2 --seed 3"
    main(["gradcheck", *SMALL, *options.split(), "--figure", str(figure)])
    printed = capsys.readouterr().out
    assert "bernoulli: " in printed and "2 images" in printed
    assert "gaussian: " not in printed and "classifier" not in printed
    assert str(figure) in printed and figure.read_bytes().startswith(b"\x89PNG")


def test_gradcheck_shows_what_single_precision_costs(capsys, tmp_path):
    file = tmp_path / "rows.json"
    main(["gradcheck", *SMALL, "--dtype", "float32", "--json", str(file)])
    assert "gradients in float32; allowed 1e-05" in capsys.readouterr().out
    for rows in json.loads(file.read_text()).values():
        assert 1e-8 < max(row["error"] for row in rows) < gradcheck.tolerances("float32")["complex"]


def test_gradcheck_s_seed_draws_the_weights_the_images_the_noise_and_the_entries(tmp_path):
    file = tmp_path / "rows.json"
    main(["gradcheck", *SMALL, "--likelihood", "bernoulli", "--seed", "1", "--json", str(file)])
    _, rows = json.loads(file.read_text()).values()
    sizes = {"encoder_layers": (6,), "decoder_layers": (6,), "classifier_layers": (6,)}
    model = VAE(VAEConfig(latent_dim=3, likelihood="bernoulli", **sizes), seed=1)
    images, labels, _ = datasets.strokes(4, seed=1)
    again = gradcheck.check_model(model, images, labels, seed=1, entries=10, method="both")
    analytic = {row["name"]: row["analytic"] for row in rows}
    for row in again.rows:
        assert analytic[row.name] == row.analytic


def wrong_by(factor):
    """While it lasts, the KL's gradient of var is multiplied by a factor."""

    def wrong(dkl, mu, var):
        dmu, dvar = distributions.gaussian_kl_backward(dkl, mu, var)
        return dmu, factor * dvar

    wrong.wrt = distributions.gaussian_kl_backward.wrt
    return ops.replaced(gaussian_kl_backward=wrong)


def test_gradcheck_exits_with_1_where_a_gradient_is_wrong(capsys):
    with wrong_by(1.001), pytest.raises(SystemExit) as stop:
        main(["gradcheck", *SMALL])
    printed = capsys.readouterr().out
    assert stop.value.code == 1
    failed = [line for line in printed.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 5 and "FAILED: gaussian_kl dvar;" in failed[0]
    assert "encoder.log_var.W" in failed[1] and "decoder" not in failed[1]


def test_what_json_cannot_say_is_null(tmp_path):
    file = tmp_path / "rows.json"
    with wrong_by(np.nan), pytest.raises(SystemExit):
        main(["gradcheck", *SMALL, "--json", str(file)])

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    tables = json.loads(file.read_text(), parse_constant=refuse)
    assert any(row["error"] is None for rows in tables.values() for row in rows)


@pytest.mark.parametrize("option", ["--json", "--figure"])
def test_a_file_that_cannot_be_written_is_refused_in_one_line(option, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(["gradcheck", *SMALL, "--no-classifier", option, str(tmp_path / "no" / "file.png")])
    assert "cannot be written" in stop.value.code and "\n" not in stop.value.code


def test_the_figure_shows_a_v_beside_a_flat_line():
    from matplotlib.figure import Figure

    images, labels, _ = datasets.strokes(4)
    given = gradcheck.loss_and_gradient(VAE(VAEConfig(num_classes=0)), images)[:3]
    ax = plots.step_sizes(*given, Figure().add_subplot())
    curves = {line.get_label(): line.get_xydata() for line in ax.lines}
    steps, errors = curves["central differences"].T
    lowest = np.argmin(errors)
    assert 1e-5 < steps[lowest] < 1 and errors[lowest] < 1e-7
    assert errors[0] > 1e3 * errors[lowest] and errors[-1] > 1e3 * errors[lowest]
    direction = gradcheck.check_direction(*given, method="central")
    assert errors[np.argmin(abs(steps - 1e-4))] == pytest.approx(direction.max_error, rel=0.1)
    steps, errors = curves["complex step"].T
    assert errors[steps < 1e-6].max() < 1e-13
