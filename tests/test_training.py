"""The loop: deterministic, right for every batch size, and honest in its numbers."""

import dataclasses
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from minivae import VAE, Adam, VAEConfig, config, datasets, errors, fit, training
from minivae import vae as model
from minivae.training import evaluate

CONFIG = VAEConfig(encoder_layers=(8,), decoder_layers=(8,), latent_dim=2, classifier_layers=(8,))
PLAIN = dataclasses.replace(CONFIG, num_classes=0)
TERMS = ["nll", "sse", "kl", "ce", "accuracy", "loss_auto_encode"]


@pytest.fixture(scope="module")
def data():
    images, labels, _ = datasets.strokes(120)
    return (images[:70], labels[:70]), (images[70:], labels[70:])


def trained(data, config=CONFIG, seed=0, **options):
    vae = VAE(config, seed=seed)
    history = fit(vae, data[0], seed=seed, **options)
    return vae, history


def by_hand(vae, data, epochs, batch_size=30, lr=lambda epoch: 1e-3, beta=lambda epoch: None):
    """The loop of fit, written down again -> nll of each image of each epoch."""
    images, labels = data[0]
    adam = Adam(vae.theta)
    rng = np.random.default_rng([0, 1])  # the seed, and the number of the stream
    nll = []
    for epoch in range(1, epochs + 1):
        order = rng.permutation(70)
        noise = rng.standard_normal((70, 2), dtype=np.float32)
        adam.lr = lr(epoch)
        nll.append([])
        for start in range(0, 70, batch_size):
            rows, eps = order[start : start + batch_size], noise[start : start + batch_size]
            _, acts = vae.forward(images[rows], eps, labels[rows], beta(epoch))
            vae.backward(acts)
            adam.step(vae.theta, vae.dtheta)
            nll[-1].extend(acts.nll)
    return np.array(nll)


def test_two_runs_with_one_seed_give_the_same_bytes_and_another_seed_others(data):
    weights = [trained(data, seed=seed, epochs=2)[0].theta.tobytes() for seed in (0, 0, 1)]
    assert weights[0] == weights[1] != weights[2]


def test_watching_the_test_set_does_not_change_the_training(data):
    watched, _ = trained(data, test=data[1], epochs=2)
    assert np.array_equal(watched.theta, trained(data, epochs=2)[0].theta)


@pytest.mark.parametrize("batch_size", [1, 30, 70, 1000])
def test_every_batch_size_is_the_loop_written_down_again(data, batch_size):
    vae, history = trained(data, epochs=2, batch_size=batch_size)
    again = VAE(CONFIG, seed=0)
    nll = by_hand(again, data, 2, batch_size)
    assert nll.shape == (2, 70)  # a smaller last batch counts by its size
    for row, each in zip(history, nll):
        assert row["train_nll"] == pytest.approx(np.mean(each), rel=1e-5)
    assert np.array_equal(vae.theta, again.theta)
    assert history[-1]["step"] == 2 * -(-70 // batch_size)


def rate(epoch):
    return 1e-2 / epoch


def warm_up(epoch):
    return min(1, epoch / 4)


@pytest.mark.parametrize(
    "options",
    [{"lr": rate}, {"beta": warm_up}, {"lr": rate, "beta": warm_up}],
    ids=["lr", "beta", "both"],
)
def test_lr_and_beta_may_be_functions_of_the_epoch(data, options):
    vae, history = trained(data, epochs=5, batch_size=30, **options)
    again = VAE(CONFIG, seed=0)
    by_hand(again, data, 5, **options)
    assert np.array_equal(vae.theta, again.theta)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "given, expected", [(None, [1.0, 1.0]), (0.25, [0.25, 0.25]), (warm_up, [0.25, 0.5])]
)
def test_the_beta_that_was_used_is_kept_with_the_values(data, monkeypatch, given, expected):
    forward, seen = VAE.forward, []

    def recorded(vae, *arguments):
        loss, acts = forward(vae, *arguments)
        seen.append(acts.beta)
        return loss, acts

    monkeypatch.setattr(VAE, "forward", recorded)
    vae, _ = trained(data, epochs=2, batch_size=70, beta=given)
    assert seen == expected
    if given == 0.25:
        same = VAE(dataclasses.replace(CONFIG, beta=0.25))
        fit(same, data[0], epochs=2, batch_size=70)
        assert np.array_equal(vae.theta, same.theta)


def stopped(vae, data, state, steps, **options):
    """Train until the state has done so many steps."""

    class Stop(Exception):
        pass

    def stop():
        if state.adam.t == steps:
            raise Stop

    with pytest.raises(Stop):
        fit(vae, data[0], state=state, on_step=stop, **options)


