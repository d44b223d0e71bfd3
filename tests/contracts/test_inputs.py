"""What every kind of input keeps to: rows, towers and grains, layers, and a saved predictor's part."""

import json
import os

import numpy as np
import pandas as pd
import pytest
import torch

from support.tiny import make_table, make_texts, write_images
from thermocline.config import resolve
from thermocline.contracts.inputs import RowSource
from thermocline.contracts.tower import MAP, ROW, TOKEN, Tower
from thermocline.data.batches import Rows
from thermocline.data.columns import infer_columns
from thermocline.data.row_part import RowPart, identity_of
from thermocline.errors import CheckpointError
from thermocline.inputs.building import (
    build_inputs,
    check_inputs,
    describe_inputs,
    input_rows,
    needed_inputs,
    rebuild_inputs,
)
from thermocline.registry import input_infos, load

ROWS = 12
NAMES = [info.name for info in input_infos()]


@pytest.fixture
def cases(tmp_path, text_folder, image_folder):
    """Kind of input → a frame whose columns are all of it, and options."""
    folder = tmp_path / "pictures"
    table = make_table(ROWS).drop(columns="y")
    table.loc[3, "x"] = np.nan
    return {
        "text": (make_texts(ROWS).drop(columns="y"), {"model.text.checkpoint": str(text_folder)}),
        "image": (
            write_images(folder, ROWS)
            .drop(columns="y")
            .rename(columns={"img": "front"})
            .assign(back=[None, "0.png"] * 6),
            {"model.image.checkpoint": str(image_folder), "model.image.size": 64},
        ),
        "table": (table, {"model.table.width": 8, "model.table.blocks": 1}),
    }


class Case:
    """An input of one kind, built from its frame."""

    def __init__(self, frame, options, folder, seed=0):
        self.frame, self.folder = frame, folder
        types = {"review": "text"} if "review" in frame else {}
        self.columns = infer_columns(frame, column_types=types)
        self.config = resolve(None, options)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            (self.built,) = build_inputs(self.source(), self.columns, self.config)
        self.tower = self.built.tower.eval()

    def source(self, **options):
        return RowSource(**{"frame": self.frame, "folder": self.folder, **options})

    def rows(self, **options) -> RowPart:
        return self.built.rows(self.source(**options))

    def features(self, part=None, rows=range(ROWS), grain=ROW):
        arrays = (part or self.rows()).batch(np.array(rows))
        with torch.no_grad():
            return self.tower({key: torch.from_numpy(array) for key, array in arrays.items()}, grain=grain)


@pytest.fixture
def case(request, cases, tmp_path):
    assert request.param in cases, f"add a frame for the input {request.param!r} to the fixture cases"
    return Case(*cases[request.param], tmp_path / "pictures")


every_input = pytest.mark.parametrize("case", NAMES, indirect=True)


def identity(part, *, files):
    return b"|".join(identity_of(part, files=files))


# rows


@every_input
def test_a_frame_becomes_rows_and_a_batch_of_arrays(case):
    part = case.rows()
    assert isinstance(part, RowPart)
    assert len(part) == ROWS
    batch = part.batch(np.array([2, 0, 5]))
    assert batch
    assert all(isinstance(array, np.ndarray) and len(array) == 3 for array in batch.values())
    again = case.rows().batch(np.array([2, 0, 5]))
    assert all(np.array_equal(batch[key], again[key]) for key in batch)


@every_input
def test_what_is_decoded_and_what_is_not_is_the_whole_batch(case):
    part, chosen = case.rows(), np.array([3, 1])
    whole, undecoded, decoded = part.batch(chosen), part.undecoded(chosen), part.decoded_shapes(2)
    if not decoded:
        assert not undecoded  # such a batch is made whole or not at all
        return
    assert set(undecoded) | set(decoded) == set(whole)
    assert not set(undecoded) & set(decoded)
    assert all(np.array_equal(undecoded[key], whole[key]) for key in undecoded)
    for key, (shape, dtype) in decoded.items():
        assert (whole[key].shape, torch.from_numpy(whole[key]).dtype) == (shape, dtype)


@every_input
def test_without_a_tower_a_batch_has_only_what_needs_no_decoding(case):
    name = case.built.kind.info.name
    batch = Rows({name: case.rows()}).batch(np.array([0, 1]), without=frozenset({name}))
    assert set(batch.get(name, {})) == set(case.rows().undecoded(np.array([0, 1])))


