"""Reading settings gives a Config, or one error that lists every mistake."""

import contextlib
import os
import random
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from charrnn.config import loader as configs
from charrnn.config.schema import KINDS, SECTIONS, Config
from charrnn.errors import ConfigError

ROOT = Path(__file__).parent.parent.parent
MINIMAL = "corpus:\n  path: text.txt\n"
IN_PROCESS = hypothesis_settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_every_mistake_is_in_one_report(mistakes):
    """One error lists every mistake with its line, the allowed values and the actual value."""
    report = mistakes(
        "corpus:\n"
        "  path: text.txt\n"
        "  validatoin: 0.1\n"
        "model:\n"
        "  hidden: many\n"
        "  dropout: 1.0\n"
        "  hidden: 0\n"
        "  cell: {gru: lstm}\n"
        "train: 5\n"
        "optimiser:\n"
        "  name: adam\n"
        "output:\n"
        "  keep: [last]\n"
        "model:\n"
        "  cell: grue\n"
    )
    assert report[0] == "run.yaml: 9 mistakes in the config"
    assert sorted(report[1:]) == sorted(
        [
            "run.yaml:3: there is no setting 'corpus.validatoin': did you mean corpus.validation?",
            "run.yaml:5: model.hidden must be a whole number from 1 to 65536, not 'many'",
            "run.yaml:6: model.dropout must be a number from 0 to below 1, not 1.0",
            "run.yaml:7: model.hidden appears twice",
            "run.yaml:9: train must be a mapping of its settings, one `key: value` a line",
            "run.yaml:10: there is no setting 'optimiser': did you mean optimizer?",
            "run.yaml:13: output.keep must be last or best, not ['last']",
            "run.yaml:14: model appears twice",
            "run.yaml:8: model.cell must be rnn or gru or lstm, not a nested structure",
        ]
    )


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (f"{MINIMAL}model: {{hiden: 5}}\n", "'model.hiden': did you mean model.hidden?"),
        (f"{MINIMAL}train: {{hidden: 5}}\n", "'train.hidden': did you mean model.hidden?"),
        (f"{MINIMAL}hidden: 5\n", "'hidden': did you mean model.hidden?"),
        (f"{MINIMAL}zzz: 5\n", "'zzz': the sections are corpus, model, train,"),
        (f"{MINIMAL}? [a, b]\n: 5\n", "there is no setting"),
        (f"{MINIMAL}? {{a: [b]}}\n: 5\n", "'a nested structure'"),
        (f"{MINIMAL}{'k' * 500}: 5\n", f"'{'k' * 60}...'"),
    ],
)
def test_an_unknown_key_suggests_a_similar_one(mistakes, content, hint):
    """The message for an unknown key suggests a similar key, also of another section."""
    header, *lines = mistakes(content)
    assert header == "run.yaml: one mistake in the config"
    assert len(lines) == 1
    assert lines[0].startswith("run.yaml:3: ")
    assert hint in lines[0]


def test_an_override_replaces_the_value_of_the_file(load):
    """The last `--set` of a key replaces the value of the file; an empty value is null."""
    content = f"{MINIMAL}train:\n  steps: 5\n  seed: 1\n"
    config = load(content, "train.steps=6", "train.steps=7", "model.cell=gru", "train.seed=")
    assert (config.train.steps, config.train.seed, config.model.cell) == (7, None, "gru")
    assert load(content, "train.steps=null", "train.epochs=2").train.epochs == 2.0


def test_a_file_may_contain_dotted_keys(load, mistakes):
    """A config file may contain `section.key: value` at its top level."""
    assert load(f"{MINIMAL}model.hidden: 5\n").model.hidden == 5
    report = mistakes(f"{MINIMAL}model.hidden: 0\nmodel.hiden: 5\nmodel.hidden: 5\n")
    assert report[1].startswith("run.yaml:3: model.hidden must be a whole number from 1 to 65536")
    assert report[2].endswith("'model.hiden': did you mean model.hidden?")
    assert report[3] == "run.yaml:5: model.hidden appears twice"


def test_a_malformed_override_is_a_mistake(mistakes):
    """A malformed `--set` is reported with the right syntax, beside the mistakes of the file."""
    report = mistakes(f"{MINIMAL}zzz:\n", "model.hidden", "hidden=3", "model={cell: gru}", "=")
    assert report[0] == "run.yaml: 5 mistakes in the config"
    assert "--set model.hidden: write it as --set section.key=value" in report
    assert "--set hidden=3: there is no setting 'hidden': did you mean model.hidden?" in report


def test_relative_paths_start_from_their_source(load, tmp_path):
    """A path in a file is relative to its folder, on the command line to the current folder."""
    content = "corpus:\n  path: [a.txt, ../b.txt, /c.txt, '-']\noutput:\n  checkpoint: runs/x.npz\n"
    config = load(content)
    assert config.corpus.path == (
        *(str(tmp_path / "a.txt"), str(tmp_path.parent / "b.txt")),
        *("/c.txt", "-"),
    )
    assert config.output.checkpoint == str(tmp_path / "runs" / "x.npz")
    config = load(content, "corpus.path=a.txt", "output.checkpoint=x.npz")
    assert config.corpus.path == (str(tmp_path / "here" / "a.txt"),)
    assert config.output.checkpoint == str(tmp_path / "here" / "x.npz")
    assert load(MINIMAL).output.checkpoint == str(tmp_path / "here" / "run.npz")


