"""Strokes show what their factors say; MNIST is found, verified, or refused by name."""

import gzip
import hashlib
import time

import numpy as np
import pytest

from minivae import datasets, errors


@pytest.fixture(scope="module")
def sheet():
    return datasets.strokes(4000, seed=3)


def test_load_strokes():
    start = time.perf_counter()
    images, labels = datasets.load("strokes")
    test_images, test_labels = datasets.load("strokes", "test")
    assert time.perf_counter() - start < 5
    assert images.shape == (20_000, 784) and test_images.shape == (4_000, 784)
    assert images.dtype == np.float32 and labels.dtype == np.int64
    assert images.min() == 0 and images.max() == 1
    assert (np.bincount(labels) == 2_000).all() and (np.bincount(test_labels) == 400).all()


def test_strokes_are_levels_of_grey_as_in_a_file():
    levels = datasets.strokes(50)[0] * 255
    np.testing.assert_allclose(levels, levels.round(), atol=1e-4)


def test_a_seed_gives_its_strokes_again(sheet):
    again, other = datasets.strokes(4000, seed=3), datasets.strokes(4000, seed=4)
    assert np.array_equal(again[0], sheet[0]) and np.array_equal(again[1], sheet[1])
    assert not np.array_equal(other[0], sheet[0])


def test_nothing_is_cut_off_at_the_border(sheet):
    frames = sheet[0].reshape(-1, 28, 28)
    border = np.concatenate([frames[:, [0, -1], :], frames[:, :, [0, -1]].swapaxes(1, 2)], axis=1)
    assert np.mean(border.max(axis=(1, 2)) > 0.5) < 0.01


def test_a_digit_is_like_its_kind(sheet):
    images, labels, _ = sheet
    means = np.stack([images[:2000][labels[:2000] == digit].mean(axis=0) for digit in range(10)])
    distance = ((images[2000:, None] - means) ** 2).sum(axis=2)
    assert np.mean(distance.argmin(axis=1) == labels[2000:]) > 0.9


def moments(images):
    """Centre (x, y), variances and covariance of the ink of each image, and its amount."""
    ink = images.reshape(-1, 28, 28).astype(float)
    total = ink.sum(axis=(1, 2))
    pixel = np.arange(28) - 13.5
    x = (ink.sum(axis=1) @ pixel) / total
    y = (ink.sum(axis=2) @ pixel) / total
    xx = (ink.sum(axis=1) @ pixel**2) / total - x**2
    yy = (ink.sum(axis=2) @ pixel**2) / total - y**2
    xy = np.einsum("byx,x,y->b", ink, pixel, pixel) / total - x * y
    return {"x": x, "y": y, "xx": xx, "yy": yy, "lean": -xy / yy, "ink": total}


def test_geometric_factors_are_seen_in_the_moments_of_the_ink(sheet):
    images, labels, factors = sheet
    symmetric = np.isin(labels, [0, 1, 8])
    ink = {name: values[symmetric] for name, values in moments(images).items()}
    regressors = np.stack([values[symmetric] for values in factors.values()], axis=1)
    regressors = np.hstack([regressors, np.eye(10)[labels[symmetric]]])
    # d lean / d rotation, by the rotation of the moments; a round thing shows nothing.
    turning = np.mean(1 - ink["xx"] / ink["yy"] + 2 * ink["lean"] ** 2)
    for factor, moment, slope in [
        ("offset_x", "x", 1),  # a pixel to the right moves the ink's centre by one
        ("offset_y", "y", 1),
        ("slant", "lean", 1),
        ("rotation", "lean", turning),
    ]:
        slopes = dict(zip(factors, np.linalg.lstsq(regressors, ink[moment], rcond=None)[0]))
        assert slopes[factor] == pytest.approx(slope, rel=0.1), factor


@pytest.mark.parametrize(
    "factor, moment", [("thickness", "ink"), ("width", "xx"), ("height", "yy")]
)
def test_size_factors_are_seen_in_the_moments_of_the_ink(sheet, factor, moment):
    images, labels, factors = sheet
    for digit in (0, 3, 8):
        of_digit = labels == digit
        seen = moments(images)[moment][of_digit]
        assert np.corrcoef(factors[factor][of_digit], seen)[0, 1] > 0.5


def test_a_straight_stroke_is_as_thick_as_its_factor_says(sheet):
    images, labels, factors = sheet
    ones = np.flatnonzero(labels == 1)
    middle = images[ones].reshape(-1, 28, 28)[:, 14]  # one row of pixels across the stem
    ratio = middle.sum(axis=1) / factors["thickness"][ones]
    assert np.median(ratio) == pytest.approx(1, abs=0.1)


def test_factors_are_independent(sheet):
    values = np.stack(list(sheet[2].values()))
    correlation = np.corrcoef(values) - np.eye(len(values))
    assert abs(correlation).max() < 5 / np.sqrt(4000)


