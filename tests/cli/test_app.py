"""The command line: what each command prints on stdout and stderr, and its exit code."""

import itertools
import json
import math
import re
from pathlib import Path

import pytest
from run_helpers import LINES

from charrnn import __version__, checkpoint
from charrnn.cli.app import main
from charrnn.config.schema import ModelConfig
from charrnn.nn.model import Model

COMMANDS = ["train", "sample", "eval", "score", "page", "gradcheck", "info", "new", "next", "plot"]
COMMANDS += ["settings"]
PROSE = "the cat sat on the mat; the dog sat on the log. " * 12


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_has_help(charrnn, command, flag):
    """The help of a command has its usage line, an example and a text for each option."""
    result = charrnn(command, flag)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: main {command} ")
    assert f"charrnn {command} " in result.stdout
    for option in main.commands[command].params:
        if option.param_type_name == "option":
            assert option.help, option.name


def test_the_program_has_help_and_a_version(charrnn):
    """--help lists exactly the commands that exist, and --version prints the version."""
    assert sorted(main.commands) == sorted(COMMANDS)
    usage = charrnn("-h").stdout
    assert all(re.search(rf"^  {command} ", usage, re.MULTILINE) for command in COMMANDS)
    assert charrnn("--version").stdout == f"charrnn, version {__version__}\n"


BAD_CALLS = [
    (2, "No such command 'tarin'", ["tarin"]),
    (2, "Missing argument 'CONFIG|TEXT...'", ["train"]),
    (2, "none.yaml: no such config file", ["train", "{dir}/none.yaml"]),
    (2, "so no other file can be named", ["train", "{dir}/unknown.txt", "{config}"]),
    (2, "unknown.txt and --corpus both name the text",
     ["train", "{dir}/unknown.txt", "--corpus", "-"]),
    (2, "the run to resume, is missing", ["train", "{dir}/unknown.txt", "--resume"]),
    (2, "cannot both come from standard input", ["train", "-", "--corpus", "-"]),
    (2, "broken.yaml:3: not YAML", ["train", "{dir}/broken.yaml"]),
    (2, "did you mean model.hidden?", ["train", "{config}", "--set", "model.hiden=9"]),
    (2, "model.hidden must be", ["train", "{config}", "--set", "model.hidden=many"]),
    (2, "write it as --set", ["train", "{config}", "--set", "model.hidden"]),
    (2, "'--seed'", ["train", "{config}", "--seed", "-1"]),
    (1, "none.txt: no such text file", ["train", "{config}", "--corpus", "{dir}/none.txt"]),
    (1, "empty.txt is empty", ["train", "{config}", "--corpus", "{dir}/empty.txt"]),
    (1, "is a folder. Name a file", ["train", "{config}", "--out", "{dir}"]),
    (1, "cannot go to standard output", ["train", "{config}", "--out", "-"]),
    (1, "none.npz: no such checkpoint", ["train", "{dir}/none.npz", "--resume"]),
    (1, "none.npz: no such checkpoint", ["info", "{dir}/none.npz"]),
    (1, "is a folder, not a checkpoint", ["info", "{dir}"]),
    (1, "is a config, not a checkpoint", ["info", "{config}"]),
    (1, "not a valid .npz file", ["info", "{dir}/empty.txt"]),
    (1, "none.npz: no such checkpoint", ["sample", "{dir}/none.npz"]),
    (2, "cannot be used together",
     ["sample", "{ckpt}", "--prime", "a", "--prime-file", "{dir}/empty.txt"]),
    (2, "cannot both come from standard input", ["sample", "-", "--prime-file", "-"]),
    (1, "none.txt: no such text file",
     ["sample", "{ckpt}", "--prime-file", "{dir}/none.txt"]),
    (2, "'--temperature'", ["sample", "{ckpt}", "--temperature", "-1"]),
    (2, "'--temperature'", ["sample", "{ckpt}", "--temperature", "nan"]),
    (2, "'--top-k'", ["sample", "{ckpt}", "--top-k", "0"]),
    (2, "'--top-p'", ["sample", "{ckpt}", "--top-p", "0"]),
    (2, "'--top-p'", ["sample", "{ckpt}", "--top-p", "nan"]),
    (2, "'-n' / '--n'", ["sample", "{ckpt}", "--n", "-2"]),
    (2, "cannot both come from standard input", ["eval", "-", "-"]),
    (2, "'--unknown'", ["eval", "{ckpt}", "--unknown", "guess"]),
    (1, "none.txt: no such text file", ["eval", "{ckpt}", "{dir}/none.txt"]),
    (1, "empty.txt is too short to score", ["eval", "{ckpt}", "{dir}/empty.txt"]),
    (1, "'x' (U+0078) at character 3", ["eval", "{ckpt}", "{dir}/unknown.txt"]),
    (2, "none.yaml: no such config file", ["gradcheck", "{dir}/none.yaml"]),
    (2, "'--entries'", ["gradcheck", "{config}", "--entries", "0"]),
]  # fmt: skip


