"""`charrnn sample --primes` continues each line of a file."""

import json

import pytest

from charrnn import api

PRIMES = "an\n\ncla\nbob\n"


@pytest.fixture
def stream(charrnn, config):
    """Return the path of a checkpoint of a model of running text."""
    return charrnn("train", config(mode="stream", name="stream"), "-q").stdout.strip()


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_each_line_is_continued_in_order(charrnn, request, tmp_path, mode):
    """The texts are those of `model.continuations`, one a line, from a file or stdin."""
    path = request.getfixturevalue("trained" if mode == "lines" else "stream")
    file = tmp_path / "primes.txt"
    file.write_text(PRIMES.replace("\n", "\r\n"), encoding="utf-8")
    command = ("sample", path, "--seed", 3, "-q", "--temperature", 0.7, "--primes")
    texts = list(api.load(path).continuations(PRIMES.split("\n")[:-1], seed=3, temperature=0.7))
    lines = [text.text.removesuffix("\n") for text in texts]
    assert charrnn(*command, file).stdout.split("\n") == [*lines, ""]
    assert charrnn(*command, "-", stdin=PRIMES).stdout.split("\n") == [*lines, ""]
    for line, prime in zip(lines, PRIMES.split("\n"), strict=False):
        assert line.startswith(prime)
        assert "\n" not in line
    rows = [json.loads(row) for row in charrnn(*command, file, "--json").stdout.splitlines()]
    assert [row["prime"] for row in rows] == PRIMES.split("\n")[:-1]
    assert [row["text"] for row in rows] == [text.text for text in texts]
    assert [row["log_probability"] for row in rows] == [-text.nats for text in texts]


def test_other_options_apply_to_each_text(charrnn, stream):
    """--n, --max-lines, --stop, -0 and a range of temperatures apply to each continuation."""
    command = ("sample", stream, "--seed", 3, "-q", "--primes", "-")

    def run(*options):
        return charrnn(*command, *options, stdin="an\nbo").stdout

    texts = run("-0", "--max-lines", 2).split("\0")
    assert [text.count("\n") for text in texts] == [2, 2, 0]
    assert run("--n", 0) == "an\nbo\n"
    assert all(len(line) <= 5 for line in run("--n", 3).splitlines())
    assert run("--n", -1) == run()
    stopped = run("-0", "--stop", "a", "--max-lines", 99).split("\0")[:-1]
    assert [text.index("a", 2) for text in stopped] == [len(text) - 1 for text in stopped]
    assert run("--temperature", "0.2:1.2").count("--- temperature") == 6
    assert len(run("--temperature", "0.2:1.2").splitlines()) == 6 * 3


def test_a_range_of_temperatures_ends(charrnn, stream):
    """A text without end has no place in a range; with -0 only the texts are written."""
    for value, options in (("0.2:1.2", ["--n", -1]), ("0.5:", ["--n", 5]), (":1", ["--n", 5])):
        result = charrnn("sample", stream, "-q", "--temperature", value, *options)
        assert (result.exit_code, result.stdout) == (2, "")
    texts = charrnn("sample", stream, "-q", "-0", "--n", 5, "--temperature", "0.2:1.2").stdout
    assert [len(text) for text in texts.split("\0")] == [5] * 6 + [0]


@pytest.mark.parametrize(
    "option",
    ["--prime=a", "--prime-file=x", "--match=a", "--unique", "--novel", "--attempts=3",
     "--count=2", "--lines=2"],
)  # fmt: skip
def test_options_of_other_texts_are_refused(charrnn, trained, option):
    """Options that choose other texts cannot be used with --primes."""
    result = charrnn("sample", trained, "--primes", "-", option, stdin="an\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"--primes and {option.partition('=')[0]} cannot be used together" in result.stderr


def test_a_mistake_in_the_primes_is_one_message(charrnn, trained, config):
    """An unknown character is reported with its line before any text; so are other mistakes."""
    cases = [
        (trained, "an\nbo?\n", "prime 2 has '?' (U+003F) at character 3", 1),
        (trained, "", "standard input is empty", 1),
    ]
    endless = charrnn("train", config("abcd" * 99, "stream", name="endless"), "-q").stdout.strip()
    cases.append((endless, "a\n", "with --n -1 no text ends", 2))
    for path, stdin, message, code in cases:
        options = ("--n", -1) if code == 2 else ()
        result = charrnn("sample", path, "-q", "--primes", "-", *options, stdin=stdin)
        assert (result.exit_code, result.stdout) == (code, "")
        assert message in result.stderr
    result = charrnn("sample", endless, "-q", "--primes", "-", stdin="a\n")
    assert len(result.stdout) == 502
    result = charrnn("sample", "-", "--primes", "-")
    assert "cannot both come from standard input" in result.stderr