@every_input
def test_widths_variants_and_items_fit_the_rows(case):
    for part in (case.rows(), case.rows(training=True, seed=3), case.rows().aligned(), case.rows().unlabelled()):
        assert type(part) is type(case.rows())
        assert len(part) == ROWS
        assert (part.lengths is None) or (part.lengths <= part.widths).all()
        assert part.per_row >= 1
        assert part.variants is None or part.variants >= 1
        numbers = part.variant(np.arange(ROWS), 1)
        assert numbers.shape == (ROWS,)
        assert part.augmented or not numbers.any()
    assert not case.rows().augmented


@every_input
def test_reasons_not_to_cache_are_sentences(case):
    reason = case.rows().not_cacheable()
    assert reason is None or len(reason.split()) > 3


# identity


@every_input
def test_identity_is_of_the_values(case):
    part = case.rows()
    for files in (False, True):
        assert identity(part, files=files) == identity(case.rows(), files=files)
        other = case.rows(frame=case.frame.iloc[::-1].reset_index(drop=True))
        assert identity(part, files=files) != identity(other, files=files)


def test_identity_with_files_changes_with_a_file_the_folder_and_the_preprocessing(cases, tmp_path):
    case = Case(*cases["image"], tmp_path / "pictures")
    names, contents = (identity(case.rows(), files=files) for files in (False, True))
    write_images(tmp_path / "elsewhere", ROWS)
    moved = case.rows(folder=tmp_path / "elsewhere")
    assert identity(moved, files=False) == names
    assert identity(moved, files=True) != contents
    assert identity(case.rows(training=True), files=False) == names
    assert identity(case.rows(training=True), files=True) != contents
    assert identity(case.rows(training=True), files=True) != identity(case.rows(training=True, seed=1), files=True)
    target = tmp_path / "pictures" / "3.png"
    stat = target.stat()
    os.utime(target, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000))  # written again with as many bytes
    assert identity(case.rows(), files=False) == names
    assert identity(case.rows(), files=True) != contents


@pytest.mark.parametrize("change", ["palette", "mode", "size", "orientation", "transparency"])
def test_identity_with_files_sees_what_changes_an_open_images_pixels(cases, tmp_path, change):
    from PIL import Image

    _, options = cases["image"]
    image = Image.frombytes("P", (4, 2), bytes(range(8)))
    image.putpalette(list(range(256)) * 3)
    other = image.copy()
    if change == "palette":
        other.putpalette(list(range(255, -1, -1)) * 3)
    elif change == "mode":
        other = Image.frombytes("L", (4, 2), bytes(range(8)))
    elif change == "size":
        other = Image.frombytes("P", (2, 4), bytes(range(8)))
        other.putpalette(list(range(256)) * 3)
    elif change == "orientation":
        other.getexif()[0x0112] = 6
    else:
        other.info["transparency"] = 3
    case = Case(pd.DataFrame({"pic": [image] * ROWS}), options, tmp_path)
    one, two = case.rows(), case.rows(frame=pd.DataFrame({"pic": [other] + [image] * (ROWS - 1)}))
    assert identity(one, files=True) != identity(two, files=True)


def test_identity_with_files_of_a_file_that_is_gone_is_no_error(cases, tmp_path):
    case = Case(*cases["image"], tmp_path / "pictures")
    part, before = case.rows(), identity(case.rows(), files=True)
    (tmp_path / "pictures" / "3.png").unlink()
    assert identity(part, files=True) != before


def test_identity_of_texts_covers_the_padding(cases):
    part = Case(*cases["text"], None).rows()
    assert identity(part, files=False) == identity(part.aligned(), files=False)
    assert identity(part, files=True) != identity(part.aligned(), files=True)


# towers


@every_input
def test_features_come_in_the_grains_that_the_tower_names(case):
    tower = case.tower
    assert isinstance(tower, Tower)
    assert ROW in tower.grains
    assert case.features(rows=[4, 1, 2]).shape == (3, tower.width)
    batch = case.rows().batch(np.array([4, 1, 2]))
    if TOKEN in tower.grains:
        assert case.features(rows=[4, 1, 2], grain=TOKEN).shape == (*batch["input_ids"].shape, tower.width)
    if MAP in tower.grains:
        maps = case.features(rows=[4, 1, 2], grain=MAP)
        assert maps.shape[:2] == batch["present"].shape
        assert maps.dim() == 5
    for grain in {ROW, TOKEN, MAP, "pixel"} - tower.grains:
        with pytest.raises(ValueError, match=f"{grain}.*It gives .*'row'"):
            case.features(grain=grain)


@every_input
def test_a_row_has_the_same_features_in_any_batch(case):
    together = case.features()
    alone = torch.cat([case.features(rows=[row]) for row in range(ROWS)])
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-4)


