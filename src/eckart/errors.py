"""Everything that eckart raises or warns with.

::

    EckartError
    ├── InputError (ValueError)          an argument or the data cannot be used
    │   ├── NonFiniteError               NaN or inf in weights, activations, gradients
    │   ├── NoGradientError              the output does not depend on any layer of interest
    │   └── MismatchError                moments, plan or files that belong to another network
    ├── BudgetError (ValueError)         no options meet the budget; says what is reachable
    ├── CheckpointError                  a file is missing, truncated, of another version or hostile
    │   └── WriteError                   a file cannot be written; what was there is as it was
    ├── CalibrationInterrupted           stopped early; ``.moments`` holds what was gathered
    ├── FrontierInterrupted              stopped early; ``.frontier`` holds the points measured
    └── HealingInterrupted               stopped early; ``.healed`` holds the best network so far

    EckartWarning (UserWarning)
    ├── LeftDenseWarning                 a planned replacement was undone, with the reason
    ├── NotConvergedWarning              a solver stopped early; says how far from the optimum
    └── NotMonotoneWarning               a smaller candidate scored better than a larger one
"""

from __future__ import annotations

from typing import Any

MALFORMED = (AttributeError, KeyError, RecursionError, TypeError, ValueError)
"""What reading JSON of another structure than expected may raise."""


class EckartError(Exception):
    """The root of all errors that eckart raises on purpose."""


class InputError(EckartError, ValueError):
    """An argument, or the data, cannot be used as it is; the message says what to do."""


class NonFiniteError(InputError):
    """NaN or infinity in weights, activations or gradients; the message names the layer."""


class NoGradientError(InputError):
    """The output metric has no gradient at any of the layers."""

    def __init__(
        self,
        message: str = "no gradient flows from the outputs to any layer that can be compressed "
        "(does the network run under no_grad?); pass metric=None to weigh by inputs alone",
    ) -> None:
        super().__init__(message)


class MismatchError(InputError):
    """Moments, a plan or a file that belong to another network."""


class BudgetError(EckartError, ValueError):
    """No combination of options meets the budget; the message states the least reachable cost."""


class CheckpointError(EckartError):
    """A file that is missing, truncated, of an unknown version, or not to be trusted."""


class WriteError(CheckpointError):
    """A file cannot be written: the disk is full or read-only, or the path is no place for a file.

    What was there before is as it was, and nothing is left beside it.
    """


class CalibrationInterrupted(EckartError):
    """Calibration stopped before the data ended; nothing gathered so far is lost.

    Attributes:
        moments: the moments of all batches that were finished. Calibrate on the rest with
            ``first_batch=moments.batches`` and add the two.
    """

    def __init__(self, message: str, moments: Any) -> None:
        super().__init__(message)
        self.moments = moments


class FrontierInterrupted(EckartError):
    """A frontier stopped before its last point; no point that was measured is lost.

    Attributes:
        frontier: the points so far. The same call with the same ``path`` goes on after them.
    """

    def __init__(self, message: str, frontier: Any) -> None:
        super().__init__(message)
        self.frontier = frontier


class HealingInterrupted(EckartError):
    """Healing failed after it had found something better, which is not lost.

    Attributes:
        healed: what ``heal`` would have returned at that moment: the best network, and the log.
    """

    def __init__(self, message: str, healed: Any) -> None:
        super().__init__(message)
        self.healed = healed


class EckartWarning(UserWarning):
    """The root of all warnings."""


class LeftDenseWarning(EckartWarning):
    """A planned replacement was undone because the network does not run with it."""


class NotConvergedWarning(EckartWarning):
    """A solver stopped before its tolerance was met; the message states the gap it reached."""


class NotMonotoneWarning(EckartWarning):
    """A search by bisection met scores out of order; the message says what was done then."""
