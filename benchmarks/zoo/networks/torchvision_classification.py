"""Every family of classifiers in torchvision, thin."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from benchmarks.zoo.network import Network, images
from benchmarks.zoo.thin import thinner

CLASSES = 10


def named(name: str, by: int = 1, **options: Any) -> Callable[[], nn.Module]:
    """A network by the name of torchvision, without weights, its widths divided."""

    def make() -> nn.Module:
        from torchvision.models import get_model

        made: nn.Module = get_model(name, weights=None, num_classes=CLASSES, **options)
        return made

    return thinner(by, make) if by > 1 else make


def resnet(block: str, **options: Any) -> nn.Module:
    """A residual network of one block for each of its four stages."""
    from torchvision.models import resnet as home

    made: nn.Module = home.ResNet(
        getattr(home, block), [1, 1, 1, 1], num_classes=CLASSES, **options
    )
    return made


def mobilenet() -> nn.Module:
    """Inverted residuals in three stages."""
    from torchvision.models import MobileNetV2

    stages = [[1, 16, 1, 1], [4, 24, 2, 2], [4, 32, 2, 1]]
    made: nn.Module = MobileNetV2(CLASSES, 0.5, stages)
    return made


def efficientnet(version: int) -> nn.Module:
    """Three stages; the second version fuses the convolutions of the first two."""
    from torchvision.models import efficientnet as home

    early = home.MBConvConfig if version == 1 else home.FusedMBConvConfig
    stages = [early(1, 3, 1, 16, 16, 1), early(4, 3, 2, 16, 24, 1)]
    stages.append(home.MBConvConfig(4, 5, 2, 24, 32, 2))
    made: nn.Module = home.EfficientNet(stages, 0.1, num_classes=CLASSES, last_channel=64)
    return made


def regnet(squeeze: float | None = None) -> nn.Module:
    """Three stages of grouped convolutions, with squeeze and excitation in the Y family."""
    from torchvision.models import regnet as home

    made: nn.Module = home.RegNet(
        home.BlockParams([1, 1, 2], [16, 32, 48], [8, 8, 8], [1.0] * 3, [2] * 3, squeeze),
        num_classes=CLASSES,
        stem_width=16,
    )
    return made


def vit() -> nn.Module:
    """Two layers of a vision transformer."""
    from torchvision.models import VisionTransformer

    made: nn.Module = VisionTransformer(32, 8, 2, 4, 48, 96, num_classes=CLASSES)
    return made


def swin(version: int) -> nn.Module:
    """A Swin transformer of two stages; the second version has its own blocks and merging."""
    from torchvision.models import swin_transformer as home

    own = (
        {}
        if version == 1
        else {
            "block": home.SwinTransformerBlockV2,
            "downsample_layer": home.PatchMergingV2,
        }
    )
    made: nn.Module = home.SwinTransformer(
        [4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=CLASSES, **own
    )
    return made


def maxvit() -> nn.Module:
    """Two blocks with attention in windows and over a grid."""
    from torchvision.models import MaxVit

    made: nn.Module = MaxVit(
        input_size=(32, 32),
        stem_channels=16,
        partition_size=2,
        block_channels=[16, 32],
        block_layers=[1, 1],
        head_dim=8,
        stochastic_depth_prob=0.1,
        num_classes=CLASSES,
    )
    return made


def convnext() -> nn.Module:
    """One block for each of three stages."""
    from torchvision.models import convnext as home

    settings = [home.CNBlockConfig(16, 24, 1), home.CNBlockConfig(24, 32, 1)]
    made: nn.Module = home.ConvNeXt(
        [*settings, home.CNBlockConfig(32, None, 1)], num_classes=CLASSES
    )
    return made


def densenet() -> nn.Module:
    """Growth of 8 channels in three dense blocks."""
    from torchvision.models import DenseNet

    made: nn.Module = DenseNet(8, (2, 3, 2), 16, num_classes=CLASSES)
    return made


def shufflenet() -> nn.Module:
    """Two units for each of three stages."""
    from torchvision.models import ShuffleNetV2

    made: nn.Module = ShuffleNetV2([2, 2, 2], [8, 16, 32, 64, 96], num_classes=CLASSES)
    return made


MAKERS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "alexnet": (named("alexnet", 32), 64),
    "vgg11": (named("vgg11", 32), 32),
    "vgg11-bn": (named("vgg11_bn", 32), 32),
    "googlenet": (named("googlenet", 16, init_weights=False), 64),
    "inception-v3": (named("inception_v3", 16, init_weights=False), 96),
    "resnet-basic": (thinner(16, partial(resnet, "BasicBlock")), 32),
    "resnet-bottleneck": (thinner(16, partial(resnet, "Bottleneck")), 32),
    "resnext": (thinner(16, partial(resnet, "Bottleneck", groups=32, width_per_group=4)), 32),
    "wide-resnet": (thinner(16, partial(resnet, "Bottleneck", width_per_group=128)), 32),
    "densenet": (densenet, 32),
    "squeezenet": (named("squeezenet1_1", 16), 64),
    "mobilenet-v2": (mobilenet, 32),
    "mobilenet-v3": (named("mobilenet_v3_small", 8), 32),
    "efficientnet": (partial(efficientnet, 1), 32),
    "efficientnet-v2": (partial(efficientnet, 2), 32),
    "mnasnet": (named("mnasnet0_5", 8), 32),
    "regnet-x": (regnet, 32),
    "regnet-y": (partial(regnet, 0.25), 32),
    "shufflenet-v2": (shufflenet, 32),
    "convnext": (convnext, 32),
    "vit": (vit, 32),
    "swin": (partial(swin, 1), 32),
    "swin-v2": (partial(swin, 2), 32),
    "maxvit": (maxvit, 32),
}
NETWORKS = [
    Network(f"torchvision/{name}", "torchvision", "classification", make, images(side))
    for name, (make, side) in MAKERS.items()
]
