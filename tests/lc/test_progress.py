"""What a run tells while it goes on: nothing, a bar, or lines."""

import pytest
from nets import classifier, compressor, data


def test_silence_is_the_default(capsys):
    assert compressor().verbose == 0
    compressor().fit(*data())
    out, err = capsys.readouterr()
    assert out == err == ""


@pytest.mark.parametrize("verbose", [1, True])
def test_one_is_a_bar(verbose, capsys):
    lc = compressor(verbose=verbose).fit(*data())
    out, err = capsys.readouterr()
    assert "3/3" in err
    last = lc.history_[-1]
    # older bars cut what does not fit into the line
    assert f"mu {last['mu']:.2e}, gap {last['gap']:.2e}, loss" in err
    assert out == ""


@pytest.mark.parametrize("verbose", [2, 3, 10])
def test_two_is_lines(verbose, capsys):
    lc = compressor(verbose=verbose, finetune=1).fit(*data())
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert len(lines) == 4
    for step, line in enumerate(lines):
        entry = lc.history_[step]
        assert line.startswith(f"LC step {step} of 3: mu {entry['mu']:.2e}, gap ")
        assert f"loss {entry['loss']:.4g}, ratio {lc.compression_ratio_:.1f}" in line
    assert err == ""


@pytest.mark.parametrize("verbose", [1, 2])
def test_a_run_without_steps_is_told(verbose, capsys):
    compressor(verbose=verbose, max_iter=0).fit(*data())
    out, err = capsys.readouterr()
    assert "LC: " in err if verbose == 1 else "LC step 0 of 0" in out


@pytest.mark.parametrize("verbose", [0, 2])
def test_the_epochs_of_the_steps_do_not_flood_it(verbose, capsys):
    net = classifier(verbose=1, max_epochs=2)
    lc = compressor(net, verbose=verbose, finetune=2).fit(*data())
    lines = capsys.readouterr().out.splitlines()
    own = [line for line in lines if line.startswith("LC step")]
    table = [line for line in lines if line and line not in own]
    assert len(own) == (4 if verbose else 0)
    assert len(table) == 2 + 2  # the net trains its reference as it says: two epochs
    assert lc.estimator_.verbose == 1


def test_the_bar_ends_with_the_run_even_if_it_fails(capsys):
    def fails(module, penalty, step, X, y):
        raise KeyError

    lc = compressor(verbose=1, l_step=fails)
    with pytest.raises(KeyError):
        lc.fit(*data())
    _, err = capsys.readouterr()
    assert err.endswith("\n")  # a bar that is open does not end its line
    assert "0/3" in err


@pytest.mark.parametrize("verbose", [-1, 1.5, "yes", None])
def test_an_invalid_verbosity_is_refused(verbose):
    with pytest.raises(ValueError, match="verbose must be 0, 1 or 2"):
        compressor(verbose=verbose).fit(*data())
