"""What is said of the machine."""

import platform

import pytest

from xpnet import provenance
from xpnet.provenance import processor


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("processor\t: 0\nmodel name\t: Abacus 9\nmodel name\t: Abacus 8\n", "Abacus 9"),
        ("processor\t: 0\n", "abacus64"),  # as on ARM
        (None, "abacus, at 3 GHz"),
    ],
)
def test_the_processor_by_the_name_the_system_has_for_it(tmp_path, monkeypatch, content, expected):
    monkeypatch.setattr(provenance, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "machine", lambda: "abacus64")
    monkeypatch.setattr(platform, "processor", lambda: "abacus, at 3 GHz")
    if content is not None:
        (tmp_path / "cpuinfo").write_text(content)
    assert processor() == expected
