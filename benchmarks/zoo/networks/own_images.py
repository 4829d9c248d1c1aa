"""Hand-written networks on images: segmentation, generation, embedding, detection."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.zoo.network import BATCHES, EXAMPLES, Network, drawn, images


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3×3 convolution, its norm and a ReLU."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class UNet(nn.Module):
    """Two levels, each of whose maps is appended to what comes back up."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = block(3, 12), block(12, 24, 2)
        self.middle = block(24, 36, 2)
        self.up2 = nn.ConvTranspose2d(36, 24, 2, 2)
        self.join2 = block(48, 24)
        self.up1 = nn.ConvTranspose2d(24, 12, 2, 2)
        self.join1 = block(24, 12)
        self.out = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(one)
        up = self.join2(torch.cat([self.up2(self.middle(two)), two], 1))
        out: Tensor = self.out(self.join1(torch.cat([self.up1(up), one], 1)))
        return out


class SuperResolution(nn.Sequential):
    """Sub-pixel convolution: an image of twice the side."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 24, 5, padding=2),
            nn.Tanh(),
            nn.Conv2d(24, 16, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(16, 4, 3, padding=1),
            nn.PixelShuffle(2),
        )


class Generator(nn.Sequential):
    """DCGAN's: noise to an image by transposed convolutions."""

    def __init__(self) -> None:
        super().__init__(
            nn.ConvTranspose2d(16, 48, 4, bias=False),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.ConvTranspose2d(48, 24, 4, 2, 1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.ConvTranspose2d(24, 3, 4, 2, 1),
            nn.Tanh(),
        )


class Autoencoder(nn.Module):
    """An image to a code and back; both are returned."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            block(3, 16, 2), block(16, 24, 2), nn.Flatten(), nn.Linear(384, 32)
        )
        self.decoder = nn.Sequential(
            nn.Linear(32, 384),
            nn.Unflatten(1, (24, 4, 4)),
            nn.ConvTranspose2d(24, 16, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 3, 4, 2, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        code = self.encoder(x)
        return self.decoder(code), code


class Variational(nn.Module):
    """A VAE: mean, log variance and a sample, as a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(192, 48), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(48, 12), nn.Linear(48, 12)
        self.decoder = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 192))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = self.encoder(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return {"image": self.decoder(code).view_as(x), "mean": mean, "log_variance": log_variance}


class Siamese(nn.Module):
    """One encoder, called twice; the distance of the embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            block(3, 16, 2), block(16, 32, 2), nn.Flatten(), nn.Linear(512, 24)
        )

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        distance: Tensor = (self.encoder(one) - self.encoder(other)).pow(2).sum(1)
        return distance


class BoxDetector(nn.Module):
    """A list of images to a list of dicts, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(block(3, 16, 2), block(16, 32, 2), block(32, 32, 2))
        self.boxes, self.scores = nn.Conv2d(32, 4, 1), nn.Conv2d(32, 5, 1)

    def forward(self, pictures: list[Tensor]) -> list[dict[str, Tensor]]:
        found = []
        for picture in pictures:
            maps = self.body(picture[None])
            boxes = self.boxes(maps).flatten(2)[0].T
            found.append({"boxes": boxes, "scores": self.scores(maps).flatten(2)[0].T.softmax(1)})
        return found


class Normalised(nn.Module):
    """Residual blocks with group norm, as diffusion models have them, and a step."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.norm1, self.conv1 = nn.GroupNorm(4, 16), nn.Conv2d(16, 32, 3, padding=1)
        self.step = nn.Sequential(nn.Linear(1, 32), nn.SiLU(), nn.Linear(32, 32))
        self.norm2, self.conv2 = nn.GroupNorm(4, 32), nn.Conv2d(32, 32, 3, padding=1)
        self.skip, self.out = nn.Conv2d(16, 32, 1), nn.Conv2d(32, 3, 3, padding=1)

    def forward(self, image: Tensor, step: Tensor) -> Tensor:
        x = self.first(image)
        hidden = self.conv1(F.silu(self.norm1(x))) + self.step(step)[:, :, None, None]
        out: Tensor = self.out(self.skip(x) + self.conv2(F.silu(self.norm2(hidden))))
        return out


class MultiScale(nn.Module):
    """A feature pyramid: three maps of different sizes, as a list."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([block(3, 12, 2), block(12, 24, 2), block(24, 36, 2)])
        self.sides = nn.ModuleList([nn.Conv2d(width, 16, 1) for width in (12, 24, 36)])
        self.smooth = nn.ModuleList([nn.Conv2d(16, 16, 3, padding=1) for _ in range(3)])

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = list[Tensor]()
        for stage, side in zip(self.stages, self.sides, strict=True):
            x = stage(x)
            maps.append(side(x))
        for low in (1, 0):
            maps[low] = maps[low] + F.interpolate(maps[low + 1], scale_factor=2.0)
        return [smooth(m) for smooth, m in zip(self.smooth, maps, strict=True)]


def pictures() -> list[list[Tensor]]:
    """Batches of three images of different sizes in a list."""
    sizes = ((32, 32), (32, 40), (40, 32))
    return [[torch.rand(3, *size) for size in sizes] for _ in range(BATCHES)]


def twins() -> list[dict[str, Tensor]]:
    """Batches of pairs of images, by keyword."""
    return [
        {name: torch.randn(EXAMPLES, 3, 16, 16) for name in ("one", "other")}
        for _ in range(BATCHES)
    ]


def noisy() -> list[dict[str, Tensor]]:
    """Batches of images with a step."""
    return [
        {"image": torch.randn(EXAMPLES, 3, 16, 16), "step": torch.rand(EXAMPLES, 1)}
        for _ in range(BATCHES)
    ]


NETWORKS = [
    Network("own/u-net", "own", "image to image", UNet, images(16)),
    Network("own/super-resolution", "own", "image to image", SuperResolution, images(16, 1)),
    Network("own/generator", "own", "generative", Generator, drawn(16, 1, 1)),
    Network("own/autoencoder", "own", "generative", Autoencoder, images(16)),
    Network("own/variational-autoencoder", "own", "generative", Variational, images(8)),
    Network("own/diffusion-block", "own", "generative", Normalised, noisy),
    Network("own/siamese", "own", "several inputs", Siamese, twins),
    Network("own/list-of-boxes", "own", "structured outputs", BoxDetector, pictures),
    Network("own/feature-pyramid", "own", "structured outputs", MultiScale, images(32)),
]
