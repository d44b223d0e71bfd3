"""MLflow and Weights & Biases, for real: a local store, and W&B's offline mode."""

import os
import socket

import pytest

from support.stopping import killed_before
from support.tiny import TINY, make_table
from thermocline import MLflow, Predictor, RunInfo, WandB

mlflow = pytest.importorskip("mlflow")


@pytest.fixture(autouse=True)
def at_home(tmp_path, monkeypatch):
    """Everything that is written must be in the folder of the test; nothing may leave the machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", only_here(socket.getaddrinfo))


def only_here(original):
    def resolve(host, *rest, **more):
        if host not in (None, "localhost", "127.0.0.1", "::1", b"localhost"):
            raise AssertionError(f"{host} was to be reached")
        return original(host, *rest, **more)

    return resolve


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The address of a file store; MLflow wants to be told that it is meant."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "store").as_uri()


def fit(path, loggers, *, resume=False, **options):
    settled = {**TINY, "env.checkpoint_every": 1, **options}
    predictor = Predictor("y", eval_metric="accuracy", path=path, verbosity=0)
    return predictor.fit(make_table(60), hyperparameters=settled, resume=resume, loggers=loggers)


def values_of(store, run_id, name):
    client = mlflow.MlflowClient(store)
    return [(one.step, one.value) for one in client.get_metric_history(run_id, name)]


def info_of(store, run_id):
    return mlflow.MlflowClient(store).get_run(run_id)


# MLflow


def test_mlflow_has_options_rates_and_scores(tmp_path, store):
    logger = MLflow("titles", run_name="first", tracking_uri=store)
    predictor = fit(tmp_path / "m", logger)
    run = info_of(store, logger.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "first")
    assert mlflow.MlflowClient(store).get_experiment(run.info.experiment_id).name == "titles"
    assert run.data.params["optim.max_epochs"] == "2"
    history = predictor.history.dropna(subset=["val_accuracy"])
    scored = history[~history["note"].str.startswith("kept")]
    assert values_of(store, logger.run_id, "val_accuracy") == list(
        zip(scored["step"], scored["val_accuracy"], strict=True)
    )
    for label in predictor.plan.labels:
        assert len(values_of(store, logger.run_id, f"lr/{label}")) == len(predictor.history.lrs)


def test_mlflow_goes_on_in_the_run_of_the_checkpoint(tmp_path, store):
    first = MLflow(tracking_uri=store)
    with killed_before(4):
        fit(tmp_path / "m", first)
    assert info_of(store, first.run_id).info.status == "FAILED"
    last = MLflow(tracking_uri=store)
    fit(tmp_path / "m", last, resume=True, **{"optim.patience": 17})  # another value of a parameter
    assert last.run_id == first.run_id
    run = info_of(store, last.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "m")
    assert [step for step, _ in values_of(store, last.run_id, "loss")] == [1, 2, 3, 4, 5, 6]
    assert len(mlflow.MlflowClient(store).search_runs([run.info.experiment_id])) == 1


def test_mlflow_uses_the_active_run_and_leaves_it_open(tmp_path, store):
    mlflow.set_tracking_uri(store)
    try:
        with mlflow.start_run() as active:
            logger = MLflow()
            fit(None, [logger], **{"env.checkpoint_every": None})
            assert logger.run_id == active.info.run_id
            assert info_of(store, logger.run_id).info.status == "RUNNING"
            begun = MLflow()
            begun.begin(RunInfo(trial="trial-1"))
            begun.close()
            child = info_of(store, begun.run_id)
        assert child.data.tags["mlflow.parentRunId"] == active.info.run_id
        assert child.info.status == "FINISHED"
    finally:
        mlflow.set_tracking_uri(None)


def test_mlflow_takes_names_and_values_of_any_kind(store):
    logger = MLflow(tracking_uri=store)
    logger.begin(RunInfo({"odd[name]": "x" * 10_000, **{f"option.{i}": i for i in range(150)}}))
    logger.log(1, {"lr/a[b]@c": 0.5, **{f"lr/{i}": 1.0 for i in range(1200)}})
    logger.close()
    run = info_of(store, logger.run_id)
    assert len(run.data.params) == 151
    assert len(run.data.metrics) == 1201
    assert run.data.metrics["lr/a_b__c"] == 0.5


def test_mlflow_by_name_writes_a_file_beside_the_predictor(tmp_path):
    pytest.importorskip("sqlalchemy")
    fit(tmp_path / "m", (), **{"env.loggers": "mlflow", "optim.max_epochs": 1})
    address = f"sqlite:///{tmp_path / 'm-logs' / 'mlflow.db'}"
    (run,) = mlflow.MlflowClient(address).search_runs(["0"])
    assert run.info.run_name == "m"
    assert {one.name for one in tmp_path.iterdir()} == {"m", "m-logs"}  # nothing in the home folder either
    assert "MLFLOW_DISABLE_TELEMETRY" not in os.environ


# Weights & Biases


def log_entries(data, block=32768):
    """The entries of a log in LevelDB's format, behind a header of 7 bytes: each is one or several parts."""
    entry, place = b"", 7
    while place + 7 <= len(data):
        if block - place % block < 7:  # the rest of a block is empty
            place += block - place % block
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        entry += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield entry
            entry = b""


def records_of(file):
    """What an offline run holds: numbers by step, configuration, name and project."""
    from wandb.proto import wandb_internal_pb2

    history, config, run = [], {}, None
    for data in log_entries(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "history":
            history.append({one.key or "/".join(one.nested_key): one.value_json for one in record.history.item})
        if kind == "run":
            run = record.run
        if kind in ("run", "config"):
            updated = record.run.config if kind == "run" else record.config
            config |= {one.key or one.nested_key[0]: one.value_json for one in updated.update}
    return history, config, run


def test_wandb_offline_has_options_rates_and_scores_and_goes_on(tmp_path):
    pytest.importorskip("wandb")
    first = WandB("titles", mode="offline", tags=["tiny"])
    with killed_before(4):
        fit(tmp_path / "m", first)
    last = WandB("titles", mode="offline")
    predictor = fit(tmp_path / "m", [last], resume=True, **{"optim.patience": 17})
    assert last.run_id == first.run_id
    one, two = sorted((tmp_path / "m-logs" / "wandb").glob("offline-run-*/*.wandb"), key=os.path.getmtime)
    history, config, run = records_of(one)
    assert (run.project, run.display_name, list(run.tags)) == ("titles", "m", ["tiny"])
    assert config["optim.max_epochs"] == "2"
    steps = [int(line["_step"]) for line in history if "loss" in line]
    assert steps == [1, 2, 3]
    assert {f"lr/{label}" for label in predictor.plan.labels} <= set(history[1])
    history, config, run = records_of(two)
    assert config["optim.patience"] == "17"
    assert [int(line["_step"]) for line in history if "loss" in line] == [4, 5, 6]
    assert float(history[-1]["val_accuracy"]) == predictor.history["val_accuracy"].dropna().iloc[-2]
    assert {one.name for one in tmp_path.iterdir()} == {"m", "m-logs", "cache"}
