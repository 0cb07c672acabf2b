"""MNIST's files are found, fetched and verified, or refused by name, with what to do."""

import errno
import functools
import gzip
import hashlib
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest

from minivae import datasets, errors
from minivae.datasets import mnist

GOOGLE, AMAZON = mnist.MIRRORS


def idx(values):
    return header(*values.shape) + values.tobytes()


def header(*sizes):
    return bytes([0, 0, 8, len(sizes)]) + b"".join(n.to_bytes(4, "big") for n in sizes)


def packed(content):
    return gzip.compress(content, mtime=0)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def small(monkeypatch):
    """Two training images and three test images stand in for MNIST -> {file name: content}."""
    images = np.arange(5 * 784, dtype=np.uint8).reshape(5, 28, 28)
    files = {
        "images": idx(images[:2]),
        "labels": idx(np.array([3, 9], np.uint8)),
        "test-images": idx(images[2:]),
        "test-labels": idx(np.array([1, 2, 0], np.uint8)),
    }
    rows = [(name, sha256(content), sha256(packed(content))) for name, content in files.items()]
    monkeypatch.setattr(mnist, "MNIST", {"train": tuple(rows[:2]), "test": tuple(rows[2:])})
    return files


def put(folder, files, pack=False):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        path = folder / (f"{name}.gz" if pack else name)
        path.write_bytes(packed(content) if pack else content)
    return folder


