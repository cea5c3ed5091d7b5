import gzip
import lzma
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays

from xpnet.datasets.idx import read_idx
from xpnet.errors import InputError

COMPRESSIONS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}
ARRAY = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)

compressed = pytest.mark.parametrize("suffix", COMPRESSIONS)


def write(folder, content, suffix=""):
    path = folder / f"file-idx3-ubyte{suffix}"
    path.write_bytes(COMPRESSIONS[suffix](content))
    return path


@compressed
@given(array=arrays(np.uint8, array_shapes(max_dims=4)))
def test_round_trip(suffix, array, tmp_path_factory, to_idx):
    read = read_idx(write(tmp_path_factory.getbasetemp(), to_idx(array), suffix))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array, strict=True)


@pytest.mark.parametrize(
    "magic",
    [b"\x00\x00\x0d\x03", b"\x00\x01\x08\x03", b"\x03\x08\x00\x00", b"\x00\x00\x08\x00", b"\x00\x00\x08\xff"],
)
def test_wrong_magic_number(tmp_path, to_idx, magic):
    path = write(tmp_path, magic + to_idx(ARRAY)[4:])
    with pytest.raises(InputError, match=f"{path}: expected the magic number 0000080d .* got {magic.hex()}"):
        read_idx(path)


@compressed
def test_every_truncation_of_the_content_is_noticed(tmp_path, to_idx, suffix):
    content = to_idx(ARRAY)
    for length in range(len(content)):
        path = write(tmp_path, content[:length], suffix)
        with pytest.raises(InputError, match=f"{path}: expected "):
            read_idx(path)


def test_truncation_says_how_much_is_missing(tmp_path, to_idx):
    path = write(tmp_path, to_idx(ARRAY)[:-5])
    with pytest.raises(InputError, match=r"expected 24 bytes after the header, .* shape \(2, 3, 4\), got 19\."):
        read_idx(path)


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_every_truncation_of_a_compressed_stream_is_noticed(tmp_path, to_idx, suffix):
    path = write(tmp_path, to_idx(ARRAY), suffix)
    stream = path.read_bytes()
    for length in range(len(stream)):
        path.write_bytes(stream[:length])
        with pytest.raises(InputError, match=f"{path}: expected "):
            read_idx(path)


def read_or_none(path):
    try:
        return read_idx(path)
    except InputError as error:
        message = str(error)
    assert message.startswith(f"{path}: expected ")
    assert "\n" not in message
    return None


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_corrupt_compressed_stream(tmp_path, to_idx, suffix):
    path = write(tmp_path, to_idx(ARRAY), suffix)
    stream = path.read_bytes()
    unharmed = 0  # by the bytes that hold a date or other remarks
    for position in range(len(stream)):
        path.write_bytes(stream[:position] + bytes([stream[position] ^ 0xFF]) + stream[position + 1 :])
        read = read_or_none(path)
        if read is not None:
            np.testing.assert_array_equal(read, ARRAY)
            unharmed += 1
    assert unharmed < 10


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_content_that_is_not_what_its_name_says(tmp_path, to_idx, suffix):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(to_idx(ARRAY))
    with pytest.raises(InputError, match=f"{path}: expected a readable IDX file, got: "):
        read_idx(path)


@compressed
def test_trailing_bytes(tmp_path, to_idx, suffix):
    path = write(tmp_path, to_idx(ARRAY) + b"\0", suffix)
    with pytest.raises(InputError, match=f"{path}: expected 24 bytes after the header, .* got more"):
        read_idx(path)


@pytest.mark.parametrize("size", [-1, 0, -(2**31)])
def test_sizes_below_one(tmp_path, to_idx, size):
    content = to_idx(ARRAY)
    path = write(tmp_path, content[:4] + struct.pack(">i", size) + content[8:])
    with pytest.raises(InputError, match=rf"{path}: expected sizes of at least 1 in the header, got \({size}, 3, 4\)"):
        read_idx(path)


def peak_bytes(path, message):
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=message):
            read_idx(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@compressed
def test_a_huge_size_is_not_allocated(tmp_path, to_idx, suffix):
    path = write(tmp_path, to_idx(ARRAY)[:4] + struct.pack(">iii", 1, 1, 2**31 - 1) + bytes(24), suffix)
    assert peak_bytes(path, r"expected 2147483647 bytes after the header, .* got 24\.") < 10e6


@compressed
def test_sizes_whose_product_no_machine_holds(tmp_path, to_idx, suffix):
    """Compressed, they could be followed by as many zeros."""
    huge = struct.pack(">i", 2**31 - 1)
    path = write(tmp_path, to_idx(ARRAY)[:4] + 3 * huge + bytes(24), suffix)
    sizes = r"the shape \(2147483647, 2147483647, 2147483647\)"
    compressed = rf"expected at most 2,147,483,648 bytes in a compressed file, got a header that announces {sizes}\."
    assert peak_bytes(path, compressed if suffix else r"expected \d{28} bytes after the header, .* got 24\.") < 10e6


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_no_more_is_decompressed_than_the_header_announces(tmp_path, to_idx, suffix):
    path = write(tmp_path, to_idx(ARRAY) + bytes(50_000_000), suffix)
    assert peak_bytes(path, "got more") < 10e6


def test_a_path_that_cannot_be_read(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match=f"{path}: expected a readable IDX file, got: "):
            read_idx(path)


def test_another_kind_of_content_is_told_by_its_magic_number_before_its_sizes(tmp_path):
    """Labels whose fourth byte says three dimensions: their first values are no sizes."""
    path = write(tmp_path, bytes([0, 0, 8, 3]) + bytes([0, 0, 0, 20, 5, 0, 4, 1, 9, 2, 1, 3]) + bytes(8), "")
    with pytest.raises(InputError, match="expected labels with the magic number 00000801, got 00000803"):
        read_idx(path, "labels", dimensions=1)
