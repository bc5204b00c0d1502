"""`charrnn settings`, and the completion of `--set` in the shells."""

import json

import pytest
from click.shell_completion import get_completion_class

from charrnn.cli import options
from charrnn.cli.app import main
from charrnn.config.schema import FIELDS, KINDS


def names(stdout):
    """Return the names of the settings that the table lists."""
    return [line.partition(":")[0] for line in stdout.splitlines() if not line.startswith(" ")]


def test_settings_lists_every_setting_in_80_columns(charrnn):
    """Each setting has a line with its default and allowed values, and then its meaning."""
    lines = charrnn("settings").stdout.splitlines()
    assert names("\n".join(lines)) == list(KINDS)
    assert max(map(len, lines)) <= 80
    assert "corpus.path: required  (a path, a list of paths, or - for standard input)" in lines
    row = lines.index("model.init: null  (karpathy or uniform or orthogonal, or null)")
    assert lines[row + 1].strip() == FIELDS["model.init"].metadata["meaning"]
    assert "corpus.lowercase: false  (true or false)" in lines


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("hidden", ["model.hidden", "model.variational_dropout"]),
        ("model.cell", ["model.cell"]),
        ("LSTM", ["model.cell", "model.init"]),  # a choice, and a word of a meaning
        ("batch-size", ["train.batch_size"]),
        ("moving average", ["optimizer.ema_decay"]),
    ],
)
def test_settings_searches_names_choices_and_meanings(charrnn, word, expected):
    """WORD may be in lower or upper case, with spaces or - for the _ of a name."""
    assert names(charrnn("settings", word).stdout) == expected


def test_settings_prints_an_object_for_each_setting(charrnn):
    """--json prints the values of the table, of all settings or of those that match."""
    rows = [json.loads(line) for line in charrnn("settings", "--json").stdout.splitlines()]
    assert [row["name"] for row in rows] == list(KINDS)
    assert [row["name"] for row in rows if row["required"]] == ["corpus.path"]
    assert json.loads(charrnn("settings", "model.cell", "--json").stdout) == {
        "name": "model.cell",
        "default": "rnn",
        "required": False,
        "allowed": "rnn or gru or lstm",
        "choices": ["rnn", "gru", "lstm"],
        "meaning": "the kind of recurrence",
    }


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("model.hiden", "Similar: model.hidden"),
        ("learing", "Similar: optimizer.learning_rate"),
        ("lr", "Similar: optimizer.learning_rate"),
        ("xyzzy", "All settings: charrnn settings"),
    ],
)
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_word_without_a_match_is_an_error_with_similar_names(charrnn, word, hint, options):
    """The error has the most similar names, also by a part of the name or its initials."""
    result = charrnn("settings", word, *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: no setting matches '{word}'. {hint}")


def test_help_and_errors_name_the_command(charrnn, config):
    """The help of the program and of `train`, and the message for an unknown key, name it."""
    assert charrnn("--help").stdout.endswith(
        "\n  Settings: charrnn settings; documentation: README.md.\n"
    )
    assert "All settings: charrnn settings." in " ".join(charrnn("train", "-h").stdout.split())
    wrong = charrnn("train", config(), "--set", "model.hiden=5")
    assert wrong.stderr.endswith("did you mean model.hidden?\nAll settings: charrnn settings\n")
    assert "charrnn settings" not in charrnn("train", config(), "--set", "model.hidden=x").stderr


def complete(shell, *words):
    """Return the completions of the last of the words that the shell splits a line into."""
    completion = get_completion_class(shell)(main, {}, "charrnn", "_CHARRNN_COMPLETE")
    return [item.value for item in completion.get_completions([*words[:-1]], words[-1])]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("command", [["train", "a.yaml"], ["train"], ["gradcheck", "a.yaml"]])
def test_set_completes_keys(shell, command):
    """Part of a key is completed to each key with its =."""
    assert complete(shell, *command, "--set", "") == [f"{key}=" for key in KINDS]
    keys = [f"{key}=" for key in KINDS if key.startswith("model.")]
    assert complete(shell, *command, "--set", "mod") == keys
    assert complete(shell, *command, "--set", "cell") == []


def test_the_values_of_a_single_key_are_completed_with_it():
    """A shell then adds no space after the =, because there is more than one completion."""
    expected = ["model.cell=", "model.cell=rnn", "model.cell=gru", "model.cell=lstm"]
    assert complete("zsh", "train", "--set", "model.ce") == expected
    assert all(len(complete("zsh", "train", "--set", key)) > 1 for key in KINDS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model.cell=", ["rnn", "gru", "lstm"]),
        ("model.cell=g", ["gru"]),
        ("model.init=", ["karpathy", "uniform", "orthogonal", "null"]),
        ("corpus.lowercase=", ["true", "false"]),
        ("train.workers=", ["auto"]),
        ("train.state=", ["carry", "zero"]),  # not of train.state_reset
        ("model.hidden=", ["100"]),
        ("model.hidden=2", []),
        ("nothing=", []),
    ],
)
def test_set_completes_values(text, expected):
    """Words that a setting may be and its default; zsh and fish receive the key with them.

    Bash splits at = and replaces only what follows it.
    """
    key, _, value = text.partition("=")
    for shell in ("zsh", "fish"):
        values = complete(shell, "train", "a.yaml", "--set", text)
        assert values == [f"{key}={word}" for word in expected]
    last = ["=", value] if value else ["="]
    assert complete("bash", "train", "a.yaml", "--set", key, *last) == expected
    assert complete("bash", "train", f"--set={key}", *last) == expected
    before = ["--set", "model.cell", "=", "gru"]
    assert complete("bash", "train", *before, "--set", key, *last) == expected


def test_bash_completes_other_words():
    """A quoted word is not split at =, and the options after a value are completed."""
    assert complete("bash", "train", "--set", "model.cell=g") == ["model.cell=gru"]
    assert complete("bash", "train", "--set", "=", "model.ce")[0] == "model.cell="
    assert complete("bash", "train", "--set", "model.cell", "=", "gru", "--see") == ["--seed"]
    assert complete("bash", "plot", "--by", "=", "st") == ["steps"]
    assert complete("bash", "sett") == ["settings"]


@pytest.mark.parametrize(
    ("shell", "words", "expected"),
    [
        ("bash", {"COMP_WORDS": "charrnn\ntrain\n--set\nmodel.cell\n=", "COMP_CWORD": "4"},
         "plain,rnn\nplain,gru\nplain,lstm\n"),
        ("zsh", {"COMP_WORDS": "charrnn train --set model.cell=g", "COMP_CWORD": "3"},
         "plain\nmodel.cell=gru\nthe kind of recurrence\n"),
        ("fish", {"COMP_WORDS": "charrnn train --set model.cell=g", "COMP_CWORD": "model.cell=g"},
         "plain,model.cell=gru\tthe kind of recurrence\n"),
    ],
)  # fmt: skip
def test_the_program_answers_the_scripts_of_the_shells(capfd, monkeypatch, shell, words, expected):
    """The variables that Click's script for each shell sets have the completions as the result."""
    for name, value in words.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("_CHARRNN_COMPLETE", f"{shell}_complete")
    with pytest.raises(SystemExit) as system_exit:
        main(prog_name="charrnn")
    assert (system_exit.value.code, capfd.readouterr().out) == (0, expected)
    assert get_completion_class("bash") is options.BashWordComplete
