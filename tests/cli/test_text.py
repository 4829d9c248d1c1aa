"""Commands on language models and text."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from eckart import Frontier, Moments, Plan, load_pretrained
from transformer_networks import WORDS, bert, token_ids
from transformer_networks import llama as make_llama

transformers = pytest.importorskip("transformers")
CUT = ["--sequences", 8, "--length", 16]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers.logging.set_verbosity_error()


def make_tokenizer() -> Any:
    """Words w1, w2 … as tokens 1, 2 …; all others are token 0."""
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[UNK]": 0, **{f"w{index}": index for index in range(1, WORDS)}}
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made = pytest.importorskip("transformers").PreTrainedTokenizerFast
    return made(tokenizer_object=plain, unk_token="[UNK]")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random Llama with its tokenizer, an encoder, and the configuration of a T5."""
    root = tmp_path_factory.mktemp("models")
    make_llama(tie_word_embeddings=True, max_position_embeddings=64).save_pretrained(root / "llama")
    make_tokenizer().save_pretrained(root / "llama")
    bert().save_pretrained(root / "bert")
    sizes = {"d_model": 8, "d_ff": 8, "num_layers": 1, "num_heads": 2, "d_kv": 4, "vocab_size": 9}
    t5 = transformers.T5Config(**sizes, architectures=["T5ForConditionalGeneration"])
    t5.save_pretrained(root / "t5")
    return root


@pytest.fixture
def llama(models: Path, tmp_path: Path) -> str:
    """MODEL: the Llama, in a folder that may be written to."""
    return f"hf:{shutil.copytree(models / 'llama', tmp_path / 'llama')}"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(" ".join(f"w{word}" for word in token_ids(700).tolist()))
    return path


def document(result: Any) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_compress_then_evaluate(run: Callable, llama: str, text: Path, tmp_path: Path):
    out, reported = tmp_path / "small", tmp_path / "other.txt"
    reported.write_text(text.read_text()[::-1].replace(" ", " w"))
    words = ["--text", text, *CUT, "--keep", 0.8, "--of", "sites", "--no-latency", "--json"]
    found = document(run("compress", llama, *words, "--perplexity", reported, "--output", out))
    plan = Plan.from_json(found["plan"])
    assert plan.budget.of == "sites"
    assert found["after"]["params"] == plan.costs["params"] < found["before"]["params"]
    assert found["before"]["score"]["n"] == 8 * 15
    assert found["before"]["score"]["higher_is_better"] is False
    for name in (out, f"hf:{out}"):
        again = document(run("evaluate", name, "--perplexity", reported, *CUT, "--json"))
        assert again["perplexity"] == again["score"]["value"] == found["after"]["score"]["value"]
        assert again["tokens"] == 8 * 15
        assert again["tokens_per_second"] > 0
        assert again["latency_ms"] > 0
    assert load_pretrained(out).eckart_plan == plan
    assert transformers.AutoTokenizer.from_pretrained(out)("w3 w5")["input_ids"] == [3, 5]


def test_evaluate_for_people(run, llama, text):
    shown = run("evaluate", llama, "--perplexity", text, *CUT, "--no-latency").stdout
    assert all(word in shown for word in ("perplexity", "tokens_per_second", "parameters"))


@pytest.mark.filterwarnings("ignore::eckart.errors.NotMonotoneWarning")  # the weights are random
def test_one_file_gives_each_purpose_windows_of_its_own(run, llama, text):
    words = [llama, "--text", text, "--perplexity", text, *CUT, "--no-latency", "--json"]
    strict = document(run("compress", *words, "--tolerance", 0, "--sequences", 2))
    assert strict["before"]["score"]["n"] == 2 * 15
    result = run("compress", *words, "--keep", 0.8, "--sequences", 30)
    assert result.exit_code == 1
    assert "after the 30 that are in use" in result.stderr
    first, rest = text.read_text().split()[: 16 * 4], text.read_text().split()[16 * 4 :]
    text.write_text(" ".join([*rest[: 16 * 2], *first]))  # what it reported on comes first
    other = document(
        run("evaluate", llama, "--perplexity", text, *CUT[2:], "--sequences", 2, "--json")
    )
    assert other["perplexity"] == pytest.approx(strict["before"]["score"]["value"])


