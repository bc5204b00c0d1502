"""Settings on their way in: whatever is written, a Config comes out or one list of mistakes."""

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
    """Each with its line, what is allowed and what was written; what stands twice counts once."""
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
            "run.yaml:7: model.hidden is here twice",
            "run.yaml:9: train must be a mapping of its settings, one `key: value` a line",
            "run.yaml:10: there is no setting 'optimiser': did you mean optimizer?",
            "run.yaml:13: output.keep must be last or best, not ['last']",
            "run.yaml:14: model is here twice",
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
def test_an_unknown_key_brings_the_nearest_that_is_known(mistakes, content, hint):
    """Also one in the wrong section, or one that is no word at all."""
    first, *others = mistakes(content)
    assert first == "run.yaml: one mistake in the config"
    assert len(others) == 1
    assert others[0].startswith("run.yaml:3: ")
    assert hint in others[0]


def test_an_override_counts_more_than_the_file(load):
    """The last one of a key counts; null takes a setting back."""
    content = f"{MINIMAL}train:\n  steps: 5\n  seed: 1\n"
    config = load(content, "train.steps=6", "train.steps=7", "model.cell=gru", "train.seed=")
    assert (config.train.steps, config.train.seed, config.model.cell) == (7, None, "gru")
    assert load(content, "train.steps=null", "train.epochs=2").train.epochs == 2.0


def test_a_setting_may_be_written_as_on_the_command_line(load, mistakes):
    """With its section in front, at the top of the file."""
    assert load(f"{MINIMAL}model.hidden: 5\n").model.hidden == 5
    report = mistakes(f"{MINIMAL}model.hidden: 0\nmodel.hiden: 5\nmodel.hidden: 5\n")
    assert report[1].startswith("run.yaml:3: model.hidden must be a whole number from 1 to 65536")
    assert report[2].endswith("'model.hiden': did you mean model.hidden?")
    assert report[3] == "run.yaml:5: model.hidden is here twice"


def test_a_strange_override_is_told_what_to_write(mistakes):
    """Together with those of the file."""
    report = mistakes(f"{MINIMAL}zzz:\n", "model.hidden", "hidden=3", "model={cell: gru}", "=")
    assert report[0] == "run.yaml: 5 mistakes in the config"
    assert "--set model.hidden: write it as --set section.key=value" in report
    assert "--set hidden=3: there is no setting 'hidden': did you mean model.hidden?" in report


def test_paths_start_from_where_they_are_written(load, tmp_path):
    """In a file from its folder, on the command line from the current one; `-` is stdin."""
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


def test_a_date_may_be_a_name(load, tmp_path):
    """What YAML would take for one stays as it was written."""
    config = load("corpus: {path: 2020-01-31}\n", "output.checkpoint=2020-1-31")
    assert config.corpus.path == (str(tmp_path / "2020-01-31"),)
    assert config.output.checkpoint == str(tmp_path / "here" / "2020-1-31")


def test_home_is_meant_by_a_tilde(load, monkeypatch):
    """In a config no shell replaces it."""
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
        ("\n- model\n", "run.yaml:2: a config must be a mapping of corpus, model, train,"),
        ("First Citizen", "run.yaml:1: a config must be a mapping of corpus,"),
        ("", "run.yaml: corpus.path is missing: name the text"),
        ("# nothing\n", "run.yaml: corpus.path is missing: name the text"),
        ("model:\n", "run.yaml: corpus.path is missing: name the text"),
        ("corpus: {path: []}\n", "run.yaml: corpus.path is missing: name the text"),
    ],
)
def test_what_is_no_config_is_told_why(mistakes, content, message):
    """With the line where it went wrong, if there is one."""
    report = mistakes(content)
    assert any(line.startswith(message) for line in report)
    assert all(line for line in report)


def test_what_is_no_file_is_told(tmp_path):
    """A folder, a file that is not there, and what is no path at all."""
    for path, message in [
        (str(tmp_path), "is a folder, not a config"),
        (str(tmp_path / "none.yaml"), "no such config file"),
        ("a\0b", "cannot be read"),
    ]:
        with pytest.raises(ConfigError, match=message):
            configs.load(path)