def test_a_path_may_look_like_a_date(load, tmp_path):
    """A path that YAML would parse as a date keeps its text."""
    config = load("corpus: {path: 2020-01-31}\n", "output.checkpoint=2020-1-31")
    assert config.corpus.path == (str(tmp_path / "2020-01-31"),)
    assert config.output.checkpoint == str(tmp_path / "here" / "2020-1-31")


def test_a_tilde_is_the_home_folder(load, monkeypatch):
    """A tilde in a path of a config is replaced by the home folder."""
    monkeypatch.setenv("HOME", "/home/anna")
    assert load("corpus: {path: ~/a.txt}").corpus.path == ("/home/anna/a.txt",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("model: [", "run.yaml:1: not YAML: expected the node content"),
        ("a: 1\nb: 'c\n", "run.yaml:3: not YAML: found unexpected end of stream"),
        ("a: 1\n\tb: 2\n", "run.yaml:2: not YAML: found character '\\t'"),
        ("a: *nowhere\n", "run.yaml:1: not YAML: found undefined alias"),
        ("--- a\n--- b\n", "run.yaml:2: not YAML: but found another document"),
        ("a: \0", "run.yaml: not YAML: unacceptable character #x0000"),
        (b"PK\x03\x04\xff", "run.yaml is not UTF-8 text (byte 4): not a config"),
        (b"a" * 1_000_001, "run.yaml is over 1,000,000 bytes: not a config"),
        ("a: " + "[" * 10_000, "run.yaml: not YAML: nested too deeply"),
        ("a: " * 10_000, "run.yaml:1: not YAML"),
        ("\n- model\n", "run.yaml is not a config: it has none of the sections corpus,"),
        ("First Citizen", "run.yaml is not a config: it has none of the sections corpus,"),
        ("{Act: 1}", "run.yaml is not a config: it has none of the sections corpus,"),
        ("", "run.yaml: corpus.path is missing: name the text"),
        ("# nothing\n", "run.yaml: corpus.path is missing: name the text"),
        ("model:\n", "run.yaml: corpus.path is missing: name the text"),
        ("corpus: {path: []}\n", "run.yaml: corpus.path is missing: name the text"),
    ],
)
def test_a_file_that_is_not_a_config_is_refused(mistakes, content, message):
    """A file that is not a config is refused with the reason, and with the line if there is one."""
    report = mistakes(content)
    assert any(line.startswith(message) for line in report)
    assert all(line for line in report)


def test_a_path_that_cannot_be_read_is_refused(tmp_path):
    """A folder, a missing file and an invalid path each raise ConfigError with the reason."""
    for path, message in [
        (str(tmp_path), "is a folder, not a config"),
        (str(tmp_path / "none.yaml"), "no such config file"),
        ("a\0b", "cannot be read"),
    ]:
        with pytest.raises(ConfigError, match=message):
            configs.load(path)


def test_a_byte_order_mark_is_ignored(load):
    """A byte order mark at the start of a config is ignored."""
    assert load(b"\xef\xbb\xbf" + MINIMAL.encode()) == load(MINIMAL)


def test_nested_aliases_are_not_expanded(mistakes):
    """Nine lines of aliases of 10^9 words are refused without being expanded."""
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for name, previous in zip("bcdefghi", "abcdefgh", strict=True):
        bomb += f"{name}: &{name} [{', '.join([f'*{previous}'] * 10)}]\n"
    report = mistakes(f"{bomb}corpus: {{path: *i}}\n")
    assert "run.yaml:10: corpus.path must be" in report[-1]
    assert report[-1].endswith("not a nested structure")
    assert mistakes("&a {corpus: *a}")[1].startswith("run.yaml:1: there is no setting 'corpus.")


@pytest.mark.parametrize("key", ["x{}", "path"], ids=["unknown", "twice"])
def test_a_list_is_not_converted_again_for_each_alias(mistakes, monkeypatch, key):
    """The list of an alias is not converted for each of a thousand unknown or repeated keys."""
    count, convert = 0, configs._value

    def count_calls(*args):
        nonlocal count
        count += 1
        return convert(*args)

    monkeypatch.setattr(configs, "_value", count_calls)
    content = f"corpus:\n  path: &a [{'x, ' * 1000}]\n"
    content += "".join(f"  {key.format(n)}: *a\n" for n in range(1000))
    assert mistakes(content)[0] == "run.yaml: 1,000 mistakes in the config"
    assert count < 100_000


@pytest.mark.parametrize("unknown", [51, 3_000])
def test_only_the_first_of_many_mistakes_are_listed(mistakes, unknown):
    """The first MAX_MISTAKES mistakes are listed, and the rest are counted."""
    header, *lines, last = mistakes(MINIMAL + "".join(f"k{n}: 1\n" for n in range(unknown)))
    assert header == f"run.yaml: {unknown:,} mistakes in the config"
    assert len(lines) == configs.MAX_MISTAKES
    assert lines[-1].startswith(f"run.yaml:{configs.MAX_MISTAKES + 2}: there is no setting 'k49'")
    assert last == f"and {unknown - configs.MAX_MISTAKES:,} more"


