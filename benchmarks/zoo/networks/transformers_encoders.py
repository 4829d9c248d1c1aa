"""Encoders and encoder-decoders of transformers."""

from typing import Any

from benchmarks.zoo.network import Network
from benchmarks.zoo.networks.transformers_models import (
    ENCODER,
    PAIRED,
    SIDES,
    TEXT,
    WIDTH,
    WORDS,
    model,
)

CLASSIFIED = "ForSequenceClassification"
BART = {"vocab_size": WORDS, "d_model": WIDTH, "max_position_embeddings": 64, **SIDES}
SPECIAL = {"pad_token_id": 0, "decoder_start_token_id": 0}
T5 = {"vocab_size": WORDS, "d_model": WIDTH, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4}


def encoder(name: str, task: str, **own: Any) -> Network:
    """An encoder with the usual names of its options."""
    return model("encoder", f"{name}{task}", name, TEXT, ENCODER, **own)


ENCODERS = [
    encoder("Bert", "Model"),
    encoder("Bert", CLASSIFIED),
    encoder("Bert", "ForQuestionAnswering"),
    encoder("Roberta", "ForMaskedLM"),
    encoder("Electra", CLASSIFIED, embedding_size=16),
    encoder("Albert", "Model", embedding_size=16),
    encoder("MPNet", "Model"),
    encoder("DebertaV2", CLASSIFIED, relative_attention=True, pos_att_type=["p2c", "c2p"]),
    encoder("ModernBert", "ForMaskedLM"),
    encoder("ConvBert", "Model", embedding_size=WIDTH, head_ratio=2, conv_kernel_size=3),
    encoder("SqueezeBert", "Model", embedding_size=WIDTH),
    encoder("Nystromformer", "Model", num_landmarks=4, segment_means_seq_len=12),
    encoder("Esm", "ForMaskedLM", position_embedding_type="rotary"),
]
ENCODERS += [
    model(
        "encoder",
        "DistilBertForTokenClassification",
        "DistilBert",
        TEXT,
        vocab_size=WORDS,
        dim=WIDTH,
        hidden_dim=48,
        n_layers=2,
        n_heads=4,
        max_position_embeddings=64,
    ),
    model(
        "encoder",
        "FunnelModel",
        "Funnel",
        TEXT,
        vocab_size=WORDS,
        d_model=WIDTH,
        d_inner=48,
        n_head=4,
        d_head=8,
        block_sizes=[1, 1],
        num_decoder_layers=1,
    ),
    model(
        "encoder",
        "XLNetModel",
        "XLNet",
        TEXT,
        vocab_size=WORDS,
        d_model=WIDTH,
        n_layer=2,
        n_head=4,
        d_inner=48,
    ),
    model("encoder", "LongformerModel", "Longformer", TEXT, ENCODER, attention_window=4),
]
PAIRS = [
    model("encoder-decoder", "T5ForConditionalGeneration", "T5", PAIRED, T5, SPECIAL),
    model("encoder-decoder", "UMT5ForConditionalGeneration", "UMT5", PAIRED, T5, SPECIAL),
    model("encoder-decoder", "BartForConditionalGeneration", "Bart", PAIRED, BART, SPECIAL),
    model("encoder-decoder", "MarianMTModel", "Marian", PAIRED, BART, SPECIAL),
    model("encoder-decoder", "M2M100ForConditionalGeneration", "M2M100", PAIRED, BART, SPECIAL),
    model("encoder-decoder", "PegasusForConditionalGeneration", "Pegasus", PAIRED, BART, SPECIAL),
    model(
        "encoder-decoder",
        "LEDForConditionalGeneration",
        "LED",
        PAIRED,
        BART,
        SPECIAL,
        attention_window=4,
        max_encoder_position_embeddings=64,
        max_decoder_position_embeddings=64,
    ),
    model(
        "encoder-decoder",
        "ProphetNetForConditionalGeneration",
        "ProphetNet",
        PAIRED,
        SPECIAL,
        vocab_size=WORDS,
        hidden_size=WIDTH,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        num_encoder_layers=2,
        num_decoder_layers=2,
        num_encoder_attention_heads=4,
        num_decoder_attention_heads=4,
    ),
]
NETWORKS = [*ENCODERS, *PAIRS]