@pytest.mark.parametrize(
    "options", [{}, {"lr": rate, "beta": warm_up}], ids=["numbers", "functions"]
)
@pytest.mark.parametrize("steps", [1, 3, 4, 8])
def test_a_training_goes_on_from_its_state_to_the_same_bits(data, options, steps):
    """Stopped within an epoch and between two; three steps are an epoch."""
    options = {"epochs": 3, "batch_size": 30} | options
    whole, expected = trained(data, **options)
    vae = VAE(CONFIG)
    state = training.start(vae)
    stopped(vae, data, state, steps, **options)
    assert 3 * len(state.history) + state.batches == state.adam.t == steps
    found = fit(vae, data[0], state=state, **options)
    assert np.array_equal(vae.theta, whole.theta)
    assert [row | {"seconds": 0} for row in found] == [row | {"seconds": 0} for row in expected]


def test_a_state_has_its_own_learning_rate(data):
    vae = VAE(CONFIG)
    state = training.start(vae, lr=0.01)
    with pytest.raises(errors.ConfigError, match="lr=0.02: the state has its own, 0.01"):
        fit(vae, data[0], state=state, lr=0.02)
    assert state.adam.t == 0
    for options in ({}, {"lr": 0.01}):
        fit(vae, data[0], state=state, epochs=len(state.history) + 1, **options)
        assert state.adam.lr == 0.01
    fit(vae, data[0], state=state, epochs=3, lr=lambda epoch: 0.02)
    assert state.adam.lr == 0.02


def test_a_new_state_has_done_nothing(data):
    for options, terms in ((CONFIG, 5), (PLAIN, 3)):
        state = training.start(VAE(options), lr=0.5, seed=3)
        assert state.sums.shape == (terms,) and not state.sums.any()
        assert (state.adam.t, state.adam.lr, state.batches, state.history) == (0, 0.5, 0, [])


class Group:
    """Processes that share batches, here threads: each sees what the others have given."""

    def __init__(self, shares):
        self.shares = shares  # of each rank, a part of a batch of n rows
        self.barrier = threading.Barrier(len(shares), timeout=60)
        self.given = [None] * len(shares)

    def exchanged(self, rank, values):
        self.given[rank] = values
        self.barrier.wait()
        everything = list(self.given)
        self.barrier.wait()  # before a quick one gives its next values
        return everything


class Rank:
    """What fit is given as `ranks`."""

    def __init__(self, group, rank):
        self.group, self.rank = group, rank

    def rows(self, batch):
        counts = [share(len(batch)) for share in self.group.shares]
        counts.append(len(batch) - sum(counts[:-1]))
        start = sum(counts[: self.rank])
        return batch[start : start + counts[self.rank]]

    def exchange(self, dtheta, sums, count):
        assert sums.dtype == np.float64
        parts = self.group.exchanged(self.rank, (dtheta.copy(), sums, count))
        dtheta[...] = sum(part[0] for part in parts)
        return sum(part[1] for part in parts), sum(part[2] for part in parts)


