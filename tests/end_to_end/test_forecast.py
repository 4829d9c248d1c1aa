"""What is forecast from a configuration, against the same network calibrated."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

import eckart
from eckart.cli import app
from eckart.pipeline.forecast import Machines, Work, forecast, work_of

transformers = pytest.importorskip("transformers")
SHAPE: dict[str, Any] = {"hidden_size": 48, "intermediate_size": 128, "num_hidden_layers": 2}
SHAPE |= {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64}
COUNTED = {"attn_implementation": "eager"}  # torch does not count the products of the other
EXAMPLE = {"input_ids": torch.zeros(1, 128, dtype=torch.int64)}


def llama(device: str) -> nn.Module:
    with torch.device(device), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made: nn.Module = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(**SHAPE, **COUNTED)
        )
        return made.eval()


def test_it_is_what_calibration_takes():
    """Without weights: the bytes exactly, and the FLOPs that torch counts within a hundredth."""
    work = work_of(llama("meta"), EXAMPLE)
    model = llama("cpu")
    batches = [{"input_ids": torch.randint(0, 64, (4, 128))} for _ in range(2)]
    moments = eckart.calibrate(model, batches, metric="next_token", progress=False)
    assert work.moment_bytes == moments.nbytes
    assert work.layers == len(moments.specs)
    assert work.inputs == len(moments.grams)
    assert work.params == sum(p.numel() for p in model.parameters())
    counted = []
    for part in (batches, batches[:1]):  # the difference is one batch, without what is done once
        with FlopCounterMode(display=False) as counter:
            eckart.calibrate(model, part, metric="next_token", progress=False)
        counted.append(counter.get_total_flops())
    per_token = work.network_flops + work.moment_flops
    assert per_token * 512 == pytest.approx(counted[0] - counted[1], rel=0.01)


def large(**other: Any) -> Work:
    """A network of 100 GB whose sums take 200 GB, and 300 GB while they are summed."""
    sizes = {"params": 50 * 10**9, "weight_bytes": 10**11, "moment_bytes": 2 * 10**11}
    sizes |= {"layers": 10, "inputs": 5, "factor_bytes": 10**10}
    flops = {"network_flops": 1e11, "moment_flops": 1e11}
    decompositions = {"decomposition_flops": 3.6e16, "largest_flops": 3.6e14}
    return Work(**{**sizes, **flops, **decompositions, **other})


def test_sums_that_do_not_fit_take_more_passes():
    machines = Machines(4, 1e14, 80e9, products=0.5, decompositions=0.01)
    found = forecast(large(), machines, 36_000)
    assert found.gpus_for_weights == 4
    assert found.passes == 2  # 300 GB in the 188 GB that are left of 0.9 · 320
    assert found.network_hours == pytest.approx(2 * 36e3 * 1e11 / 4e14 / 3600)
    assert found.moment_hours == pytest.approx(36e3 * 1e11 / 4e14 / 0.5 / 3600)
    assert found.decomposition_hours == pytest.approx(3.6e16 / 1e12 / 4 / 3600)


def test_one_layer_may_take_longest():
    machines = Machines(4, 1e14, 80e9, decompositions=0.01)
    found = forecast(large(largest_flops=3.6e16), machines, 1)
    assert found.decomposition_hours == pytest.approx(10.0)


def test_a_network_that_does_not_fit_has_no_passes():
    assert forecast(large(), Machines(1), 1).passes == 0


def planned(*words: object) -> Any:
    return CliRunner().invoke(app, ["inspect", "--plan-run", *map(str, words)])


def test_the_command_reads_a_configuration_alone(tmp_path: Path):
    path = tmp_path / "config.json"
    transformers.LlamaConfig(**SHAPE, architectures=["LlamaForCausalLM"]).to_json_file(path)
    result = planned(f"hf:{path}", "--json", "--tokens", 1000)
    assert result.exit_code == 0, result.output
    found, work = json.loads(result.stdout), work_of(llama("meta"), EXAMPLE)
    assert found["moment_bytes"] == work.moment_bytes
    assert found["weight_bytes"] == work.weight_bytes / 2, "bfloat16"
    assert (found["tokens"], found["machines"]["gpus"], found["passes"]) == (1000, 8, 1)
    said = planned(f"hf:{path}").output
    assert "sums of moments" in said
    assert "assumed, not measured" in said


def test_only_models_of_transformers_have_a_configuration():
    result = planned("torchvision:resnet18")
    assert result.exit_code == 2
    assert "hf: and a configuration" in result.stderr
