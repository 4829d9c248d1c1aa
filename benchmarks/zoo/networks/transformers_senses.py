"""Vision, audio and multimodal models of transformers."""

from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.zoo.network import EXAMPLES, keywords, normal, whole
from benchmarks.zoo.networks.transformers_models import (
    DECODER,
    ENCODER,
    LENGTH,
    PIXELS,
    SIDES,
    VISION,
    WIDTH,
    WORDS,
    model,
)

FOUR = {"hidden_sizes": [16, 24, 32, 40], "depths": [1, 1, 1, 1]}
SOUND = keywords(input_values=normal(1600))
WAV = {
    **ENCODER,
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 3, 3),
    "conv_stride": (5, 2, 2),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": WIDTH,
    "tdnn_dim": (16, 16),
}
BOTH = keywords(
    input_ids=whole(WORDS, LENGTH, least=3),
    attention_mask=whole(2, LENGTH, least=1),
    pixel_values=normal(3, 32, 32),
)
PROJECTED = {"projection_dim": 16}
TOWERS = {"text_config": {**ENCODER, **PROJECTED}, "vision_config": {**VISION, **PROJECTED}}


def words_and_picture() -> Tensor:
    """Tokens, of which the first 16 stand for the patches of a picture."""
    words = torch.randint(3, WORDS - 1, (EXAMPLES, 16 + LENGTH))
    words[:, :16] = WORDS - 1
    return words


VISIONS = [
    model("vision", "ViTForImageClassification", "ViT", PIXELS, VISION),
    model("vision", "DeiTModel", "DeiT", PIXELS, VISION),
    model("vision", "BeitForImageClassification", "Beit", PIXELS, VISION),
    model("vision", "Dinov2Model", "Dinov2", PIXELS, VISION),
    model(
        "vision",
        "YolosForObjectDetection",
        "Yolos",
        PIXELS,
        VISION,
        {"image_size": [32, 32]},
        num_detection_tokens=5,
    ),
    model(
        "vision",
        "SwinForImageClassification",
        "Swin",
        PIXELS,
        image_size=32,
        patch_size=4,
        embed_dim=16,
        depths=[1, 1],
        num_heads=[2, 2],
        window_size=2,
    ),
    model("vision", "ConvNextV2ForImageClassification", "ConvNextV2", PIXELS, FOUR),
    model(
        "vision",
        "ResNetForImageClassification",
        "ResNet",
        PIXELS,
        FOUR,
        embedding_size=16,
        layer_type="basic",
    ),
    model(
        "vision",
        "RegNetForImageClassification",
        "RegNet",
        PIXELS,
        FOUR,
        embedding_size=16,
        groups_width=8,
    ),
    model(
        "vision",
        "SegformerForSemanticSegmentation",
        "Segformer",
        PIXELS,
        FOUR,
        num_attention_heads=[1, 2, 4, 4],
        decoder_hidden_size=WIDTH,
    ),
    model(
        "vision",
        "MobileViTForImageClassification",
        "MobileViT",
        PIXELS,
        image_size=32,
        hidden_sizes=[24, 32, 40],
        neck_hidden_sizes=[8, 12, 16, 24, 32, 40, 64],
    ),
    model(
        "vision",
        "DPTForDepthEstimation",
        "DPT",
        PIXELS,
        VISION,
        num_hidden_layers=4,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 16, 24, 32],
        fusion_hidden_size=16,
    ),
    model(
        "vision",
        "VideoMAEForVideoClassification",
        "VideoMAE",
        keywords(pixel_values=normal(4, 3, 32, 32)),
        VISION,
        num_frames=4,
    ),
]
VISIONS += [
    model(
        "vision",
        "DetrForObjectDetection",
        "Detr",
        PIXELS,
        SIDES,
        d_model=WIDTH,
        backbone_config=(
            "ResNetConfig",
            {**FOUR, "embedding_size": 16, "out_features": ["stage4"]},
        ),
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        num_queries=5,
        encoder_layers=1,
        decoder_layers=1,
    ),
]
AUDIOS = [
    model("audio", "Wav2Vec2ForCTC", "Wav2Vec2", SOUND, WAV),
    model("audio", "HubertModel", "Hubert", SOUND, WAV),
    model("audio", "WavLMForSequenceClassification", "WavLM", SOUND, WAV),
    model(
        "audio",
        "ASTForAudioClassification",
        "AST",
        keywords(input_values=normal(32, 16)),
        VISION,
        patch_size=4,
        frequency_stride=4,
        time_stride=4,
        max_length=32,
        num_mel_bins=16,
    ),
    model(
        "audio",
        "WhisperForConditionalGeneration",
        "Whisper",
        keywords(input_features=normal(16, 64), decoder_input_ids=whole(WORDS, LENGTH, least=3)),
        SIDES,
        d_model=WIDTH,
        vocab_size=WORDS,
        num_mel_bins=16,
        max_source_positions=32,
        max_target_positions=32,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    ),
    model(
        "audio",
        "Speech2TextForConditionalGeneration",
        "Speech2Text",
        keywords(input_features=normal(32, 16), decoder_input_ids=whole(WORDS, LENGTH, least=3)),
        SIDES,
        d_model=WIDTH,
        vocab_size=WORDS,
        input_feat_per_channel=16,
        conv_channels=32,
        max_source_positions=32,
        max_target_positions=32,
    ),
    model(
        "audio",
        "EncodecModel",
        "Encodec",
        keywords(input_values=normal(1, 640)),
        num_filters=8,
        hidden_size=WIDTH,
        codebook_size=32,
        upsampling_ratios=[4, 2],
        num_lstm_layers=1,
        target_bandwidths=[24.0],
    ),
    model(
        "audio",
        "VitsModel",
        "Vits",
        keywords(input_ids=whole(38, LENGTH, least=1)),
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        ffn_dim=48,
        flow_size=16,
        spectrogram_bins=33,
        upsample_initial_channel=32,
        upsample_rates=[4, 4],
        upsample_kernel_sizes=[8, 8],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3]],
        posterior_encoder_num_wavenet_layers=2,
        prior_encoder_num_flows=1,
        duration_predictor_num_flows=2,
        duration_predictor_filter_channels=16,
        depth_separable_num_layers=2,
    ),
]
MULTIMODAL = [
    model("multimodal", "CLIPModel", "CLIP", BOTH, TOWERS, PROJECTED),
    model("multimodal", "SiglipModel", "Siglip", BOTH, TOWERS),
    model(
        "multimodal",
        "BlipForConditionalGeneration",
        "Blip",
        BOTH,
        text_config={**ENCODER, "encoder_hidden_size": WIDTH},
        vision_config=VISION,
    ),
    model("multimodal", "ViltModel", "Vilt", BOTH, ENCODER, VISION),
    model("multimodal", "OwlViTForObjectDetection", "OwlViT", BOTH, TOWERS, projection_dim=WIDTH),
    model("multimodal", "GitForCausalLM", "Git", BOTH, ENCODER, vision_config=VISION),
    model(
        "multimodal",
        "LlavaForConditionalGeneration",
        "Llava",
        keywords(input_ids=words_and_picture, pixel_values=normal(3, 32, 32)),
        text_config=("LlamaConfig", DECODER),
        vision_config=("CLIPVisionConfig", VISION),
        image_token_id=WORDS - 1,
        vision_feature_layer=-1,
    ),
]
FOLLOWING = ("transformers/VitsModel",)  # the weights decide how long the sound is
NETWORKS = [
    replace(network, varying=network.name in FOLLOWING)
    for network in (*VISIONS, *AUDIOS, *MULTIMODAL)
]
