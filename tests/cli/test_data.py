import io

import pytest
import torch
from PIL import Image

from eckart.cli.sources.data import CALIBRATED_ON, REPORTED_ON, ImageData, open_source
from eckart.cli.sources.images import Preprocessing
from eckart.errors import InputError

datasets = pytest.importorskip("datasets")


def labels_of(batches) -> list[int]:
    return torch.cat([labels for _, labels in batches]).tolist()


def test_a_folder_of_splits(folder):
    data = ImageData(open_source(str(folder)), batch_size=5)
    assert sorted(data.source.splits) == ["test", "train"]
    assert data.split_named(None, CALIBRATED_ON, "") == "train"
    assert data.split_named(None, REPORTED_ON, "") == "test"
    batches = data.take("test", None, labelled=True)
    pixels = torch.cat([inputs for inputs, _ in batches])
    labels = torch.tensor(labels_of(batches))
    assert pixels.shape == (16, 3, 8, 8)
    assert torch.equal((pixels.mean((1, 2, 3)) > 0.5).long(), labels)


def test_a_folder_of_classes(folder):
    source = open_source(str(folder / "train"))
    assert list(source.splits) == ["all"]
    assert labels_of(ImageData(source).take("all", 4, labelled=True)) != [0, 0, 0, 0]


def test_a_folder_without_classes_has_no_labels(folder):
    data = ImageData(open_source(str(folder / "train" / "dark")))
    assert set(labels_of(data.take("all", 4, labelled=False))) == {-1}


def test_a_class_that_a_split_lacks_keeps_its_number(folder):
    for path in (folder / "test" / "dark").iterdir():
        path.unlink()
    data = ImageData(open_source(str(folder)))
    assert set(labels_of(data.take("test", None, labelled=True))) == {1}


def test_no_image_is_handed_out_twice(folder):
    source = open_source(str(folder))
    data = ImageData(source)
    first = data.take("train", 10, labelled=True)
    second = data.take("train", 10, labelled=True)
    rest = data.take("train", None, labelled=True)
    together = [*first.indices, *second.indices, *rest.indices]
    assert sorted(together) == list(range(32))
    assert together != list(range(32))
    with pytest.raises(InputError, match="all are in use already"):
        data.take("train", 1, labelled=True)
    again = ImageData(source)
    again.reserve("train", 10)
    assert again.take("train", 10, labelled=True).indices == second.indices


def test_the_seed_is_the_order(folder):
    source = open_source(str(folder))
    orders = [ImageData(source, seed=s).take("train", 9, labelled=True).indices for s in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_fewer_images_than_asked_for_is_said(folder, capsys):
    assert ImageData(open_source(str(folder))).take("test", 99, labelled=True).examples == 16
    assert "16 images where 99 were asked for" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "says"), [("dev", "no split 'dev'"), (None, "give --split")])
def test_refuses_to_guess_a_split(folder, given, says):
    (folder / "train").rename(folder / "odd")
    with pytest.raises(InputError, match=f"{says}.*(odd, test|test, odd)"):
        ImageData(open_source(str(folder))).split_named(given, CALIBRATED_ON, "--split")


def test_refuses_folders_without_images(tmp_path):
    with pytest.raises(InputError, match="holds no images"):
        open_source(str(tmp_path))
    with pytest.raises(InputError, match="no such folder"):
        open_source(str(tmp_path / "none"))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.dat").write_text("?")
    with pytest.raises(InputError, match="is no image folder, and cannot be read"):
        open_source(str(tmp_path))


def test_refuses_a_damaged_image(folder):
    for path in (folder / "test" / "dark").iterdir():
        path.write_bytes(path.read_bytes()[:30])
    data = ImageData(open_source(str(folder)))
    with pytest.raises(InputError, match=r"image .*png cannot be read"):
        list(data.take("test", None, labelled=True))


@pytest.fixture
def pictures():
    """Four rows with a picture, a label under an odd name, and something else."""

    def png(value: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("L", (3, 3), value).save(buffer, "PNG")
        return buffer.getvalue()

    features = datasets.Features(
        {
            "scan": datasets.Image(),
            "kind": datasets.ClassLabel(num_classes=4),
            "text": datasets.Value("string"),
        }
    )
    rows = {
        "scan": [{"bytes": png(60 * i), "path": None} for i in range(4)],
        "kind": [3, 2, 1, 0],
        "text": list("abcd"),
    }
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Hugging Face's cache in a folder of its own."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("kind", ["saved", "saved dict", "parquet"])
def test_a_data_set_in_a_folder(pictures, tmp_path, kind):
    folder = tmp_path / "set"
    if kind == "saved":
        pictures.save_to_disk(folder)
    elif kind == "saved dict":
        datasets.DatasetDict(dev=pictures).save_to_disk(folder)
    else:
        folder.mkdir()
        pictures.to_parquet(folder / "dev-00000-of-00001.parquet")
    source = open_source(str(folder), label_column="kind")
    (split,) = source.splits
    (inputs, labels), *_ = ImageData(source).take(split, None, labelled=True)
    assert inputs.shape == (4, 1, 3, 3)
    assert torch.equal((inputs[:, 0, 0, 0] * 255 / 60).round().long(), 3 - labels)


def test_columns(pictures, tmp_path):
    pictures.save_to_disk(tmp_path / "set")
    name = str(tmp_path / "set")
    (split,) = open_source(name).splits
    assert open_source(name).split(split).read(0)[1] == -1
    for columns in ({"image_column": "img"}, {"label_column": "labels"}):
        with pytest.raises(InputError, match="it has scan, kind, text"):
            open_source(name, **columns).split(split)
    with pytest.raises(InputError, match="does not hold images"):
        open_source(name, image_column="kind").split(split)


def test_images_as_bytes(pictures, tmp_path):
    plain = pictures.cast_column(
        "scan", {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
    )
    plain.rename_column("scan", "img").save_to_disk(tmp_path / "set")
    source = open_source(str(tmp_path / "set"))
    assert source.split(source.splits[0]).read(1)[0].size == (3, 3)


def test_real_data_are_decoded_as_they_are_needed(data_root, monkeypatch):
    decoded = []
    decode = datasets.Image.decode_example

    def counted(self, *args, **kwargs):
        decoded.append(1)
        return decode(self, *args, **kwargs)

    monkeypatch.setattr(datasets.Image, "decode_example", counted)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    source = open_source(str(data_root / "cifar10"))
    data = ImageData(source, Preprocessing(mean=mean, std=std), batch_size=32)
    batches = data.take("test", 64, labelled=True)
    inputs = torch.cat([inputs for inputs, _ in batches])
    assert inputs.shape == (64, 3, 32, 32)
    assert len(decoded) == 65  # one more for the number of channels
    assert inputs.mean().abs() < 0.5
    assert 0.7 < inputs.std() < 1.5
    assert len(set(labels_of(batches))) == 10
