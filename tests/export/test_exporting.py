"""Exports of real fits: the same outputs elsewhere, whole folders or none, and errors that say why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from export.conftest import answers
from support.tiny import TINY, make_table, told
from thermocline import Predictor
from thermocline.cli import main
from thermocline.errors import (
    ArtifactError,
    ConfigError,
    ExportError,
    MissingDependencyError,
    NotFittedError,
    OutputExistsError,
)
from thermocline.export import onnx_format
from thermocline.export.exported import Exported
from thermocline.problems.rowwise.tfidf_model import TfidfModel, TfidfShape
from thermocline.problems.rowwise.tree_ensemble import EnsembleShape, TreeEnsemble


def _probabilities(found: list[dict[str, Any]], wanted: pd.DataFrame) -> float:
    own = np.array([[one["probabilities"][str(name)] for name in wanted.columns] for one in found])
    return float(np.abs(own - wanted.to_numpy()).max())


# -- the same outputs ------------------------------------------------------------------------------


def test_every_kind_of_column_and_what_is_blended_in(mixed: Any, tmp_path: Path) -> None:
    predictor, frame = mixed
    network = predictor._fitted().model
    assert network.trees is not None
    assert network.tfidf is not None
    made = predictor.export(tmp_path / "out", data=frame)
    assert {"model.onnx", "run.py", "preprocessing.json", "tokenizer.json", "README.md", "requirements.txt"} == set(
        made.files
    )
    assert made.scores["change"].abs().max() < 1e-3
    frame.drop(columns="y").to_csv(tmp_path / "rows.csv", index=False)
    found = [one["prediction"] for one in answers(tmp_path / "out", tmp_path / "rows.csv")]
    wanted = predictor.predict(frame)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * wanted.std())
    needed = (tmp_path / "out" / "requirements.txt").read_text().split()
    assert [line.partition(">")[0] for line in needed] == ["onnxruntime", "numpy", "tokenizers", "pillow"]


def test_text_with_adapters_as_dicts_and_as_csv(reader_of_text: Any, text_export: Path, tmp_path: Path) -> None:
    predictor, frame = reader_of_text
    frame[["review"]].to_csv(tmp_path / "rows.csv", sep=";", index=False)
    (tmp_path / "rows.jsonl").write_text(
        "".join(
            json.dumps({"review": text}) + "\n"
            for text in frame["review"].astype(object).where(frame["review"].notna(), None)
        )
    )
    for name in ("rows.csv", "rows.jsonl"):
        found = answers(text_export, tmp_path / name)
        assert _probabilities(found, predictor.predict_proba(frame)) < 1e-4
        assert [one["prediction"] for one in found] == predictor.predict(frame).tolist()


def test_a_table_needs_two_packages(table_fit: Any, table_export: Path, tmp_path: Path) -> None:
    predictor, frame = table_fit
    frame.to_csv(tmp_path / "rows.csv", index=False)
    found = answers(table_export, tmp_path / "rows.csv")
    assert _probabilities(found, predictor.predict_proba(frame)) < 1e-4
    assert [one["prediction"] for one in found] == predictor.predict(frame).tolist()
    assert len((table_export / "requirements.txt").read_text().split()) == 2


def test_the_onnx_model_names_inputs_and_axes(text_export: Path) -> None:
    import onnx

    graph = onnx.load(text_export / "model.onnx").graph
    axes = {
        one.name: [dim.dim_param or dim.dim_value for dim in one.type.tensor_type.shape.dim]
        for one in [*graph.input, *graph.output]
    }
    assert axes == {
        "text/input_ids": ["rows", "tokens"],
        "text/attention_mask": ["rows", "tokens"],
        "outputs": ["rows", 2],
        "probabilities": ["rows", 2],
    }


def test_a_torch_program_has_the_same_names(table_fit: Any, tmp_path: Path) -> None:
    predictor, frame = table_fit
    made = predictor.export(tmp_path / "out", "torch_export", data=frame)
    assert made.scores["change"].abs().max() < 1e-4
    arrays = json.loads((tmp_path / "out" / "preprocessing.json").read_text())["inputs"]["table"]["arrays"]
    program = torch.export.load(str(tmp_path / "out" / "model.pt2")).module()
    given = {name: torch.zeros(5, 2) for name in arrays}
    given["table/codes"] = torch.zeros(5, 2, dtype=torch.long)
    assert program(given)["probabilities"].shape == (5, 3)


@pytest.mark.parametrize("loss", ["quantiles:0.1,0.5,0.9", "quantile:0.9"])
def test_quantiles(tmp_path: Path, loss: str) -> None:
    frame = make_table(72).assign(y=lambda table: np.exp(table["x"]))
    options = {**TINY, "optim.loss": loss, "data.target_transform": "log"}
    predictor = Predictor("y", verbosity=0).fit(frame, hyperparameters=options)
    assembly = predictor._fitted()
    offsets = (0.9, 0.0, -0.9)[: assembly.target.width]  # such that they cross
    predictor._assembly = replace(assembly, target=replace(assembly.target, offsets=offsets))
    predictor.export(tmp_path / "torch", "torch_export")  # outputs are compared
    predictor.export(tmp_path / "onnx")
    rows = frame.drop(columns="y").head(5)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    found = answers(tmp_path / "onnx", tmp_path / "rows.csv")
    assert np.allclose([one["prediction"] for one in found], predictor.predict(rows), rtol=1e-4)
    if "," not in loss:
        assert "quantiles" not in found[0]
        return
    wanted = predictor.predict_interval(rows, coverage=0.5)
    for level in ("0.1", "0.5", "0.9"):
        assert np.allclose([one["quantiles"][level] for one in found], wanted[f"quantile_{level}"], rtol=1e-4)


def test_eight_bits_are_smaller_and_scored(reader_of_text: Any, text_export: Path, tmp_path: Path) -> None:
    predictor, frame = reader_of_text
    made = predictor.export(tmp_path / "out", quantize="int8", data=frame)
    assert made.files["model.onnx"] < (text_export / "model.onnx").stat().st_size
    assert list(made.scores.columns) == ["before", "after", "change"]
    assert made.scores.loc["log_loss", "change"] != 0
    assert "log_loss" in repr(made)
    assert "On other data, before and after this export" in (tmp_path / "out" / "README.md").read_text()


def test_stacks_of_matrices_keep_their_bits(table_fit: Any, tmp_path: Path) -> None:
    made = table_fit[0].export(tmp_path / "out", quantize="int8", data=table_fit[1])
    assert made.scores.loc["accuracy", "change"] == pytest.approx(0, abs=0.1)


def test_a_detector(tmp_path: Path) -> None:
    from PIL import Image

    from support.tiny_detectors import detector_of

    rng = np.random.default_rng(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = detector_of("yolos", 2)
        for parameter in model.class_labels_classifier.parameters():
            torch.nn.init.normal_(parameter)
    model.config.id2label = {0: "a", 1: "b"}
    model.save_pretrained(tmp_path / "yolos")
    names = []
    for row, size in enumerate([(64, 64, 3), (50, 80, 3)] * 3):
        names.append(str(tmp_path / f"{row}.png"))
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(names[-1])
    frame = pd.DataFrame({"image": names, "y": [[[5.0, 5.0, 40.0, 40.0, "ab"[row % 2]]] for row in range(6)]})
    options = {"model.detector.checkpoint": str(tmp_path / "yolos"), "model.detector.size": 64, "optim.max_epochs": 1}
    options |= {
        "env.batch_size": 1,
        "env.device": "cpu",
        "model.detector.score_threshold": 0.0,
        "env.eval_batch_size": 1,
    }
    predictor = Predictor("y", "object_detection", verbosity=0).fit(frame, hyperparameters=options)
    predictor.export(tmp_path / "out")
    frame[["image"]].to_csv(tmp_path / "rows.csv", index=False)
    for found, wanted in zip(answers(tmp_path / "out", tmp_path / "rows.csv"), predictor.predict(frame), strict=True):
        key = [(round(one["score"], 5), one["label"]) for one in wanted]
        assert sorted((round(one["score"], 5), one["label"]) for one in found["prediction"]) == sorted(key)
        boxes = [np.array(sorted(one["box"] for one in boxes)) for boxes in (found["prediction"], wanted)]
        np.testing.assert_allclose(*boxes, atol=1e-2)
    made = predictor.export(tmp_path / "hub", "transformers")
    assert "AutoModelForObjectDetection" in made.use
    assert (tmp_path / "hub" / "preprocessor_config.json").is_file()


# -- backbones -------------------------------------------------------------------------------------


def test_transformers_loads_the_tuned_backbone(reader_of_text: Any, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    predictor, frame = reader_of_text
    predictor.export(tmp_path / "out", "transformers")
    tokenizer, model = (kind.from_pretrained(str(tmp_path / "out")) for kind in (AutoTokenizer, AutoModel))
    given = tokenizer(frame["review"].tolist()[:3], padding=True, return_tensors="pt")
    mask = given["attention_mask"].unsqueeze(-1)
    with torch.no_grad():
        states = model.eval()(**given)[0]
    mean = (states * mask).sum(1) / mask.sum(1)
    np.testing.assert_allclose(mean.numpy(), predictor.embed(frame.head(3)), atol=1e-6)
    assert not any("lora" in name for name, _ in model.named_parameters())
    assert any("lora" in name for name, _ in predictor._fitted().model.named_parameters())  # as it was


def test_timm_loads_the_tuned_backbone(mixed: Any, tmp_path: Path) -> None:
    import timm

    predictor, _ = mixed
    made = predictor.export(tmp_path / "out", "timm")
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    own = predictor._fitted().model.towers["image"].backbone
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(pixels), own(pixels), atol=1e-6, rtol=1e-6)
    assert timm.data.resolve_model_data_config(model)["input_size"] == (3, 32, 32)
    assert "timm.create_model" in repr(made)


def test_an_encoder_of_two_parts_and_a_vision_model(t5_folder: Path, vision_folder: Path, tmp_path: Path) -> None:
    from support.tiny import TINY, make_texts, write_images

    frame = make_texts(24).assign(img=[str(tmp_path / name) for name in write_images(tmp_path)["img"]])
    options = {**TINY, "optim.max_epochs": 1, "model.text.checkpoint": str(t5_folder)}
    options |= {"model.image.checkpoint": str(vision_folder), "optim.head_init": "random"}
    predictor = Predictor("y", verbosity=0).fit(frame, hyperparameters=options)
    message = told(ConfigError, ValueError, lambda: predictor.export(tmp_path / "out", "transformers"))
    assert message == "Several towers have a backbone of transformers. Name one by tower=: 'text', 'image'."
    assert "AutoModelForTextEncoding" in predictor.export(tmp_path / "t5", "transformers", tower="text").use
    assert "AutoModel." in predictor.export(tmp_path / "vit", "transformers", tower="image").use
    from transformers import AutoImageProcessor

    assert AutoImageProcessor.from_pretrained(str(tmp_path / "vit")).size["height"] == 32


# -- folders ---------------------------------------------------------------------------------------


def test_a_folder_is_replaced_as_a_saved_one_is(table_fit: Any, reader_of_text: Any, tmp_path: Path) -> None:
    predictor, _ = table_fit
    out = tmp_path / "out"
    reader_of_text[0].export(out, "transformers")
    (out / "mine.txt").write_text("stays")
    message = told(OutputExistsError, FileExistsError, lambda: predictor.export(out, "torch_export"))
    assert "overwrite=True" in message
    predictor.export(out, "torch_export", overwrite=True)
    assert (out / "mine.txt").read_text() == "stays"
    assert not (out / "config.json").exists()
    message = told(ArtifactError, OSError, lambda: Predictor.load(out))
    assert "is an export (torch_export), not a saved predictor" in message


def test_a_saved_predictor_and_other_files_are_never_replaced(reader_of_text: Any, tmp_path: Path) -> None:
    predictor, _ = reader_of_text
    predictor.save(tmp_path / "saved")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").touch()
    for name, said in {"saved": "holds a saved predictor", "files": "already holds other files"}.items():
        call = lambda name=name: predictor.export(tmp_path / name, "transformers", overwrite=True)  # noqa: E731
        assert said in told(OutputExistsError, FileExistsError, call)
    assert Predictor.load(tmp_path / "saved", verbosity=0).problem_type == "binary"


def test_what_cannot_be_exported_is_told_and_leaves_nothing(
    table_fit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor, _ = table_fit
    tower = type(predictor._fitted().model.towers["table"])
    whole = tower.forward

    def with_inverse(self: Any, inputs: Any, **grain: Any) -> torch.Tensor:
        found = whole(self, inputs, **grain)
        return found + torch.linalg.eigvalsh(found[:, :2, None] * found[:, None, :2])[:, :1]

    monkeypatch.setattr(tower, "forward", with_inverse)
    message = told(ExportError, RuntimeError, lambda: predictor.export(tmp_path / "out"))
    assert "cannot be written as ONNX (operator aten._linalg_eigh" in message
    assert "format='torch_export'" in message
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_differ_are_told(table_fit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, _ = table_fit
    tower = type(predictor._fitted().model.towers["table"])
    whole = tower.forward

    def other_when_traced(self: Any, inputs: Any, **grain: Any) -> torch.Tensor:
        return whole(self, inputs, **grain) + 0.1 * torch.compiler.is_exporting()

    monkeypatch.setattr(tower, "forward", other_when_traced)
    message = told(ExportError, RuntimeError, lambda: predictor.export(tmp_path / "out", "torch_export"))
    assert "gives other outputs than the model: outputs differs by" in message
    assert list(tmp_path.iterdir()) == []


# -- arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"format": "onxx"},
            "format is one of 'onnx', 'torch_export', 'transformers', 'timm', not 'onxx'. Did you mean 'onnx'?",
        ),
        ({"quantize": "int4"}, "quantize is None or 'int8', not 'int4'"),
        ({"quantize": "int8", "format": "torch_export"}, "is for format='onnx'"),
        ({"tower": "table"}, "tower is for"),
        (
            {"format": "timm"},
            "format='timm' takes a backbone of timm. This predictor's towers have: table: no backbone.",
        ),
        ({"format": "timm", "tower": "text"}, "There is no tower 'text'. This predictor has 'table'."),
        ({"format": "timm", "data": "rows.csv"}, "holds a backbone"),
    ],
)
def test_arguments_that_do_not_fit(table_fit: Any, tmp_path: Path, arguments: dict[str, Any], said: str) -> None:
    assert said in told(ConfigError, ValueError, lambda: table_fit[0].export(tmp_path / "out", **arguments))
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra(table_fit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_format, "NEEDED", ("onnx_that_is_not_there",))
    message = told(MissingDependencyError, ImportError, lambda: table_fit[0].export(tmp_path / "out"))
    assert "pip install 'thermocline[onnx]'" in message
    told(NotFittedError, RuntimeError, lambda: Predictor("y").export(tmp_path / "out"))


def test_the_program_tells_faults_in_a_line(table_export: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    for name, text, said in [
        ("a.csv", "x,z\n1,2\n", "has no column 'colour'"),
        ("b.csv", "x,z,colour,z2\nlots,2,red,no\n", "Column 'x': 'lots' is no finite number."),
        ("c.parquet", "", "is none of .csv"),
    ]:
        (tmp_path / name).write_text(text)
        command = [sys.executable, str(table_export / "run.py"), str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_the_command_line(table_fit: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictor, frame = table_fit
    predictor.save(tmp_path / "saved")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    command = ["export", str(tmp_path / "saved"), str(tmp_path / "out"), "--format", "torch_export"]
    assert main([*command, "--data", str(tmp_path / "rows.csv")]) == 0
    said = capsys.readouterr().out
    assert "model.pt2" in said
    assert "accuracy" in said


def test_a_model_card(mixed: Any, tmp_path: Path) -> None:
    predictor, _ = mixed
    card = predictor.model_card()
    for heading in ("Use", "Data", "Pretrained weights", "Training", "Scores", "Versions"):
        assert f"\n## {heading}\n" in card
    assert "| review | text | 0 |" in card
    assert "not stated where they were read" in card
    assert str(predictor.plan) in card
    assert f"| rmse | {predictor.history.kept_scores['rmse']:.4g} |" in card


def test_a_licence_is_what_the_weights_state(tmp_path: Path) -> None:
    from thermocline.backbones.licences import licence_of

    assert licence_of(str(tmp_path)) is None
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-4.0\ntags: [a]\n---\n# A model\n")
    assert licence_of(str(tmp_path)) == "cc-by-nc-4.0"
    (tmp_path / "README.md").write_text("# A model under the MIT licence\n")
    assert licence_of(str(tmp_path)) is None
    assert licence_of("offline:minilm-l6") == "apache-2.0"
    assert licence_of("mobilenetv4_conv_medium.e500_r256_in1k") == "apache-2.0"


# -- what is traced is what runs -------------------------------------------------------------------


def test_the_linear_model_of_terms_is_traced_as_it_runs() -> None:
    numbers = torch.Generator().manual_seed(0)
    for terms in (0, 1, 2, 37):
        model = TfidfModel(TfidfShape(terms, 0, (), 3))
        model.keys.copy_(torch.randperm(60, generator=numbers)[:terms].sort().values)
        model.square.random_(1, 2**30, generator=numbers)
        model.value.random_(-(2**40), 2**40, generator=numbers)
        ids = torch.randint(0, 60, (9, 12), generator=numbers)
        columns = torch.randint(-1, 2, (9, 12), generator=numbers)
        assert torch.equal(model._of_terms(ids, columns), model._of_terms_traced(ids, columns))


def test_bits_of_categories_are_those_of_shifts() -> None:
    bits = TreeEnsemble(EnsembleShape(1, 1, 1, 1)).bits
    word = torch.randint(-(2**31), 2**31, (64, 1), generator=torch.Generator().manual_seed(0)).int()
    assert torch.equal(word & bits != 0, word >> torch.arange(32) & 1 == 1)


def test_a_notebook_shows_files_and_scores():
    scores = pd.DataFrame({"before": [0.9], "after": [0.8999]}, index=["accuracy"])
    shown = Exported(Path("out"), "onnx", {"model.onnx": 5_000_000}, "run.py <file>", scores)._repr_html_()
    assert "run.py &lt;file&gt;" in shown
    assert all(part in shown for part in (">model.onnx<", ">5.0 MB<", ">accuracy<", ">0.8999<"))
