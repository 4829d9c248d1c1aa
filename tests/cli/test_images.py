import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from eckart.cli.sources.images import Batches, Preprocessing
from eckart.errors import InputError
from tolerances import tolerance


class Drawn:
    """Grey squares whose value and label are their index; counts how often each is read."""

    name = "squares"

    def __init__(self, count: int, side: int = 4) -> None:
        self.read_counts = [0] * count
        self.side = side

    def __len__(self) -> int:
        return len(self.read_counts)

    def read(self, index: int):
        self.read_counts[index] += 1
        return Image.new("RGB", (self.side, self.side), (index,) * 3), index


def random_image(width: int, height: int, mode: str = "RGB") -> Image.Image:
    generator = torch.Generator().manual_seed(width * height)
    count = width * height * len(mode)
    raw = torch.randint(256, (count,), generator=generator)
    return Image.frombytes(mode, (width, height), bytes(raw.tolist()))


@given(st.integers(5, 40), st.integers(5, 40), st.integers(3, 12), st.integers(0, 6))
def test_equals_torchvision(width, height, size, more):
    transforms = pytest.importorskip("torchvision.transforms.v2")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    theirs = transforms.Compose(
        [
            transforms.Resize(size + more),
            transforms.CenterCrop(size),
            transforms.PILToTensor(),
            transforms.ToDtype(torch.float32, scale=True),
            transforms.Normalize(mean, std),
        ]
    )
    image = random_image(width, height)
    ours = Preprocessing(size, size + more, mean, std).with_channels(image)
    found = ours.normalised(ours.pixels(image).unsqueeze(0))[0]
    torch.testing.assert_close(found, theirs(image), **tolerance(torch.float32))


@pytest.mark.parametrize(
    ("mode", "mean", "channels", "expected"),
    [
        ("L", (0.0,), None, 1),
        ("RGB", (0.0,), None, 3),
        ("L", (0.1, 0.2, 0.3), None, 3),
        ("L", (0.0,), 3, 3),
        ("RGB", (0.5,), 1, 1),
        ("LA", (0.0,), None, 1),
        ("RGBA", (0.0,), None, 3),
        ("CMYK", (0.0,), None, 3),
    ],
)
def test_channels(mode, mean, channels, expected):
    image = random_image(4, 6, mode)
    settled = Preprocessing(mean=mean, channels=channels).with_channels(image)
    assert settled.pixels(image).shape == (expected, 6, 4)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"std": (0.0,)}, "positive"),
        ({"channels": 2}, "1 .grey. or 3 .RGB."),
        ({"resize": 4}, "needs an image size"),
        ({"resize": 4, "size": 5}, "not larger"),
        ({"mean": (0.1, 0.2)}, "one for each of the 2 channels|1 .grey. or 3"),
        ({"mean": (0.1, 0.2, 0.3), "channels": 1}, "one for each of the 1 channels"),
    ],
)
def test_refuses_settings(settings, says):
    with pytest.raises(InputError, match=says):
        Preprocessing(**settings).with_channels(random_image(4, 4))


def test_refuses_deep_images():
    image = Image.new("I;16", (2, 2))
    with pytest.raises(InputError, match="8 bits"):
        Preprocessing().with_channels(image).pixels(image)


def test_batches_decode_once_and_follow_the_order():
    images = Drawn(6)
    batches = Batches(images, [5, 1, 3, 0, 2], Preprocessing(channels=3), 2, labelled=True)
    for _ in range(2):
        assert torch.cat([labels for _, labels in batches]).tolist() == [5, 1, 3, 0, 2]
    first, _ = next(iter(batches))
    assert torch.equal(first, torch.tensor([5.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 4, 4) / 255)
    assert images.read_counts == [1, 1, 1, 1, 0, 1]
    assert (len(batches), batches.examples) == (3, 5)
    assert [labels.tolist() for _, labels in batches.after(1)] == [[3, 0], [2]]


def test_what_does_not_fit_in_memory_is_decoded_again(monkeypatch):
    monkeypatch.setattr("eckart.cli.sources.images._KEPT_BYTES", 10)
    images = Drawn(2)
    batches = Batches(images, [0, 1], Preprocessing(channels=3), 2, labelled=True)
    assert len(list(batches)) + len(list(batches)) == 2
    assert images.read_counts == [2, 2]


def test_refuses_images_of_several_sizes():
    images = Drawn(2)
    images.read = lambda index: (Image.new("L", (3 + index, 4)), index)
    with pytest.raises(InputError, match=r"differ in size \(4×3, 4×4\): give --image-size"):
        next(iter(Batches(images, [0, 1], Preprocessing(channels=1), 2, labelled=True)))


def test_refuses_to_score_without_labels():
    images = Drawn(1)
    images.read = lambda index: (Image.new("L", (4, 4)), -1)
    settings = Preprocessing(channels=1)
    assert next(iter(Batches(images, [0], settings, 1, labelled=False)))[1].tolist() == [-1]
    with pytest.raises(InputError, match="without a label"):
        next(iter(Batches(images, [0], settings, 1, labelled=True)))
