"""Downloading a corpus, from a server on 127.0.0.1 only."""

import hashlib
import http.client
import http.server
import os
import socket
import threading
import urllib.request

import pytest

from charrnn.cli.terminal import logger, logging_to_stderr
from charrnn.data import download
from charrnn.errors import ConfigError, CorpusError

TEXT = "".join(f"line {n}\n" for n in range(20_000)).encode()  # more than two chunks
SHA256 = hashlib.sha256(TEXT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """A request handler with one path for each kind of response."""

    def do_GET(self):
        """Record the request and respond to it."""
        self.server.requests.append((self.path, self.headers["User-Agent"]))
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
        elif self.path == "/to-ftp":
            self.answer(302, {"Location": "ftp://127.0.0.1/text"}, b"")
        elif self.path == "/to-data":
            self.answer(302, {"Location": "data:,text"}, b"")
        elif self.path == "/in-a-ring":
            self.answer(302, {"Location": "/in-a-ring"}, b"")
        elif self.path == "/downgrade":
            self.answer(302, {"Location": f"{self.server.url}/text"}, b"")
        elif self.path == "/huge":
            self.answer(200, {"Content-Length": str(1 << 50)}, b"x")
        elif self.path == "/no-number":
            self.answer(200, {"Content-Length": "\u00b2"}, TEXT)
        elif self.path == "/no-http":
            self.wfile.write(b"what?\r\n")
        else:
            self.answer(404, {"Content-Length": "0"}, b"")

    def answer(self, status, headers, body):
        """Send a response of this status, headers and body."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Print nothing on stderr."""


@pytest.fixture
def server():
    """A server on a free port of this machine, with its `.url` and the `.requests` it received."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def closed_url():
    """The URL of a port that is bound but does not listen, so it refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/text"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    """Remove the proxy settings of the machine that runs the tests."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("path", ["/text", "/moved", "/no-length", "/no-number"])
@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_text_is_downloaded_into_a_new_folder(server, tmp_path, path, sha256):
    """A download writes the exact bytes into a new folder and leaves no other file."""
    target = tmp_path / "new" / "folder" / "text.txt"
    download.fetch(server.url + path, str(target), sha256)
    assert target.read_bytes() == TEXT
    assert os.listdir(target.parent) == ["text.txt"]
    assert server.requests[0][1].startswith("charrnn/")


def test_a_wrong_checksum_leaves_nothing_behind(server, tmp_path):
    """A wrong checksum is an error that names both checksums, and no file stays."""
    with pytest.raises(CorpusError) as error:
        download.fetch(f"{server.url}/text", str(tmp_path / "text.txt"), "0" * 64)
    assert f"has sha256 {SHA256}, but corpus.sha256 is {'0' * 64}" in str(error.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("sha256", [SHA256, None])
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/nowhere", "Not Found"),
        ("/short", f"only {len(TEXT):,} of {len(TEXT) + 5:,} bytes arrived"),
        ("/to-file", "not allowed"),
        ("/to-ftp", "redirects to ftp://127.0.0.1/text, which is not followed"),
        ("/to-data", "not allowed"),
        ("/in-a-ring", "infinite loop"),
        ("/huge", f"it has over {4 << 30:,} bytes"),
        ("/no-http", "what?"),
    ],
)
def test_a_failed_download_leaves_nothing_behind(server, tmp_path, path, reason, sha256):
    """A failed download is an error with the reason, the URL and the path; no file stays."""
    target = tmp_path / "text.txt"
    with pytest.raises(CorpusError) as error:
        download.fetch(server.url + path, str(target), sha256)
    message = str(error.value)
    assert reason in message
    assert message.endswith(f"Fetch it from {server.url}{path} and put it at {target}")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/text", "data:,text"])
def test_only_http_and_https_urls_are_fetched(tmp_path, load, url):
    """The config and `fetch` both refuse a URL that is neither http nor https."""
    with pytest.raises(ConfigError, match=r"corpus\.url must be an http or https URL"):
        load(f"corpus: {{path: a.txt, url: '{url}'}}")
    with pytest.raises(CorpusError, match="unknown url type"):
        download.fetch(url, str(tmp_path / "text.txt"), None)
    assert not (tmp_path / "text.txt").exists()


