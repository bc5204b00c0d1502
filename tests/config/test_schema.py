"""The allowed values of each setting, and the conflicts between settings."""

import json
import re

import pytest

from charrnn.config import loader as configs
from charrnn.config.schema import FIELDS, KINDS, SECTIONS, Config
from charrnn.errors import ConfigError

DEFAULTS = Config().flat()
MINIMAL = "corpus:\n  path: text.txt\n"


@pytest.mark.parametrize("value", ["1", "1e0", "1.0", "+1.", "'1'", "10e-1"])
def test_a_number_may_be_written_in_any_way(load, value):
    """A number may be written in any notation, also in those that YAML 1.1 reads as a string."""
    rate = load(f"{MINIMAL}optimizer: {{learning_rate: {value}}}").optimizer.learning_rate
    assert rate == 1.0
    assert type(rate) is float
    hidden = load(f"{MINIMAL}model: {{hidden: {value}}}").model.hidden
    assert hidden == 1
    assert type(hidden) is int
    assert load(MINIMAL, "optimizer.learning_rate=1e-3").optimizer.learning_rate == 0.001


@pytest.mark.parametrize(
    ("setting", "value", "allowed"),
    [
        ("model.hidden", "0", "a whole number from 1 to 65536, not 0"),
        ("model.hidden", "2.5", "a whole number from 1 to 65536, not 2.5"),
        ("model.hidden", "true", "a whole number from 1 to 65536, not "),
        ("model.hidden", "[5]", "a whole number from 1 to 65536, not [5]"),
        ("model.hidden", "65537", "a whole number from 1 to 65536, not 65537"),
        ("model.hidden", "", "a whole number from 1 to 65536, not "),
        ("model.hidden", "0x" + "f" * 9999, "a whole number from 1 to 65536, not a number of over"),
        ("train.steps", "0x" + "f" * 9999, "a whole number, 1 or more, or null, not a number of "),
        ("output.keep", "[0x" + "f" * 9999 + "]", "last or best, not [a number of over 64 bits]"),
        ("model.dropout", "1", "a number from 0 to below 1, not 1"),
        ("model.dropout", "-0.1", "a number from 0 to below 1, not -0.1"),
        ("model.dropout", ".nan", "a number from 0 to below 1, not .nan"),
        ("optimizer.learning_rate", ".inf", "a number above 0, or null, not .inf"),
        ("optimizer.learning_rate", "0", "a number above 0, or null, not 0"),
        (
            "optimizer.learning_rate",
            "1" + "0" * 400,
            "a number above 0, or null, not a number of over 64 bits",
        ),
        ("optimizer.decay_factor", "1.1", "a number above 0 and at most 1, not 1.1"),
        ("optimizer.weight_decay", "-1", "a number, 0 or more, not -1"),
        ("model.cell", "GRU", "rnn or gru or lstm, not 'GRU'"),
        ("model.init", "zero", "karpathy or uniform or orthogonal, or null, not 'zero'"),
        ("corpus.lowercase", "1", "true or false, not 1"),
        ("corpus.url", "file:///etc/passwd", "an http or https URL, or null, not 'file:"),
        ("corpus.sha256", "a1", "64 hexadecimal digits, or null, not 'a1'"),
        ("corpus.encoding", "klingon", "the name of an encoding in Python, not 'klingon'"),
        ("corpus.encoding", "base64", "the name of an encoding in Python, not 'base64'"),
        ("corpus.path", "[a, 1]", "a path, a list of paths, or - for standard input, not ['a', 1]"),
        ("corpus.path", "!!int ''", "a path, a list of paths, or - for standard input, not ''"),
        ("output.checkpoint", "2020", "a path, or null, not 2020"),
    ],
)
def test_an_invalid_value_is_refused(mistakes, setting, value, allowed):
    """An invalid value in the file or in `--set` is one mistake with the allowed values."""
    section, _, key = setting.partition(".")
    content = MINIMAL.replace("text.txt", value) if setting == "corpus.path" else MINIMAL
    if section == "corpus" and key != "path":
        content += f"  {key}: {value}\n"
    elif section != "corpus":
        content += f"{section}:\n  {key}: {value}\n"
    for report, prefix in [
        (mistakes(content), "run.yaml:"),
        (mistakes(MINIMAL, f"{setting}={value}"), "--set "),
    ]:
        assert len(report) == 2
        assert report[1].startswith(prefix)
        assert f": {setting} must be {allowed}" in report[1]
        assert len(report[1]) < 200 + len(value) * (prefix == "--set ")


@pytest.mark.parametrize("key", KINDS)
def test_every_setting_accepts_its_own_default(key):
    """Reading the default of a setting returns it unchanged; only corpus.path has no default."""
    if key == "corpus.path":
        assert DEFAULTS[key] == ()
    else:
        assert KINDS[key].read(DEFAULTS[key], "/") == DEFAULTS[key]
        assert type(KINDS[key].read(DEFAULTS[key], "/")) is type(DEFAULTS[key])