def test_calibrate_inspect_and_frontier(run, llama, text, tmp_path):
    out = tmp_path / "m.safetensors"
    words = [llama, "--text", text, *CUT]
    found = document(run("calibrate", *words, "--out", out, "--json"))
    assert (found["examples"], found["batches"], found["layers"]) == (8, 2, 14)
    assert document(run("calibrate", *words, "--out", out, "--resume", "--json"))["batches"] == 2
    longer = run("calibrate", *words[:3], "--sequences", 12, *CUT[2:], "--out", out, "--resume")
    assert longer.exit_code == 0, longer.output
    assert Moments.load(out).batches == 3
    found = document(run("inspect", llama, "--input-size", 16, "--json"))
    assert len(found["layers"]) == 14
    assert found["macs"] > 0
    keeps = ["--keeps", 0.9, "--of", "sites", "--perplexity", text, "--no-baselines"]
    page = tmp_path / "f.html"
    words = [llama, "--moments", out, *keeps, "--out", tmp_path / "f.json", "--report", page, *CUT]
    document(run("frontier", *words, "--json"))
    assert Frontier.load(tmp_path / "f.json").dense.score.n == 8 * 15
    assert page.is_file()


def test_an_encoder_is_said_to_need_two_moments_of_its_inputs(run, models):
    known, blind = (
        document(run("inspect", models / "bert", *words, "--json"))
        for words in (["--input-size", 5], [])
    )
    inputs = sum(8 * layer["shape"][1] ** 2 for layer in known["layers"])
    assert known["moment_bytes"] == blind["moment_bytes"] + inputs


def test_compress_heals_on_the_text(run, llama, text):
    words = ["--text", text, *CUT, "--keep", 0.7, "--of", "sites", "--heal", "refit"]
    found = document(run("compress", llama, *words, "--no-latency", "--json"))
    assert found["healing"]


def test_a_precision_can_be_asked_for(run, llama, text):
    words = ["--perplexity", text, *CUT, "--no-latency", "--json"]
    half = document(run("evaluate", llama, "--dtype", "bfloat16", *words))
    whole = document(run("evaluate", llama, *words))
    assert 2 * half["bytes"] == whole["bytes"]
    assert half["perplexity"] == pytest.approx(whole["perplexity"], rel=0.05)
    assert document(run("evaluate", llama, "--dtype", "auto", *words)).keys() == whole.keys()


