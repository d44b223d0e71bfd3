"""All that data and options alone can show is shown before a model is touched."""

import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from support.tiny import make_table, told, write_images
from thermocline.contracts.request import Request
from thermocline.data.columns import infer_columns
from thermocline.errors import (
    ConfigError,
    DataError,
    ImageReadError,
    LabelError,
    MissingColumnError,
    ThermoclineWarning,
)
from thermocline.inputs.image.reading import readable_rows
from thermocline.pipeline.prepare import prepare


def prepared(data, tuning=None, options=None, **changes):
    options = {
        "env.device": "cpu",
        "model.image.checkpoint": "test_resnet",
        "model.image.pretrained": False,
        **(options or {}),
    }
    return prepare(Request(data, "y", tuning_data=tuning, hyperparameters=options, training=False, **changes))


# the split


def test_rows_are_split_and_the_reason_is_told():
    made = prepared(make_table(200))
    assert len(made.train) + len(made.valid) == 200
    assert not set(made.train.frame.index) & set(made.valid.frame.index)
    assert any(f"{len(made.train)} rows train, {len(made.valid)} validate" in note for note in made.notes)
    assert made.config.data.valid_fraction == pytest.approx(len(made.valid) / 200, abs=1e-3)
    assert made.config.provenance["data.valid_fraction"].startswith("chosen")


def test_a_share_that_is_given_is_kept():
    made = prepared(make_table(200), options={"data.valid_fraction": 0.3})
    assert len(made.valid) == 60
    assert made.config.provenance["data.valid_fraction"] == "user"


def test_the_split_is_a_function_of_the_seed():
    frame = make_table(100)
    assert prepared(frame, seed=1).valid.frame.index.tolist() == prepared(frame, seed=1).valid.frame.index.tolist()
    assert prepared(frame, seed=1).valid.frame.index.tolist() != prepared(frame, seed=2).valid.frame.index.tolist()


def test_the_frame_is_not_written_to():
    frame = make_table()
    before = frame.copy(deep=True)
    prepared(frame)
    pd.testing.assert_frame_equal(frame, before)


def test_duplicated_indices_are_no_trouble():
    frame = make_table(60)
    frame.index = [0] * 60
    made = prepared(frame)
    assert len(made.train) + len(made.valid) == 60


def test_tuning_data_is_taken_as_it_is():
    made = prepared(make_table(60), make_table(30, seed=1))
    assert (len(made.train), len(made.valid)) == (60, 30)
    assert any("60 rows train, 30 validate (tuning_data)" in note for note in made.notes)


def test_tuning_data_without_a_column():
    said = told(MissingColumnError, KeyError, lambda: prepared(make_table(), make_table().drop(columns="x")))
    assert "tuning_data" in said
    assert "'x'" in said


def test_tuning_data_with_a_class_that_training_lacks():
    held = make_table(20).assign(y="maybe")
    said = told(LabelError, ValueError, lambda: prepared(make_table(), held))
    assert "maybe" in said


def test_tuning_data_with_a_number_that_is_none():
    held = make_table(20).astype({"x": object})
    held.loc[3, "x"] = "many"
    said = told(DataError, ValueError, lambda: prepared(make_table(), held))
    assert "many" in said
    assert "'x'" in said


# weights


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ([-1.0], "negative"),
        ([np.nan], "missing"),
        ([np.inf], "infinite"),
        (["heavy"], "not numbers"),
        ([True], "not numbers"),
    ],
)
def test_weights_that_are_none(values, part):
    frame = make_table().assign(w=(values * 60))
    with pytest.raises(DataError, match=part):
        prepared(frame, weight="w")


def test_weights_all_0():
    with pytest.raises(DataError, match="All sample weights"):
        prepared(make_table().assign(w=0.0), weight="w")


def test_a_weight_column_that_is_not_there_or_is_the_label():
    assert "'ww'" in told(MissingColumnError, KeyError, lambda: prepared(make_table(), weight="ww"))
    assert "is the label" in told(ConfigError, ValueError, lambda: prepared(make_table(), weight="y"))


