import re
import tracemalloc

import numpy as np
import pytest

from xpnet.datasets import fer2013
from xpnet.errors import InputError

HEADER = "emotion,pixels,Usage"


def rows_of(rows, usage):
    chosen = [(emotion, image) for emotion, image, its_usage in rows if its_usage == usage]
    return [emotion for emotion, _ in chosen], np.array([image for _, image in chosen])[..., np.newaxis]


def assert_is(dataset, rows):
    for usage, images, labels in (
        ("Training", dataset.train_inputs, dataset.train_targets),
        ("PublicTest", dataset.validation_inputs, dataset.validation_targets),
        ("PrivateTest", dataset.test_inputs, dataset.test_targets),
    ):
        expected_labels, expected_images = rows_of(rows, usage)
        assert labels.tolist() == expected_labels
        np.testing.assert_array_equal(images, expected_images)


def test_round_trip(fer_folder, fer_rows):
    dataset = fer2013.load(fer_folder)
    assert_is(dataset, fer_rows)
    assert dataset.input_shape == (48, 48, 1)
    assert dataset.class_names == ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: re.sub(",([0-9 ]+),", r',"\1",', text),
        lambda text: text.removesuffix("\n"),
    ],
    ids=["Windows line ends", "quoted pixels", "no line end at the end"],
)
def test_other_spellings(fer_folder, fer_rows, change):
    path = fer_folder / "fer2013.csv"
    path.write_text(change(path.read_text()), newline="")
    assert_is(fer2013.load(fer_folder), fer_rows)


def test_reads_the_folder_as_it_was_packed(fer_folder, fer_rows):
    (fer_folder / "fer2013").mkdir()
    (fer_folder / "fer2013.csv").rename(fer_folder / "fer2013" / "fer2013.csv")
    assert_is(fer2013.load(str(fer_folder)), fer_rows)


def write(folder, rows, to_fer_line, *others):
    lines = [HEADER, *(to_fer_line(*row) for row in rows), *others]
    (folder / "fer2013.csv").write_text("\n".join(lines) + "\n", encoding="latin-1")


def test_without_public_test_images_there_is_no_validation_part(tmp_path, fer_rows, to_fer_line):
    write(tmp_path, [row for row in fer_rows if row[2] != "PublicTest"], to_fer_line)
    dataset = fer2013.load(tmp_path)
    assert dataset.validation_inputs is None
    assert dataset.validation_targets is None


def error_of(folder):
    try:
        fer2013.load(folder)
    except InputError as error:
        return str(error)
    return ""


def refusal(folder):
    with pytest.raises(InputError) as error:
        fer2013.load(folder)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 600
    assert "https://www.kaggle.com/" in message
    return message


@pytest.mark.parametrize("usage", ["Training", "PrivateTest"])
def test_a_file_without_a_part(tmp_path, fer_rows, to_fer_line, usage):
    write(tmp_path, [row for row in fer_rows if row[2] != usage], to_fer_line)
    assert f"{tmp_path / 'fer2013.csv'}: expected lines of the usage {usage}, got none." in refusal(tmp_path)


def test_no_folder_or_file(tmp_path):
    assert refusal(None).startswith("fer2013: expected the folder of fer2013.csv, got no data folder.")
    assert refusal(tmp_path).startswith(f"fer2013: expected fer2013.csv in {tmp_path}, got no such file.")


PIXELS = " ".join(["7"] * 2304)
COUNT = "2304 pixels from 0 to 255"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"7,{PIXELS},Training", "an emotion from 0 to 6, got '7'"),
        (f"-1,{PIXELS},Training", "an emotion from 0 to 6, got '-1'"),
        (f",{PIXELS},Training", "an emotion from 0 to 6, got ''"),
        (f"0,{PIXELS},training", "with a usage of Training, PublicTest, PrivateTest, got 'training'"),
        (f"0,{PIXELS}", f"with a usage of Training, PublicTest, PrivateTest, got '{PIXELS[:40]}'..."),
        ("", "with a usage of Training, PublicTest, PrivateTest, got ''"),
        ("\x00\xff", r"with a usage of Training, PublicTest, PrivateTest, got '\x00\xff'"),
        ("0,,Training", f"{COUNT}, got 0 pixels"),
        (f"0,{PIXELS} 7,Training", f"{COUNT}, got 2305 pixels"),
        (f"0,{PIXELS[2:]},Training", f"{COUNT}, got 2303 pixels"),
        (f"0,256{PIXELS[1:]},Training", f"{COUNT}, got pixels from 7 to 256"),
        (f"0,-1{PIXELS[1:]},Training", f"{COUNT}, got pixels from -1 to 7"),
        (f"0,99999999999999999999{PIXELS[1:]},Training", f"{COUNT}, got pixels from 7 to "),
        (f"0,{PIXELS}x,Training", f"{COUNT}, got '{PIXELS[:40]}'..."),
        (f"0,7.5{PIXELS[1:]},Training", f"{COUNT}, got '7.5 7"),
        (f"0,nan{PIXELS[1:]},Training", f"{COUNT}, got 'nan 7"),
        (f"0,\xff{PIXELS[1:]},Training", rf"{COUNT}, got '\xff 7"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, fer_rows, to_fer_line, line, expected):
    write(tmp_path, fer_rows, to_fer_line, line, "not reached")
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path / 'fer2013.csv'}, line {len(fer_rows) + 2}: expected ")
    assert expected in message


@pytest.mark.parametrize("header", ["", "emotion,pixels", "emotion, Usage, pixels", "\x00" * 100])
def test_another_header(tmp_path, header):
    (tmp_path / "fer2013.csv").write_text(header)
    assert "fer2013.csv, line 1: expected the header emotion,pixels,Usage, got '" in refusal(tmp_path)


def test_damage_never_raises_another_kind_of_error(fer_folder):
    path = fer_folder / "fer2013.csv"
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(300):
        damaged = bytearray(content[: rng.integers(1, len(content))] if rng.random() < 0.3 else content)
        damaged[rng.integers(len(damaged))] = rng.choice(list(b'0123456789 ,"\n\r\xff\x00'))
        path.write_bytes(damaged)
        errors.append(error_of(fer_folder))
    assert 100 < sum(map(bool, errors)) < 300  # a digit for a digit is no damage that can be seen
    assert all(error.startswith(str(path)) and "\n" not in error for error in errors if error)


def test_a_line_without_end_is_not_read_whole(tmp_path):
    (tmp_path / "fer2013.csv").write_bytes(HEADER.encode() + b"\n0," + b"7 " * 20_000_000)
    tracemalloc.start()
    try:
        assert "line 2: expected emotion,pixels,Usage with a usage of" in refusal(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()