@pytest.mark.parametrize("config", [CONFIG, PLAIN], ids=["classes", "plain"])
def test_ranks_that_share_batches_are_one_process_but_for_rounding(data, config):
    """Of batches of 30, 30 and 10 rows the first rank has 2, 2 and none."""
    options = {"epochs": 3, "batch_size": 30, "test": data[1]}
    one = VAE(config, dtype="float64")
    expected = fit(one, data[0], **options)
    group = Group([lambda n: n // 11, lambda n: n - n // 11])
    vaes = [VAE(config, dtype="float64") for _ in group.shares]

    def run(rank):
        try:
            return fit(vaes[rank], data[0], **options, ranks=Rank(group, rank))
        except BaseException:
            group.barrier.abort()  # otherwise the others would wait for this one
            raise

    with ThreadPoolExecutor() as threads:
        histories = list(threads.map(run, range(len(vaes))))
    for vae, history in zip(vaes, histories):
        np.testing.assert_allclose(vae.theta, one.theta, rtol=0, atol=1e-12)
        for row, other in zip(history, expected, strict=True):
            assert row.keys() == other.keys()
            for key in row.keys() - {"seconds"}:
                if other[key] is None:  # of the class, in a model without classes
                    assert row[key] is None
                else:
                    assert row[key] == pytest.approx(other[key], rel=1e-11), key


def test_all_ranks_stop_when_a_value_of_one_of_them_is_not_finite():
    """Otherwise the others would wait for ever in their next exchange."""
    config = VAEConfig(data_dim=6, num_classes=0, decoder_output="identity", encoder_layers=(3,))
    images = np.zeros((4, 6), np.float32)
    images[:, 0] = 3e19, 0, 0, 0  # whose square is more than float32 has
    group = Group([lambda n: n // 2, lambda n: n - n // 2])

    def run(rank):
        with pytest.raises(errors.DivergedError, match="epoch 1, step 1, .* is not finite"):
            fit(VAE(config), (images, None), batch_size=4, epochs=1, ranks=Rank(group, rank))
        return True

    with ThreadPoolExecutor() as threads:
        assert all(threads.map(run, range(2)))


def test_history_has_its_keys(data):
    _, history = trained(data, test=data[1], epochs=3)
    keys = ["epoch", "step", "seconds"]
    keys += [f"train_{term}" for term in TERMS] + [f"test_{term}" for term in TERMS]
    assert [set(row) for row in history] == [{*keys, "test_neg_elbo"}] * 3
    assert [row["epoch"] for row in history] == [1, 2, 3]
    for row in history:
        assert row["train_loss_auto_encode"] == row["train_nll"] + row["train_kl"]
    assert history[-1]["train_nll"] < history[0]["train_nll"]
    assert json.loads(json.dumps(history)) == history


def test_a_model_without_classes_needs_no_labels_and_has_no_class_numbers(data):
    (images, labels), _ = data
    vae, history = trained([(images, None)], PLAIN, test=(images, None), epochs=1)
    assert history[0]["train_ce"] is history[0]["test_accuracy"] is None
    assert history[0]["test_neg_elbo"] == pytest.approx(history[0]["test_loss_auto_encode"])
    assert np.array_equal(trained([(images, labels)], PLAIN, epochs=1)[0].theta, vae.theta)


def test_evaluate_is_the_mean_over_the_set_whatever_the_batch(data):
    vae, _ = trained(data, epochs=1)
    images, labels = data[1]
    noise = config.stream(7, "evaluation").standard_normal((50, 2), dtype=np.float32)
    _, acts = vae.forward(images, noise, labels)
    for batch_size in (50, 7, 1000):
        means = evaluate(vae, images, labels, seed=7, batch_size=batch_size)
        assert means["nll"] == pytest.approx(acts.nll.mean(), rel=1e-5)
        assert means["accuracy"] == np.mean(acts.probs.argmax(axis=1) == labels)
        assert means["neg_elbo"] == pytest.approx(model.neg_elbo(vae, acts).mean(), rel=1e-5)


def test_a_float64_model_trains_on_float32_images(data):
    vae = VAE(CONFIG, dtype="float64")
    fit(vae, data[0], epochs=1)
    single, _ = trained(data, epochs=1)
    np.testing.assert_allclose(vae.theta, single.theta, atol=1e-4)


def test_each_use_of_a_seed_has_its_own_stream():
    """The first numbers of every stream, and of the generator that draws the weights."""
    first = [np.random.default_rng(7).random()]
    first += [config.stream(7, name).random() for name in config.STREAMS]
    first += [config.stream(7, "styles", 1).random(), config.stream(8, "epochs").random()]
    assert len(set(first)) == len(first)
    assert config.stream(7, "epochs").random() == np.random.default_rng([7, 1]).random()


def test_means_are_taken_in_float64(data):
    images, labels = data[0]
    vae = VAE(CONFIG)
    assert {values.dtype for values in training.terms(vae, images, labels).values()} == {
        np.dtype("float64")
    }
    [row] = fit(vae, (images, labels), epochs=1, batch_size=70, lr=1e-12)
    rng = config.stream(0, "epochs")
    order, noise = rng.permutation(70), rng.standard_normal((70, 2), dtype=np.float32)
    _, acts = VAE(CONFIG).forward(images[order], noise, labels[order])
    assert acts.nll.dtype == np.float32
    assert row["train_nll"] == pytest.approx(np.mean(acts.nll, dtype=np.float64), rel=1e-12)


def test_the_learning_rate_is_adam_s(data):
    (images, labels), _ = data
    vae = VAE(CONFIG)
    start = vae.theta.copy()
    fit(vae, (images, labels), epochs=1, batch_size=70, lr=0.5)
    assert np.max(abs(vae.theta - start)) == pytest.approx(0.5, rel=1e-3)  # its first step is lr


@pytest.mark.parametrize(
    "name, value",
    [
        ("epochs", -1),
        ("batch_size", 0),
        ("lr", 0),
        ("lr", lambda epoch: 2 - epoch),
        ("beta", -1),
        ("beta", lambda epoch: "1"),
        ("seed", -1),
    ],
)
def test_options_that_cannot_be_are_refused(data, name, value):
    with pytest.raises(errors.ConfigError, match=f"^{name}="):
        trained(data, **{"epochs": 3, name: value})


def test_minibatches_hold_every_row_once_and_the_last_may_be_smaller():
    batches = training.minibatches(np.arange(10), 4)
    assert [batch.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(training.minibatches(np.arange(3), 100)) == 1