def test_the_weight_is_no_feature_and_rows_of_weight_0_are_left_out():
    frame = make_table().assign(w=[0.0] * 10 + [2.0] * 50)
    made = prepared(frame, weight="w")
    assert "w" not in made.columns.used
    assert len(made.train) + len(made.valid) == 50
    assert any("10 rows of train_data left out" in note for note in made.notes)


def test_nullable_weights():
    frame = make_table().assign(w=pd.array([1, 2] * 30, dtype="Int64"))
    assert len(prepared(frame, weight="w").train)


# images


@pytest.fixture
def folder(tmp_path):
    frame = write_images(tmp_path / "pics", 40)
    frame.to_csv(tmp_path / "pics" / "train.csv", index=False)
    return tmp_path / "pics"


def test_paths_start_at_the_csvs_folder(folder):
    made = prepared(folder / "train.csv")
    assert made.train.folder == folder
    assert made.columns["img"].kind == "image"


def test_the_option_says_otherwise(folder, tmp_path):
    frame = pd.read_csv(folder / "train.csv")
    assert prepared(frame, options={"data.image_folder": str(folder)}).train.folder == folder


def test_a_few_unreadable_images_are_left_out_with_a_warning_and_a_note(folder):
    (folder / "3.png").write_bytes(b"broken")
    with pytest.warns(ThermoclineWarning, match=r"1 of 40 rows of train_data.*row 3: .*3\.png"):
        made = prepared(folder / "train.csv")
    assert 3 not in {*made.train.frame.index, *made.valid.frame.index}
    assert len(made.train) + len(made.valid) == 39
    assert "1 row of train_data left out: images that cannot be read" in made.notes


def test_more_than_the_threshold_are_an_error(folder):
    for row in range(5):
        (folder / f"{row}.png").write_bytes(b"broken")
    said = told(ImageReadError, OSError, lambda: prepared(folder / "train.csv"))
    assert "5 of 40" in said
    assert "data.max_unreadable_images" in said
    with pytest.warns(ThermoclineWarning):
        prepared(folder / "train.csv", options={"data.max_unreadable_images": 0.5})


def test_all_unreadable_is_always_an_error(folder):
    for row in range(40):
        (folder / f"{row}.png").write_bytes(b"broken")
    told(ImageReadError, OSError, lambda: prepared(folder / "train.csv", options={"data.max_unreadable_images": 1.0}))


def test_missing_values_are_no_faults():
    frame = pd.DataFrame({"img": [Image.new("RGB", (4, 4)), None] * 10, "y": ["a", "b"] * 10})
    columns = infer_columns(frame, exclude=["y"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept, notes = readable_rows(frame, columns, None, 0.0, what="train_data")
    assert kept is None  # all
    assert notes == []


def test_a_class_that_goes_with_its_rows_is_noticed(folder):
    frame = pd.read_csv(folder / "train.csv")
    frame.loc[0, "y"] = "green"
    (folder / "0.png").write_bytes(b"broken")
    with pytest.warns(ThermoclineWarning):
        made = prepared(frame, options={"data.image_folder": str(folder)})
    assert made.target.classes == ("blue", "red")


# features and options


def test_nothing_to_learn_from():
    said = told(DataError, ValueError, lambda: prepared(pd.DataFrame({"c": [1] * 20, "y": ["a", "b"] * 10})))
    assert "no column to learn from" in said
    assert "'c: " in said


def test_a_given_type_that_cannot_be():
    with pytest.raises(DataError, match="colour"):
        prepared(make_table(), column_types={"colour": "numeric"})


def test_device_and_precision_are_chosen_with_their_reasons():
    made = prepared(make_table(), options={"env.device": "auto"})
    assert made.config.env.device in ("cpu", "cuda", "mps")
    assert made.config.provenance["env.device"].startswith("chosen")
    assert prepared(make_table()).config.env.precision == "fp32"


def test_a_checkpoint_that_is_not_there_is_told_here(folder):
    from thermocline.errors import CheckpointError

    with pytest.raises(CheckpointError, match="resnett"):
        prepared(folder / "train.csv", options={"model.image.checkpoint": "resnett"})
