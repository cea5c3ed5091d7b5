"""Every reader of files with valid files for it, which the property tests and the fuzzer damage."""

import contextlib
import gzip
import io
import json
import lzma
import pickle
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from safetensors.numpy import save

from xpnet import weights
from xpnet.datasets import Dataset, cifar10, fer2013, image_files, image_folder
from xpnet.datasets.idx import read_idx
from xpnet.errors import InputError, TrainingDivergedError
from xpnet.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GroupNorm,
    MaxPool2D,
    Normalize,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
)
from xpnet.network import Network
from xpnet.runs import checkpoint
from xpnet.runs.folder import RunFolder, read_class_names
from xpnet.runs.settings import make_run
from xpnet.serialization import FORMAT_VERSION, read_tensors, to_config
from xpnet.training import Callback, Trainer
from xpnet.training.snapshot import Snapshot

RNG = np.random.default_rng(0)


class Reader(NamedTuple):
    """``read`` takes a folder with the file ``name``; ``prepare`` makes the file of the bytes that were damaged.

    A damaged image is no error: the reader leaves it out or puts black in its place, and counts it.
    """

    name: str
    valid: Callable[[], Sequence[bytes]]
    read: Callable[[Path], Any]
    prepare: Callable[[bytes], bytes] = bytes
    others: Callable[[Path], None] = lambda folder: None  # writes what must lie beside the file

    @property
    def is_image(self) -> bool:
        return self.name.endswith(".png")


class Trial:
    """A reader, and an empty folder for its files."""

    def __init__(self, reader: Reader, folder: Path) -> None:
        self.reader, self.folder, self.path = reader, folder, folder / reader.name
        reader.others(folder)
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def read(self, content: bytes) -> bool:
        """Whether the file is read. Anything but an InputError of one line that names the file is raised."""
        self.path.write_bytes(self.reader.prepare(content))
        try:
            self.reader.read(self.folder)
        except InputError as error:
            message = str(error)
            if "\n" in message or str(self.folder) not in message:
                raise AssertionError(f"not one line that names the file: {message!r}") from error
            return False
        return True


def _idx() -> list[bytes]:
    array = RNG.integers(0, 256, (2, 3, 4), dtype=np.uint8)
    return [bytes([0, 0, 8, 3]) + struct.pack(">iii", *array.shape) + array.tobytes()]


def _cifar_batch(images: int = 2) -> dict[str, Any]:
    data = RNG.integers(0, 256, (images, 3072), dtype=np.uint8)
    return {"labels": [index % 10 for index in range(images)], "data": data, "filenames": ["a.png"] * images}


_CIFAR_NAMES = {"label_names": [f"class {index}" for index in range(10)]}


def _pickles(content: Any) -> list[bytes]:
    return [pickle.dumps(content, protocol) for protocol in (0, 2, 4, 5)]


def _cifar_folder(folder: Path) -> None:
    for name in cifar10._FILES:
        (folder / name).write_bytes(pickle.dumps(_CIFAR_NAMES if "meta" in name else _cifar_batch()))


def _fer() -> list[bytes]:
    rows = [
        f"{n},{' '.join(['7'] * 2304)},{usage}"
        for n, usage in enumerate(("Training", "Training", "Training", "Training", "PublicTest", "PrivateTest"))
    ]
    return ["\n".join(["emotion,pixels,Usage", *rows]).encode()]


def _images(kind: str, **options: Any) -> list[bytes]:
    contents = []
    for mode in ("L", "RGB") if kind == "JPEG" else ("L", "RGB", "P", "RGBA", "I;16", "1"):
        file = io.BytesIO()
        pixels = Image.fromarray(RNG.integers(0, 256, (9, 8, 3), dtype=np.uint8))
        (pixels.convert("I").convert(mode) if mode == "I;16" else pixels.convert(mode)).save(file, kind, **options)
        contents.append(file.getvalue())
    return contents


