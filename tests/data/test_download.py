"""Fetching a corpus: the right bytes take their place, or nothing does. Only 127.0.0.1 is asked."""

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


@pytest.mark.parametrize("path", ["/text", "/moved", "/no-length", "/no-number"])
@pytest.mark.parametrize("sha256", [SHA256, None])
def test_the_text_is_put_in_its_place(server, tmp_path, path, sha256):
    """Byte by byte, in a folder made for it, with nothing beside it."""
    target = tmp_path / "new" / "folder" / "text.txt"
    download.fetch(server.url + path, str(target), sha256)
    assert target.read_bytes() == TEXT
    assert os.listdir(target.parent) == ["text.txt"]
    assert server.asked[0][1].startswith("charrnn/")


def test_a_wrong_checksum_leaves_nothing_behind(server, tmp_path):
    """Both checksums are told."""
    with pytest.raises(CorpusError) as caught:
        download.fetch(f"{server.url}/text", str(tmp_path / "text.txt"), "0" * 64)
    assert f"has sha256 {SHA256}, but corpus.sha256 is {'0' * 64}" in str(caught.value)
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
def test_what_cannot_be_had_leaves_nothing_behind(server, tmp_path, path, reason, sha256):
    """The message has the reason, the URL and the place for the file."""
    target = tmp_path / "text.txt"
    with pytest.raises(CorpusError) as caught:
        download.fetch(server.url + path, str(target), sha256)
    message = str(caught.value)
    assert reason in message
    assert message.endswith(f"Fetch it from {server.url}{path} and put it at {target}")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/text", "data:,text"])
def test_nothing_but_http_is_spoken(tmp_path, load, url):
    """Neither by the config, nor by the function that fetches."""
    with pytest.raises(ConfigError, match=r"corpus\.url must be an http or https URL"):
        load(f"corpus: {{path: a.txt, url: '{url}'}}")
    with pytest.raises(CorpusError, match="unknown url type"):
        download.fetch(url, str(tmp_path / "text.txt"), None)
    assert not (tmp_path / "text.txt").exists()


def test_there_is_no_way_back_from_https_to_http(server, tmp_path, monkeypatch):
    """Where anybody on the way could put in another text; from https to https there is one."""

    class Unencrypted(urllib.request.HTTPSHandler):
        """Speaks https without encrypting, to a server that has no certificate."""

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
def test_a_text_over_the_limit_is_given_up(server, tmp_path, monkeypatch, path):
    """Also one whose size the server does not tell: it is counted as it arrives."""
    monkeypatch.setattr(download, "MAX_BYTES", len(TEXT) - 1)
    with pytest.raises(CorpusError, match=f"it has over {len(TEXT) - 1:,} bytes"):
        download.fetch(server.url + path, str(tmp_path / "text.txt"), SHA256)
    assert os.listdir(tmp_path) == []
    monkeypatch.setattr(download, "MAX_BYTES", len(TEXT))
    download.fetch(server.url + path, str(tmp_path / "text.txt"), SHA256)
    assert os.listdir(tmp_path) == ["text.txt"]


def test_a_text_that_nothing_vouches_for_is_told(server, tmp_path, capsys):
    """With the line that would; not when it was checked, and not with -q."""
    for sha256, level, said in [
        (None, "INFO", True),
        (None, "WARNING", False),
        (SHA256, "INFO", False),
    ]:
        with logging_to_stderr():
            logger.setLevel(level)
            download.fetch(f"{server.url}/text", str(tmp_path / "text.txt"), sha256)
        err = capsys.readouterr().err
        assert ("was fetched and not checked" in err) == said
        assert (f"sha256: {SHA256}\n" in err) == said


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_fetched_text_has_the_rights_of_any_new_file(server, tmp_path, mask):
    """As the umask says."""
    before = os.umask(mask)
    try:
        download.fetch(f"{server.url}/text", str(tmp_path / "text.txt"), SHA256)
    finally:
        os.umask(before)
    assert (tmp_path / "text.txt").stat().st_mode & 0o777 == 0o666 & ~mask


def test_what_a_killed_download_left_is_no_text(server, tmp_path):
    """It is neither taken for the text nor in the way of another download."""
    stale = tmp_path / ".text.txt.abcdefgh.part"
    stale.write_bytes(TEXT[:1000])
    download.fetch(f"{server.url}/text", str(tmp_path / "text.txt"), SHA256)
    assert (tmp_path / "text.txt").read_bytes() == TEXT
    assert stale.read_bytes() == TEXT[:1000]


def test_a_text_appears_when_it_is_whole(server, tmp_path, monkeypatch):
    """While it arrives there is nothing of its name."""
    seen = []
    target = tmp_path / "text.txt"
    monkeypatch.setattr(download.Bar, "update", lambda bar, n: seen.append(target.exists()))
    download.fetch(f"{server.url}/text", str(target), SHA256)
    assert len(seen) > 2
    assert not any(seen)
    assert target.read_bytes() == TEXT


def test_a_checkpoint_does_not_choose_where_a_text_is_put(server, charrnn, config, tmp_path):
    """Anybody can make one: it names a place and a URL, and nothing is written there."""
    url = f"{server.url}/text"
    model = charrnn("train", config(), "--set", f"corpus.url={url}", "-q").stdout.strip()
    (tmp_path / "corpus.txt").unlink()
    for words in (["--resume"], ["--resume", "--set", "train.steps=30"], []):
        result = charrnn("train", model, "-q", *words)
        assert result.exit_code == 1
        assert "not fetched to a path that only" in result.stderr
        assert f"--corpus FILE, or fetch it from {url}" in result.stderr
    assert server.asked == []
    assert not (tmp_path / "corpus.txt").exists()
    charrnn("train", model, "-q", "--corpus", tmp_path / "mine.txt", "--out", tmp_path / "b.npz")
    assert (tmp_path / "mine.txt").read_bytes() == TEXT


def test_a_failure_leaves_an_older_file_alone(server, tmp_path):
    """Neither a short text nor a wrong one takes its place."""
    target = tmp_path / "text.txt"
    target.write_text("older", encoding="utf-8")
    for path, sha256 in [("/short", None), ("/text", "0" * 64)]:
        with pytest.raises(CorpusError):
            download.fetch(server.url + path, str(target), sha256)
    assert target.read_text(encoding="utf-8") == "older"
    assert os.listdir(tmp_path) == ["text.txt"]


def test_nobody_there_is_told_with_what_to_do(nobody, tmp_path):
    """The URL, and where to put what it gives."""
    target = tmp_path / "text.txt"
    with pytest.raises(CorpusError) as caught:
        download.fetch(nobody, str(target), None)
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
        download.fetch(url, str(tmp_path / "text.txt"), None)
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_told(server, tmp_path):
    """Such as one below a file."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CorpusError, match="could not be fetched"):
        download.fetch(f"{server.url}/text", str(tmp_path / "file" / "text.txt"), None)
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


def test_gradcheck_fetches_the_corpus_that_train_would(charrnn, server, tmp_path):
    """A recipe can be checked before it is trained."""
    path = tmp_path / "small.yaml"
    path.write_text(
        f"corpus: {{path: text.txt, url: {server.url}/text, sha256: {SHA256}}}\n"
        "model: {hidden: 4}\n",
        encoding="utf-8",
    )
    result = charrnn("gradcheck", path, "--entries", 2)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "text.txt").read_bytes() == TEXT
