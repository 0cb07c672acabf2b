"""`minivae gradcheck`, `minivae trace` and `minivae lockstep`: commands that study a model."""

import dataclasses
import json
import math
import sys

import numpy as np

from .. import datasets, gradcheck, plots
from ..config import VAEConfig
from ..devices.find import choose, describe
from ..distributions import LIKELIHOODS
from ..errors import ConfigError
from ..files import write_atomically
from ..gradcheck.pairs import PAIRS
from ..runs.checkpoint import load
from ..runs.options import Options
from ..study import lockstep, page, trace
from ..vae import VAE
from .options import typed_options


def gradcheck_command(options):
    device = choose(options.device)
    config = Options(**typed_options(options)).config
    likelihoods = [options.likelihood] if options.likelihood else LIKELIHOODS
    images, labels, _ = datasets.strokes(options.batch_size, options.seed)
    tables = {"pairs": check_pairs(options.seed, options.dtype)}
    how = {"method": "both", "seed": options.seed}
    for likelihood in likelihoods:
        vae = VAE(dataclasses.replace(config, likelihood=likelihood), options.seed, device=device)
        given = gradcheck.loss_and_gradient(vae, images, labels, options.seed, options.dtype)
        every = gradcheck.check_entries(*given, entries=options.entries, **how)
        whole = gradcheck.check_direction(given.loss, given.theta, given.dtheta, **how)
        title = f"{likelihood}: {vae.theta.size:,} parameters, {options.batch_size} images"
        tables[title] = gradcheck.Report([*every.rows, *whole.rows], "both")
    for title, report in tables.items():
        print(f"{title}\n{report}\n")
    passed = all(report.passed for report in tables.values())
    verdict, allowed = "all passed" if passed else "FAILED", gradcheck.tolerances(options.dtype)
    print(f"{verdict}: gradients in {options.dtype}; allowed {allowed['complex']:.0e} by the "
          f"complex step, {allowed['central']:.0e} by central differences")  # fmt: skip
    if options.json:
        rows = {title: list(map(dataclasses.asdict, r.rows)) for title, r in tables.items()}
        # JSON has neither NaN nor infinity, so that these become null.
        rows = json.loads(json.dumps(rows), parse_constant=lambda _: None)
        print(write_atomically(options.json, json.dumps(rows, indent=2).encode()))
    if options.figure:
        about = f"{likelihood}, P = {given.theta.size:,} parameters, gradient in {options.dtype}"
        ax = plots.step_sizes(given.loss, given.theta, given.dtheta, plots.new_ax(6.4, 4))
        ax.set_title(f"{ax.get_title()}\n{about}")
        print(plots.save(ax.figure, options.figure))
    if not passed:
        sys.exit(1)


def check_pairs(seed, dtype):
    """Every pair at random inputs, 5 examples of 7 numbers -> Report, with one row per input."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, example in PAIRS.items():
        inputs = [x.astype(dtype) for x in example.inputs(rng, 5, 7)]
        names = [f"{name} d{x}" for x in example.draws]
        given = example.forward, example.backward, inputs, names
        rows += gradcheck.check_pair(*given, method="both", seed=seed).rows
    return gradcheck.Report(rows, "both")


def trace_command(options):
    config = Options(**typed_options(options)).config
    if options.run and config != VAEConfig():
        raise ConfigError(f"{options.run} has its own model; leave out the options of a model")
    vae = load(options.run) if options.run else VAE(config, options.seed)
    images, labels, _ = datasets.strokes(options.batch_size, options.seed)
    traced = trace.trace(vae, images, labels if vae.classifier else None, options.seed)
    print(trace.table(traced))
    if options.out:
        model = f"the model of {options.run}" if options.run else "a model not yet trained"
        about = f"{len(images)} images go through {model}: {len(vae.theta):,} parameters."
        print(write_atomically(options.out, page.page(traced, about).encode()))
    if traced.wrong:
        sys.exit(1)


def lockstep_command(options):
    second = options.second or ("gpu:float64" if choose("auto") == "gpu" else "cpu:float32")
    machines = [machine.split(":") for machine in (options.first, second)]
    training = Options(**typed_options(options))
    vaes = [VAE(training.config, training.seed, dtype, device) for device, dtype in machines]
    images, labels, _ = datasets.strokes(10 * training.batch_size, training.seed)
    errors = lockstep.drift(
        vaes[0], vaes[1], images, None if training.no_classifier else labels,
        options.steps, training.batch_size, training.lr, training.seed,
    )  # fmt: skip
    print(" against ".join(f"{describe(device)}, {dtype}" for device, dtype in machines))
    print(lockstep.table(errors))
    exact = all(dtype == "float64" for _, dtype in machines)
    tolerance = options.tolerance or (1e-9 if exact else math.inf)
    found = lockstep.first_out(errors, tolerance)
    if found:
        print("step {}: {} is the first".format(*found), f"to be further apart than {tolerance:g}")
        sys.exit(1)
    print(f"all within {tolerance:g}" if tolerance < math.inf else "no tolerance: reported only")
