"""MNIST's four files: found in a folder or fetched, and checked against their SHA-256."""

import gzip
import hashlib
import math
import os
import zlib
from pathlib import Path

import numpy as np

from ..errors import FileError

# The images and the labels of each split: the file, the SHA-256 of its content, and of NAME.gz
MNIST = {
    "train": (
        ("train-images-idx3-ubyte",
         "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
         "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        ("train-labels-idx1-ubyte",
         "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
         "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    ),
    "test": (
        ("t10k-images-idx3-ubyte",
         "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
         "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        ("t10k-labels-idx1-ubyte",
         "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
         "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
}
MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
MAX_BYTES = 1 << 26  # of one file's data; the training images have 47 million
CHUNK = 1 << 20


def load(split, folder):
    """Images (N, 28, 28) and labels (N,) of the split, uint8. Raises FileError.

    folder: where the files are, gzipped or not; None: the user's cache, and then a download.
    """
    if not folder:
        return [read_idx(_fetched(name, packed), raw) for name, raw, packed in MNIST[split]]
    return [read_idx(_found(folder, name), raw) for name, raw, _ in MNIST[split]]


def _found(folder, name):
    for path in (Path(folder, name), Path(folder, f"{name}.gz")):
        if os.path.exists(path):  # False also if the folder may not be looked into
            return path
    raise FileError(f"the folder {folder} has neither {name} nor {name}.gz; put one of them there")


def _fetched(name, sha256):
    """The path of NAME.gz in the user's cache. A mirror is asked if the cache does not have it.

    pooch downloads to a temporary file, checks the SHA-256, and then moves the file to its place,
    so that several processes can fetch the same file at the same time.
    """
    import pooch

    cache, packed = pooch.os_cache("minivae"), f"{name}.gz"
    reasons = []
    for mirror in MIRRORS:
        try:
            return Path(pooch.retrieve(f"{mirror}{packed}", f"sha256:{sha256}", packed, cache))
        except (OSError, ValueError) as error:
            reasons.append(" ".join(f"{mirror}{packed}: {error}".split()))
    raise FileError(
        f"{packed} cannot be fetched; fetch it by other means, from an address below, and put it "
        f"into {cache}, or name a folder that has it: --data-dir or MINIVAE_DATA. "
        + "; ".join(reasons)
    )


def read_idx(path, sha256):
    """An IDX file of bytes, gzipped if its name ends in .gz -> uint8 array. Raises FileError.

    The header is checked first. Then no more bytes are read than it promises, in chunks, so that
    memory is only taken for bytes that are there. sha256: of the content that is not compressed.
    """
    try:
        if not path.is_file():
            raise ValueError("it is not a regular file")
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            magic = file.read(4)
            if magic not in (b"\0\0\x08\1", b"\0\0\x08\3"):
                raise ValueError("it does not begin like an IDX file of bytes")
            sizes = file.read(4 * magic[3])
            shape = np.frombuffer(sizes, ">u4").tolist()
            length = math.prod(shape)
            if length > MAX_BYTES:
                raise ValueError(f"it promises {length:,} bytes; the limit is {MAX_BYTES:,}")
            content = bytearray()
            while chunk := file.read(min(CHUNK, length + 1 - len(content))):
                content += chunk
        images = np.frombuffer(content, np.uint8).reshape(shape)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise FileError(f"{path} cannot be read: {error}; put a good copy in its place") from error
    digest = hashlib.sha256(magic + sizes)
    digest.update(content)
    if digest.hexdigest() != sha256:
        found = f"the SHA-256 of its content is {digest.hexdigest()}"
        raise FileError(f"{path} is not the file of MNIST: {found}; put a good copy in its place")
    return images