def _with_checksums(png: bytes) -> bytes:
    """The PNG file with the right checksum in every chunk, without which a reader looks no further."""
    repaired, position = png[:8], 8
    while position + 8 <= len(png):
        (length,) = struct.unpack(">I", png[position : position + 4])
        chunk = png[position + 4 : position + 8 + length]
        repaired += png[position : position + 4] + chunk + struct.pack(">I", zlib.crc32(chunk))
        position += 12 + length
    return repaired


def _read_image(folder: Path) -> None:
    """Damaged images are no errors: they have a reason in place of a header, and black in place of pixels."""
    path = str(folder / "class" / "image.png")
    (header,) = image_files.read_headers([path])
    images, damage = image_files.start_decoding([path], (8, 8, 3))()
    if images.shape != (1, 8, 8, 3) or any(not reason or "\n" in reason for reason in (*damage.values(), header or "")):
        raise AssertionError((header, damage))


def _image_folder(folder: Path) -> None:
    for name in ("train/a", "train/b", "test/a", "test/b"):
        (folder / name).mkdir(parents=True)
        Image.fromarray(RNG.integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(folder / name / "0.png")


def _network() -> Network:
    block = Residual(Sequential([BatchNorm(), Conv2D(2, 1)]), Conv2D(2, 1, bias=False))
    layers = [Normalize(), Conv2D(2, 3), ReLU(), block, MaxPool2D(2), Flatten(), Dropout(0.5), Dense(3)]
    return Network(Sequential(layers), (6, 6, 1))


def _tensors() -> dict[str, np.ndarray]:
    return {name: np.asarray(tensor) for name, tensor in _network().tensors().items()}


def _header() -> dict[str, Any]:
    network = _network()
    return {
        "format": FORMAT_VERSION,
        "network": weights.FORMAT_VERSION,
        "layer": to_config(network.layer),
        "input_shape": list(network.input_shape),
        "dtype": "float32",
    }


def _weights(header: bytes | None = None) -> bytes:
    text = json.dumps(_header()) if header is None else header.decode("utf-8", "replace")
    return save(_tensors(), {"xpnet": text})


_RUN = make_run(
    "mlp",
    model_options={"hidden": [2]},
    batch_size=4,
    iterations=6,
    report_every=2,
    schedule="plateau",
    early_stopping=9,
)


@cache
def _trainer() -> Trainer:
    """One for all files, since each of them says all that it shall be, or is refused."""
    images, labels = RNG.integers(0, 256, (12, 2, 2, 1), dtype=np.uint8), np.arange(12, dtype=np.int32) % 2
    return _RUN.make_trainer(Dataset("dots", images, labels, images, labels, ("even", "odd")))


class _StopAfterThree(Callback):
    def on_step(self, trainer: Trainer) -> None:
        if trainer.iteration == 3:
            trainer.stop()


@cache
def _begun() -> Snapshot:
    """Three iterations of a run, one of them after its first report."""
    trainer = _trainer()
    trainer.run([_StopAfterThree()])
    return trainer.snapshot()


@cache
def _checkpoint_header() -> bytes:
    _begun()
    with TemporaryDirectory() as folder:
        checkpoint.save(Path(folder, "c.safetensors"), _trainer(), _RUN)
        return json.dumps(read_tensors(Path(folder, "c.safetensors"))[1]).encode()


def _checkpoint(header: bytes) -> bytes:
    return save(dict(_begun().tensors), {"xpnet": header.decode("utf-8", "replace")})


def _resume(folder: Path) -> None:
    """Go on to the end. A loss of 10^308 in the header is a number, and may end as training that diverged."""
    path = folder / "c.safetensors"
    loaded = checkpoint.load(path)
    changed = checkpoint.resume(_trainer(), _RUN, path, loaded)
    assert all(isinstance(text, str) for text in changed)
    with contextlib.suppress(TrainingDivergedError):
        assert len(_trainer().run()) <= 3
    json.dumps([_trainer().progress.examples_per_second, _trainer().progress.seconds], allow_nan=False)


def _small() -> Network:
    return Network(Sequential([Dense(3), BatchNorm()]), (4,))


def _torch_tensors() -> dict[str, np.ndarray]:
    return {name: np.asarray(tensor) for name, tensor in _small().tensors().items()}


def _state_dicts() -> list[bytes]:
    import torch

    state_dict, contents = {name: torch.tensor(value) for name, value in _torch_tensors().items()}, []
    for zipped in (True, False):
        file = io.BytesIO()
        torch.save(state_dict, file, _use_new_zipfile_serialization=zipped)
        contents.append(file.getvalue())
    return contents


_SUMMARY = json.dumps({"device": "cpu", "backend": "numpy", "test_accuracy": {"adam": 0.97}}).encode()


def _config() -> list[bytes]:
    runs = (
        make_run("mnist_starter", schedule="step", schedule_every=10, data_dir="/data", crop_padding=2),
        make_run("mlp", optimizer="adam", early_stopping=3, loss="focal"),
    )
    return [json.dumps(run.to_json()).encode() for run in runs]


READERS = {
    "idx": Reader("images-idx3-ubyte", _idx, lambda folder: read_idx(folder / "images-idx3-ubyte")),
    "idx_gz": Reader(
        "images.gz", lambda: [gzip.compress(_idx()[0], mtime=0)], lambda folder: read_idx(folder / "images.gz")
    ),
    "idx_xz": Reader("images.xz", lambda: [lzma.compress(_idx()[0])], lambda folder: read_idx(folder / "images.xz")),
    "cifar10_batch": Reader("test_batch", lambda: _pickles(_cifar_batch()), cifar10.load, others=_cifar_folder),
    "cifar10_names": Reader("batches.meta", lambda: _pickles(_CIFAR_NAMES), cifar10.load, others=_cifar_folder),
    "fer2013": Reader("fer2013.csv", _fer, fer2013.load),
    "png": Reader("class/image.png", lambda: _images("PNG"), _read_image, _with_checksums),
    "jpeg": Reader("class/image.png", lambda: [*_images("JPEG"), *_images("JPEG", progressive=True)], _read_image),
    "image_folder": Reader(
        "train/a/1.png",
        lambda: _images("PNG")[:2],
        lambda folder: image_folder.load(folder, (8, 8)),
        _with_checksums,
        _image_folder,
    ),
    "weights": Reader("w.safetensors", lambda: [_weights()], lambda folder: Network.load(folder / "w.safetensors")),
    "weights_header": Reader(
        "w.safetensors",
        lambda: [json.dumps(_header()).encode()],
        lambda folder: Network.load(folder / "w.safetensors"),
        _weights,
    ),
    "checkpoint_header": Reader(
        "c.safetensors",
        lambda: [_checkpoint_header()],
        _resume,
        _checkpoint,
    ),
    "torch_safetensors": Reader(
        "t.safetensors",
        lambda: [save(_torch_tensors())],
        lambda folder: _small().load_tensors(folder / "t.safetensors", torch_name=str),
    ),
    "summary": Reader("summary.json", lambda: [_SUMMARY], lambda folder: RunFolder(folder).read_summary()),
    "class_names": Reader(
        "classes.txt", lambda: [b"cat\ndog\n"], lambda folder: read_class_names(folder / "classes.txt", 2)
    ),
    "config": Reader("config.json", _config, lambda folder: RunFolder(folder).read_config()),
}
if find_spec("torch"):
    READERS["torch_state_dict"] = Reader(
        "t.pth", _state_dicts, lambda folder: _small().load_tensors(folder / "t.pth", torch_name=str)
    )


def _onnx_network() -> Network:
    """Layers whose nodes have weights, attributes, shapes and constants to be damaged, and a branch."""
    norm = [GroupNorm(groups=2), Residual(Sequential([Conv2D(4, 1), Sigmoid()]))]
    layers = [Normalize(), Conv2D(4, 3), *norm, MaxPool2D(2, ceil=True), Flatten(), Dropout(0.5), Dense(3)]
    return Network(Sequential(layers), (6, 6, 1))


def _onnx_file() -> list[bytes]:
    from xpnet.onnx.export import to_model

    return [to_model(_onnx_network()).SerializeToString()]


if find_spec("onnx"):
    READERS["onnx"] = Reader("net.onnx", _onnx_file, lambda folder: Network.from_onnx(folder / "net.onnx"))
