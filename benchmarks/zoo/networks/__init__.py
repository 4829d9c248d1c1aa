"""All networks of the zoo by name, one record each."""

from benchmarks.zoo.network import Network
from benchmarks.zoo.networks import (
    own_images,
    own_oddities,
    own_outputs,
    own_sequences,
    timm_networks,
    torchvision_classification,
    torchvision_others,
    transformers_encoders,
    transformers_senses,
    transformers_text,
)

PARTS = (
    own_images,
    own_outputs,
    own_sequences,
    own_oddities,
    transformers_text,
    transformers_encoders,
    transformers_senses,
    timm_networks,
    torchvision_classification,
    torchvision_others,
)


def by_name(networks: list[Network]) -> dict[str, Network]:
    """The networks by name.

    Raises:
        ValueError: two have the same name.
    """
    found = {network.name: network for network in networks}
    if len(found) < len(networks):
        raise ValueError("two networks of the zoo have the same name")
    return found


NETWORKS = by_name([network for part in PARTS for network in part.NETWORKS])