def test_weights_that_are_missing_are_pointed_out(run, llama, tmp_path):
    path = Path(llama[3:]) / "config.json"
    path.write_text(path.read_text().replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    assert "weights are not in the checkpoint and random" in run("inspect", llama).stderr


ERRORS = {
    "short text": (1, ["compress", "{llama}", "--text", "{text}", "--keep", "0.8"],
                   "--length is 512: give --length 64"),
    "few tokens": (1, ["compress", "{llama}", "--text", "{text}", "--keep", "0.8", "--length",
                       "64"], "the text has 700 tokens, which make 10 windows of 64"),
    "empty": (1, ["evaluate", "{llama}", "--perplexity", "{dir}/empty", "--length", "8"],
              "is empty"),
    "no text": (1, ["evaluate", "{llama}", "--perplexity", "{dir}/none", "--length", "8"],
                "there is no such file"),
    "latin1": (1, ["evaluate", "{llama}", "--perplexity", "{dir}/latin1", "--length", "8"],
               "not UTF-8"),
    "not local": (1, ["inspect", "hf:some/model"], "`hf download some/model`"),
    "no gguf": (1, ["inspect", "hf:{dir}/none.gguf"], "there is no such file"),
    "not a gguf": (1, ["inspect", "hf:{dir}/bad.gguf"], "cannot be read"),
    "no model": (1, ["inspect", "hf:{dir}"], "has no config.json"),
    "encoder": (1, ["evaluate", "{bert}", "--perplexity", "{text}", "--length", "8"],
                "BertModel, which predicts no next token"),
    "not installed": (1, ["evaluate", "{t5}", "--perplexity", "{text}", "--length", "8"],
                      "text is for causal language models"),
    "no tokenizer": (1, ["compress", "{bert}", "--text", "{text}", "--length", "8", "--keep",
                         "0.5"], "has no tokenizer beside it"),
    "weights": (1, ["inspect", "{llama}", "--num-classes", "3"], "has its own weights"),
    "dtype": (1, ["inspect", "{net}", "--dtype", "float32"], "for models of transformers"),
    "no such dtype": (2, ["inspect", "{llama}", "--dtype", "int4"], "--dtype"),
    "both": (2, ["compress", "{llama}", "--text", "{text}", "--data", "x", "--keep", "1"],
             "images or text, not both"),
    "another model": (2, ["compress", "{net}", "--text", "{text}", "--keep", "0.5"], "hf:…"),
    "neither": (2, ["compress", "{llama}", "--keep", "0.5"], "--text for models"),
    "only reported": (2, ["compress", "{llama}", "--perplexity", "{text}", "--keep", "0.5",
                          "--length", "8"], "--text: needed here"),
    "only calibrated": (2, ["evaluate", "{llama}", "--text", "{text}", "--length", "8"],
                        "--perplexity: needed here"),
}  # fmt: skip


@pytest.mark.parametrize(("code", "words", "says"), ERRORS.values(), ids=ERRORS)
def test_errors(run, factory, models, llama, text, tmp_path, monkeypatch, code, words, says):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # no tries and waits
    (tmp_path / "empty").touch()
    (tmp_path / "latin1").write_bytes("naïve".encode("latin1"))
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" * 9)
    names = {
        "net": factory,
        "llama": llama,
        "text": text,
        "dir": tmp_path,
        "bert": models / "bert",
        "t5": f"hf:{models / 't5'}",
    }
    result = run(*(word.format(**names) for word in words))
    assert result.exit_code == code, result.output
    assert says in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_a_missing_extra_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    result = run("inspect", "hf:some/model")
    assert result.exit_code == 1
    assert "pip install 'eckart[hf]'" in result.stderr


def test_a_trained_model(run, data_root: Path, tmp_path: Path):
    model, stories = data_root / "stories260k", data_root / "text" / "tinystories-excerpt.txt"
    words = ["--text", stories, "--perplexity", stories, "--sequences", 8, "--length", 128]
    out = ["--output", tmp_path / "small", "--no-latency", "--json"]
    found = document(run("compress", f"hf:{model}", *words, "--keep", 0.95, "--of", "sites", *out))
    dense, smaller = (found[side]["score"]["value"] for side in ("before", "after"))
    assert 1 < dense < smaller < 1.5 * dense
    again = load_pretrained(tmp_path / "small")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "small")
    start = torch.tensor([tokenizer("Once upon a time")["input_ids"]])
    told = again.generate(start, max_new_tokens=20, do_sample=False, pad_token_id=0)
    assert "there was a little" in tokenizer.decode(told[0])


def test_questions_are_answered(run: Callable, llama: str, tmp_path: Path):
    lines = [{"context": "w3 w4", "choices": [" w5", " w6 w7"], "gold": at % 2} for at in range(6)]
    (tmp_path / "pairs.a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    last = [{"context": "w3 w4 w9", "continuation": " w5"}]
    (tmp_path / "words.jsonl").write_text("\n".join(map(json.dumps, last)))
    words = ["evaluate", llama, "--tasks", "pairs,words", "--task-data", tmp_path]
    found = document(run(*words, "--items", 4, "--json"))["tasks"]
    assert found["pairs"]["accuracy"]["n"] == 4
    assert found["pairs"]["accuracy"]["value"] == 0.5  # the same answer to all, right in half
    assert found["words"]["perplexity"]["value"] > 1
    assert set(found["words"]) == {"accuracy", "perplexity"}
    shown = run(*words)
    assert "normalised" in shown.stdout
    missing = run("evaluate", llama, "--tasks", "quiz", "--task-data", tmp_path)
    assert missing.exit_code == 1
    assert "tasks there: pairs, words" in missing.stderr
    assert run("evaluate", llama, "--tasks", "pairs").exit_code == 2
