"""A run that stops early keeps what it has, and can go on."""

import os
import signal
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from eckart import CalibrationInterrupted, Moments, calibrate
from stages.networks import mlp

BATCHES = [torch.randn(n, 5, generator=torch.Generator().manual_seed(n)) for n in (4, 6, 3, 5)]
Source = Callable[[], Iterator[Tensor]]


def control_c() -> Iterator[Tensor]:
    """Ctrl-C is pressed while the second batch is read."""
    yield BATCHES[0]
    os.kill(os.getpid(), signal.SIGINT)
    yield BATCHES[1]
    pytest.fail("went on after Ctrl-C")


def interrupt_raised() -> Iterator[Tensor]:
    yield from BATCHES[:2]
    raise KeyboardInterrupt


def broken_loader() -> Iterator[Tensor]:
    yield from BATCHES[:2]
    raise OSError("the disk is gone")


@pytest.mark.parametrize("source", [control_c, interrupt_raised, broken_loader])
def test_an_interrupted_run_goes_on(source: Source):
    model = mlp(5, 6, 3)
    with pytest.raises(CalibrationInterrupted, match="stopped after 2 batches") as caught:
        calibrate(model, source())
    kept = caught.value.moments
    assert isinstance(kept, Moments)
    assert kept.batches == 2
    rest = calibrate(model, BATCHES[kept.batches :], first_batch=kept.batches)
    resumed, whole = kept + rest, calibrate(model, BATCHES)
    for name in whole.specs:
        torch.testing.assert_close(resumed.a(name), whole.a(name), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(resumed.g(name), whole.g(name), rtol=1e-12, atol=1e-12)


def test_the_cause_is_kept():
    with pytest.raises(CalibrationInterrupted, match="OSError: the disk is gone") as caught:
        calibrate(mlp(5, 6, 3), broken_loader())
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_before_the_first_batch_there_is_nothing_to_keep(error: type[BaseException]):
    def source() -> Iterator[Tensor]:
        raise error
        yield

    with pytest.raises(error):
        calibrate(mlp(5, 6, 3), source())


def test_the_handler_of_ctrl_c_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    calibrate(mlp(5, 6, 3), BATCHES)
    with pytest.raises(CalibrationInterrupted):
        calibrate(mlp(5, 6, 3), control_c())
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_ctrl_c_stops_at_once():
    def source() -> Iterator[Tensor]:
        yield BATCHES[0]
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("went on after the second Ctrl-C")

    with pytest.raises(CalibrationInterrupted, match="stopped after 1 batches"):
        calibrate(mlp(5, 6, 3), source())
