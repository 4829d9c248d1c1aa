"""All errors that eckart raises and all warnings that it gives.

::

    EckartError
    ├── InputError (ValueError)          an argument or the data cannot be used
    │   ├── NonFiniteError               NaN or infinity in weights, activations or gradients
    │   ├── NoGradientError              the output does not depend on any layer of interest
    │   └── MismatchError                moments, plan or files belong to another network
    ├── BudgetError (ValueError)         no options meet the budget; says what is reachable
    ├── CheckpointError                  a file is missing, truncated, of another version or unsafe
    │   └── WriteError                   a file cannot be written; an old file there is unchanged
    ├── CalibrationInterrupted           stopped early; ``.moments`` holds the sums so far
    ├── CompressionInterrupted           stopped late; ``.compressed`` holds the smaller network
    ├── FrontierInterrupted              stopped early; ``.frontier`` holds the points so far
    └── HealingInterrupted               stopped early; ``.healed`` holds the best network so far

    EckartWarning (UserWarning)
    ├── LeftDenseWarning                 a planned replacement was undone, with the reason
    ├── NoGainWarning                    the result is slower than dense, or much worse
    ├── NotConvergedWarning              a solver stopped early; says how far from the optimum
    ├── NotMonotoneWarning               a smaller candidate scored better than a larger one
    └── NotShrunkWarning                 one batch does not say how noisy the moments are
"""

from __future__ import annotations

from typing import Any

MALFORMED = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)
"""Exceptions that may be raised when JSON does not have the expected structure."""


class EckartError(Exception):
    """The root of all errors that eckart raises on purpose."""


class InputError(EckartError, ValueError):
    """An argument or the data cannot be used; the message says what to do."""


class NonFiniteError(InputError):
    """NaN or infinity in weights, activations or gradients; the message names the layer."""


class NoGradientError(InputError):
    """The output metric has no gradient at any of the layers."""

    def __init__(
        self,
        message: str = "no gradient flows from the outputs to any layer that can be compressed "
        "(does the network run under no_grad or inference_mode?); pass metric=None to weight by "
        "inputs alone",
    ) -> None:
        super().__init__(message)


class MismatchError(InputError):
    """Moments, a plan or a file belong to another network."""


class BudgetError(EckartError, ValueError):
    """No combination of options meets the budget; the message states the least reachable cost."""


class CheckpointError(EckartError):
    """A file is missing, truncated, of an unknown version, or cannot be trusted."""


class WriteError(CheckpointError):
    """A file cannot be written: the disk is full or read-only, or the path cannot hold a file.

    A file that was there before is unchanged, and no temporary file is left beside it.
    """


class CalibrationInterrupted(EckartError):
    """Calibration stopped before the data ended; the sums so far are not lost.

    Attributes:
        moments: the moments of all finished batches. Calibrate on the rest with
            ``first_batch=moments.batches``, then add the two.
    """

    def __init__(self, message: str, moments: Any) -> None:
        super().__init__(message)
        self.moments = moments


class CompressionInterrupted(EckartError):
    """The smaller network was made, but its last evaluation failed or was interrupted.

    Attributes:
        compressed: what ``compress`` would have returned, without measurements.
    """

    def __init__(self, message: str, compressed: Any) -> None:
        super().__init__(message)
        self.compressed = compressed


class FrontierInterrupted(EckartError):
    """A frontier stopped before its last point; the measured points are not lost.

    Attributes:
        frontier: the points so far. The same call with the same ``path`` continues after them.
    """

    def __init__(self, message: str, frontier: Any) -> None:
        super().__init__(message)
        self.frontier = frontier


class HealingInterrupted(EckartError):
    """Healing failed, but not before it found a better network, which is not lost.

    Attributes:
        healed: what ``heal`` would have returned at that moment: the best network and the log.
    """

    def __init__(self, message: str, healed: Any) -> None:
        super().__init__(message)
        self.healed = healed


class EckartWarning(UserWarning):
    """The root of all warnings."""


class LeftDenseWarning(EckartWarning):
    """A planned replacement was undone because the network does not run with it."""


class NoGainWarning(EckartWarning):
    """The smaller network is slower than the dense one, or its score is much worse."""


class NotConvergedWarning(EckartWarning):
    """A solver stopped before its tolerance was met; the message states the gap it reached."""


class NotMonotoneWarning(EckartWarning):
    """A bisection found scores out of order; the message says what it did about that."""


class NotShrunkWarning(EckartWarning):
    """Moments of one batch do not say how noisy they are, so they are damped and not shrunk."""