@pytest.mark.parametrize(("code", "message", "arguments"), BAD_CALLS)
def test_a_mistake_is_one_message_and_an_exit_code(
    charrnn, config, trained, tmp_path, code, message, arguments
):
    """A user's mistake prints one error on stderr and nothing on stdout."""
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "unknown.txt").write_text("anxious\n")
    (tmp_path / "broken.yaml").write_text("model:\n  hidden: [1\n")
    paths = {"dir": tmp_path, "config": tmp_path / "small.yaml", "ckpt": trained}
    result = charrnn(*[argument.format(**paths) for argument in arguments])
    assert result.exit_code == code
    assert result.stdout == ""
    assert message in result.stderr
    assert result.stderr.count("Error: ") == 1
    assert "Traceback" not in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_train_prints_only_the_path_of_the_checkpoint_on_stdout(charrnn, config, tmp_path):
    """`train` prints losses on stderr, and -q suppresses them."""
    verbose, quiet = charrnn("train", config()), charrnn("train", config(), "-q")
    assert verbose.stdout == quiet.stdout == f"{tmp_path / 'small.npz'}\n"
    assert verbose.exit_code == quiet.exit_code == 0
    assert "initial loss" in verbose.stderr
    assert "validation" in verbose.stderr
    assert quiet.stderr == ""


def test_train_prints_its_random_seed(charrnn, config):
    """A run without a seed prints the seed it draws, and --seed repeats the run with it."""
    path = config(train={"seed": None})
    drawn = charrnn("train", path)
    seed = re.search(r"^seed (\d+)$", drawn.stderr, re.MULTILINE)[1]
    first = checkpoint.load(drawn.stdout.strip())
    again = checkpoint.load(charrnn("train", path, "--seed", seed).stdout.strip())
    assert first.config.train.seed == int(seed)
    assert (first.params.flat == again.params.flat).all()


def test_the_config_and_the_corpus_may_come_from_stdin(charrnn, config, tmp_path):
    """The config or the corpus is read from stdin, but not both in one run."""
    path = config()
    from_file = checkpoint.load(charrnn("train", path).stdout.strip())
    piped = charrnn("train", path, "--corpus", "-", stdin=LINES)
    assert (from_file.params.flat == checkpoint.load(piped.stdout.strip()).params.flat).all()
    text, out = path.read_text(), tmp_path / "other.npz"
    arguments = ["train", "-", "--corpus", tmp_path / "corpus.txt", "--out", out]
    assert charrnn(*arguments, stdin=text).stdout == f"{out}\n"
    assert charrnn("train", "-", "--corpus", "-", stdin=text).exit_code == 2
    lost = charrnn("eval", piped.stdout.strip())
    assert (lost.exit_code, "cannot be read again" in lost.stderr) == (1, True)


def test_a_mistake_leaves_an_existing_checkpoint_unchanged(charrnn, trained, tmp_path):
    """A wrong config or a missing corpus does not change the checkpoint of an earlier run."""
    before = Path(trained).read_bytes()
    config = tmp_path / "small.yaml"
    for mistake in (["--set", "model.hidden=-1"], ["--corpus", tmp_path / "none.txt"]):
        assert charrnn("train", config, *mistake).exit_code != 0
        assert Path(trained).read_bytes() == before


def test_a_folder_that_cannot_be_written_is_an_error_before_training(charrnn, config, tmp_path):
    """`train` checks that its checkpoint can be written before it prints the initial loss."""
    result = charrnn("train", config(), "--out", tmp_path / "corpus.txt" / "deep" / "model.npz")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr
    assert "--out FILE" in result.stderr
    assert "initial loss" not in result.stderr


