"""Inputs of every structure: lists of images, several arguments, whole graphs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from eckart import Moments, calibrate, compress, measure
from eckart.errors import InputError
from eckart.running.batches import call, examples_in, first_examples, inputs_for, some_examples
from stages.networks import Scaled

pytestmark = pytest.mark.filterwarnings("ignore::eckart.errors.NoGainWarning")


class Detector(nn.Module):
    """A list of images in, a list of dictionaries out, with as many boxes as it likes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Conv2d(3, 12, 3, stride=2)
        self.head = nn.Conv2d(12, 5, 1)

    def forward(self, images: list[Tensor], targets: Any = None) -> list[dict[str, Tensor]]:
        found = []
        for image in images:
            boxes = self.head(self.features(image[None]).relu())[0].flatten(1).T
            boxes = boxes[boxes[:, 4] > boxes[:, 4].median()]
            found.append({"boxes": boxes[:, :4], "labels": boxes[:, 4].long()})
        return found


def images(*sides: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(3, side, side + 3, generator=generator) for side in sides]


class Commented(Detector):
    """Says it as torchvision's R-CNNs and RetinaNet do."""

    def forward(self, images, targets=None):  # type: ignore[no-untyped-def]
        # type: (List[Tensor], Optional[List[Dict[str, Tensor]]]) -> List[Dict[str, Tensor]]
        return super().forward(images, targets)


class Renamed(Detector):
    """Takes its images by keyword; nothing says that they are a list."""

    def forward(self, *, images: Any) -> list[dict[str, Tensor]]:
        return super().forward(images)


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (Detector(), (images(9, 14), [{"boxes": torch.zeros(1, 4)}] * 2)),
        (Detector(), (tuple(images(9, 14)), ({"boxes": torch.zeros(1, 4)},) * 2)),
        (Detector(), images(9, 14)),
        (Detector(), tuple(images(9, 14))),
        (Commented(), images(9, 14)),
        (Commented(), (images(9, 14), [{"boxes": torch.zeros(1, 4)}] * 2)),
        (Renamed(), {"images": images(9, 14)}),
    ],
    ids=["pair", "as torchvision collates", "list", "tuple", "comment", "comment-pair", "keyword"],
)
def test_a_list_of_images_holds_as_many_examples(model: nn.Module, batch: Any, tmp_path: Path):
    moments = calibrate(model, [batch])
    assert (moments.examples, moments.outputs) == (2, 2)
    assert moments.rows["features"] == 4 * 5 + 6 * 8
    assert moments.scales.keys() == {"[*].boxes"}
    assert moments.ignored == {"[*].labels": "it holds int64"}
    assert moments.specs["features"].sizes == ((9, 12),)
    moments.save(tmp_path / "moments")
    found = Moments.load(tmp_path / "moments")
    assert call(model, found.example)[0].keys() == {"boxes", "labels"}
    done = compress(model, found, keep=0.7)
    assert measure(done.model, found.example, latency=False).params < moments.model_costs["params"]


def test_a_single_image_in_a_list_is_an_example():
    assert calibrate(Detector(), [images(9), images(12)]).examples == 2


def test_predictions_are_checked_where_the_number_of_boxes_varies():
    assert compress(Detector(), [images(9, 14)], keep=0.7, rescale=True).plan.loss > 0


def test_a_detector_of_torchvision():
    torch.manual_seed(0)
    model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)
    batch = [torch.rand(3, 90, 120), torch.rand(3, 100, 80)]
    moments = calibrate(model.eval(), [(batch, None)], layers=["head.*", "backbone.*.0.0.0"])
    assert moments.examples == 2
    assert moments.scales.keys() == {"[*].boxes", "[*].scores"}
    assert moments.specs


class Graph(nn.Module):
    """Two rounds of messages along the edges."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(5, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        for layer in (self.first, self.second):
            h = layer(x)
            x = h.index_add(0, edges[1], h[edges[0]]).tanh()
        return x


EDGES = torch.tensor([[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6]])
NODES = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("batch", [((NODES, EDGES), None), {"x": NODES, "edges": EDGES}], ids=str)
@pytest.mark.parametrize("rescale", [False, True])
def test_a_graph_is_not_cut(batch: Any, rescale: bool, tmp_path: Path):
    moments = calibrate(Graph(), [batch, batch])
    assert (moments.examples, moments.whole_batches) == (14, True)
    assert moments.specs["first"].sizes == ((7,),)
    assert str(moments).endswith("costs are per batch")
    moments.save(tmp_path / "moments")
    moments = Moments.load(tmp_path / "moments")
    done = compress(Graph(), moments, keep=0.8, rescale=rescale)
    assert call(done.model, moments.example).shape == (7, 3)
    assert measure(done.model, moments.example, latency=False).macs < moments.model_costs["macs"]


class Normalised(nn.Module):
    """Runs on two examples or more."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        if len(x) < 2:
            raise ValueError("give two examples or more")
        return self.out(self.fc(x - x.mean(0)).relu())


def test_costs_are_per_batch_where_one_example_does_not_run():
    model = Normalised()
    moments = calibrate(model, [torch.randn(4, 6)])
    assert moments.whole_batches
    assert moments.model_costs["macs"] == 4 * (6 * 8 + 8 * 2)
    assert measure(model, torch.randn(4, 6), latency=False).macs == 4 * (6 * 8 + 8 * 2)
    assert compress(model, moments, keep=0.6, rescale=True).plan.costs["params"] > 0


def test_a_second_input_that_may_have_been_meant_is_named():
    x = torch.randn(6, 4)
    moments = calibrate(Scaled(), [(x, torch.ones(6, 1))])
    assert "if it is 'scale' of forward" in moments.ignored["batch[1]"]
    assert "batch[1]" not in calibrate(Scaled(), [(x, torch.arange(6))]).ignored
    assert "batch[1]" not in calibrate(nn.Sequential(Scaled()), [(x, x)]).ignored


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((NODES, EDGES), r"missing .* 'edges'; a pair is read as \(inputs, targets\)"),
        (((NODES, EDGES, NODES), None), r"annotate it, forward\(images: list\[Tensor\]\)"),
        (NODES.double(), "missing"),
    ],
)
def test_what_does_not_run_says_why_and_how_to_write_it(batch: Any, message: str):
    with pytest.raises(InputError, match=message):
        calibrate(Graph(), [batch])


def test_examples_are_taken_out_of_lists_too():
    batch = ({"images": images(5, 6, 7), "scale": torch.arange(3.0)}, [{"n": i} for i in range(3)])
    assert examples_in(batch[0]) == 3
    first = first_examples(batch[0], 2)
    assert [len(first["images"]), first["scale"].tolist()] == [2, [0.0, 1.0]]
    chosen = some_examples(batch, [2, 0])
    assert [image.shape[1] for image in chosen[0]["images"]] == [7, 5]
    assert chosen[1] == [{"n": 2}, {"n": 0}]
    assert chosen[0]["scale"].tolist() == [2.0, 0.0]


def test_two_examples_in_a_pair_stay_a_pair():
    x, y = torch.randn(2, 3), torch.arange(2)
    inputs, targets = some_examples([x, y], [1])
    assert torch.equal(inputs, x[1:])
    assert torch.equal(targets, y[1:])


def test_features_of_several_scales_are_one_example_each():
    features = [torch.randn(5, 8, 16, 16), torch.randn(5, 8, 8, 8)]
    assert examples_in({"features": features}) == 5
    assert [f.shape[0] for f in first_examples({"features": features})["features"]] == [1, 1]
    assert inputs_for(nn.Linear(2, 2), (features, None)) is features