def test_a_byte_order_mark_is_no_part_of_a_config(load):
    """Some editors begin a file with one."""
    assert load(b"\xef\xbb\xbf" + MINIMAL.encode()) == load(MINIMAL)


def test_a_bomb_of_aliases_does_not_go_off(mistakes):
    """Nine lines that stand for a thousand million words."""
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for name, before in zip("bcdefghi", "abcdefgh", strict=True):
        bomb += f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    report = mistakes(f"{bomb}corpus: {{path: *i}}\n")
    assert "run.yaml:10: corpus.path must be" in report[-1]
    assert report[-1].endswith("not a nested structure")
    assert mistakes("&a {corpus: *a}")[1].startswith("run.yaml:1: there is no setting 'corpus.")


@pytest.mark.parametrize("key", ["x{}", "path"], ids=["unknown", "twice"])
def test_a_list_that_many_aliases_name_is_not_made_for_each(mistakes, monkeypatch, key):
    """A thousand keys that each stand for a thousand words: unknown ones, or one key again."""
    converted, real = 0, configs._value

    def counted(*args):
        nonlocal converted
        converted += 1
        return real(*args)

    monkeypatch.setattr(configs, "_value", counted)
    content = f"corpus:\n  path: &a [{'x, ' * 1000}]\n"
    content += "".join(f"  {key.format(n)}: *a\n" for n in range(1000))
    assert mistakes(content)[0] == "run.yaml: 1,000 mistakes in the config"
    assert converted < 100_000


@pytest.mark.parametrize("unknown", [51, 3_000])
def test_of_very_many_mistakes_the_first_are_written_out(mistakes, unknown):
    """The others are counted."""
    first, *others, last = mistakes(MINIMAL + "".join(f"k{n}: 1\n" for n in range(unknown)))
    assert first == f"run.yaml: {unknown:,} mistakes in the config"
    assert len(others) == configs.MAX_MISTAKES
    assert others[-1].startswith(f"run.yaml:{configs.MAX_MISTAKES + 2}: there is no setting 'k49'")
    assert last == f"and {unknown - configs.MAX_MISTAKES:,} more"


@pytest.mark.parametrize(
    ("value", "shown"),
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
def test_a_value_is_shown_as_yaml_has_it(mistakes, value, shown):
    """Not as Python does, and never at length."""
    for report in (
        mistakes(f"{MINIMAL}model: {{cell: {value}}}\n"),
        mistakes(MINIMAL, f"model.cell={value}"),
    ):
        assert report[1].endswith(f"model.cell must be rnn or gru or lstm, not {shown}")


def test_a_stored_config_of_strange_sections_is_told_what_there_is():
    """As one from a checkpoint might be; a name of any length is cut."""
    for settings in ({"modle": {"hidden": 1}}, {"modle": 5}, {"modle" + "x" * 10**6: None}):
        with pytest.raises(ConfigError) as caught:
            configs.from_dict({"corpus": {"path": "a"}, **settings}, "a.npz")
        assert "a.npz: there is no setting 'modle" in str(caught.value)
        assert len(str(caught.value)) < 300


def test_an_alias_may_stand_for_a_value(load):
    """Aliases are part of YAML, after all."""
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
def test_a_tag_never_makes_an_object(load, tmp_path, value):
    """Neither in the file, as a value or as a key, nor on the command line."""
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
def test_a_damaged_file_is_a_config_or_a_mistake(load, seed, pieces):
    """Real configs with pieces cut out and put in anywhere."""
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
def test_any_values_are_a_config_or_a_mistake(settings, others):
    """In the place of JSON from a damaged checkpoint."""
    sections = {"corpus": {"path": "a"}}
    for key, value in settings.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    for stored in (sections, others):
        with contextlib.suppress(ConfigError):
            config = configs.from_dict(stored, "a.npz")
            assert isinstance(config, Config)
            assert configs.from_dict(config.as_dict(), "a.npz") == config
