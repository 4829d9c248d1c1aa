"""Segmentation, detection, video and optical flow in torchvision, thin."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.zoo.network import BATCHES, Network, drawn, images
from benchmarks.zoo.thin import thin, thinner

CLASSES = 5


def built(home: str, name: str, by: int, **options: Any) -> Callable[[], nn.Module]:
    """A network by its function in a module of torchvision, without weights, widths divided."""

    def make() -> nn.Module:
        from importlib import import_module

        function = getattr(import_module(f"torchvision.models.{home}"), name)
        made: nn.Module = function(weights=None, **options)
        return made

    return thinner(by, make) if by > 1 else make


def segmenter(name: str, by: int) -> Callable[[], nn.Module]:
    """A network with a class for every pixel."""
    return built("segmentation", name, by, weights_backbone=None, num_classes=CLASSES)


def detector(name: str, by: int, **options: Any) -> Callable[[], nn.Module]:
    """A network that lists boxes."""
    sizes = {} if name.startswith("ssd") else {"min_size": 64, "max_size": 96}
    given = {"weights_backbone": None, "num_classes": CLASSES, **sizes, **options}
    return built("detection", name, by, **given)


def ssd() -> nn.Module:
    """SSD, whose scale for each channel of a feature map is a parameter of fixed width."""
    from torchvision.models import vgg16
    from torchvision.models.detection import ssd as home

    by, ratios = 16, [[2], [2, 3], [2, 3], [2, 3], [2], [2]]
    with thin(by):
        backbone = home.SSDFeatureExtractorVGG(vgg16().features, highres=False)
    scale = backbone.scale_weight
    backbone.scale_weight = nn.Parameter(scale[: len(scale) // by].clone())
    made: nn.Module = home.SSD(backbone, home.DefaultBoxGenerator(ratios), (300, 300), CLASSES)
    return made


def ssdlite() -> nn.Module:
    """SSD with depthwise heads, on a thin MobileNetV3."""
    from torchvision.models import mobilenet_v3_large
    from torchvision.models.detection import ssdlite as home

    with thin(8):
        features = mobilenet_v3_large(reduced_tail=True).features
    features[-1].out_channels = features[-1][0].out_channels  # what it was made with
    norm = nn.BatchNorm2d
    backbone = home.SSDLiteFeatureExtractorMobileNet(features, 13, norm, width_mult=0.125)
    with torch.no_grad():
        widths = [m.shape[1] for m in backbone.eval()(torch.zeros(1, 3, 320, 320)).values()]
    boxes = home.DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95)
    head = home.SSDLiteHead(widths, boxes.num_anchors_per_location(), CLASSES, norm)
    made: nn.Module = home.SSD(backbone, boxes, (320, 320), CLASSES, head=head)
    return made


def video(name: str, by: int, **options: Any) -> Callable[[], nn.Module]:
    """A classifier of clips."""
    return built("video", name, by, num_classes=CLASSES, **options)


def residual(first: str, later: str) -> nn.Module:
    """A residual network on clips, of one block for each of its four stages."""
    from torchvision.models.video import resnet as home

    makers = [getattr(home, first), *[getattr(home, later)] * 3]
    made: nn.Module = home.VideoResNet(
        home.BasicBlock, makers, [1, 1, 1, 1], home.BasicStem, num_classes=CLASSES
    )
    return made


def mvit() -> nn.Module:
    """Two blocks of a multi-scale vision transformer."""
    from torchvision.models.video import mvit as home

    def block(heads: int, inputs: int, outputs: int) -> Any:
        strides = {"stride_q": [1, 1, 1], "stride_kv": [1, 2, 2]}
        kernels = {"kernel_q": [3, 3, 3], "kernel_kv": [3, 3, 3]}
        return home.MSBlockConfig(
            num_heads=heads, input_channels=inputs, output_channels=outputs, **kernels, **strides
        )

    made: nn.Module = home.MViT(
        spatial_size=(32, 32),
        temporal_size=4,
        block_setting=[block(1, 16, 32), block(2, 32, 32)],
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
        num_classes=CLASSES,
    )
    return made


def swin3d() -> nn.Module:
    """Two stages of attention in windows of space and time."""
    from torchvision.models.video import SwinTransformer3d

    made: nn.Module = SwinTransformer3d(
        [2, 4, 4], 24, [2, 2], [2, 4], [2, 4, 4], num_classes=CLASSES
    )
    return made


def raft() -> nn.Module:
    """RAFT with narrow encoders, and a GRU of convolutions that refines the flow."""
    from torchvision.models.optical_flow import raft as home

    widths, residual = (8, 8, 12, 16, 24), home.ResidualBlock
    encoder = home.FeatureEncoder(block=residual, layers=widths, norm_layer=nn.InstanceNorm2d)
    context = home.FeatureEncoder(
        block=residual, layers=(*widths[:-1], 32), norm_layer=nn.BatchNorm2d
    )
    correlations = home.CorrBlock(num_levels=4, radius=2)
    motion = home.MotionEncoder(
        in_channels_corr=correlations.out_channels,
        corr_layers=(24,),
        flow_layers=(16, 8),
        out_channels=20,
    )
    recurrent = home.RecurrentBlock(input_size=16 + 20, hidden_size=16)
    flow = home.FlowHead(in_channels=16, hidden_size=16)
    update = home.UpdateBlock(motion_encoder=motion, recurrent_block=recurrent, flow_head=flow)
    mask = home.MaskPredictor(in_channels=16, hidden_size=16)
    made: nn.Module = home.RAFT(
        feature_encoder=encoder,
        context_encoder=context,
        corr_block=correlations,
        update_block=update,
        mask_predictor=mask,
    )
    return made


def pictures(height: int = 64, width: int = 64) -> Callable[[], list[list[Tensor]]]:
    """Batches of three images in a list, not all of one size."""

    def draw() -> list[Tensor]:
        sizes = ((height, width), (height, width + 16), (height + 16, width))
        return [torch.rand(3, *size) for size in sizes]

    return lambda: [draw() for _ in range(BATCHES)]


def pairs() -> list[tuple[tuple[Tensor, Tensor], None]]:
    """Batches of two images each, without targets."""
    shape = (2, 3, 128, 128)
    return [((torch.rand(shape), torch.rand(shape)), None) for _ in range(BATCHES)]


SEGMENTERS = {
    "fcn": segmenter("fcn_resnet50", 32),
    "deeplab-v3": segmenter("deeplabv3_resnet50", 32),
    "deeplab-v3-mobilenet": segmenter("deeplabv3_mobilenet_v3_large", 8),
    "lraspp": segmenter("lraspp_mobilenet_v3_large", 8),
}
DETECTORS = {
    "faster-rcnn": detector("fasterrcnn_resnet50_fpn", 32),
    "faster-rcnn-v2": detector("fasterrcnn_resnet50_fpn_v2", 32),
    "faster-rcnn-mobilenet": detector("fasterrcnn_mobilenet_v3_large_fpn", 8),
    "mask-rcnn": detector("maskrcnn_resnet50_fpn", 32),
    "keypoint-rcnn": detector("keypointrcnn_resnet50_fpn", 32, num_keypoints=5),
    "retinanet": detector("retinanet_resnet50_fpn", 32, score_thresh=0.0),
    "fcos": detector("fcos_resnet50_fpn", 32, score_thresh=0.0),
    "ssd": ssd,
    "ssdlite": ssdlite,
}
VIDEOS = {
    "r3d": thinner(16, partial(residual, "Conv3DSimple", "Conv3DSimple")),
    "mc3": thinner(16, partial(residual, "Conv3DSimple", "Conv3DNoTemporal")),
    "r2plus1d": thinner(16, partial(residual, "Conv2Plus1D", "Conv2Plus1D")),
    "s3d": video("s3d", 16),
    "mvit": mvit,
    "swin3d": swin3d,
}
FLOWS = {
    "raft": raft,
}


def records() -> list[Network]:
    """Each with data that suit it."""
    found = [
        Network(f"torchvision/{name}", "torchvision", "segmentation", make, images(64))
        for name, make in SEGMENTERS.items()
    ]
    found += [
        Network(f"torchvision/{name}", "torchvision", "detection", make, pictures(), varying=True)
        for name, make in DETECTORS.items()
    ]
    found += [
        Network(f"torchvision/{name}", "torchvision", "video", make, drawn(3, *clip(name)))
        for name, make in VIDEOS.items()
    ]
    found += [
        Network(f"torchvision/{name}", "torchvision", "optical flow", make, pairs)
        for name, make in FLOWS.items()
    ]
    return found


def clip(name: str) -> tuple[int, int, int]:
    """Frames and side of the clips of a network; S3D pools over seven positions."""
    return (16, 224, 224) if name == "s3d" else (4, 32, 32)


NETWORKS = records()