@pytest.mark.parametrize(
    ("value", "formatted"),
    [
        ("null", "null"),
        ("true", "true"),
        ("no", "false"),
        ("-.inf", "-.inf"),
        ("[null, true, .nan, a]", "[null, true, .nan, 'a']"),
        ("2020-01-01 10:00:00", "'2020-01-01 10:00:00'"),
        ("!!binary aGVsbG8=", "'aGVsbG8='"),
        ("[[a]]", "a nested structure"),
        ("{a: b}", "a nested structure"),
        (f"[{'1, ' * 999}1]", f"[{'1, ' * 19}1,..."),
    ],
)
def test_a_refused_value_is_printed_as_yaml(mistakes, value, formatted):
    """A message prints a refused value in YAML syntax, shortened if it is long."""
    for report in (
        mistakes(f"{MINIMAL}model: {{cell: {value}}}\n"),
        mistakes(MINIMAL, f"model.cell={value}"),
    ):
        assert report[1].endswith(f"model.cell must be rnn or gru or lstm, not {formatted}")


def test_an_unknown_section_of_a_stored_config_is_refused():
    """An unknown section in a stored config is refused, and a long name is cut in the message."""
    for settings in ({"modle": {"hidden": 1}}, {"modle": 5}, {"modle" + "x" * 10**6: None}):
        with pytest.raises(ConfigError) as caught:
            configs.from_dict({"corpus": {"path": "a"}, **settings}, "a.npz")
        assert "a.npz: there is no setting 'modle" in str(caught.value)
        assert len(str(caught.value)) < 300


def test_an_alias_may_be_a_value(load):
    """A value may be a YAML alias."""
    assert load(MINIMAL + "model: {layers: &n 2, hidden: *n}").model.hidden == 2


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.mkdir [made]",
        "!!python/object/new:os.mkdir [made]",
        "!!python/object/apply:os.mkdir {args: [made]}",
        "!!python/name:os.sep ''",
        "!!python/module:this ''",
        "!!python/tuple [a]",
    ],
)
def test_a_tag_never_creates_an_object(load, tmp_path, value):
    """A Python tag creates no object, as a value or key in the file or on the command line."""
    contents = [MINIMAL.replace("text.txt", value), f"{MINIMAL}output: {{? {value} : 1}}\n"]
    contents += [value, f"{MINIMAL}train: {value}\n", f"{MINIMAL}? {value}\n: 1\n"]
    for content, *overrides in [[content] for content in contents] + [
        [MINIMAL, f"corpus.path={value}"]
    ]:
        try:
            paths = load(content, *overrides).corpus.path
            assert all(type(path) is str and path != os.sep for path in paths)
        except ConfigError:
            pass
    assert not list(tmp_path.rglob("made"))
    assert "this" not in sys.modules


PIECES = ["\n  ", ": ", "<<", "&a ", "*a", "---", "0x", "1e400", "\ud800"]
PIECES += ["!!int ", "!!float ", "!!bool ", "!!set ", "!!timestamp ", "!!binary "]
WORDS = st.sampled_from([*KINDS, *SECTIONS, *PIECES, *"{}[]:-?&*!|>'\"%@#,\n\t\0"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
NESTED = st.recursive(
    SCALARS | st.builds(lambda: 1 << 20_000) | st.sampled_from(["-", "~", "~\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@IN_PROCESS
@given(seed=st.integers(0, 2**32), pieces=st.lists(WORDS | st.text(max_size=5), max_size=6))
def test_a_damaged_file_gives_a_config_or_a_config_error(load, seed, pieces):
    """A config with random pieces removed and inserted loads or raises ConfigError."""
    rng = random.Random(seed)
    text = (ROOT / "configs" / "dinos.yaml").read_text(encoding="utf-8").partition("corpus:")
    content = "".join(text[1:])
    for piece in pieces:
        position = rng.randrange(len(content) + 1)
        content = content[:position] + piece + content[position + rng.choice([0, 0, 1, 5, 30]) :]
    with contextlib.suppress(ConfigError):
        assert isinstance(load(content.encode("utf-8", "surrogatepass"), *pieces), Config)


@IN_PROCESS
@given(
    st.dictionaries(st.sampled_from(list(KINDS)), NESTED, max_size=8),
    NESTED | st.dictionaries(st.sampled_from([*SECTIONS]), NESTED),
)
def test_any_values_give_a_config_or_a_config_error(settings, content):
    """Any values in the JSON of a checkpoint give a valid Config or raise ConfigError."""
    sections = {"corpus": {"path": "a"}}
    for key, value in settings.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    for stored in (sections, content):
        with contextlib.suppress(ConfigError):
            config = configs.from_dict(stored, "a.npz")
            assert isinstance(config, Config)
            assert configs.from_dict(config.as_dict(), "a.npz") == config
