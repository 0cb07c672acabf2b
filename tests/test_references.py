"""The card: a run's numbers beside those that its protocol should give."""

from pathlib import Path

import pytest

from minivae.cli import parser
from minivae.cli.options import typed_options
from minivae.runs.options import Options
from minivae.runs.references import ARTICLE, REFERENCES, STROKES, card
from minivae.training import TERMS

README = " ".join((Path(__file__).parent.parent / "README.md").read_text().split())
EXAMPLE = (
    "--no-classifier --likelihood bernoulli --hidden 400 --latent 20 --activation relu "
    "--batch-size 128 --epochs 10 --holdout 0"
)
ROW = {"epoch": 20, "seconds": 1.0, "train_nll": 7.0, "test_ce": None}


def of(command):
    return Options(**typed_options(parser().parse_args(["train", *command.split()])))


@pytest.mark.parametrize(
    "command, expected",
    [
        ("mnist", (231.2, 0.8)),
        ("mnist --cut-label-gradient", (228.2, 0.8)),
        ("mnist --no-classifier", (229.2, 0.9)),
        (f"mnist {EXAMPLE}", (105.5, 0.6)),
        (f"mnist {EXAMPLE} --seed 1 --dtype float64", (105.5, 0.6)),
        ("strokes", REFERENCES[STROKES]["test_neg_elbo"]),
    ],
)
def test_the_commands_of_the_readme_have_their_references(command, expected):
    mean, spread = expected
    line = card(of(command), ROW | {"test_neg_elbo": mean}).splitlines()[1]
    assert line.split() == ["test_neg_elbo", f"{mean:.2f}", f"{mean:.1f}", "±", f"{spread:.1f}"]


def test_the_readme_s_command_of_pytorch_s_example_is_this_one():
    assert f"`minivae train mnist {EXAMPLE}`" in README


def test_a_number_outside_its_range_is_marked():
    assert "outside" in card(ARTICLE, ROW | {"test_neg_elbo": 233.0})
    assert "outside" in card(ARTICLE, ROW | {"test_neg_elbo": 229.0})
    assert "outside" not in card(ARTICLE, ROW | {"test_neg_elbo": 230.5})


@pytest.mark.parametrize("protocol", REFERENCES, ids=lambda protocol: protocol.data)
def test_the_ends_of_a_range_belong_to_it(protocol):
    for key, (mean, spread) in REFERENCES[protocol].items():
        assert "outside" not in card(protocol, ROW | {key: mean + spread})
        assert "outside" not in card(protocol, ROW | {key: mean - spread})
        assert "outside" in card(protocol, ROW | {key: mean + 1.01 * spread})


def test_a_reference_is_a_term_of_the_history():
    terms = {*(f"test_{term}" for term in TERMS), "test_loss_auto_encode", "test_neg_elbo"}
    for numbers in REFERENCES.values():
        assert set(numbers) <= terms


@pytest.mark.parametrize(
    "option", ["--epochs 19", "--lr 0.002", "--holdout 0", "--latent 9", "--beta 2", "--hidden 129"]
)
def test_another_protocol_has_no_reference(option):
    text = card(of(f"mnist {option}"), ROW | {"test_neg_elbo": 230.0})
    assert "no reference for this protocol" in text and "±" not in text


def test_baselines_stand_only_beside_what_they_compare_with():
    assert "282.8" in card(ARTICLE, ROW)
    for option in ("--decoder-std 0.4", "--likelihood bernoulli", "--latent 9"):
        assert "282.8" not in card(of(f"mnist {option}"), ROW)
