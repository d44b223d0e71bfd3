"""A fit whose frozen first layers are cached is bit for bit the fit without."""

from __future__ import annotations

import pytest

from support.cached_fits import check, check_same, fit, notes, of_images
from support.tiny import make_texts, save_text, write_images
from thermocline.efficiency.prefix_cache import cached_tower as cached
from thermocline.errors import ThermoclineWarning
from thermocline.inputs.image import rows


@pytest.fixture
def images(tmp_path):
    frame = write_images(tmp_path / "pictures", 22)
    return frame.assign(img=[str(tmp_path / "pictures" / name) for name in frame["img"]])


@pytest.mark.parametrize(("mode", "frozen"), [("auto", "stem"), ("disk", 2), ("memory", "backbone")])
def test_texts(text_folder, mode, frozen):
    options = {"model.text.checkpoint": str(text_folder), "model.text.frozen_layers": frozen}
    check(make_texts(56), mode, **options)


@pytest.mark.parametrize("frozen", [3, "backbone"])
def test_images(image_folder, images, frozen):
    check(images, **of_images(image_folder, **{"model.image.frozen_layers": frozen}))


@pytest.mark.parametrize("frozen", ["backbone", 2])
def test_no_image_is_decoded_when_all_values_are_cached(image_folder, images, frozen, monkeypatch):
    decoded = []
    opened = rows.open_image
    monkeypatch.setattr(rows, "open_image", lambda *args: decoded.append(args) or opened(*args))
    more = {"model.image.frozen_layers": frozen, "env.cache_images": "off", "env.batch_size": 6}
    options = of_images(image_folder, **more)
    counts = []
    for epochs in (2, 5):
        decoded.clear()
        assert "run once a row" in notes(fit(images, "memory", **options, **{"optim.max_epochs": epochs}))
        counts.append(len(decoded))
    assert counts[0] == counts[1] > 0


def test_statistics_that_train_move_once_a_step(image_folder, images):
    more = {"model.image.frozen_layers": 2, "model.image.batch_norm": "train", "model.conv_bn": "off"}
    check(images, **of_images(image_folder, **more))


@pytest.mark.parametrize(("rows", "batch", "micro"), [(41, 8, None), (56, 16, 5), (20, 64, None)])
def test_batches_of_any_size(text_folder, rows, batch, micro):
    options = {"model.text.checkpoint": str(text_folder), "model.text.frozen_layers": 2}
    check(make_texts(rows), **options, **{"env.batch_size": batch, "env.micro_batch_size": micro})


@pytest.mark.parametrize("plan", ["fine_tune(freeze_epochs=2)", "gradual_unfreeze", "lisa(n_layers=1, every=4)"])
def test_phases(text_folder, plan):
    options = {"model.text.checkpoint": str(text_folder), "optim.schedule_plan": plan, "optim.max_epochs": 4}
    frame = make_texts(48)
    check_same(fit(frame, "off", **options), fit(frame, "memory", **options), frame)


@pytest.mark.parametrize("workers", [2])
def test_variants_and_workers(image_folder, images, workers):
    more = {"model.image.augment": "light", "model.image.augment_views": 2, "env.num_workers": workers}
    check(images, **{**of_images(image_folder), "model.image.frozen_layers": 3, **more})


def test_new_variants_every_epoch_are_refused(image_folder, images):
    more = {"model.image.frozen_layers": 3, "model.image.augment": "light"}
    assert "augmented anew" in notes(check(images, cached=False, **of_images(image_folder, **more)))


def test_dropout_ahead_of_frozen_blocks_is_refused(tmp_path):
    """T5 drops embeddings outside of every block."""
    folder = save_text(tmp_path / "t5", "t5", d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2)
    options = {"model.text.checkpoint": str(folder), "model.text.frozen_layers": 2}
    assert "draws random numbers" in notes(check(make_texts(48), cached=False, **options))


def test_experts_are_refused(tmp_path):
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    folder = save_text(tmp_path / "moe", "mixtral", **shape, intermediate_size=48, head_dim=16, num_local_experts=2)
    options = {"model.text.checkpoint": str(folder), "model.text.frozen_layers": 2}
    assert "experts" in notes(check(make_texts(48), cached=False, **options))


def test_a_second_fit_reads_the_files_of_the_first(text_folder, tmp_path, monkeypatch):
    options = {
        "model.text.checkpoint": str(text_folder),
        "model.text.frozen_layers": 2,
        "env.cache_folder": str(tmp_path / "shared"),
    }
    frame = make_texts(48)
    first = fit(frame, "disk", **options)
    assert list((tmp_path / "shared").rglob("*.values"))
    written, write = [], cached._StoredBatch.write
    monkeypatch.setattr(cached._StoredBatch, "write", lambda self, *args: (written.append(args), write(self, *args)))
    check_same(first, fit(frame, "disk", **options), frame)
    assert len(written) == 0
    file = next((tmp_path / "shared").rglob("*.values"))
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    with pytest.warns(ThermoclineWarning, match="are not what was written"):
        check_same(first, fit(frame, "disk", **options), frame)
    assert written


def test_what_is_asked_for_and_not_saved_is_told(text_folder):
    options = {"model.text.checkpoint": str(text_folder), "model.conv_bn": "on", "optim.max_epochs": 1}
    assert "none folded: there are no convolutions with BatchNorm" in notes(fit(make_texts(32), "off", **options))


def test_folded_convolutions_are_told(image_folder, images):
    options = of_images(image_folder, **{"model.conv_bn": "on", "optim.max_epochs": 1})
    assert "are folded with the BatchNorm after them" in notes(fit(images, "off", **options))


def test_little_memory(text_folder):
    options = {"model.text.checkpoint": str(text_folder), "model.text.frozen_layers": 2, "env.cache_memory": 1e-6}
    assert "on disk" in notes(check(make_texts(48), "auto", **options))
    assert "env.cache_memory leaves" in notes(check(make_texts(48), "memory", cached=False, **options))


def test_bf16(text_folder):
    options = {"model.text.checkpoint": str(text_folder), "model.text.frozen_layers": 2, "env.precision": "bf16"}
    check(make_texts(48), **options)


def test_no_warning_is_given(text_folder, recwarn):
    check(make_texts(48), **{"model.text.checkpoint": str(text_folder), "model.text.frozen_layers": 1})
    assert not [one for one in recwarn if issubclass(one.category, ThermoclineWarning)]
