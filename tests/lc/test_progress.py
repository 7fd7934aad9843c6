"""What a run tells while it goes on: nothing, a bar, or lines."""

import sys

import pytest
from nets import classifier, compressor, data

from sklc.lc.progress import Progress, _Lines, _Rich, _Silence, _Tqdm

pytestmark = pytest.mark.filterwarnings("ignore:The LC steps did not improve")

ENTRY = {"step": 2, "mu": 0.0123, "gap": 0.00456, "loss": 0.71234}
FACTS = "mu 1.23e-02, gap 4.56e-03, loss 0.7123, ratio 30.5"


def without(monkeypatch, *names):
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def told(verbose, capsys, n_steps=5):
    progress = Progress(verbose, n_steps)
    progress.tell({**ENTRY, "step": 0}, 30.52)
    progress.tell(ENTRY, 30.52)
    progress.close()
    return capsys.readouterr()


def test_silence_is_the_default(capsys):
    assert compressor().verbose == 0
    compressor().fit(*data())
    out, err = capsys.readouterr()
    assert out == err == ""
    assert isinstance(Progress(0, 5)._display, _Silence)


def test_one_is_a_bar_by_rich(capsys):
    pytest.importorskip("rich")
    assert isinstance(Progress(1, 5)._display, _Rich)
    out, _ = told(1, capsys)
    assert "2/5" in out
    assert "1.23e-02" in out


def test_without_rich_the_bar_is_one_of_tqdm(monkeypatch, capsys):
    pytest.importorskip("tqdm")
    without(monkeypatch, "rich")
    assert isinstance(Progress(1, 5)._display, _Tqdm)
    _, err = told(1, capsys)
    assert "2/5" in err
    assert FACTS in err


def test_without_both_there_are_lines(monkeypatch, capsys):
    without(monkeypatch, "rich", "tqdm")
    assert isinstance(Progress(1, 5)._display, _Lines)
    out, err = told(1, capsys)
    assert out.splitlines() == [
        f"LC step 0 of 5: {FACTS}",
        f"LC step 2 of 5: {FACTS}",
    ]
    assert err == ""


@pytest.mark.parametrize("verbose", [2, 3, 10])
def test_two_is_lines_always(verbose, capsys):
    assert isinstance(Progress(verbose, 5)._display, _Lines)
    out, _ = told(verbose, capsys)
    assert out.splitlines()[1] == f"LC step 2 of 5: {FACTS}"


@pytest.mark.parametrize("blocked", [[], ["rich"], ["rich", "tqdm"]])
def test_a_bar_of_no_steps_is_fine(blocked, monkeypatch, capsys):
    without(monkeypatch, *blocked)
    told(1, capsys, n_steps=0)


def test_lines_tell_every_step(capsys):
    lc = compressor(verbose=2, finetune_epochs=1).fit(*data())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    for step, line in enumerate(lines):
        entry = lc.history_[step]
        assert line.startswith(f"LC step {step} of 3: mu {entry['mu']:.2e}, gap ")
        assert f"loss {entry['loss']:.4g}, ratio {lc.compression_ratio_:.1f}" in line


@pytest.mark.parametrize("verbose", [0, 2])
def test_the_epochs_of_the_steps_do_not_flood_it(verbose, capsys):
    net = classifier(verbose=1, max_epochs=2)
    lc = compressor(net, verbose=verbose, finetune_epochs=2).fit(*data())
    lines = capsys.readouterr().out.splitlines()
    own = [line for line in lines if line.startswith("LC step")]
    table = [line for line in lines if line and line not in own]
    assert len(own) == (4 if verbose else 0)
    assert len(table) == 2 + 2  # the net trains its reference as it says: two epochs
    assert lc.estimator_.verbose == 1


@pytest.mark.parametrize("blocked", [[], ["rich"]])
def test_the_bar_ends_with_the_run_even_if_it_fails(blocked, monkeypatch, capsys):
    without(monkeypatch, *blocked)
    closed = []
    kind = type(Progress(1, 3)._display)
    close = kind.close
    monkeypatch.setattr(kind, "close", lambda bar: (closed.append(bar), close(bar)))

    def fails(module, penalty, step, X, y):
        raise KeyError

    with pytest.raises(KeyError):
        compressor(verbose=1, l_step=fails).fit(*data())
    assert len(closed) == 1


@pytest.mark.parametrize("verbose", [-1, 1.5, "yes", None])
def test_an_invalid_verbosity_is_refused(verbose):
    with pytest.raises(ValueError, match="verbose must be 0, 1 or 2"):
        compressor(verbose=verbose).fit(*data())


@pytest.mark.parametrize("verbose", [True, False])
def test_a_verbosity_may_be_true_or_false(verbose, capsys):
    compressor(verbose=verbose, max_iter=0).fit(*data())
