"""The Python of docs/transformers.md runs as it stands, on a small trained model."""

import re
from pathlib import Path

import pytest
import torch

GUIDE = Path(__file__).parents[2] / "docs" / "transformers.md"


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft's
def test_the_guide(data_root: Path, tmp_path: Path, monkeypatch):
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    text = GUIDE.read_text(encoding="utf-8")
    stories = (data_root / "text" / "tinystories-excerpt.txt").read_text(encoding="utf-8")
    (tmp_path / "train.txt").write_text(stories[:100_000])
    (tmp_path / "test.txt").write_text(stories[100_000:200_000])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    scope: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", text, re.S):
        code = code.replace("HuggingFaceTB/SmolLM2-135M", str(data_root / "stories260k"))
        code = code.replace("sequences=32, length=512", "sequences=8, length=256")
        exec(code, scope)
    ids = scope["held_out"][0]["input_ids"]
    with torch.no_grad():
        smaller, dense = (scope[name](input_ids=ids).logits for name in ("healed", "plain"))
    torch.testing.assert_close(smaller, dense, rtol=1e-3, atol=1e-3)  # LoRA begins at zero
    assert (tmp_path / "healed" / "eckart.safetensors").is_file()