def test_sample_writes_exactly_n_characters(charrnn, trained):
    """--n does not count the prime, nor the newline that `sample` adds without --raw."""
    assert len(charrnn("sample", trained, "--n", 37, "--raw").stdout) == 37
    assert len(charrnn("sample", trained, "--raw").stdout) == 500
    assert charrnn("sample", trained, "--n", 0, "--prime", "anna").stdout == "anna\n"
    primed = charrnn("sample", trained, "--n", 1, "--prime", "anna", "--raw").stdout
    assert primed.startswith("anna")
    assert len(primed) == 5


def test_a_text_ends_with_one_newline(charrnn, trained, config):
    """A text ends with one newline, sampled or added, except with -0 or --raw."""
    stream = charrnn("train", config("a\nb\n" * 60, "stream", "stream"), "-q").stdout.strip()
    for path, options in itertools.product(
        (trained, stream), (["--n", 7], ["--n", 8], ["--n", 9], ["--n", 0, "--prime", "a"])
    ):
        raw = charrnn("sample", path, *options, "--seed", 1, "--raw").stdout
        text = charrnn("sample", path, *options, "--seed", 1).stdout
        assert text == (raw if raw.endswith("\n") else raw + "\n")
    texts = charrnn("sample", stream, "--count", 3, "--max-lines", 2, "--seed", 1).stdout
    assert texts.count("\n") == 6
    assert charrnn("sample", stream, "--count", 3, "--n", 4, "-0").stdout.count("\0") == 3


def test_sample_writes_complete_lines_that_begin_with_the_prime(charrnn, trained):
    """--lines 5 writes five complete lines, and each begins with the prime."""
    text = charrnn("sample", trained, "--lines", 5, "--prime", "an").stdout
    assert text.endswith("\n")
    assert len(text.splitlines()) == 5
    assert all(line.startswith("an") for line in text.splitlines())


def test_lines_of_a_model_without_newline_are_refused(charrnn, config):
    """--lines is an error for a model without newline, whose lines would never end."""
    path = charrnn("train", config(PROSE, "stream"), "-q").stdout.strip()
    result = charrnn("sample", path, "--lines", 2)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "newline" in result.stderr
    assert len(charrnn("sample", path, "--n", 9, "--raw").stdout) == 9


def test_a_seed_repeats_a_text(charrnn, trained):
    """`sample` without --seed prints its random seed, and --seed repeats the text."""
    first = charrnn("sample", trained, "--seed", 5)
    assert charrnn("sample", trained, "--seed", 5).stdout == first.stdout
    assert charrnn("sample", trained, "--seed", 6).stdout != first.stdout
    assert first.stderr == ""
    drawn = charrnn("sample", trained)
    seed = re.fullmatch(r"seed (\d+)\n", drawn.stderr)[1]
    assert charrnn("sample", trained, "--seed", seed).stdout == drawn.stdout
    assert charrnn("sample", trained, "-q").stderr == ""


def test_temperature_0_takes_the_most_probable_character(charrnn, trained):
    """Temperature 0, top-k 1 and top-p 1e-9 give the same text, whatever the seed."""
    texts = [
        charrnn("sample", trained, "--seed", seed, *options).stdout
        for options in (["--temperature", 0], ["--top-k", 1], ["--top-p", 1e-9])
        for seed in (1, 2)
    ]
    assert len(set(texts)) == 1
    assert charrnn("sample", trained, "--temperature", 5, "--seed", 1).stdout != texts[0]


def test_the_prime_may_be_a_file_or_stdin(charrnn, trained, tmp_path):
    """--prime-file has the effect of --prime; an unknown character is named with its position."""
    (tmp_path / "prime.txt").write_text("an")
    arguments = ["sample", trained, "--seed", 1]
    expected = charrnn(*arguments, "--prime", "an").stdout
    assert charrnn(*arguments, "--prime-file", tmp_path / "prime.txt").stdout == expected
    assert charrnn(*arguments, "--prime-file", "-", stdin="an").stdout == expected
    result = charrnn(*arguments, "--prime", "anx")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the prime has 'x' (U+0078) at character 3" in result.stderr


