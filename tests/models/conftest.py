"""A server on this machine that answers as the Hugging Face Hub does, for repositories made here."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from safetensors.numpy import save

MEAN, STD = [0.1, 0.2, 0.3], [0.5, 0.25, 0.2]


class Hub(ThreadingHTTPServer):
    """Serves ``repositories``, files by name, under the hub's addresses, and other ``files``."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.repositories = {}
        self.served = {}  # what a GET gives in place of a file, after a HEAD has promised the file's own hash
        self.files, self.downloads = {}, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, repository, tensors, **config):
        """A repository of timm's kind."""
        settings = {"architecture": "resnet18", "pretrained_cfg": {"mean": MEAN, "std": STD}, **config}
        contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
        self.repositories[repository] = {
            "config.json": json.dumps(settings).encode(),
            "model.safetensors": save(contiguous),
        }


class Answers(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        content = self.answer()
        if content is not None:
            self.wfile.write(content)

    def answer(self):
        if self.command == "GET":
            self.server.downloads.append(self.path)
        if self.path.lstrip("/") in self.server.files:
            content = self.server.files[self.path.lstrip("/")]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            return content
        repository, _, file = self.path.lstrip("/").partition("/resolve/main/")
        files = self.server.repositories.get(repository)
        missing = "RepoNotFound" if files is None else None if file in files else "EntryNotFound"
        if files is None or missing:
            self.send_response(404)
            self.send_header("X-Error-Code", missing)
            self.end_headers()
            return None
        content = files[file]
        if self.command == "GET":
            content = self.server.served.get(file, content)
        self.send_response(200)
        self.send_header("X-Repo-Commit", "0" * 39 + "1")
        self.send_header("ETag", f'"{hashlib.sha1(files[file]).hexdigest()}"')
        if file.endswith(".safetensors"):
            self.send_header("X-Linked-Etag", f'"{hashlib.sha256(files[file]).hexdigest()}"')
            self.send_header("X-Linked-Size", str(len(files[file])))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def log_message(self, *_):
        """Print nothing."""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of one's own, and a cache of one's own."""
    library, constants = pytest.importorskip("huggingface_hub"), pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    server, download = Hub(), library.hf_hub_download
    monkeypatch.setattr(library, "hf_hub_download", lambda *names: download(*names, endpoint=server.url))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
