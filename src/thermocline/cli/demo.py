"""A real fine-tune from nothing but what is installed: sample, baselines, fit, save, a new process that predicts."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd

from thermocline.data.samples import load_sample
from thermocline.predictor import Predictor
from thermocline.report.screen import paragraph
from thermocline.report.tables import table

# Rows to learn from at most: few labels are what a pretrained backbone is for, and many rows are left to score.
LEARN = 900


def run(sample: str, *, rows: int | None, out: Path | None, seed: int = 0) -> dict[str, float]:
    """Fit on a sample frame, print scores beside simple baselines, save, and predict in a new process.

    Args:
        sample: `docstrings`, `digits` or `mixed`.
        rows: How many rows; the sample's own number by default.
        out: Where to save; a temporary folder, removed afterwards, by default.
        seed: Of the sample, the split and the fit.

    Returns:
        Name → accuracy on the rows held out, of the model and of the baselines.
    """
    from sklearn.model_selection import train_test_split

    print(paragraph(f"The demo, without downloads: {_WHAT[sample]}"), flush=True)
    frame = load_sample(sample, rows=rows, seed=seed)
    label = str(frame.columns[-1])
    learn = min(LEARN, round(0.75 * len(frame)))
    train, test = train_test_split(frame, train_size=learn, stratify=frame[label], random_state=seed)
    print(f"1. Fine-tune on {len(train):,} rows; {len(test):,} others are held out to test on", flush=True)
    with tempfile.TemporaryDirectory(prefix="thermocline-demo-") as scratch:
        folder = out or Path(scratch) / "model"
        predictor = Predictor(label, eval_metric="accuracy", path=folder)
        predictor.fit(train, presets=["medium_quality", "offline"], hyperparameters=_options(sample), seed=seed)
        scores = _scores(predictor, train, test)
        print(f"\n2. The share of the {len(test):,} held-out rows that is predicted right:")
        print(table([[name, f"{100 * score:.1f} %"] for name, score in scores.items()], ["model", "right"], right=[1]))
        print("\n3. A new process loads the saved model and predicts the same rows:", flush=True)
        again = _predict_elsewhere(folder, test.drop(columns=label), Path(scratch))
        same = bool((again.to_numpy() == predictor.predict(test).to_numpy()).all())
        first = [list(map(str, row)) for row in zip(test[label].to_numpy()[:2], again.to_numpy()[:2], strict=True)]
        print(table(first, [label, "predicted"]))
        print(f"the same {len(again):,} predictions as before saving: {same}")
        if not same:
            raise SystemExit(1)
    return scores


_WHAT = {
    "docstrings": "from a piece of documentation, tell the library.",
    "digits": "from a picture of a handwritten digit, tell the digit.",
    "mixed": "from photo, note, depot and weight of a parcel, tell its priority.",
}


def _scores(predictor: Predictor, train: pd.DataFrame, test: pd.DataFrame) -> dict[str, float]:
    """Return the accuracy on held-out rows, of simple baselines and of the model."""
    label = str(predictor.label)
    scores = {"majority class": float((test[label] == train[label].mode()[0]).mean())}
    text = predictor.columns.of("text")
    if text:
        scores["TF-IDF + logistic regression"] = _tfidf(train, test, text, label)
    return {**scores, "thermocline": predictor.evaluate(test)["accuracy"]}


def _options(sample: str) -> dict[str, Any]:
    """An image backbone without pretrained weights sees digits only once they are trained for a while."""
    return (
        {}
        if sample == "docstrings"
        else {"optim.max_epochs": 8, "model.image.size": 64, "model.image.augment": "light"}
    )


def _tfidf(train: pd.DataFrame, test: pd.DataFrame, columns: list[str], label: str) -> float:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    joined = [part[columns].fillna("").agg(" ".join, axis=1) for part in (train, test)]
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10, max_iter=1000)
    )
    return float(model.fit(joined[0], train[label]).score(joined[1], test[label]))


def _predict_elsewhere(folder: Path, frame: pd.DataFrame, scratch: Path) -> pd.Series[Any]:
    """Predict in a new process, through the command line."""
    source, target = scratch / "rows.csv", scratch / "predictions.csv"
    frame.to_csv(source, index=False)
    command = [sys.executable, "-m", "thermocline.cli", "predict", str(folder), str(source), "--out", str(target)]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        sys.stderr.write(ran.stderr)
        raise SystemExit(ran.returncode)
    return pd.read_csv(target).iloc[:, 0]