def test_minibatches_hold_every_row_once_and_the_last_may_be_smaller():
    batches = datasets.minibatches(np.arange(10), 4)
    assert [batch.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(datasets.minibatches(np.arange(3), 100)) == 1


def test_one_hot():
    assert datasets.one_hot(np.array([2, 0]), (2, 3)).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert datasets.one_hot([2, 0], (2, 3)).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert datasets.one_hot(range(2), (2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert datasets.one_hot(None, (2, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]
    with pytest.raises(errors.DataError, match="labels"):
        datasets.one_hot(5, (1, 3))
    for wrong in ([0, 3], [-1, 0], [0.5, 1], [0], [[0, 1], [0, 0]], [[[0]]]):
        with pytest.raises(errors.DataError, match="labels"):
            datasets.one_hot(np.array(wrong), (2, 3))


def test_mnist(mnist):
    (images, labels), (test_images, test_labels) = mnist
    assert images.shape == (60_000, 784) and test_images.shape == (10_000, 784)
    assert images.dtype == np.float32 and images.min() == 0 and images.max() == 1
    assert labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test_labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert images.mean() == pytest.approx(0.1307, abs=5e-5)  # the constant that all the world uses


def idx(values):
    header = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
    return header + values.tobytes()


@pytest.fixture
def small(monkeypatch):
    """A data set of two images stands in for MNIST -> {file name: content}."""
    images = np.arange(2 * 784, dtype=np.uint8).reshape(2, 28, 28)
    files = {"images": idx(images), "labels": idx(np.array([3, 9], np.uint8))}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    table = tuple((name, digest, "digest of the gzip") for name, digest in digests.items())
    monkeypatch.setattr(datasets, "MNIST", {"train": table, "test": table})
    return files


def put(folder, files, packed=False):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_files_are_read_gzipped_or_not(small, tmp_path, packed):
    images, labels = datasets.load("mnist", root=put(tmp_path / "data", small, packed))
    assert images.shape == (2, 784) and images[0, 255] == 1 and labels.tolist() == [3, 9]


def test_the_argument_goes_before_the_variable_and_nothing_else_is_read(
    small, tmp_path, monkeypatch
):
    monkeypatch.setenv("MINIVAE_DATA", str(put(tmp_path / "variable", small)))
    assert len(datasets.load("mnist")[0]) == 2
    empty = tmp_path / "argument"
    empty.mkdir()
    with pytest.raises(errors.FileError, match="argument has neither images nor images.gz"):
        datasets.load("mnist", root=empty)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: content[:-1] + b"\xff",
        lambda content: b"<!DOCTYPE html>",
        lambda content: b"\0\0\x08\xff" + bytes(1020),
        lambda content: b"",
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_is_not_mnist_s_is_refused_by_name(small, tmp_path, spoil, packed):
    small["images"] = spoil(small["images"])
    with pytest.raises(errors.FileError, match="data/images"):
        datasets.load("mnist", root=put(tmp_path / "data", small, packed))


def test_a_damaged_gzip_is_refused_by_name(small, tmp_path):
    folder = put(tmp_path / "data", small, packed=True)
    packed = (folder / "images.gz").read_bytes()
    for damaged in (packed[:-9], packed[:40] + b"\xff" + packed[41:], b"no gzip at all"):
        (folder / "images.gz").write_bytes(damaged)
        with pytest.raises(errors.FileError, match="images.gz"):
            datasets.load("mnist", root=folder)


@pytest.fixture
def download(small, tmp_path, monkeypatch):
    """No folder is named; pooch's cache is empty and its network a list -> (addresses, cache)."""
    import pooch

    cache, asked = tmp_path / "cache", []

    def retrieve(url, known_hash, fname, path):
        asked.append(url)
        assert known_hash == "sha256:digest of the gzip"
        if "storage.googleapis.com" in url:
            raise OSError("no route to host")
        put(path, {fname.removesuffix(".gz"): small[fname.removesuffix(".gz")]}, packed=True)

    monkeypatch.delenv("MINIVAE_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: cache)
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    return asked, cache


def test_the_second_mirror_is_tried_and_then_the_cache_is_enough(download):
    asked, _ = download
    assert len(datasets.load("mnist")[0]) == 2
    assert len(asked) == 4 and all(url.startswith("https://") for url in asked)
    datasets.load("mnist")
    assert len(asked) == 4


def test_a_damaged_file_in_the_cache_is_fetched_again(download):
    asked, cache = download
    put(cache, {"images": b"damaged", "labels": b"damaged"})
    assert len(datasets.load("mnist")[0]) == 2
    assert len(asked) == 4
    datasets.load("mnist")
    assert len(asked) == 4


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_without_end_is_read_no_further_than_the_limit(
    small, tmp_path, monkeypatch, packed
):
    monkeypatch.setattr(datasets, "MAX_BYTES", len(small["images"]) - 1)
    with pytest.raises(errors.FileError, match="images"):
        datasets.load("mnist", root=put(tmp_path / "data", small, packed))


def test_files_put_into_the_cache_by_hand_are_enough(download, small, monkeypatch):
    asked, cache = download
    monkeypatch.setenv("MINIVAE_DATA", "")  # names no folder
    put(cache, small)
    assert len(datasets.load("mnist")[0]) == 2 and not asked


def test_offline_the_addresses_and_the_folder_are_named(download, monkeypatch):
    import pooch

    def offline(*args):
        raise OSError("no network")

    monkeypatch.setattr(pooch, "retrieve", offline)
    with pytest.raises(errors.FileError) as refused:
        datasets.load("mnist")
    assert all(mirror in str(refused.value) for mirror in datasets.MIRRORS)
    assert str(download[1]) in str(refused.value)


@pytest.mark.parametrize("name, split", [("cifar", "train"), ("mnist", "validation")])
def test_an_unknown_name_is_refused(name, split):
    with pytest.raises(errors.DataError, match="'mnist' or 'strokes'"):
        datasets.load(name, split)