def parse_json(result):
    """Return the JSON value on the stdout of a command that succeeded."""
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("mode", ["lines", "stream"])
def test_eval_prints_the_same_scores_for_a_file_and_stdin(charrnn, config, tmp_path, mode):
    """`eval` prints nats, bits (nats / ln 2) and perplexity (e to the nats) of a file or stdin."""
    path = charrnn("train", config(LINES * 5, mode), "-q").stdout.strip()
    (tmp_path / "text.txt").write_text(LINES)
    from_file = parse_json(charrnn("eval", path, tmp_path / "text.txt", "--json"))
    from_stdin = parse_json(charrnn("eval", path, "-", "--json", stdin=LINES))
    assert from_file.pop("text") == str(tmp_path / "text.txt")
    assert from_stdin.pop("text") == "standard input"
    assert from_file == from_stdin
    nats = from_file["nats_per_char"]
    assert from_file["bits_per_char"] == pytest.approx(nats / math.log(2), rel=1e-12)
    assert from_file["perplexity"] == pytest.approx(math.exp(nats), rel=1e-12)
    assert (from_file["chars"], from_file["unknown"]) == (len(LINES) - (mode == "stream"), 0)
    table = charrnn("eval", path, "-", stdin=LINES).stdout.splitlines()
    assert table[1:4] == [
        f"nats per character  {nats:.4f}",
        f"bits per character  {nats / math.log(2):.4f}",
        f"perplexity          {math.exp(nats):.3f}",
    ]


def test_eval_without_a_text_scores_the_validation_part(charrnn, trained, tmp_path):
    """`eval` without TEXT repeats the best validation, and refuses a changed corpus."""
    score = parse_json(charrnn("eval", trained, "--json"))
    saved = checkpoint.load(trained)
    assert score["nats_per_char"] == pytest.approx(min(saved.history[:, 3]), abs=1e-6)
    assert 0 < score["chars"] < len(LINES)
    (tmp_path / "corpus.txt").write_text(LINES[::-1])
    assert "has changed since" in charrnn("eval", trained).stderr


def test_eval_can_skip_unknown_characters(charrnn, trained):
    """--unknown skip scores a text without its unknown characters, and counts them."""
    result = charrnn("eval", trained, "-", "--unknown", "skip", "--json", stdin="axnxna")
    score = parse_json(result)
    assert (score["unknown"], score["chars"]) == (2, 5)
    expected = parse_json(charrnn("eval", trained, "-", "--json", stdin="anna"))
    assert score["nats_per_char"] == expected["nats_per_char"]


def test_gradcheck_prints_a_row_for_every_array(charrnn, config, monkeypatch):
    """`gradcheck` exits with 1 and names the failing arrays when back-propagation is wrong."""
    path = config()
    passed = charrnn("gradcheck", path, "--entries", 5)
    names = [*Model(ModelConfig(hidden=8), 3).shapes(), "initial state"]
    assert passed.exit_code == 0
    for name in names:
        assert re.search(rf"^{re.escape(name)} .* ok$", passed.stdout, re.MULTILINE), name
    backward = Model.backward

    def wrong_backward(self, params, batch, work, grads, scale=1.0):
        result = backward(self, params, batch, work, grads, scale)
        grads["Why"] *= 1.001
        return result

    monkeypatch.setattr(Model, "backward", wrong_backward)
    failed = charrnn("gradcheck", path, "--entries", 5)
    assert failed.exit_code == 1
    assert failed.stdout.rstrip().endswith(": Why")


def test_info_prints_the_contents_of_a_checkpoint(charrnn, trained):
    """`info` prints a text or JSON; the text has values in the notation of a config."""
    facts, page = parse_json(charrnn("info", trained, "--json")), charrnn("info", trained).stdout
    saved = checkpoint.load(trained)
    assert facts["parameter_count"] == saved.params.flat.size
    assert facts["parameters"] == {name: list(a.shape) for name, a in saved.params.items()}
    assert facts["vocabulary"] == saved.vocab.chars
    assert (facts["step"], facts["validations"]) == (20, 2)
    assert facts["resume"] == f"charrnn train {trained} --resume"
    assert facts["resume"] in page
    assert f"{saved.params.flat.size:,} parameters" in page
    for setting in ("model.layers 1", "model.dropout 0.0", "corpus.lowercase false",
                    "train.epochs null", "model.cell rnn"):  # fmt: skip
        key, value = setting.split()
        assert re.search(rf"^  {re.escape(key)} +{re.escape(value)}$", page, re.MULTILINE), setting


