"""How a model of transformers is made from a small configuration, and what it is given."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from benchmarks.zoo.network import Network, keywords, normal, whole

WORDS, LENGTH, WIDTH = 96, 12, 32
DECODER = {
    "vocab_size": WORDS,
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ENCODER = {k: v for k, v in DECODER.items() if k != "num_key_value_heads"}
VISION = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": WIDTH,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
SIDES = {
    f"{side}_{what}": value
    for side in ("encoder", "decoder")
    for what, value in {"layers": 2, "ffn_dim": 48, "attention_heads": 4}.items()
}
TEXT = keywords(input_ids=whole(WORDS, LENGTH, least=3), attention_mask=whole(2, LENGTH, least=1))
PAIRED = keywords(
    input_ids=whole(WORDS, LENGTH, least=3), decoder_input_ids=whole(WORDS, LENGTH, least=3)
)
PIXELS = keywords(pixel_values=normal(3, 32, 32))


def made(model: str, config: str, options: Mapping[str, Any]) -> Callable[[], nn.Module]:
    """A function that makes a model with random weights from its configuration."""

    def make() -> nn.Module:
        import transformers

        configuration = configured(config, options)
        found: nn.Module = getattr(transformers, model)(configuration)
        return found

    return make


def configured(config: str, options: Mapping[str, Any]) -> Any:
    """A configuration; a pair among the options is one inside it: (its class, its options)."""
    import transformers

    inner = {
        name: configured(*value) if _is_configuration(value) else value
        for name, value in options.items()
    }
    return getattr(transformers, config)(**inner)


def _is_configuration(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and str(value[0]).endswith("Config")


def model(
    family: str,
    name: str,
    config: str,
    batches: Callable[[], list[Any]],
    *common: Mapping[str, Any],
    **own: Any,
) -> Network:
    """A record; later options win."""
    options: dict[str, Any] = {}
    for some in (*common, own):
        options |= some
    make = made(name, f"{config}Config", options)
    return Network(f"transformers/{name}", "transformers", family, make, batches)
