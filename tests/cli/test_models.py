import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from eckart.cli.sources.models import load_model
from eckart.errors import InputError


def test_a_factory_with_weights(factory, weights):
    model = load_model(factory, weights)
    assert not model.training
    assert torch.equal(load_model(factory, weights)[0].weight, model[0].weight)


def test_random_weights_are_the_same_each_time_and_disturb_nothing(factory):
    state = torch.get_rng_state()
    first, second = load_model(factory), load_model(factory)
    assert torch.equal(first[0].weight, second[0].weight)
    assert torch.equal(torch.get_rng_state(), state)


def test_torchvision():
    pytest.importorskip("torchvision")
    model = load_model("torchvision:squeezenet1_1", num_classes=7)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


def test_tied_weights_are_filled(tmp_path):
    path = tmp_path / "tied.py"
    path.write_text(
        "from torch import nn\n"
        "def net():\n"
        "    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))\n"
        "    model[1].weight = model[0].weight\n"
        "    return model\n"
    )
    state = {"0.weight": torch.eye(3), "0.bias": torch.ones(3), "1.bias": torch.zeros(3)}
    save_file(state, tmp_path / "w.safetensors")
    model = load_model(f"{path}:net", tmp_path / "w.safetensors")
    assert torch.equal(model[1].weight, torch.eye(3))


def test_a_file_can_import_its_neighbours(tmp_path):
    (tmp_path / "neighbour_of_mine.py").write_text("WIDTH = 5\n")
    (tmp_path / "nets.py").write_text(
        "from torch import nn\nfrom neighbour_of_mine import WIDTH\n"
        "class Net(nn.Linear):\n    def __init__(self):\n        super().__init__(WIDTH, 2)\n"
    )
    assert isinstance(load_model(f"{tmp_path / 'nets.py'}:Net"), nn.Linear)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("resnet18", "torchvision:NAME or path/to/file.py:factory"),
        ("torchvision:resnet19", "near: resnet18"),
        ("{}/none.py:net", "no such file"),
        ("{}/networks.txt:net", "Python source"),
        ("{}/networks.py:nett", "has no 'nett'; it has net, loud, wrong, broken"),
        ("{}/networks.py:NUMBER", "is a int; name a function"),
        ("{}/networks.py:NETWORK", "is a Linear; name a function"),
        ("{}/networks.py:wrong", "returned a int"),
        ("{}/networks.py:broken", "OSError: no such chip"),
        ("{}/syntax.py:net", "does not run: SyntaxError"),
    ],
)
def test_refuses_a_model(factory, tmp_path, name, says):
    (tmp_path / "networks.txt").touch()
    (tmp_path / "syntax.py").write_text("def net(:\n")
    with pytest.raises(InputError, match=says):
        load_model(name.format(tmp_path))


def test_refuses_num_classes_for_a_factory(factory):
    with pytest.raises(InputError, match="torchvision only"):
        load_model(factory, num_classes=3)


def test_refuses_weights_that_do_not_fit(factory, weights, tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"0.weight": torch.zeros(8, 3, 3, 3), "odd": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"missing from the file, 1 \(odd\) not in the network"):
        load_model(factory, path)
    save_file({"0.weight": torch.zeros(4, 3, 3, 3)}, path)
    with pytest.raises(InputError, match=r"size mismatch for 0\.weight"):
        load_model(factory, path)
    path.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(InputError, match="damaged"):
        load_model(factory, path)


def test_refuses_pickles_and_missing_files(factory, tmp_path):
    (tmp_path / "net.pth").touch()
    with pytest.raises(InputError, match="only safetensors"):
        load_model(factory, tmp_path / "net.pth")
    with pytest.raises(InputError, match="no such file"):
        load_model(factory, tmp_path / "none.safetensors")