def test_a_redirect_from_https_to_http_is_refused(server, tmp_path, monkeypatch):
    """A redirect from https may lead to https, but not to http."""

    class Unencrypted(urllib.request.HTTPSHandler):
        """A handler of https URLs that does not encrypt, for a server without a certificate."""

        def https_open(self, request):
            return self.do_open(http.client.HTTPConnection, request)

    monkeypatch.setattr(urllib.request, "HTTPSHandler", Unencrypted)
    target, secure = tmp_path / "text.txt", server.url.replace("http:", "https:")
    with pytest.raises(
        CorpusError, match=rf"redirects to {server.url}/text, which is not followed"
    ):
        download.fetch(f"{secure}/downgrade", str(target), None)
    assert not target.exists()
    download.fetch(f"{secure}/moved", str(target), None)
    assert target.read_bytes() == TEXT


@pytest.mark.parametrize("path", ["/no-length", "/text"])
def test_a_text_over_the_size_limit_is_refused(server, tmp_path, monkeypatch, path):
    """A text over the limit is refused, whether or not the server sends its size."""
    monkeypatch.setattr(download, "MAX_BYTES", len(TEXT) - 1)
    with pytest.raises(CorpusError, match=f"it has over {len(TEXT) - 1:,} bytes"):
        download.fetch(server.url + path, str(tmp_path / "text.txt"), SHA256)
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr(download, "MAX_BYTES", len(TEXT))
    download.fetch(server.url + path, str(tmp_path / "text.txt"), SHA256)
    assert os.listdir(tmp_path) == ["text.txt"]


def test_a_download_without_a_checksum_logs_it(server, tmp_path, capsys):
    """Without `corpus.sha256`, the checksum is logged, but not with -q."""
    for sha256, level, logged in [
        (None, "INFO", True),
        (None, "WARNING", False),
        (SHA256, "INFO", False),
    ]:
        with logging_to_stderr():
            logger.setLevel(level)
            download.fetch(f"{server.url}/text", str(tmp_path / "text.txt"), sha256)
        err = capsys.readouterr().err
        assert ("was fetched and not checked" in err) == logged
        assert (f"sha256: {SHA256}\n" in err) == logged


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_downloaded_text_has_the_mode_of_a_new_file(server, tmp_path, mask):
    """The file mode of a downloaded text follows the umask."""
    previous = os.umask(mask)
    try:
        download.fetch(f"{server.url}/text", str(tmp_path / "text.txt"), SHA256)
    finally:
        os.umask(previous)
    assert (tmp_path / "text.txt").stat().st_mode & 0o777 == 0o666 & ~mask


def test_the_part_of_a_killed_download_is_ignored(server, tmp_path):
    """A partial file of an earlier download is not used, and does not stop another download."""
    stale = tmp_path / ".text.txt.abcdefgh.part"
    stale.write_bytes(TEXT[:1000])
    download.fetch(f"{server.url}/text", str(tmp_path / "text.txt"), SHA256)
    assert (tmp_path / "text.txt").read_bytes() == TEXT
    assert stale.read_bytes() == TEXT[:1000]


def test_a_text_appears_only_when_it_is_complete(server, tmp_path, monkeypatch):
    """During a download, no file has the name of the text."""
    existed = []
    target = tmp_path / "text.txt"
    monkeypatch.setattr(download.Bar, "update", lambda bar, n: existed.append(target.exists()))
    download.fetch(f"{server.url}/text", str(target), SHA256)
    assert len(existed) > 2
    assert not any(existed)
    assert target.read_bytes() == TEXT


