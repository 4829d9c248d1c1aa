import pytest

from eckart.records import ChannelGroup, Removal
from eckart.report import write_report
from eckart.report.payload import page_data
from eckart.report.spectra import drawn_spectra
from eckart.report.supports import Supports, by_reason, mask
from eckart.report.widths import names_text, width_text


@pytest.fixture(scope="module")
def data(narrowed, coupled):
    return page_data(narrowed, coupled)


def units(text, size):
    bits = "".join(f"{int(digit, 16):04b}" for digit in text)
    return tuple(unit for unit in range(size) if bits[unit] == "1")


@pytest.mark.parametrize("kept", [(0,), (3, 4), (0, 1, 2, 9), tuple(range(13)), ()])
def test_a_mask_says_which_units_stay(kept):
    assert units(mask(kept, 13), 13) == kept


def test_groups_come_in_the_networks_order(data, coupled):
    assert [group["name"] for group in data["groups"]] == ["conv1", "block.conv2"]
    group, ranked = data["groups"][0], coupled.groups[1]
    assert (group["size"], group["method"]) == (8, "backward_elimination")
    assert group["line"] == [[size, loss] for size, loss in ranked.losses.items()]
    sides = group["writers"], group["followers"], group["readers"]
    assert sides == (["conv1"], ["norm"], ["block.conv2"])


def test_a_point_refers_to_the_units_it_keeps(data, narrowed):
    removal = narrowed.points[-1].plan.removals["conv1"]
    group, at = data["groups"][0], data["points"][-1]["kept"]
    assert at == [0, None]
    method, text, count, loss = group["supports"][0]
    assert (method, count, loss) == (removal.method, 3, removal.loss)
    assert units(text, 8) == removal.kept == (0, 1, 5)
    assert all(point["kept"] == [None, None] for point in data["points"][:-1])


def test_layers_say_which_group_they_read_and_write(data, coupled):
    layers = {layer["name"]: layer for layer in data["layers"]}
    (reader,) = coupled.groups[0].group.readers
    assert (layers["conv1"]["reads"], layers["conv1"]["writes"]) == (None, [0, None])
    middle = layers["block.conv2"]
    assert (middle["reads"], middle["writes"]) == ([0, None], [1, None])
    assert (layers[reader]["reads"], layers["head"]["reads"]) == ([1, None], None)
    assert middle["ends"] == (8, 16)


def test_a_narrowed_layer_is_a_change(data):
    layer = data["layers"][0]
    method, form, rank, _, _, _, ends, *_ = layer["forms"][data["points"][-1]["chosen"][0]]
    assert (method, form, rank, ends) == ("narrowed", "3→3 (3×3)", None, (3, 3))


def test_only_our_own_bound_is_told(data, narrowed):
    assert data["points"][-1]["bound"] == narrowed.points[-1].plan.bound > 0
    assert data["points"][0]["bound"] is None


def test_spectra_are_of_layers_with_all_their_channels(coupled, curves):
    assert drawn_spectra(coupled) == drawn_spectra(curves)


def test_a_group_that_only_a_plan_knows(narrowed, curves):
    supports = Supports(narrowed, curves, curves.specs)
    assert supports.rows[0]["line"] == []
    assert supports.rows[0]["method"] is None
    assert supports.kept_by(narrowed.points[-1].plan.removals) == [0]


def test_a_layer_with_part_of_a_groups_units(narrowed, curves):
    group = ChannelGroup(
        name="a",
        size=3,
        writers={"a": ((0,), (1,), ())},
        readers={"b": ((), (), (0,))},
        followers={},
    )
    plan = narrowed.points[-1].plan
    plan.removals["a"] = Removal(group=group, method="largest_norm", kept=(1,), loss=0.5)
    try:
        supports = Supports(narrowed, curves, curves.specs)
    finally:
        del plan.removals["a"]
    assert supports.written_by("a")[1] == [0, 1]
    assert supports.read_by("b")[1] == [2]


def test_reasons_against_narrowing_are_escaped(narrowed, coupled, tmp_path):
    text = write_report(narrowed, coupled, tmp_path / "report.html").read_text()
    assert "Groups that cannot be narrowed" in text
    assert coupled.dense["mix"] not in text
    assert "read by &lt;b&gt;another&lt;/b&gt; layer" in text
    assert text.count("</script>") == 2


def test_names_that_share_a_reason_stand_together():
    assert by_reason({"a": "x", "b": "y", "c": "x"}) == {"x": ["a", "c"], "y": ["b"]}
    assert names_text(["a"]) == "a"


def test_the_width_of_a_layer_that_lost_nothing(curves):
    dense = curves.specs["conv1"].dense
    assert width_text(dense, dense) is None