def test_the_environment_names_the_checkpoint(charrnn, trained, tmp_path, monkeypatch):
    """CHARRNN_CHECKPOINT replaces CKPT, and CHARRNN_SAMPLE_SEED replaces `sample --seed`."""
    corpus = tmp_path / "corpus.txt"
    expected = charrnn("eval", trained, corpus).stdout
    sampled = charrnn("sample", trained, "--lines", 2, "--seed", 4).stdout
    monkeypatch.setenv("CHARRNN_CHECKPOINT", trained)
    assert charrnn("eval", corpus).stdout == expected
    assert charrnn("eval", trained, corpus).stdout == expected
    assert charrnn("eval").stdout == charrnn("eval", trained).stdout
    monkeypatch.setenv("CHARRNN_SAMPLE_SEED", "4")
    assert charrnn("sample", "--lines", 2).stdout == sampled


def test_every_option_has_an_environment_variable(charrnn, monkeypatch):
    """The variable has the name of the command and the option, and errors name it."""
    for name, command in main.commands.items():
        for parameter in command.params:
            if parameter.param_type_name == "option":
                flag = max(parameter.opts, key=len)[2:].replace("-", "_")
                assert parameter.envvar == f"CHARRNN_{name}_{flag}".upper()
    monkeypatch.setenv("CHARRNN_SAMPLE_TEMPERATURE", "hot")
    result = charrnn("sample", "none.npz")
    assert result.exit_code == 2
    assert "'hot' is neither a number" in result.stderr
    assert result.stderr.rstrip().endswith("The value comes from CHARRNN_SAMPLE_TEMPERATURE.")
    result = charrnn("sample", "none.npz", "--temperature", "hot")
    assert "CHARRNN" not in result.stderr


def test_an_unknown_variable_is_reported(charrnn, trained, monkeypatch):
    """An unknown variable CHARRNN_* is reported with the nearest known one, except with -q."""
    monkeypatch.setenv("CHARRNN_SAMPLE_TEMPRATURE", "0.5")
    result = charrnn("sample", trained, "--n", 3, "--seed", 1)
    assert result.stderr.splitlines() == [
        "CHARRNN_SAMPLE_TEMPRATURE is set in the environment, but no option has that name: did you "
        "mean CHARRNN_SAMPLE_TEMPERATURE?"
    ]
    assert charrnn("sample", trained, "--n", 3, "-q").stderr == ""
    assert charrnn("sample", trained, "-qn", 3).stderr == ""
    monkeypatch.setenv("CHARRNN_SAMPLE_QUIET", "1")
    assert charrnn("sample", trained, "--n", 3).stderr == ""


def test_a_checkpoint_argument_has_precedence_over_the_environment(
    charrnn, config, trained, tmp_path, monkeypatch
):
    """`eval CKPT` uses CKPT, not CHARRNN_CHECKPOINT; `info` and `plot` use the variable too."""
    other = charrnn("train", config(name="other"), "--seed", 8, "-q").stdout.strip()
    expected, facts, curve = (charrnn(name, other).stdout for name in ("eval", "info", "plot"))
    renamed = tmp_path / "other.bin"
    renamed.write_bytes(Path(other).read_bytes())
    monkeypatch.setenv("CHARRNN_CHECKPOINT", trained)
    assert charrnn("eval", other).stdout == charrnn("eval", renamed).stdout == expected
    assert "none.npz: no such checkpoint" in charrnn("eval", tmp_path / "none.npz").stderr
    monkeypatch.setenv("CHARRNN_CHECKPOINT", other)
    assert (charrnn("info").stdout, charrnn("plot").stdout) == (facts, curve)
    monkeypatch.delenv("CHARRNN_CHECKPOINT")
    for command in ("info", "plot"):
        result = charrnn(command)
        assert result.exit_code == 2
        assert "Missing argument 'CKPT" in result.stderr


def test_no_module_has_the_name_of_a_standard_module():
    """Python started in a folder of the package imports the standard library from its own place."""
    import sys

    package = Path(checkpoint.__file__).parent
    names = {path.stem for path in package.rglob("*.py")} - {"__init__", "__main__"}
    assert not names & set(sys.stdlib_module_names)
