import pytest

from tests.helpers import refused
from xpnet.runs.lock import only_user


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"7", b"{}", b'{"pid": 1}', None])
def test_a_lock_whose_owner_is_not_known_is_refused_all_the_same(tmp_path, content):
    owner = tmp_path / ".owner.json"
    with only_user(tmp_path):
        owner.unlink()
        if content is not None:
            owner.write_bytes(content)
        message = f"Run folder {tmp_path}: expected no other process using it, found another process. Wait for its end"
        with refused(message), only_user(tmp_path):
            pass
