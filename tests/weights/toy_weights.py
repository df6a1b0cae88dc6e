"""Registered weights of one and of two files, a server that publishes them, and folders."""

import hashlib
import http.server
from dataclasses import replace

from skface.weights import REGISTRY, WeightsEntry, WeightsFile

FILES = {
    "toy.pt": b"one file " * 100,
    "twin.xml": b"graph of two files " * 10,
    "twin.bin": b"constants of two files " * 100,
}
HASHES = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
UNKNOWN = "0" * 64


class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        content = self.server.files.get(self.path[1:])
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) + self.server.n_missing_bytes))
        self.end_headers()
        half = len(content) // 2
        self.wfile.write(content[:half])
        self.server.midway()
        self.wfile.write(content[half:])

    def log_message(self, *args):
        pass


def register(monkeypatch, name, port, *filenames, **facts):
    files = tuple(
        WeightsFile(
            filename, f"http://127.0.0.1:{port}/{filename}", len(FILES[filename]), HASHES[filename]
        )
        for filename in filenames
    )
    entry = WeightsEntry(name, "embedder", files, "toy license", "toy source", "toy data")
    monkeypatch.setitem(REGISTRY, name, replace(entry, **facts))
    return files


def put(folder, *filenames, content=None):
    folder.mkdir(parents=True, exist_ok=True)
    for filename in filenames:
        (folder / filename).write_bytes(FILES[filename] if content is None else content)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def names_everything(error, file, folder):
    facts = (
        file.filename,
        file.url,
        "unknown size" if file.size is None else f"{file.size:,} bytes",
        file.sha256,
        str(folder),
    )
    return [fact for fact in facts if fact not in str(error)] == []