def refusal(call, *arguments, **options):
    """What a refusal says: one line."""
    with pytest.raises(errors.FileError) as refused:
        call(*arguments, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("pack", [False, True])
def test_files_are_read_gzipped_or_not(small, tmp_path, pack):
    folder = put(tmp_path / "data", small, pack)
    images, labels = datasets.load("mnist", root=folder)
    assert images.shape == (2, 784) and images[0, 255] == 1 and labels.tolist() == [3, 9]
    images, labels = datasets.load("mnist", "test", root=str(folder))
    assert images.shape == (3, 784) and labels.tolist() == [1, 2, 0]


def test_the_argument_goes_before_the_variable_and_nothing_else_is_read(
    small, tmp_path, monkeypatch
):
    monkeypatch.setenv("MINIVAE_DATA", str(put(tmp_path / "variable", small)))
    assert len(datasets.load("mnist")[0]) == 2
    empty = tmp_path / "argument"
    empty.mkdir()
    said = refusal(datasets.load, "mnist", root=empty)
    assert "argument has neither images nor images.gz; put one of them there" in said


IMAGES = header(2, 28, 28)
NO_IDX = "cannot be read: it does not begin like an IDX file of bytes"
RAW_FAULTS = {
    "empty": (lambda content: b"", NO_IDX),
    "cut in its magic": (lambda content: content[:3], NO_IDX),
    "cut in its header": (lambda content: content[:9], "cannot be read: buffer size must be"),
    "cut after its magic": (lambda content: content[:4], "cannot be read: "),
    "cut between its sizes": (lambda content: content[:8], "cannot be read: cannot reshape"),
    "cut": (lambda content: content[:-1], "cannot be read: cannot reshape array of size 1567 into"),
    "cut after its header": (lambda content: content[:16], "cannot be read: cannot reshape array"),
    "too long": (lambda content: content + b"\0", "cannot reshape array of size 1569 into"),
    "of another element type": (lambda content: b"\0\0\x0d" + content[3:], NO_IDX),
    "of no dimension": (lambda content: b"\0\0\x08\0" + content[4:], NO_IDX),
    "of 255 dimensions": (lambda content: b"\0\0\x08\xff" + bytes(1020), NO_IDX),
    "of sizes that overflow 64 bits": (
        lambda content: header(*[2**32 - 1] * 3) + content[16:],
        "promises 79,228,162,458,924,105,385,300,197,375 bytes; the limit is 67,108,864",
    ),
    "of sizes whose product is 0 in 64 bits": (
        lambda content: header(2**31, 2**31, 4),
        "promises 18,446,744,073,709,551,616 bytes",
    ),
    "of another shape": (lambda content: header(2, 28, 27) + content[16:], "cannot reshape array"),
    "of the same size and another shape": (
        lambda content: header(2, 14, 56) + content[16:],
        "is not the file of MNIST: the SHA-256 of its content is [0-9a-f]{64}",
    ),
    "with a wrong byte": (lambda content: content[:-1] + b"\xff", "is not the file of MNIST"),
    "an HTML page": (lambda content: b"<!DOCTYPE html><title>404</title>", NO_IDX),
    "labels under the images' name": (
        lambda content: idx(np.array([3, 9], np.uint8)),
        "is not the file of MNIST",
    ),
    "test under train": (
        lambda content: idx(np.arange(1568, 3920).astype(np.uint8).reshape(3, 28, 28)),
        "is not the file of MNIST",
    ),
}


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("fault", RAW_FAULTS)
def test_a_file_that_is_not_mnist_s_is_refused_by_name(small, tmp_path, fault, pack):
    spoil, complaint = RAW_FAULTS[fault]
    content = spoil(small["images"])
    folder = put(tmp_path / "data", small, pack)
    put(folder, {"images": content}, pack)
    said = refusal(datasets.load, "mnist", root=folder)
    file = f"{folder}/images{'.gz' if pack else ''}"
    assert re.fullmatch(f"{file} .*{complaint}.*; put a good copy in its place", said), said


GZIP_FAULTS = {
    "no gzip at all": (lambda whole: b"no gzip at all", "Not a gzipped file"),
    "not packed": (lambda whole: gzip.decompress(whole), "Not a gzipped file"),
    "empty": (lambda whole: b"", "it does not begin like an IDX file"),
    "a web page": (lambda whole: b"<html>log in first</html>", "Not a gzipped file"),
    "of nothing": (lambda whole: packed(b""), "it does not begin like an IDX file"),
    "cut in its header": (lambda whole: whole[:5], "Compressed file ended before the end"),
    "cut": (lambda whole: whole[: len(whole) // 2], "Compressed file ended before the end"),
    "cut before its CRC": (lambda whole: whole[:-8], "Compressed file ended before the end"),
    "cut in its CRC": (lambda whole: whole[:-5], "Compressed file ended before the end"),
    "with a wrong CRC": (
        lambda whole: whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:],
        "CRC check failed",
    ),
    "with a wrong length": (
        lambda whole: whole[:-1] + b"\1",
        "Incorrect length of data produced",
    ),
    "with a wrong block": (lambda whole: whole[:10] + b"\xff" + whole[11:], "invalid block type"),
    "with something behind it": (lambda whole: whole + b"behind", "Not a gzipped file"),
}


@pytest.mark.parametrize("fault", GZIP_FAULTS)
def test_a_damaged_gzip_is_refused_by_name(small, tmp_path, fault):
    spoil, complaint = GZIP_FAULTS[fault]
    folder = put(tmp_path / "data", small, pack=True)
    (folder / "images.gz").write_bytes(spoil(packed(small["images"])))
    said = refusal(datasets.load, "mnist", root=folder)
    assert said.startswith(f"{folder}/images.gz cannot be read: ") and complaint in said


ZEROS = bytes(1 << 26)
BOMBS = {
    "more than the header tells": (IMAGES, "cannot reshape array"),
    "a header of 96 bits": (header(*[2**32 - 1] * 3), "the limit is"),
    "a header just above the limit": (header(mnist.MAX_BYTES + 1), "the limit is"),
}


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_file_without_end_takes_no_memory(tmp_path, bomb, pack):
    start, complaint = BOMBS[bomb]
    path = tmp_path / ("images.gz" if pack else "images")
    path.write_bytes(gzip.compress(start + ZEROS, 1) if pack else start + ZEROS)
    assert complaint in peak_of_a_refusal(path)


@pytest.mark.parametrize("pack", [False, True])
def test_a_header_takes_no_memory_for_bytes_that_are_not_there(tmp_path, pack):
    path = tmp_path / ("images.gz" if pack else "images")
    content = header(60_000, 28, 28) + b"few"
    path.write_bytes(packed(content) if pack else content)
    assert "cannot reshape array of size 3 " in peak_of_a_refusal(path)


def peak_of_a_refusal(path):
    tracemalloc.start()
    said = refusal(mnist.read_idx, path, "any")
    assert tracemalloc.get_traced_memory()[1] < 3 * mnist.CHUNK
    tracemalloc.stop()
    return said


@pytest.mark.parametrize("pack", [False, True])
def test_a_file_is_read_up_to_the_limit_and_no_further(small, tmp_path, monkeypatch, pack):
    folder = put(tmp_path / "data", small, pack)
    monkeypatch.setattr(mnist, "MAX_BYTES", 2 * 784)
    monkeypatch.setattr(mnist, "CHUNK", 100)
    assert len(datasets.load("mnist", root=folder)[0]) == 2
    monkeypatch.setattr(mnist, "MAX_BYTES", 2 * 784 - 1)
    assert "the limit is 1,567" in refusal(datasets.load, "mnist", root=folder)


def test_what_is_no_file_is_refused(small, tmp_path):
    folder = put(tmp_path / "data", small)
    (folder / "labels").unlink()
    (folder / "labels").mkdir()
    complaint = f"{folder}/labels cannot be read: it is not a regular file"
    assert refusal(datasets.load, "mnist", root=folder).startswith(complaint)
    (folder / "labels").rmdir()
    os.mkfifo(folder / "labels")  # whoever opens it waits for a writer
    assert refusal(datasets.load, "mnist", root=folder).startswith(complaint)


def test_a_folder_that_is_none_is_refused(small, tmp_path):
    folder = put(tmp_path / "data", small)
    (tmp_path / "loop").symlink_to("loop")
    for root in (tmp_path / "loop", tmp_path / "no", folder / "images", folder / "images" / "b"):
        said = refusal(datasets.load, "mnist", root=root)
        assert said == f"the folder {root} has neither images nor images.gz; put one of them there"


def forbidden(*arguments, **options):
    raise PermissionError(errno.EACCES, "Permission denied")


def test_a_file_that_may_not_be_read_is_refused(small, tmp_path, monkeypatch):
    folder = put(tmp_path / "data", small)
    monkeypatch.setattr(mnist, "open", forbidden, raising=False)
    said = refusal(datasets.load, "mnist", root=folder)
    assert said.startswith(f"{folder}/images cannot be read: [Errno 13] Permission denied; put")


def test_a_folder_that_may_not_be_looked_into_is_refused(small, tmp_path, monkeypatch):
    folder = put(tmp_path / "data", small)
    monkeypatch.setattr(os, "stat", forbidden)
    assert "has neither images nor images.gz" in refusal(datasets.load, "mnist", root=folder)


def test_every_file_is_pinned_and_fetched_by_https():
    digests = [digest for files in mnist.MNIST.values() for file in files for digest in file[1:]]
    assert len(set(digests)) == 8 and all(re.fullmatch("[0-9a-f]{64}", one) for one in digests)
    assert len(mnist.MIRRORS) == 2
    assert all(re.match("https://.+/$", mirror) for mirror in mnist.MIRRORS)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """No folder is named; the user's cache is not there yet."""
    import pooch

    monkeypatch.delenv("MINIVAE_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "home" / "cache")
    return tmp_path / "home" / "cache"


@pytest.fixture
def offline(cache, monkeypatch):
    """Every address that pooch asks for is in this list, and none answers."""
    import pooch.core

    addresses = []

    def unreachable(url, *arguments, **options):
        addresses.append(url)
        raise OSError("no route\nto host")

    monkeypatch.setattr(pooch.core, "stream_download", unreachable)
    return addresses


def test_files_put_into_the_cache_by_hand_are_enough(offline, cache, small, monkeypatch):
    monkeypatch.setenv("MINIVAE_DATA", "")  # names no folder
    cache.parent.mkdir()
    put(cache, small, pack=True)
    assert len(datasets.load("mnist")[0]) == 2 and not offline


def test_offline_the_addresses_and_the_folder_are_named(offline, small, cache):
    cache.mkdir(parents=True)
    (cache / "images.gz").write_bytes(b"damaged")
    said = refusal(datasets.load, "mnist")
    assert f"put it into {cache}, or name a folder that has it: --data-dir or MINIVAE_DATA" in said
    assert offline == [f"{GOOGLE}images.gz", f"{AMAZON}images.gz"]
    for address in offline:
        assert f"{address}: no route to host" in said


@pytest.mark.parametrize("where", ["below a file", "on a read-only disk"])
def test_a_cache_that_cannot_be_written_is_refused_before_anything_is_fetched(
    offline, small, cache, monkeypatch, where
):
    if where == "below a file":
        cache.parent.write_bytes(b"")
    else:
        monkeypatch.setattr(os, "makedirs", forbidden)
    said = refusal(datasets.load, "mnist")
    assert not offline
    reason = "Not a directory" if where == "below a file" else "Permission denied"
    assert reason in said and f"{cache}" in said and "--data-dir or MINIVAE_DATA" in said


class Handler(http.server.BaseHTTPRequestHandler):
    """/good/NAME.gz has the file; other folders have what goes wrong."""

    def __init__(self, files, together, *arguments):
        self.files, self.together = files, together
        super().__init__(*arguments)

    def do_GET(self):
        _, mirror, name = self.path.split("/")
        content = packed(self.files[name.removesuffix(".gz")])
        length = len(content)
        if mirror == "missing":
            return self.send_error(404)
        if mirror == "wrong":
            content = content[:-1] + b"\1"
        if mirror == "page":
            content = b"<html>log in first</html>"
            length = len(content)
        if mirror == "cut":
            content = content[:20]
        if mirror == "together":
            self.together.wait(60)
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(small, monkeypatch):
    """The address of a web server on this machine, of four visitors at once."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(Handler, small, threading.Barrier(4))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "fault, complaint",
    [
        ("missing", "404 Client Error: Not Found"),
        ("wrong", "SHA256 hash of downloaded file (images.gz) does not match the known hash"),
        ("page", "SHA256 hash of downloaded file (images.gz) does not match the known hash"),
        ("cut", "IncompleteRead(20 bytes read"),
        ("silent", f"[Errno {errno.ECONNREFUSED}] Connection refused"),
    ],
)
def test_when_the_first_mirror_fails_the_second_is_fetched_whole(
    server, cache, monkeypatch, fault, complaint
):
    first = f"{server}/{fault}/"
    if fault == "silent":
        with socket.create_server(("127.0.0.1", 0)) as closed:
            first = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    monkeypatch.setattr(mnist, "MIRRORS", (first,))
    said = refusal(datasets.load, "mnist")
    assert f"{first}images.gz: " in said and complaint in said
    assert not list(cache.iterdir())
    monkeypatch.setattr(mnist, "MIRRORS", (first, f"{server}/good/"))
    assert len(datasets.load("mnist")[0]) == 2
    assert sorted(path.name for path in cache.iterdir()) == ["images.gz", "labels.gz"]


def test_a_damaged_file_in_the_cache_is_fetched_again(server, cache, small, monkeypatch):
    cache.mkdir(parents=True)
    (cache / "images.gz").write_bytes(packed(small["images"])[:-9])
    monkeypatch.setattr(mnist, "MIRRORS", (f"{server}/good/",))
    assert len(datasets.load("mnist")[0]) == 2
    monkeypatch.setattr(mnist, "MIRRORS", (f"{server}/missing/",))
    assert len(datasets.load("mnist")[0]) == 2
    assert gzip.decompress((cache / "images.gz").read_bytes()) == small["images"]


CHILD = """
import json, sys
from minivae import datasets
from minivae.datasets import mnist
mnist.MNIST, mnist.MIRRORS = json.loads(sys.argv[1])
images, labels = datasets.load("mnist")
print(images.shape, labels.tolist())
"""


def test_four_processes_that_fetch_at_once_all_succeed(server, tmp_path):
    """The server answers when all four have asked for the same file: none has found it there."""
    environment = os.environ | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    environment.pop("MINIVAE_DATA", None)
    what = json.dumps([mnist.MNIST, [f"{server}/together/"]])
    command = [sys.executable, "-c", CHILD, what]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    children = [subprocess.Popen(command, env=environment, **pipes) for _ in range(4)]
    for child in children:
        printed, complaints = child.communicate(timeout=120)
        assert printed == "(2, 784) [3, 9]\n", complaints
    files = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(files) == ["images.gz", "labels.gz"]
