"""A way to share a factor from outside: the stack's outputs are kept, whatever the network does."""

from eckart.methods import SharedFactor
from eckart.methods.low_rank import activation_svd

SHARED_ACTIVATION = SharedFactor("shared_activation_svd", activation_svd)