def test_a_checkpoint_cannot_choose_the_path_of_a_download(server, charrnn, config, tmp_path):
    """Nothing is downloaded to a path that only a checkpoint names, as it may be an attack."""
    url = f"{server.url}/text"
    model = charrnn("train", config(), "--set", f"corpus.url={url}", "-q").stdout.strip()
    (tmp_path / "corpus.txt").unlink()
    for options in (["--resume"], ["--resume", "--set", "train.steps=30"], []):
        result = charrnn("train", model, "-q", *options)
        assert result.exit_code == 1
        assert "not fetched to a path that only" in result.stderr
        assert f"--corpus FILE, or fetch it from {url}" in result.stderr
    assert server.requests == []
    assert not (tmp_path / "corpus.txt").exists()
    charrnn("train", model, "-q", "--corpus", tmp_path / "mine.txt", "--out", tmp_path / "b.npz")
    assert (tmp_path / "mine.txt").read_bytes() == TEXT


def test_a_failure_leaves_an_older_file_alone(server, tmp_path):
    """An incomplete download or a wrong checksum does not replace an existing file."""
    target = tmp_path / "text.txt"
    target.write_text("older", encoding="utf-8")
    for path, sha256 in [("/short", None), ("/text", "0" * 64)]:
        with pytest.raises(CorpusError):
            download.fetch(server.url + path, str(target), sha256)
    assert target.read_text(encoding="utf-8") == "older"
    assert os.listdir(tmp_path) == ["text.txt"]


def test_a_refused_connection_names_the_url_and_the_path(closed_url, tmp_path):
    """If the server refuses the connection, the message names the URL and the path."""
    target = tmp_path / "text.txt"
    with pytest.raises(CorpusError) as error:
        download.fetch(closed_url, str(target), None)
    assert "refused" in str(error.value)
    assert str(error.value).endswith(f"Fetch it from {closed_url} and put it at {target}")
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
def test_an_invalid_url_is_one_error(tmp_path, url):
    """An invalid URL is a CorpusError, whatever the library raises."""
    with pytest.raises(CorpusError, match="could not be fetched"):
        download.fetch(url, str(tmp_path / "text.txt"), None)
    assert os.listdir(tmp_path) == []


def test_a_path_that_cannot_be_written_is_an_error(server, tmp_path):
    """If the path cannot be written, such as one below a file, nothing is requested."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CorpusError, match="could not be fetched"):
        download.fetch(f"{server.url}/text", str(tmp_path / "file" / "text.txt"), None)
    assert server.requests == []


def test_training_fetches_a_missing_text_and_keeps_it(server, charrnn, config, tmp_path):
    """Training downloads a missing text once; a second run uses the file."""
    path = config(mode="stream", corpus="", train={"steps": 2})
    (tmp_path / "corpus.txt").unlink()
    command = ["train", path, "--set", f"corpus.url={server.url}/text", "-q"]
    command += ["--set", f"corpus.sha256={SHA256}"]
    for _ in range(2):
        result = charrnn(*command)
        assert result.exit_code == 0, result.stderr
        assert result.stderr == ""
    assert (tmp_path / "corpus.txt").read_bytes() == TEXT
    assert [path for path, _ in server.requests] == ["/text"]


def test_training_does_not_fetch_an_existing_text(closed_url, charrnn, config, tmp_path):
    """Training connects to no server if the text exists; without it the same command fails."""
    command = ["train", config(train={"steps": 2}), "--set", f"corpus.url={closed_url}", "-q"]
    result = charrnn(*command)
    assert result.exit_code == 0, result.stderr
    (tmp_path / "corpus.txt").unlink()
    result = charrnn(*command)
    assert result.exit_code == 1
    assert f"Fetch it from {closed_url} and put it at {tmp_path / 'corpus.txt'}" in result.stderr
    assert not (tmp_path / "corpus.txt").exists()


def test_gradcheck_fetches_the_corpus_that_train_would(charrnn, server, tmp_path):
    """`charrnn gradcheck` downloads the missing text of a config, as `charrnn train` does."""
    path = tmp_path / "small.yaml"
    path.write_text(
        f"corpus: {{path: text.txt, url: {server.url}/text, sha256: {SHA256}}}\n"
        "model: {hidden: 4}\n",
        encoding="utf-8",
    )
    result = charrnn("gradcheck", path, "--entries", 2)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "text.txt").read_bytes() == TEXT
