import io
import logging
import os
import struct
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from xpnet.datasets import image_files
from xpnet.datasets.image_files import Header, ImageFiles, read_headers, read_image, start_decoding
from xpnet.errors import InputError

RNG = np.random.default_rng(0)


def decode(path, shape):
    """The one image of a file."""
    images, damage = start_decoding([str(path)], shape)()
    assert not damage
    assert images.dtype == np.uint8
    return images[0]


@given(array=st.sampled_from([1, 3]).flatmap(lambda channels: arrays(np.uint8, (5, 4, channels))))
def test_png_files_hold_every_pixel(array, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "image.png"
    Image.fromarray(array if array.shape[2] == 3 else array[..., 0]).save(path)
    assert read_headers([str(path)]) == [Header(5, 4, array.shape[2] == 1)]
    np.testing.assert_array_equal(decode(path, array.shape), array)
    if array.shape[2] == 1:
        np.testing.assert_array_equal(decode(path, (5, 4, 3)), np.repeat(array, 3, axis=2))


def smooth(height, width):
    """A picture that survives JPEG."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * y / height, 255 * x / width, 127 * (y / height + x / width)], axis=2).astype(np.uint8)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_files(tmp_path, mode):
    image = Image.fromarray(smooth(32, 48)).convert(mode)
    image.save(tmp_path / "image.jpg", quality=95)
    assert read_headers([str(tmp_path / "image.jpg")]) == [Header(32, 48, mode == "L")]
    expected = np.asarray(image.convert("RGB"), np.int64)
    assert abs(decode(tmp_path / "image.jpg", (32, 48, 3)) - expected).max() < 12


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_another_size_is_scaled_to_cover_and_cropped_at_the_centre(tmp_path, suffix):
    stripes = np.zeros((160, 320, 3), np.uint8)
    stripes[:, :80, 0] = stripes[:, 80:240, 1] = stripes[:, 240:, 2] = 255  # red, green twice as wide, blue
    Image.fromarray(stripes).save(tmp_path / f"image.{suffix}", quality=95)
    square = decode(tmp_path / f"image.{suffix}", (20, 20, 3)).astype(int)
    assert abs(square[:, 1:-1] - [0, 255, 0]).max() < 12  # the green half alone
    wide = decode(tmp_path / f"image.{suffix}", (20, 80, 3)).astype(int)
    for columns, colour in ((wide[:, :19], 0), (wide[:, 21:59], 1), (wide[:, 61:], 2)):
        assert abs(columns - 255 * np.eye(3, dtype=int)[colour]).max() < 12
    assert decode(tmp_path / f"image.{suffix}", (400, 400, 3)).shape == (400, 400, 3)


def test_jpeg_files_keep_what_is_fine_when_scaled(tmp_path):
    stripes = np.tile(np.repeat(np.uint8([0, 255]), 4), (64, 8))
    for suffix in ("png", "jpg"):
        Image.fromarray(stripes).save(tmp_path / f"image.{suffix}", quality=95)
    expected, actual = (decode(tmp_path / f"image.{suffix}", (32, 32, 1)).astype(int) for suffix in ("png", "jpg"))
    assert abs(actual - expected).max() < 40


def test_sixteen_bits_keep_their_upper_eight(tmp_path):
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "image.png")
    assert read_headers([str(tmp_path / "image.png")]) == [Header(1, 5, True)]
    assert decode(tmp_path / "image.png", (1, 5, 1))[..., 0].tolist() == [[0, 0, 1, 128, 255]]


def test_palettes_and_transparency(tmp_path):
    colours = RNG.integers(0, 256, (3, 3, 3), dtype=np.uint8)
    transparent = np.dstack([colours, RNG.integers(0, 256, (3, 3), dtype=np.uint8)])
    palette = Image.fromarray(colours).quantize(9)
    Image.fromarray(transparent).save(tmp_path / "rgba.png")
    palette.save(tmp_path / "palette.png")
    palette.save(tmp_path / "transparent.png", transparency=bytes(range(9)))
    Image.fromarray(colours[..., 0] > 127).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(decode(tmp_path / "rgba.png", (3, 3, 3)), colours)
    for name in ("palette", "transparent"):
        np.testing.assert_array_equal(decode(tmp_path / f"{name}.png", (3, 3, 3)), palette.convert("RGB"))
    np.testing.assert_array_equal(decode(tmp_path / "bits.png", (3, 3, 1)), 255 * (colours[..., :1] > 127))
    Image.fromarray(transparent[..., 2:]).save(tmp_path / "la.png")
    headers = read_headers([str(tmp_path / f"{name}.png") for name in ("rgba", "palette", "bits", "la")])
    assert [header.grey for header in headers] == [False, False, True, True]


@pytest.fixture
def numbered(tmp_path):
    """Paths of 300 images, the n-th of which holds n."""
    paths = []
    for number in range(300):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(np.full((2, 2, 3), [number // 256, number % 256, 7], np.uint8)).save(paths[-1])
    return paths


def numbers(images):
    assert images.shape[1:] == (2, 2, 3)
    return (images[:, 0, 0, 0].astype(int) * 256 + images[:, 1, 1, 1]).tolist()


def test_images_are_indexed_as_an_array_is(numbered):
    files = ImageFiles(numbered, (2, 2, 3))
    assert (len(files), files.shape, files.ndim, files.size, files.dtype) == (300, (300, 2, 2, 3), 4, 3600, np.uint8)
    assert numbers(files[:]) == list(range(300))
    assert numbers(files[290:400]) == list(range(290, 300))
    indices = RNG.integers(0, 300, 100)
    assert numbers(files[indices]) == indices.tolist()
    assert files[:0].shape == (0, 2, 2, 3)
    for index in (7, np.int64(-1)):
        np.testing.assert_array_equal(files[index], files[:][index], strict=True)
    some = files.subset(indices)
    assert some.shape == (100, 2, 2, 3)
    assert numbers(some[3:5]) == indices[3:5].tolist()


def test_the_timing_of_threads_changes_nothing(numbered, monkeypatch):
    def slow(path, shape):
        time.sleep(0.002 * (hash(path) % 5))
        return original(path, shape)

    original = image_files._decode
    monkeypatch.setattr(image_files, "_decode", slow)
    files = ImageFiles(numbered, (2, 2, 3))
    waits = [files.start(np.arange(start, start + 20)) for start in range(0, 300, 20)]
    for start, wait in reversed(list(zip(range(0, 300, 20), waits, strict=True))):
        assert numbers(wait()) == list(range(start, start + 20))


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(height, width, data):
    """A grey PNG file whose header may promise anything."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


@pytest.mark.parametrize(("height", "width"), [(60_000, 60_000), (8192, 8193), (1, 2**31 - 1)])
def test_images_too_large_are_refused_by_their_headers(tmp_path, height, width):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(height, width, zlib.compress(bytes(10_000_000))))
    tracemalloc.start()
    try:
        (reason,) = read_headers([str(path)])
        images, damage = start_decoding([str(path)], (2, 2, 1))()
        assert tracemalloc.get_traced_memory()[1] < 3e6
    finally:
        tracemalloc.stop()
    assert isinstance(reason, str)
    assert "8193x8192 pixels" in reason or "decompression bomb" in reason
    assert damage == {0: reason}
    assert not images.any()


