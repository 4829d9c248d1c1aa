"""Look into a running network and leave no trace: the only hooks, and what puts things back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from eckart.running.reads import reading

See = Callable[[str, nn.Module, Tensor], Any]
SeeGradient = Callable[[str, nn.Module, Tensor, Any], None]
Amend = Callable[[str, nn.Module, Tensor], Tensor | None]


@contextmanager
def watching(
    layers: Mapping[str, nn.Module], on_input: See, on_gradient: SeeGradient | None = None
) -> Iterator[None]:
    """Report each call's input, and the gradient at its output when one is computed.

    With the gradient comes what ``on_input`` returned for that call. A product of another module
    with the weight of a linear layer is a call too.

    An output that does not require grad, such as that of a first layer whose weight is frozen, is
    made to, so that gradients begin there. Attention stays off torch's fused path, which calls no
    layer.
    """

    def see(name: str, module: nn.Module, x: Tensor, output: Tensor, *_: Any) -> Tensor | None:
        with torch.no_grad():
            found = on_input(name, module, _rows(x))
        if on_gradient is None or not torch.is_grad_enabled():
            return None
        fresh = not output.requires_grad
        node = output.detach().requires_grad_() if fresh else output

        def seen(grad: Tensor | None) -> None:  # None where a function gives no gradient
            if grad is not None:
                on_gradient(name, module, _rows(grad.detach()), found)

        node.register_hook(seen)
        return node.clone() if fresh else None

    def hook(name: str) -> Callable[..., Tensor | None]:
        return lambda m, args, kwargs, output: see(
            name, m, args[0] if args else kwargs["input"], output
        )

    handles = [m.register_forward_hook(hook(n), with_kwargs=True) for n, m in layers.items()]
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with not_compiled(), reading(layers, see):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for handle in handles:
            handle.remove()


@contextmanager
def amending(layers: Mapping[str, nn.Module], amend: Amend) -> Iterator[None]:
    """Hand on each call's output; what ``amend`` returns, unless None, takes its place.

    Where another module multiplies with the weight of a linear layer and adds a bias of its own,
    ``amend`` gets and returns the output with the layer's bias.
    """

    def hook(name: str) -> Callable[..., Tensor | None]:
        return lambda module, args, output: amend(name, module, output)

    def read(name: str, module: nn.Module, _: Tensor, output: Tensor, bias: Any) -> Tensor | None:
        own = getattr(module, "bias", None)
        if bias is own:
            return amend(name, module, output)
        more = (0 if bias is None else bias) - (0 if own is None else own)
        amended = amend(name, module, output - more)
        return None if amended is None else amended + more

    handles = [module.register_forward_hook(hook(name)) for name, module in layers.items()]
    try:
        with not_compiled(), reading(layers, read):
            yield
    finally:
        for handle in handles:
            handle.remove()


def _rows(x: Tensor) -> Tensor:
    """The rows of a nested tensor, one below the other; any other tensor is itself."""
    return torch.cat([part.flatten(0, -2) for part in x.unbind()]) if x.is_nested else x


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Eval mode with frozen parameters inside; everything as it was outside.

    Mode of every module, requires_grad and grad of every parameter, buffers, and torch's random
    state on the CPU and on the network's devices. A lazy layer that runs inside stays initialised.
    """
    modes = [(module, module.training) for module in model.modules()]
    lazy = [p for p in model.parameters() if is_lazy(p)]
    frozen = [
        (p, p.requires_grad, p.grad)
        for p in model.parameters()
        if not is_lazy(p) and not p.is_inference()  # those of inference mode cannot be changed
    ]
    buffers = [
        (module, name, buffer, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and not is_lazy(buffer)
    ]
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=[d.index or 0 for d in devices]):
        try:
            model.eval()
            for parameter, *_ in frozen:
                parameter.requires_grad_(False)
            yield
        finally:
            for module, training in modes:
                module.training = training
            for parameter, required, grad in frozen:
                parameter.requires_grad_(required)
                parameter.grad = grad
            for parameter in lazy:
                parameter.grad = None
            for module, name, buffer, value in buffers:
                _put_back(buffer, value)
                module._buffers[name] = buffer


def not_compiled() -> AbstractContextManager[Any]:
    """Inside, parts that ``torch.compile`` compiled run as written, so that no hook is compiled.

    The compiler is not imported where it is not in use.
    """
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]


def _put_back(buffer: Tensor, value: Tensor) -> None:
    """What a buffer held; an expanded one is written once where it repeats itself."""
    if buffer.layout == torch.strided:
        for axis, stride in enumerate(buffer.stride()):
            if stride == 0 and buffer.shape[axis] > 1:
                buffer, value = buffer.narrow(axis, 0, 1), value.narrow(axis, 0, 1)
    with torch.inference_mode(buffer.is_inference()), torch.no_grad():
        buffer.copy_(value)
