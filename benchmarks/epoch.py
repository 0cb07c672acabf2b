"""Whole epochs of the article's model on MNIST, minivae beside PyTorch: time and memory.

    python benchmarks/epoch.py [--rounds 9] [--devices cpu,gpu] [--data-dir DIR] [--quick]
                               [--out FOLDER]

All do the same work: forward, backward and Adam over 550 shuffled batches of 100 images, the sums
of the losses kept and read at the end. First a batch of each is held to minivae, the sums and every
weight. PyTorch runs with its default Adam and with the fused one. Peak memory is that of a process
of its own for each arm, so that none counts another's libraries: the largest resident set during
two epochs, above what it is with the library imported and the data set loaded. On a GPU that is the
host's memory. pip install ".[bench]" brings PyTorch; --quick makes its images itself.
"""

import importlib
import json
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import peers
import timer

from minivae import VAE, Adam
from minivae.checks import one_hot
from minivae.datasets import load
from minivae.devices.memory import get, put
from minivae.training import minibatches

BATCH = 100
STATUS = Path("/proc/self/status")


def minivae_epoch(vae, data, device):
    """-> the epoch as a function, and the weights."""
    vae = vae.to(device)
    images = put(data.x, device)
    y = put(one_hot(data.labels, (len(images), vae.config.num_classes)), device)
    adam = Adam(vae.theta, lr=peers.LR)

    def epoch(order, noise):
        sums = 0
        order, noise = put(order, device), put(noise, device)
        for rows, eps in zip(minibatches(order, BATCH), minibatches(noise, BATCH)):
            _, acts = vae.forward(images[rows], eps, y[rows])
            vae.backward(acts)
            adam.step(vae.theta, vae.dtheta)
            sums = sums + np.sum(np.stack([acts.nll, acts.kl, acts.ce]), axis=1)
        return get(sums) / len(order)

    def weights():
        return {name: get(W) for name, W in vae.parameters().items()}

    return epoch, weights


def pytorch_epoch(vae, data, device, fused):
    import torch

    place = peers.pytorch_device(device)
    peer = peers.pytorch(vae, device)
    optimizer = torch.optim.Adam(peer.parameters(), lr=peers.LR, fused=fused)
    images = torch.from_numpy(data.x).to(place)
    labels = torch.from_numpy(data.labels).to(place)

    def epoch(order, noise):
        sums = 0
        order, noise = torch.from_numpy(order).to(place), torch.from_numpy(noise).to(place)
        for rows, eps in zip(order.split(BATCH), noise.split(BATCH)):
            loss, *terms = peer(images[rows], eps, labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sums = sums + torch.stack(terms).detach().sum(1)
        return sums.cpu().numpy() / len(order)

    return epoch, peer.weights


def makers(found, left_out):
    """{arm: function (vae, data) -> epoch, weights}."""
    arms = {}
    for device in found:
        arms[f"minivae, {device}"] = partial(minivae_epoch, device=device)
        for fused in (False, True):
            name = f"PyTorch{', fused Adam' if fused else ''}, {device}"
            if peers.why_not("torch", device):
                left_out[name] = peers.why_not("torch", device)
            else:
                arms[name] = partial(pytorch_epoch, device=device, fused=fused)
    return arms


def loaded(vae, options):
    """The data set, and the order and the noise of an epoch."""
    if options.quick:
        data = peers.random_batch(vae.config, 3 * BATCH)
    else:
        images, labels = load("mnist", root=options.data_dir)
        data = peers.Batch(images[5000:].copy(), None, labels[5000:].copy())
    rng = np.random.default_rng(0)
    order = rng.permutation(len(data.x))
    return data, order, rng.standard_normal((len(order), vae.config.latent_dim), dtype=np.float32)


def verify(vae, data, order, noise, arms):
    """One batch through each arm gives the sums and the weights of minivae in float64."""
    rows, eps = order[:BATCH], noise[:BATCH]
    _, acts, exact = peers.first_step(vae, peers.Batch(data.x[rows], eps, data.labels[rows]))
    means = [np.mean(term) for term in (acts.nll, acts.kl, acts.ce)]
    for make in arms.values():
        epoch, weights = make(vae, data)
        np.testing.assert_allclose(epoch(rows, eps), means, rtol=1e-5)
        peers.verify_weights(weights(), exact)


def resident(field):
    """Megabytes: "VmRSS" now, "VmHWM" at most so far; where there is no /proc the latter only."""
    if STATUS.exists():
        [line] = [line for line in STATUS.read_text().splitlines() if line.startswith(field)]
        return int(line.split()[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def memory_of(name, vae, options):
    """Of this process, MB: with library and data set loaded, and the peak of two epochs."""
    if name.startswith("PyTorch"):
        importlib.import_module("torch")
    data, order, noise = loaded(vae, options)
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")  # the peak so far is that of loading
    before = resident("VmRSS")
    device = name.rpartition(", ")[2]
    epoch, _ = makers([device], {})[name](vae, data)
    for _ in range(2):
        epoch(order, noise)
    return {"loaded": before, "peak": resident("VmHWM"), "above": resident("VmHWM") - before}


def memory_in_a_process_of_its_own(name, options):
    arguments = ["--memory", name, *(["--quick"] if options.quick else [])]
    if options.data_dir:
        arguments += ["--data-dir", options.data_dir]
    command = [sys.executable, __file__, *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main():
    options = timer.parser(__doc__, rounds=9)
    timer.add_devices(options)
    options.add_argument("--data-dir", help="the folder of MNIST's files")
    options.add_argument("--memory", metavar="ARM", help="only this arm's memory, as JSON")
    options = timer.parse(options)
    vae = VAE()
    if options.memory:
        print(json.dumps(memory_of(options.memory, vae, options)))
        return
    left_out = {}
    found = timer.devices(options, left_out)
    arms = makers(found, left_out)
    data, order, noise = loaded(vae, options)
    verify(vae, data, order, noise, arms)
    epochs = {name: partial(make(vae, data)[0], order, noise) for name, make in arms.items()}
    seconds = timer.time_arms(epochs, options, calls=1)
    results = {}
    for name, values in seconds.items():
        device = name.rpartition(", ")[2]
        results[name] = {
            "seconds": timer.summary(values),
            "minivae_over_it": timer.ratio(seconds, f"minivae, {device}", name),
            "megabytes": memory_in_a_process_of_its_own(name, options),
            "rounds": values,
        }
    header = ["seconds an epoch", "median", "quartiles", "minivae / it", "quartiles",
              "peak MB above data"]
    rows = [
        [
            name,
            *timer.spread(arm["seconds"]),
            *timer.spread(arm["minivae_over_it"]),
            f"{arm['megabytes']['above']:.0f}",
        ]
        for name, arm in results.items()
    ]
    print(timer.table(header, rows), end="\n\n")
    timer.report(options, "epoch", found, results, left_out)


if __name__ == "__main__":
    main()
