"""Fetching a corpus: the right bytes take their place, or nothing does. Only 127.0.0.1 is asked."""

import hashlib
import http.server
import os
import socket
import threading

import pytest

from charrnn import download
from charrnn.errors import CorpusError

TEXT = "".join(f"line {n}\n" for n in range(20_000)).encode()  # more than two chunks
SHA256 = hashlib.sha256(TEXT).hexdigest()


class Answers(http.server.BaseHTTPRequestHandler):
    """One path for each way a server can answer."""

    def do_GET(self):
        """Answer, and remember that somebody asked."""
        self.server.asked.append((self.path, self.headers["User-Agent"]))
        if self.path == "/text":
            self.answer(200, {"Content-Length": str(len(TEXT))}, TEXT)
        elif self.path == "/no-length":
            self.answer(200, {}, TEXT)
        elif self.path == "/short":
            self.answer(200, {"Content-Length": str(len(TEXT) + 5)}, TEXT)
        elif self.path == "/moved":
            self.answer(302, {"Location": "/text"}, b"")
        elif self.path == "/to-file":
            self.answer(302, {"Location": "file:///etc/hostname"}, b"")
        elif self.path == "/no-http":
            self.wfile.write(b"what?\r\n")
        else:
            self.answer(404, {"Content-Length": "0"}, b"")

    def answer(self, status, headers, body):
        """Status, headers and body."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing on stderr."""


@pytest.fixture
def server():
    """A server on a free port of this machine; `.url` and the paths it was `.asked` for."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.asked = []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody():
    """The URL of a port that nobody answers on, as long as it is held here."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/text"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    """A proxy of the machine that runs the tests stays out of them."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("path", ["/text", "/moved", "/no-length"])
@pytest.mark.parametrize("sha256", [SHA256, None])
def test_the_text_is_put_in_its_place(server, tmp_path, path, sha256):
    """Byte by byte, in a folder made for it, with nothing beside it."""
    target = tmp_path / "new" / "folder" / "text.txt"
    download.fetch(server.url + path, str(target), sha256, quiet=True)
    assert target.read_bytes() == TEXT
    assert os.listdir(target.parent) == ["text.txt"]
    assert server.asked[0][1].startswith("charrnn/")


def test_a_wrong_checksum_leaves_nothing_behind(server, tmp_path):
    """Both checksums are told."""
    with pytest.raises(CorpusError) as caught:
        download.fetch(f"{server.url}/text", str(tmp_path / "text.txt"), "0" * 64, quiet=True)
    assert f"has sha256 {SHA256}, but corpus.sha256 asks for {'0' * 64}" in str(caught.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("sha256", [SHA256, None])
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/nowhere", "Not Found"),
        ("/short", f"only {len(TEXT):,} of {len(TEXT) + 5:,} bytes came"),
        ("/to-file", "not allowed"),
        ("/no-http", "what?"),
    ],
)
def test_what_cannot_be_had_leaves_nothing_behind(server, tmp_path, path, reason, sha256):
    """The message has the reason, the URL and the place for the file."""
    target = tmp_path / "text.txt"
    with pytest.raises(CorpusError) as caught:
        download.fetch(server.url + path, str(target), sha256, quiet=True)
    message = str(caught.value)
    assert reason in message
    assert message.endswith(f"Fetch it from {server.url}{path} and put it at {target}")
    assert os.listdir(tmp_path) == []


def test_a_failure_leaves_an_older_file_alone(server, tmp_path):
    """Neither a short text nor a wrong one takes its place."""
    target = tmp_path / "text.txt"
    target.write_text("older", encoding="utf-8")
    for path, sha256 in [("/short", None), ("/text", "0" * 64)]:
        with pytest.raises(CorpusError):
            download.fetch(server.url + path, str(target), sha256, quiet=True)
    assert target.read_text(encoding="utf-8") == "older"
    assert os.listdir(tmp_path) == ["text.txt"]


def test_nobody_there_is_told_with_what_to_do(nobody, tmp_path):
    """The URL, and where to put what it gives."""
    target = tmp_path / "text.txt"
    with pytest.raises(CorpusError) as caught:
        download.fetch(nobody, str(target), None, quiet=True)
    assert "refused" in str(caught.value)
    assert str(caught.value).endswith(f"Fetch it from {nobody} and put it at {target}")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://[::1/text",
        "http://127.0.0.1:port/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1/two words",
        "http://127.0.0.1/\u00e9",
        "http://..../",
    ],
)
def test_an_impossible_url_is_an_error_of_the_user(tmp_path, url):
    """However the library says so."""
    with pytest.raises(CorpusError, match="could not be fetched"):
        download.fetch(url, str(tmp_path / "text.txt"), None, quiet=True)
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_told(server, tmp_path):
    """Such as one below a file."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CorpusError, match="could not be fetched"):
        download.fetch(f"{server.url}/text", str(tmp_path / "file" / "text.txt"), None, quiet=True)
    assert server.asked == []


def test_training_fetches_a_missing_text_and_keeps_it(server, charrnn, config, tmp_path):
    """The second run does not ask again."""
    path = config(mode="stream", corpus="", train={"steps": 2})
    (tmp_path / "corpus.txt").unlink()
    command = ["train", path, "--set", f"corpus.url={server.url}/text", "-q"]
    command += ["--set", f"corpus.sha256={SHA256}"]
    for _ in range(2):
        result = charrnn(*command)
        assert result.exit_code == 0, result.stderr
        assert result.stderr == ""
    assert (tmp_path / "corpus.txt").read_bytes() == TEXT
    assert [path for path, _ in server.asked] == ["/text"]


def test_training_asks_nobody_for_a_text_that_is_there(nobody, charrnn, config, tmp_path):
    """Without it the same command fails, and says where the text belongs."""
    command = ["train", config(train={"steps": 2}), "--set", f"corpus.url={nobody}", "-q"]
    result = charrnn(*command)
    assert result.exit_code == 0, result.stderr
    (tmp_path / "corpus.txt").unlink()
    result = charrnn(*command)
    assert result.exit_code == 1
    assert f"Fetch it from {nobody} and put it at {tmp_path / 'corpus.txt'}" in result.stderr
    assert not (tmp_path / "corpus.txt").exists()
