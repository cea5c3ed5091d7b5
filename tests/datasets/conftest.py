"""Small datasets in the true file formats, and a server on this machine to download them from."""

import hashlib
import io
import pickle
import struct
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pooch
import pytest
from PIL import Image

from xpnet.datasets.download import RemoteFile


def idx_bytes(array):
    """The IDX format, written out by hand."""
    sizes = b"".join(struct.pack(">i", size) for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


@pytest.fixture(scope="session")
def to_idx():
    return idx_bytes


@pytest.fixture
def mnist_arrays():
    """The arrays of the four files by name: 20 training and 10 test images of 4x3 pixels."""
    rng = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": rng.integers(0, 256, (20, 4, 3)),
        "train-labels-idx1-ubyte": np.arange(20) % 10,
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (10, 4, 3)),
        "t10k-labels-idx1-ubyte": np.arange(10),
    }


@pytest.fixture
def mnist_folder(tmp_path, mnist_arrays):
    for name, array in mnist_arrays.items():
        (tmp_path / name).write_bytes(idx_bytes(array))
    return tmp_path


CIFAR_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture
def cifar_contents():
    """The dictionaries of the seven files by name: 4 images in each of the six batches."""
    rng = np.random.default_rng(0)
    contents: dict[str, dict] = {
        name: {
            "batch_label": name,
            "labels": rng.integers(0, 10, 4).tolist(),
            "data": rng.integers(0, 256, (4, 3072), dtype=np.uint8),
            "filenames": ["a.png", "b.png", "c.png", "d.png"],
        }
        for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
    }
    contents["batches.meta"] = {"num_cases_per_batch": 4, "label_names": list(CIFAR_NAMES), "num_vis": 3072}
    return contents


@pytest.fixture
def cifar_folder(tmp_path, cifar_contents) -> Path:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name, content in cifar_contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
    return folder


FER_HEADER = "emotion,pixels,Usage"


def fer_line(emotion, image, usage):
    return f"{emotion},{' '.join(map(str, image.ravel().tolist()))},{usage}"


@pytest.fixture(scope="session")
def to_fer_line():
    return fer_line


@pytest.fixture
def fer_rows():
    """Emotion, image and usage of 7 training, 2 public and 3 private test images, in the order of the file."""
    rng = np.random.default_rng(0)
    usages = ["Training"] * 5 + ["PublicTest", "PrivateTest"] * 2 + ["Training"] * 2 + ["PrivateTest"]
    return [(n % 7, rng.integers(0, 256, (48, 48)), usage) for n, usage in enumerate(usages)]


@pytest.fixture
def fer_folder(tmp_path, fer_rows):
    lines = [FER_HEADER, *(fer_line(*row) for row in fer_rows)]
    (tmp_path / "fer2013.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def write_images(folder, arrays):
    """One PNG file for each array, in a folder of a class."""
    folder.mkdir(parents=True)
    for number, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"{number:03}.png")


@pytest.fixture(scope="session")
def to_png():
    return write_images


@pytest.fixture
def image_folder(tmp_path):
    """6 training and 2 test images of 4x5 pixels for each of two classes."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    for part, count in (("train", 6), ("test", 2)):
        for name in ("dog", "cat"):
            write_images(folder / part / name, rng.integers(0, 256, (count, 4, 5, 3), dtype=np.uint8))
    return folder


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        self.server.ranges.append(self.headers["Range"])
        if self.server.knows_ranges and self.headers["Range"]:
            self.send_rest(int(self.headers["Range"].removeprefix("bytes=").removesuffix("-")))
        else:
            super().do_GET()

    def send_rest(self, start):
        """A file from a byte on, which the standard library's server cannot do."""
        content = Path(self.translate_path(self.path)).read_bytes()
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206)
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.copyfile(io.BytesIO(content[start:]), self.wfile)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder in place of the user's."""
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path / "cache" / "xpnet"


@pytest.fixture
def server(tmp_path, cache, monkeypatch):
    """Serves the folder server.folder; notes server.requests and, for each, the bytes asked for in server.ranges."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
    server.folder, server.requests, server.ranges, server.knows_ranges = folder, [], [], True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def publish(server):
    """Put content on the server: (name, content) -> the file as a registry lists it."""

    def publish(name, content):
        (server.folder / name).write_bytes(content)
        return RemoteFile(f"http://127.0.0.1:{server.server_port}/{name}", hashlib.sha256(content).hexdigest())

    return publish