@pytest.mark.parametrize(
    ("setting", "required"),
    [
        ("optimizer.momentum=0.5", "optimizer.name: sgd, not adagrad"),
        ("optimizer.beta1=0.5", "optimizer.name: adam or muon, not adagrad"),
        ("optimizer.cosine_final_factor=0.5", "optimizer.schedule: cosine, not constant"),
        ("optimizer.decay_factor=0.4", "optimizer.schedule: step or plateau, not constant"),
        ("train.state=zero", "corpus.mode: stream, not lines"),
    ],
)
def test_a_setting_without_effect_is_refused(load, mistakes, setting, required):
    """A setting that has no effect with another setting is refused unless it is the default."""
    key = setting.partition("=")[0]
    report = mistakes(MINIMAL + "  mode: lines\n", setting)
    assert report[1:] == [f"run.yaml: {key} is only for {required}: remove it"]
    load(MINIMAL + "  mode: lines\n", f"{key}={DEFAULTS[key]}")
    required_key, _, words = required.partition(", not")[0].partition(": ")
    for word in words.split(" or "):
        load(MINIMAL + "  mode: lines\n", setting, f"{required_key}={word}")


def test_momentum_is_refused_with_adam(mistakes):
    """Momentum with adam is a mistake; with a misspelt optimizer only the name is a mistake."""
    report = mistakes(MINIMAL + "optimizer: {name: adam, momentum: 0.9}\n")
    assert report[1:] == [
        "run.yaml: optimizer.momentum is only for optimizer.name: sgd, not adam: remove it"
    ]
    report = mistakes(MINIMAL + "optimizer: {name: sdg, momentum: 0.9}\n")
    assert report[1:] == [
        "run.yaml:3: optimizer.name must be sgd or adagrad or rmsprop or adam or muon, not 'sdg'"
    ]


@pytest.mark.parametrize("setting", ["optimizer.schedule=plateau", "train.patience=3"])
def test_a_setting_that_uses_validation_needs_a_validation_part(load, mistakes, setting):
    """A setting that uses the validation loss is refused without a validation part."""
    report = mistakes(MINIMAL, setting, "corpus.validation=0")
    assert len(report) == 2
    assert setting.partition("=")[0] in report[1]
    assert report[1].endswith("needs a validation part, but corpus.validation is 0")
    load(MINIMAL, setting)


def test_steps_and_epochs_cannot_both_be_set(load, mistakes):
    """train.steps and train.epochs in one config are a mistake."""
    content = MINIMAL + "train: {steps: 5, epochs: 2}\n"
    assert mistakes(content)[1:] == [
        "run.yaml: train.steps and train.epochs are both set: remove one of them"
    ]
    assert load(content, "train.steps=null").train.epochs == 2
    for setting, values in (("steps=7", (7, None)), ("epochs=3", (None, 3))):
        train = load(content, f"train.{setting}").train  # --set replaces the other
        assert (train.steps, train.epochs) == values
    assert mistakes(content, "train.steps=7", "train.epochs=3")[1].endswith("remove one of them")


@pytest.mark.parametrize("key", KINDS)
def test_the_words_of_a_kind_are_allowed_and_described(key):
    """Each word that completion offers is a value of the setting, and in its description."""
    for word in KINDS[key].words:
        assert re.search(rf"(^| ){word}($|,? )", KINDS[key].expected)
        KINDS[key].read({"true": True, "false": False, "null": None}.get(word, word), "/")


def value_other_than_default(key):
    """Return an allowed value of a setting that is not its default."""
    for value in [0.25, 3, True, f"/{key}", *KINDS[key].words, "utf-16", "https://a.b", "0" * 64]:
        try:
            allowed = KINDS[key].read(value, "/")
        except (ValueError, TypeError, LookupError):
            continue
        if allowed != DEFAULTS[key]:
            return allowed
    raise AssertionError(key)


def test_a_config_survives_a_round_trip_through_json():
    """A config in which no setting is the default is the same after a round trip through JSON."""
    conflicts = {key for key, field in FIELDS.items() if field.metadata["only"]}
    conflicts = {"train.epochs", *conflicts} - {"optimizer.momentum"}
    sections = {section: {} for section in SECTIONS}
    for key in set(KINDS) - conflicts:
        section, _, name = key.partition(".")
        sections[section][name] = value_other_than_default(key)
    sections["corpus"].update(path=("/a", "/b"))
    sections["optimizer"].update(name="sgd", schedule="plateau", plateau_patience=5)
    config = Config(**{section: cls(**sections[section]) for section, cls in SECTIONS.items()})
    stored = json.loads(json.dumps(config.as_dict()))
    assert configs.from_dict(stored, "a.npz") == config
    assert configs.override(config, ["model.hidden=9"], [], "a.npz").model.hidden == 9
    stored["model"]["hidden"] = 0
    stored["train"] = 5
    with pytest.raises(ConfigError) as caught:
        configs.from_dict(stored, "a.npz")
    assert str(caught.value).split("\n") == [
        "a.npz: 2 mistakes in the config",
        "a.npz: model.hidden must be a whole number from 1 to 65536, not 0",
        "a.npz: there is no setting 'train.': did you mean train?",
    ]


@pytest.mark.parametrize(
    ("overrides", "rate"),
    [
        ((), 0.1),  # that of the gist
        (("model.hidden=50",), 0.1),
        (("model.hidden=400",), 0.025),
        (("model.layers=2",), 0.025),
        (("optimizer.name=adam",), 0.002),
        (("optimizer.name=rmsprop", "model.hidden=200"), 0.001),
        (("optimizer.name=sgd", "model.hidden=200"), 0.0035),
        (("optimizer.name=sgd", "train.reduction=mean"), 0.0875),
        (("train.reduction=mean",), 0.1),
        (("optimizer.name=adam", "optimizer.learning_rate=3"), 3),
    ],
)
def test_the_default_learning_rate_suits_the_run(load, overrides, rate):
    """Without a rate, a run has one by its optimizer, hidden units and reduction."""
    assert load(MINIMAL, *overrides).learning_rate == pytest.approx(rate)