def test_an_image_of_the_largest_size_is_admitted(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(png(8192, 8192, b""))
    assert read_headers([str(path)]) == [Header(8192, 8192, True)]


def test_a_compressed_text_bomb_is_refused(tmp_path):
    path = tmp_path / "text.png"
    text = png_chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(100_000_000), 1))
    plain = png(1, 1, zlib.compress(bytes(2)))
    path.write_bytes(plain[:33] + text + plain[33:])
    tracemalloc.start()
    try:
        assert isinstance(read_headers([str(path)])[0], str)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.png", b""),
        ("text.jpg", b"no image"),
        ("truncated.png", png(4, 4, zlib.compress(bytes(20)))[:20]),
    ],
)
def test_what_is_no_image_has_a_reason(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (reason,) = read_headers([str(tmp_path / name)])
    assert isinstance(reason, str)
    assert reason
    assert "\n" not in reason


def test_only_png_and_jpeg_are_read_whatever_the_name(tmp_path):
    image = Image.fromarray(smooth(4, 4))
    for kind in ("GIF", "BMP", "TIFF", "PPM", "WEBP"):
        image.save(tmp_path / "image.png", format=kind)
        assert "cannot identify" in read_headers([str(tmp_path / "image.png")])[0]
    image.save(tmp_path / "image.png", format="JPEG")
    assert read_headers([str(tmp_path / "image.png")]) == [Header(4, 4, False)]


def test_missing_files_and_folders_have_a_reason(tmp_path):
    reasons = read_headers([str(tmp_path), str(tmp_path / "missing.png")])
    assert "directory" in reasons[0]
    assert "No such file" in reasons[1]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_damage_never_raises(tmp_path, kind):
    file = io.BytesIO()
    Image.fromarray(smooth(16, 16)).save(file, kind)
    content, path = file.getvalue(), tmp_path / "image"
    damaged = 0
    for _ in range(400):
        changed = bytearray(content[: RNG.integers(len(content))] if RNG.random() < 0.3 else content)
        for position in RNG.integers(len(changed), size=2) if changed else []:
            changed[position] = RNG.integers(256)
        path.write_bytes(changed)
        (header,) = read_headers([str(path)])
        images, damage = start_decoding([str(path)], (16, 16, 3))()
        assert not (isinstance(header, str) and not damage)
        assert all(reason and "\n" not in reason for reason in damage.values())
        if damage:
            assert not images.any()
            damaged += 1
    assert 100 < damaged < 400


def test_damaged_images_are_black_and_counted(numbered, caplog):
    for number in (3, 4, *range(100, 120)):
        with open(numbered[number], "r+b") as file:
            file.truncate(45)
    files = ImageFiles(numbered, (2, 2, 3))
    for _ in range(2):
        assert not files[3:4].any()
    (first,) = caplog.messages
    assert first.startswith(f"{numbered[3]!r}: ")
    assert first.endswith("Black is put in its place. Damaged images so far: 1.")
    assert numbers(files[:10]) == [0, 1, 2, 0, 0, 5, 6, 7, 8, 9]
    files[100:120]
    assert [message[-4:] for message in caplog.messages] == [": 1.", " 10."]
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_an_interrupt_leaves_the_rest_undone():
    done = []

    def work(number):
        if number == 0:
            raise KeyboardInterrupt
        time.sleep(0.0001)
        done.append(number)

    with pytest.raises(KeyboardInterrupt):
        image_files._start(work, range(100_000))()
    time.sleep(0.1)
    count = len(done)
    assert count < 10_000
    time.sleep(0.05)
    assert len(done) == count


def test_work_is_shared_by_threads(numbered, monkeypatch):
    threads = set()

    def note(path, shape):
        threads.add(threading.get_ident())
        time.sleep(0.001)
        return np.zeros(shape, np.uint8)

    monkeypatch.setattr(image_files, "_decode", note)
    ImageFiles(numbered, (2, 2, 3))[:16]
    assert threading.get_ident() not in threads
    assert len(threads) == image_files._THREADS
    assert len(threads) > 1 or os.cpu_count() == 1


@pytest.mark.parametrize(("limit", "most"), [(1 << 30, 4), (250_000, 2), (1, 1)])
def test_decoders_wait_for_memory_that_others_hold(tmp_path, monkeypatch, limit, most):
    """An image of 100x100 pixels is taken for 91,600 bytes; one alone is decoded whatever it takes."""
    for number in range(12):
        Image.fromarray(np.full((100, 100), number, np.uint8)).save(tmp_path / f"{number}.png")
    at_work, highest = set(), []

    def note(image):
        at_work.add(threading.get_ident())
        time.sleep(0.02)
        highest.append(len(at_work))
        at_work.remove(threading.get_ident())
        return original(image)

    original, memory = image_files._in_eight_bits, image_files._Memory(limit)
    monkeypatch.setattr(image_files, "_in_eight_bits", note)
    monkeypatch.setattr(image_files, "_memory", lambda: memory)
    monkeypatch.setattr(image_files, "_THREADS", 4)
    with ThreadPoolExecutor(4) as pool:
        monkeypatch.setattr(image_files, "_pool", lambda: pool)
        images, damage = start_decoding([str(tmp_path / f"{number}.png") for number in range(12)], (100, 100, 1))()
    assert max(highest) == most
    assert not damage
    np.testing.assert_array_equal(images[:, 50, 50, 0], np.arange(12))


def test_memory_is_given_back_by_images_that_are_damaged(tmp_path, monkeypatch):
    memory = image_files._Memory(1)
    monkeypatch.setattr(image_files, "_memory", lambda: memory)
    path = tmp_path / "damaged.png"
    path.write_bytes(png(50, 50, zlib.compress(bytes(3))))
    for _ in range(3):
        assert start_decoding([str(path)] * 4, (50, 50, 1))()[1]
    assert memory._held == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_decodes_in_threads_of_its_own(numbered):
    """The parent's threads do not exist there; nor does who holds all memory at the time of the fork."""
    program = """
        import os, signal, sys, warnings
        from xpnet.datasets import image_files
        from xpnet.datasets.image_files import ImageFiles
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking where there are threads
        files = ImageFiles(sys.argv[1:], (2, 2, 3))
        expected = files[:].tolist()
        memory = image_files._memory()
        with memory.hold(1 << 40), memory._changed:
            child = os.fork()
            if child == 0:
                signal.alarm(20)  # a child that hangs is ended
                os._exit(0 if files[:].tolist() == expected else 1)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        assert files[:].tolist() == expected
    """
    arguments = [sys.executable, "-c", textwrap.dedent(program), *numbered[:20]]
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert (result.stdout, result.stderr) == ("0\n", "")


def test_one_image_needs_the_shape_of_an_image(tmp_path):
    with pytest.raises(InputError, match=r"network for images .*\(5,\)"):
        read_image(tmp_path / "digit.png", (5,))
