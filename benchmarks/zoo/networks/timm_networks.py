"""Families of timm, small."""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from torch import nn

from benchmarks.zoo.network import Network, images
from benchmarks.zoo.thin import thinner

CLASSES = 10
Maker = Callable[[], nn.Module]


def named(name: str, **options: Any) -> Maker:
    """A network by timm's name."""

    def make() -> nn.Module:
        import timm

        made: nn.Module = timm.create_model(name, num_classes=CLASSES, **options)
        return made

    return make


def built(home: str, name: str, **options: Any) -> Maker:
    """A network by its class, where the functions of timm fix its sizes."""

    def make() -> nn.Module:
        kind = getattr(import_module(f"timm.models.{home}"), name)
        made: nn.Module = kind(num_classes=CLASSES, **options)
        return made

    return make


FOUR = (16, 24, 32, 48)
ONE_EACH = (1, 1, 1, 1)
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4}
SWIN = {"img_size": 64, "embed_dim": 16, "depths": (1, 2), "num_heads": (2, 2), "window_size": 4}
MLP = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "num_blocks": 2}
PYRAMID = {"embed_dims": FOUR, "depths": ONE_EACH}
HEADS = {"num_heads": (1, 2, 2, 4)}

TRANSFORMERS: dict[str, tuple[Maker, int]] = {
    "vision_transformer": (named("deit3_small_patch16_224", **VIT), 32),
    "deit": (named("deit_tiny_distilled_patch16_224", **VIT), 32),
    "beit": (named("beit_base_patch16_224", **VIT), 32),
    "eva": (named("eva02_tiny_patch14_224", **VIT), 32),
    "cait": (named("cait_xxs24_224", **VIT), 32),
    "convit": (named("convit_tiny", **{**VIT, "embed_dim": 12}, local_up_to_layer=1), 32),
    "xcit": (named("xcit_nano_12_p8_224", **{**VIT, "img_size": 64}), 64),
    "relpos": (named("vit_relpos_small_patch16_224", **VIT), 32),
    "naflexvit": (named("naflexvit_base_patch16_gap", embed_dim=48, depth=2, num_heads=4), 64),
    "tnt": (
        named(
            "tnt_s_legacy_patch16_224",
            img_size=32,
            embed_dim=48,
            inner_dim=16,
            depth=2,
            num_heads_outer=4,
        ),
        32,
    ),
    "swin": (named("swin_tiny_patch4_window7_224", **SWIN), 64),
    "swin-v2": (named("swinv2_tiny_window8_256", **SWIN), 64),
    "swin-v2-cr": (named("swinv2_cr_tiny_224", **SWIN), 64),
    "davit": (
        named(
            "davit_tiny",
            depths=(1, 1, 1),
            embed_dims=(16, 24, 32),
            num_heads=(2, 2, 2),
            window_size=4,
        ),
        64,
    ),
    "hiera": (
        named(
            "hiera_tiny_224",
            img_size=(64, 64),
            embed_dim=16,
            stages=ONE_EACH,
            num_heads=1,
        ),
        64,
    ),
    "pit": (
        named(
            "pit_ti_224",
            img_size=64,
            base_dims=[8, 8, 8],
            depth=[1, 1, 1],
            heads=[2, 4, 8],
            mlp_ratio=4,
        ),
        64,
    ),
    "pvt-v2": (named("pvt_v2_b0", **PYRAMID, **HEADS), 64),
    "twins": (named("twins_svt_small", img_size=64, **PYRAMID, **HEADS, wss=(2, 2, 2, 2)), 64),
    "visformer": (
        named(
            "visformer_tiny",
            img_size=64,
            embed_dim=48,
            depth=(1, 1, 1),
            init_channels=8,
            num_heads=2,
        ),
        64,
    ),
    "tiny-vit": (
        named(
            "tiny_vit_5m_224",
            **PYRAMID,
            num_heads=(2, 2, 2, 2),
            window_sizes=(2, 2, 2, 2),
        ),
        64,
    ),
    "nest": (
        built(
            "nest",
            "Nest",
            img_size=64,
            embed_dims=(16, 32, 48),
            num_heads=(2, 2, 4),
            depths=(1, 1, 1),
        ),
        64,
    ),
    "volo": (
        built(
            "volo",
            "VOLO",
            img_size=64,
            layers=ONE_EACH,
            embed_dims=(24, 48, 48, 48),
            num_heads=(2, 4, 4, 4),
        ),
        64,
    ),
    "gcvit": (
        built(
            "gcvit",
            "GlobalContextVit",
            img_size=64,
            embed_dim=16,
            depths=ONE_EACH,
            window_size=2,
            num_heads=(1, 2, 2, 4),
        ),
        64,
    ),
    "efficientvit-msra": (
        named(
            "efficientvit_m0",
            img_size=64,
            embed_dim=(16, 32, 48),
            depth=(1, 1, 1),
            num_heads=(2, 2, 2),
        ),
        64,
    ),
    "levit": (
        named(
            "levit_128s",
            img_size=64,
            embed_dim=(32, 48, 64),
            key_dim=8,
            depth=(1, 1, 1),
            num_heads=(2, 3, 4),
        ),
        64,
    ),
    "mlp-mixer": (built("mlp_mixer", "MlpMixer", **MLP), 32),
    "sequencer": (
        named(
            "sequencer2d_s",
            img_size=64,
            embed_dims=FOUR,
            hidden_sizes=(4, 6, 8, 12),
            layers=ONE_EACH,
        ),
        64,
    ),
    "edgenext": (named("edgenext_xx_small", depths=ONE_EACH, dims=FOUR), 64),
    "efficientformer-v2": (named("efficientformerv2_s0", img_size=64, **PYRAMID), 64),
    "coatnet": (named("test_coatnet", img_size=64), 64),
    "maxvit": (named("test_maxvit", img_size=64), 64),
}
CONVOLUTIONAL: dict[str, tuple[Maker, int]] = {
    "resnet": (named("test_resnet"), 64),
    "byobnet": (named("test_byobnet"), 64),
    "nfnet": (named("test_nfnet"), 64),
    "efficientnet": (named("test_efficientnet"), 64),
    "efficientnet-evos": (named("test_efficientnet_evos"), 64),
    "convnext": (named("convnextv2_atto", dims=FOUR, depths=ONE_EACH), 64),
    "mambaout": (named("mambaout_femto", dims=FOUR, depths=ONE_EACH), 64),
    "inception-next": (named("inception_next_atto", dims=FOUR, depths=ONE_EACH), 64),
    "starnet": (named("starnet_s1", base_dim=8, depths=ONE_EACH), 64),
    "fasternet": (named("fasternet_t0", embed_dim=16, depths=ONE_EACH), 64),
    "convmixer": (
        built("convmixer", "ConvMixer", dim=48, depth=2, patch_size=4, kernel_size=5),
        32,
    ),
    "focalnet": (built("focalnet", "FocalNet", embed_dim=16, depths=ONE_EACH), 64),
    "metaformer": (built("metaformer", "MetaFormer", dims=FOUR, depths=ONE_EACH), 64),
    "densenet": (named("densenet121", growth_rate=8, block_config=(2, 2, 2)), 64),
    "dla": (thinner(8, named("dla46_c")), 64),
    "hgnet": (thinner(8, named("hgnetv2_b0")), 64),
    "mobilenet-v3": (thinner(8, named("mobilenetv3_small_050")), 64),
    "regnet": (thinner(8, named("regnety_002")), 64),
    "nf-regnet": (thinner(8, named("nf_regnet_b0")), 64),
    "repvit": (thinner(8, named("repvit_m0_9")), 64),
    "repghost": (thinner(4, named("repghostnet_050")), 64),
    "resnest": (thinner(8, named("resnest14d")), 64),
    "resnetv2-bit": (thinner(8, named("resnetv2_50x1_bit")), 64),
    "ecaresnet": (thinner(8, named("ecaresnet26t")), 64),
    "selecsls": (thinner(8, named("selecsls42")), 64),
    "senet": (thinner(8, named("legacy_seresnet18")), 64),
    "vovnet": (thinner(8, named("ese_vovnet19b_slim")), 64),
    "inception-v4": (thinner(16, named("inception_v4")), 96),
    "xception": (thinner(16, named("legacy_xception")), 64),
}


def records() -> Iterator[Network]:
    """Each with images of its side."""
    kinds = {"transformer": TRANSFORMERS, "convolutional": CONVOLUTIONAL}
    for family, makers in kinds.items():
        for name, (make, side) in makers.items():
            yield Network(f"timm/{name}", "timm", family, make, images(side))


NETWORKS = list(records())
