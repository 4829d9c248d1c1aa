"""Which channels of a network can only be removed together: found in two ways, and verified.

Modules whose layers show what they are, MLPs and attention, tell their units. For other channels
there is the graph that torch-pruning traces. Both can be wrong and still give a network that runs.
So a group is accepted only if removing some of its channels gives the same outputs as masking them,
see ``eckart.network.verifying``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from eckart.errors import InputError
from eckart.layers import no_narrowing
from eckart.network.norm_groups import in_norm_groups
from eckart.network.pools import pooled
from eckart.network.refusals import Range, refusal
from eckart.network.third_party import is_pretrained
from eckart.network.tracing import traced
from eckart.network.units import Candidate, candidates
from eckart.network.units.order import matrices
from eckart.network.verifying import Verification
from eckart.records import ChannelGroup
from eckart.running.deadline import Deadline, TimeUp
from eckart.running.tokens import fewer_tokens

SECONDS = 120.0
_TOKENS = 64  # of each sequence, on which groups are tried
_WRONG = "removing its channels does not give the same outputs as masking them"
_LATE = "it was not verified within {:g} s"


@dataclass(frozen=True)
class Coupling:
    """The channel groups of a network.

    Attributes:
        groups: the verified groups, which can be narrowed.
        refused: why a group cannot be narrowed, by name.
    """

    groups: tuple[ChannelGroup, ...]
    refused: Mapping[str, str]

    @property
    def late(self) -> bool:
        """Whether something was refused because the time was up."""
        return any(" within " in why for why in self.refused.values())


def coupling(
    model: nn.Module,
    example: Any,
    dense: Iterable[str] = (),
    *,
    sample: Sequence[Any] = (),
    whole: bool = False,
    calls: Mapping[str, Range] | None = None,
    seconds: float = SECONDS,
) -> Coupling:
    """Find the groups of coupled channels and keep those that can really be removed.

    In models of ``transformers``, known modules come first, and nothing is traced where each layer
    belongs to one of them. In other networks they come second, for what tracing did not find.

    Args:
        model: the network.
        example: one example's inputs. Of long runs of tokens the first few do.
        dense: modules that must stay as they are.
        sample: more inputs, in batches, on a few of which groups are tried in both modes.
        whole: whether batches cannot be cut.
        calls: by layer, the least and the largest number of calls in a batch, if they are known. A
            group whose layers are called sometimes more and sometimes less often than the others is
            refused, because the channels may meet others then.
        seconds: after which to give up: half of them for tracing. What was given up is refused.

    Returns:
        Verified groups, and the reason against each of the others.

    Cost: one traced pass, and two passes per verification. Wrong groups are found by bisection.
    """
    import torch_pruning  # noqa: F401  here, because it brings torchvision with it; not timed

    deadline, tracing = Deadline(seconds), Deadline(seconds / 2)
    inputs, *more = (fewer_tokens(each, _TOKENS) for each in (example, *sample))
    try:
        verification = Verification(model, inputs, more, whole, deadline)
    except InputError as error:  # it cannot be copied, so nothing can be tried on it
        return Coupling((), {"channels": f"channels cannot be tried ({error!s:.100})"})
    search = _Search(model, inputs, set(dense), calls or {}, verification, seconds)
    if is_pretrained(model):
        search.known_modules()
        if search.rest:
            search.graph(tracing)
    else:
        search.graph(tracing)
        search.known_modules()
    return Coupling(tuple(search.groups), search.refused)


@dataclass
class _Search:
    """What was found so far.

    Attributes:
        model, example, dense, calls, verification, seconds: see ``coupling``.
        groups: the verified groups.
        refused: why others are not, by name.
        settled: layers of known modules, about which all is said.
    """

    model: nn.Module
    example: Any
    dense: set[str]
    calls: Mapping[str, Range]
    verification: Verification
    seconds: float
    groups: list[ChannelGroup] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)

    @property
    def rest(self) -> set[str]:
        """Layers that may lose channels, of which nothing is known."""
        known, kept = self.settled | self.dense, matrices(self.model)
        others = {n for n, m in self.model.named_modules() if no_narrowing(m, "reader") is None}
        return {*others, *kept} - known

    def graph(self, deadline: Deadline) -> None:
        """Add the groups that the tracer sees."""
        try:
            with deadline.interrupting():
                pools = pooled(traced(self.model, self.example))
        except TimeUp:
            why = f"tracing did not end within {self.seconds / 2:g} s, so all channels stay"
            self.refused["channels"] = why
            return
        except Exception as error:  # tracing runs the network, which may raise anything
            why = f"channels cannot be traced ({type(error).__name__}: {error!s:.100})"
            self.refused["channels"] = why
            return
        groups = [in_norm_groups(self.model, pool) for pool in pools]
        self._add([group for group in groups if self._is_new(group)])

    def known_modules(self) -> None:
        """Add the widths of MLPs and the heads of attention."""
        try:
            found = candidates(self.model, self.example)
        except Exception:  # the network's own, which tracing names
            return
        found = [candidate for candidate in found if self._is_new(candidate.layouts[0])]
        while found:
            self._add([candidate.layouts[0] for candidate in found])
            found = [again for c in found if (again := self._next(c)) is not None]

    def _next(self, candidate: Candidate) -> Candidate | None:
        """Another layout to try, if the first was not true; a wrong guess at an MLP is not told."""
        first, *others = candidate.layouts
        why = self.refused.get(first.name)
        if why == _WRONG and others:
            del self.refused[first.name]
            return Candidate(others, candidate.heads)
        if why == _WRONG and not candidate.heads:
            del self.refused[first.name]
        else:
            self.settled |= candidate.members
        return None

    def _is_new(self, group: ChannelGroup) -> bool:
        """Whether no channel of it is in a group already."""
        return not any(
            {*group.readers} & {*known.readers}
            or {*group.writers, *group.followers} & {*known.writers, *known.followers}
            for known in self.groups
        )

    def _add(self, groups: Sequence[ChannelGroup]) -> None:
        """Add those that are true, and the reasons against the others."""
        kept = []
        for group in groups:
            reason = refusal(self.model, group, self.dense, self.calls)
            if reason is None:
                kept.append(group)
            elif group.readers:
                self.refused[group.name] = reason
        believed = self.verification.verified(kept)
        late = {group.name for group in self.verification.given_up}
        for group in kept:
            if group not in believed:
                why = _LATE.format(self.seconds) if group.name in late else _WRONG
                self.refused[group.name] = why
        self.groups += believed
        written = {name for group in believed for name in group.writers}
        self.refused = {name: why for name, why in self.refused.items() if name not in written}
