"""An epoch of the default model on the CPU: minivae beside a plain PyTorch loop.

    python benchmarks/epoch.py [--rounds 9] [--data-dir DIR]

Both do the same work on MNIST: forward, backward and Adam over 550 batches of 100 images, the sums
of the losses kept. First one step of each is compared, loss and every weight; then the arms take
turns, an epoch each, in an order that is reversed every other round, with a pause before each so
that the others' threads are asleep. PyTorch runs twice, with its default Adam and with the fused
one. Median and quartiles of seconds an epoch, and of minivae's share of PyTorch's within a round.
Needs torch: pip install ".[bench]".
"""

import argparse
import functools
import os
import platform
import resource
import time

import numpy as np
import torch
import torch.nn.functional as F

import minivae
from minivae.datasets import load, minibatches, one_hot

BATCH, PAUSE = 100, 0.5


class Peer(torch.nn.Module):
    """The article's model as one would write it in PyTorch, with the weights of a VAE."""

    def __init__(self, vae):
        super().__init__()
        for name in ("encoder.0", "encoder.mu", "encoder.log_var", "classifier.0",
                     "classifier.out", "decoder.0", "decoder.out"):
            W, b = (vae.parameters()[f"{name}.{part}"] for part in "Wb")
            layer = torch.nn.Linear(*W.shape)
            layer.weight.data[:] = torch.from_numpy(W.T.copy())
            layer.bias.data[:] = torch.from_numpy(b.copy())
            self.add_module(name.replace(".", "_"), layer)

    def forward(self, x, eps, labels):
        h = torch.sigmoid(self.encoder_0(x))
        mu, var = self.encoder_mu(h), 1e-5 + self.encoder_log_var(h).exp()
        logits = self.classifier_out(torch.sigmoid(self.classifier_0(x)))
        code = torch.cat([mu + var.sqrt() * eps, logits.softmax(1)], 1)
        mean = torch.sigmoid(self.decoder_out(torch.sigmoid(self.decoder_0(code))))
        nll = 2 * (x - mean).square().sum(1) + 392 * np.log(2 * np.pi * 0.25)
        kl = 0.5 * (mu.square() + var - var.log() - 1).sum(1)
        ce = F.cross_entropy(logits, labels, reduction="none")
        return nll, kl, ce, (nll + kl + 10 * ce).mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--data-dir")
    options = parser.parse_args()
    images, labels = (array[5000:] for array in load("mnist", root=options.data_dir))
    y = one_hot(labels, (len(labels), 10))
    x_torch, labels_torch = torch.from_numpy(images.copy()), torch.from_numpy(labels)
    vae = minivae.VAE()
    adam = minivae.Adam(vae.theta)
    peers = {}
    for fused in (False, True):
        peer = Peer(vae)
        peers[fused] = peer, torch.optim.Adam(peer.parameters(), lr=1e-3, fused=fused)
    rng = np.random.default_rng(0)

    def ours(order, noise):
        sums = np.zeros(3)
        for rows, eps in zip(minibatches(order, BATCH), minibatches(noise, BATCH)):
            _, acts = vae.forward(images[rows], eps, y[rows])
            vae.backward(acts)
            adam.step(vae.theta, vae.dtheta)
            sums += np.stack([acts.nll, acts.kl, acts.ce]).sum(axis=1)
        return sums / len(order)

    def theirs(order, noise, fused):
        peer, optimizer = peers[fused]
        order, noise = torch.from_numpy(order), torch.from_numpy(noise)
        sums = torch.zeros(3)
        for rows, eps in zip(order.split(BATCH), noise.split(BATCH)):
            nll, kl, ce, loss = peer(x_torch[rows], eps, labels_torch[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sums += torch.stack([nll, kl, ce]).detach().sum(1)
        return sums.numpy() / len(order)

    arms = {
        "minivae": ours,
        "PyTorch": functools.partial(theirs, fused=False),
        "PyTorch, fused Adam": functools.partial(theirs, fused=True),
    }

    def draw(n):
        return rng.permutation(len(images))[:n], rng.standard_normal((n, 10), dtype=np.float32)

    batch = draw(BATCH)
    losses = [arm(*batch) for arm in arms.values()]
    for fused, (peer, _) in peers.items():
        np.testing.assert_allclose(losses[1 + fused], losses[0], rtol=1e-5)
        for name, W in vae.parameters().items():
            layer = getattr(peer, name.rpartition(".")[0].replace(".", "_"))
            peer_W = layer.weight.T if name.endswith("W") else layer.bias
            np.testing.assert_allclose(W, peer_W.detach().numpy(), atol=2e-6)

    seconds = {name: [] for name in arms}
    for round in range(options.rounds + 1):
        epoch = draw(len(images))
        for name in list(arms) if round % 2 else list(arms)[::-1]:
            time.sleep(PAUSE)
            start = time.perf_counter()
            arms[name](*epoch)
            if round:  # the first warms up
                seconds[name].append(time.perf_counter() - start)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
          f"{torch.get_num_threads()} torch threads, Python {platform.python_version()}, "
          f"NumPy {np.__version__}, PyTorch {torch.__version__}, {options.rounds} rounds")
    header = f"{'seconds an epoch':21} {'median':>8} {'quartiles':>15}"
    print(f"{header} {'minivae / it':>14} {'quartiles':>15}")
    for name, values in seconds.items():
        share = np.divide(seconds["minivae"], values)
        for numbers, width in ((values, 21), (share, 5)):
            low, median, high = np.quantile(numbers, [0.25, 0.5, 0.75])
            label = name if numbers is values else ""
            print(f"{label:{width}} {median:8.3f} {low:8.3f}{high:7.3f}", end=" ")
        print()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"peak memory of this process, with PyTorch in it: {peak:.0f} MB")


if __name__ == "__main__":
    main()
