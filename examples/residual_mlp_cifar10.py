"""Study 5: a residual network of fully connected layers on CIFAR-10, every layer at low rank.

python examples/residual_mlp_cifar10.py --data ../data/cifar10

The notebook trains 3072-1000-(residual 1000-1000)×2-10 by Adam with a rate of 1e-3 for 7 epochs and
gets 53.33 %. It then asks for every matrix cut to its first r singular vectors, stored and computed
as two factors, and for 1 to 5 epochs of fine-tuning of the factors. This study shows accuracy, on
training and on test images, and time against rank and parameters. It adds the same ranks weighted
by second moments, and the whole network by eckart with as many parameters.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F

from study_kit.images import Images, load_images
from study_kit.measuring import measured, relative_times
from study_kit.opening import Line, opening
from study_kit.residual_mlp import KINDS, Smaller, network
from study_kit.residual_mlp_tables import draw_ranks, draw_tuned
from study_kit.study import Row, Study, begin, percent, table
from study_kit.training import Recipe, train_epochs, trained

NOTEBOOK = {  # after each epoch: test accuracy and mean loss
    "accuracy": (0.4772, 0.5059, 0.5239, 0.5292, 0.5349, 0.5333, 0.5333),
    "loss": (1.4851, 1.4136, 1.3749, 1.3591, 1.3808, 1.4376, 1.4711),
}
RANKS = (5, 10, 20, 50, 100, 200, 400)
LITERAL = 700  # beyond half of 1000, factors are larger than their matrix
TUNED = (10, 50)
SHOWN = (100, 50, 10)  # at the top of the page
TRAINING = Recipe(epochs=7, rate=1e-3, batch=100, adam=True)
RATES = {
    1e-3: ("SVD", "eckart"),
    1e-4: ("dense", *KINDS),
}  # of fine-tuning; the first is the notebook's
HALF = (0.5, 0.5, 0.5)  # mean and deviation of every channel


def main(arguments: Sequence[str] | None = None) -> None:
    study = begin("residual-mlp-cifar10", "uoft-cs/cifar10", arguments)
    few, size = ("[:500]", (16, 16)) if study.quick else ("", None)
    train, test = (load_images(study.data, split + few, size) for split in ("train", "test"))
    train, test = (replace(part, mean=HALF, std=HALF) for part in (train, test))
    recipe = replace(TRAINING, epochs=1) if study.quick else TRAINING
    make = partial(network, *(60, 768) if study.quick else ())
    how = recipe, study.seed, train.digest()
    epochs = study.rows("training", partial(training, study, make, train, test, *how), *how)
    dense = study.network("dense", make, lambda: trained(make, train, recipe, study.seed), *how)
    smaller = Smaller(dense, train)
    ranks, tuned = study.some(RANKS), study.some(TUNED)
    how = (*how, make, test.digest(), Smaller)
    seen = partial(at_ranks, smaller, ranks, train.first(10_000), test)
    rows = study.rows("ranks", seen, *how, ranks)
    tuning = replace(recipe, epochs=min(5, recipe.epochs))
    again = partial(fine_tuned, smaller, tuned, tuning, test, study.seed)
    after = study.rows("tuned", again, *how, tuned, tuning)
    open_page(study, rows, after)
    tabulate_training(study, epochs)
    draw_ranks(study, rows)
    draw_tuned(study, rows[0], after)
    study.sign(rows[0], but=", training included")


def training(
    study: Study, make: partial, train: Images, test: Images, recipe: Recipe, seed: int, digest: str
) -> Iterator[Row]:
    """Train the dense network; accuracy and loss on the test images after each epoch.

    The loss of training is cross entropy. On log-probabilities it is the negative log-likelihood,
    because log-softmax changes nothing about them.
    """
    torch.manual_seed(seed)
    dense = make()
    for seen in train_epochs(dense, train, recipe, seed):
        with torch.inference_mode():
            total = sum(float(F.nll_loss(dense(x), y, reduction="sum")) for x, y in test)
        score = measured(dense, test)["accuracy"]
        yield {"seen": seen, "loss": total / len(test.labels), "accuracy": score}
    study.network("dense", make, lambda: dense, recipe, seed, digest)


def at_ranks(smaller: Smaller, ranks: Sequence[int], train: Images, test: Images) -> Iterator[Row]:
    """Accuracy on training and test images and relative time, without fine-tuning."""
    cases = [(kind, rank, smaller.make(kind, rank)) for kind in KINDS for rank in ranks]
    cases = [("dense", None, smaller.dense), *cases, ("SVD", LITERAL, smaller.literal(LITERAL))]
    times = relative_times([small for *_, small in cases], next(iter(test.in_batches(256)))[0])
    for (kind, rank, small), time in zip(cases, times, strict=True):
        seen = measured(small, train)["accuracy"]
        yield measured(small, test, kind=kind, rank=rank, time=time, train=seen)


def fine_tuned(
    smaller: Smaller, ranks: Sequence[int], recipe: Recipe, test: Images, seed: int
) -> Iterator[Row]:
    """Accuracy after each epoch of the same training, at both rates."""
    for rate, kinds in RATES.items():
        cases = [("dense", None)] * ("dense" in kinds)
        cases += [(kind, rank) for rank in ranks for kind in KINDS if kind in kinds]
        for kind, rank in cases:
            small = copy.deepcopy(smaller.dense) if rank is None else smaller.make(kind, rank)
            row = measured(small, test, kind=kind, rank=rank, rate=rate)
            row["epochs"] = [row["accuracy"]]
            for _ in train_epochs(small, smaller.train, replace(recipe, rate=rate), seed):
                row["epochs"].append(measured(small, test)["accuracy"])
            yield row


def open_page(study: Study, rows: list[Row], tuned: list[Row]) -> None:
    """Write the notebook's only figure, its method here, and eckart."""
    found = {(row["kind"], row["rank"]): row for row in rows}
    lines = [Line("dense", NOTEBOOK["accuracy"][-1], found["dense", None])]
    ranks = [rank for rank in SHOWN if ("eckart", rank) in found]
    for rank in ranks:
        pair = found["SVD", rank], found["eckart", rank]
        lines.append(Line(f"rank {rank} in every layer", None, *pair))
    last = {
        (r["kind"], r["rank"]): {**r, "accuracy": r["epochs"][-1]}
        for r in tuned if r["rate"] == min(RATES)
    }  # fmt: skip
    for rank in (rank for rank in ranks if ("eckart", rank) in last):
        pair = last["SVD", rank], last["eckart", rank]
        lines.append(Line(f"rank {rank}, fine-tuned", None, *pair))
    study.put("opening", opening(lines))


def tabulate_training(study: Study, rows: list[Row]) -> None:
    """Write the notebook's accuracy and loss after each epoch beside ours."""
    both = ("the notebook", "here")
    head = ("epoch", *(f"{score}, {who}" for score in ("accuracy", "test loss") for who in both))
    cells = []
    for epoch, row in enumerate(rows):
        theirs = {score: values[epoch] for score, values in NOTEBOOK.items()}
        losses = (f"{loss:.3f}" for loss in (theirs["loss"], row["loss"], row["seen"]))
        scores = map(percent, (theirs["accuracy"], row["accuracy"]))
        cells.append((epoch + 1, *scores, *losses))
    study.put("training", table((*head, "training loss, here"), cells))


if __name__ == "__main__":
    main()
