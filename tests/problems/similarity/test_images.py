"""Pairs of images share a tower; a text and an image have a tower each, with projections to one width."""

from __future__ import annotations

import numpy as np
import pytest

from support.tiny import write_images
from support.tiny_pairs import options
from thermocline import Predictor

SMALL = {
    "model.image.checkpoint": "test_resnet",
    "model.image.pretrained": False,
    "model.image.size": 32,
    "model.similarity.width": 16,
    "env.num_workers": 0,
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    frame = write_images(folder / "files", 32)
    frame["img"] = [str(folder / "files" / name) for name in frame["img"]]
    rng = np.random.default_rng(0)
    frame["words"] = [
        f"{one} {word} {row}"
        for row, (one, word) in enumerate(zip(frame["y"], rng.choice(["film", "cast"], 32), strict=True))
    ]
    return folder, frame


def test_images_are_found_by_texts(places):
    folder, frame = places
    own = options(folder, **SMALL)
    made = Predictor(None, "similarity", query="words", response="img", path=folder / "both", verbosity=0)
    made.fit(frame[["img", "words"]], hyperparameters=own)
    assert list(made.model.towers) == ["text", "image"]
    assert made._assembly.target.loss == "symmetric_ranking:20"
    assert made.embed(["red film 1"], side="query").shape == (1, 16)
    found = made.search(["red film 1", "blue cast 2"], frame["img"], k=3)
    assert found["response"].isin(frame["img"]).all()
    assert "start from the correlations" in "\n".join(map(str, made.history["note"]))
    loaded = Predictor.load(folder / "both", verbosity=0)
    assert loaded.search(["red film 1"], frame, k=2).equals(made.search(["red film 1"], frame, k=2))
    assert set(made.evaluate(frame, ["recall@10", "map"])) == {"recall@10", "map"}


def test_images_are_compared_with_images(places):
    folder, frame = places
    pairs = frame.assign(other=np.roll(frame["img"], 1), same=np.arange(32) % 3 == 0)[["img", "other", "same"]]
    own = {name: value for name, value in options(folder, **SMALL).items() if not name.startswith("model.text")}
    del own["model.similarity.width"]
    made = Predictor("same", "image_similarity", query="img", response="other", verbosity=0)
    made.fit(pairs, hyperparameters=own)
    assert list(made.model.towers) == ["image"]
    assert made.predict(pairs).dtype == bool
    assert made.embed(pairs["img"], side="query").shape == (32, made.model.width)
    shown = made.show(pairs.head(2))
    assert shown._repr_html_().count("<img") == 4
    assert "0.png" in str(shown)