@every_input
def test_a_towers_facts_are_of_the_declared_types(case):
    tower = case.tower
    assert isinstance(tower.pretrained, bool)
    assert isinstance(tower.norm_eval, bool)
    assert isinstance(tower.notes, tuple)
    assert 0 <= tower.fixed <= tower.width
    assert tower.backbone_module is None or tower.backbone_module in list(tower.modules())
    assert tower.varying_shapes == (case.rows().lengths is not None)
    if example := tower.conv_example():
        module, given = example
        assert module in list(tower.modules())
        assert given.device.type == "meta"


@every_input
def test_fixed_features_do_not_depend_on_parameters(case):
    before = case.features()[:, : case.tower.fixed]
    with torch.no_grad():
        for parameter in case.tower.parameters():
            parameter.add_(0.5)
    assert torch.equal(case.features()[:, : case.tower.fixed], before)


@every_input
def test_every_parameter_is_in_one_layer(case):
    held = []
    for path, layer_map in case.built.kind.layers(case.tower).items():
        assert set(layer_map.towers) == {case.built.kind.info.name}
        prefix = f"{path}." if path else ""
        held += [f"{prefix}{name}" for layer in layer_map for name in layer.parameters]
    assert sorted(held) == sorted(name for name, _ in case.tower.named_parameters())


@every_input
def test_random_weights_are_the_generators(case, cases, tmp_path):
    name = case.built.kind.info.name
    options = {**cases[name][1], **({} if name == "table" else {f"model.{name}.pretrained": False})}
    one, two, other = (Case(cases[name][0], options, tmp_path / "pictures", seed).tower for seed in (1, 1, 2))
    same = [torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True)]
    assert all(same)
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


# a saved predictor


@every_input
def test_what_is_described_is_rebuilt_with_the_same_rows_and_features(case, tmp_path):
    name, folder = case.built.kind.info.name, tmp_path / "saved"
    folder.mkdir()
    described = json.loads(json.dumps(describe_inputs([case.built], folder)))
    assert set(described) == {name}
    config = case.built.config
    (again,) = rebuild_inputs(described | {"weight": None}, folder, config, trust_remote_code=False)
    again.tower.load_state_dict(case.tower.state_dict())
    loaded = again.rows(case.source())
    assert identity(loaded, files=True) == identity(case.rows(), files=True)
    one, two = case.rows().batch(np.arange(ROWS)), loaded.batch(np.arange(ROWS))
    assert all(np.array_equal(one[key], two[key]) for key in one)
    before = case.features()
    case.tower = again.tower.eval()
    assert torch.equal(case.features(loaded), before)
    for fact in ("width", "fixed", "pretrained", "norm_eval", "grains"):
        assert getattr(again.tower, fact) == getattr(case.built.tower, fact)
    assert json.loads(json.dumps(describe_inputs([again], folder))) == described


# all inputs together


def test_a_kind_is_needed_where_a_column_is_of_its_types(case_of_all):
    assert [info.name for info in needed_inputs(case_of_all.columns)] == NAMES
    assert needed_inputs(infer_columns(pd.DataFrame({"empty": [None] * 5}))) == []


@pytest.fixture
def case_of_all(cases, tmp_path):
    """Columns of all kinds, their options, and the source."""

    class All:
        frame = pd.concat([frame for frame, _ in cases.values()], axis=1)
        columns = infer_columns(frame, column_types={"review": "text", "colour": "categorical"})
        config = resolve(None, {key: value for _, options in cases.values() for key, value in options.items()})
        source = RowSource(frame, tmp_path / "pictures")

    return All


def test_inputs_are_built_in_the_order_of_the_registry_under_one_configuration(case_of_all):
    inputs = build_inputs(case_of_all.source, case_of_all.columns, case_of_all.config)
    assert [each.kind.info.name for each in inputs] == NAMES
    assert all(each.config is inputs[0].config for each in inputs)
    assert inputs[0].config.provenance["model.text.max_length"].startswith("chosen")
    parts = input_rows(inputs, case_of_all.source)
    assert list(parts) == NAMES
    assert set(Rows(parts).batch(np.array([0, 1]))) == {"rows", *NAMES}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "table"])
def test_pretrained_weights_that_are_not_there_are_told_before_anything_is_loaded(case_of_all, name, no_loading):
    config = resolve(None, {f"model.{name}.checkpoint": "no-such-thing"})
    with pytest.raises(CheckpointError, match="no-such-thing"):
        load(next(info for info in input_infos() if info.name == name)).check(case_of_all.columns, config)
    with pytest.raises(CheckpointError):
        check_inputs(case_of_all.columns, config)
