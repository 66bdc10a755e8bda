"""Watches in the trainers of Lightning and Hugging Face, which train as they would without."""

import copy
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from valleywalk import watch
from valleywalk.evaluation import Evaluator

cross_entropy = nn.functional.cross_entropy
# Before Lightning, which imports torchvision through torchmetrics.
lightning_callbacks = pytest.importorskip("valleywalk.lightning")
lightning = pytest.importorskip("lightning.pytorch")
transformers = pytest.importorskip("transformers")
huggingface_callbacks = pytest.importorskip("valleywalk.huggingface")


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# Lightning ----------------------------------------------------------------------------------------


class Module(lightning.LightningModule):
    def __init__(self, network, fails=False):
        super().__init__()
        self.network, self.fails = network, fails

    def forward(self, inputs):
        return self.network(inputs)

    def training_step(self, batch, index):
        if self.fails and index == 2:
            raise ArithmeticError("the loop's own")
        return cross_entropy(self(batch[0]), batch[1])

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


class TwoOptimizers(Module):
    """Steps by hand, as generative models do."""

    automatic_optimization = False

    def training_step(self, batch, index):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(cross_entropy(self(batch[0]), batch[1]))
        for optimizer in self.optimizers():
            optimizer.step()

    def configure_optimizers(self):
        first = torch.optim.SGD(self.network[0].parameters(), lr=0.1)
        rest = [p for part in self.network[1:] for p in part.parameters()]
        return [first, torch.optim.Adam(rest)]


def fit(module, images, folder, callbacks, logger=False, **options):
    torch.manual_seed(3)
    loader = DataLoader(TensorDataset(*images), batch_size=8, shuffle=True)
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=callbacks,
        **options,
    )
    trainer.fit(module, loader)
    return torch.get_rng_state()


@pytest.mark.parametrize(
    ("kind", "options", "steps"),
    [
        (Module, {}, 10),
        (Module, {"gradient_clip_val": 0.1, "accumulate_grad_batches": 2}, 6),
        (TwoOptimizers, {}, 10),
        (Module, {"precision": "bf16-mixed"}, 10),
    ],
    ids=["plain", "clipped and accumulated", "by hand", "bfloat16"],
)
def test_lightning(network, images, tmp_path, kind, options, steps):
    network.insert(3, nn.Dropout(0.5))
    twin = copy.deepcopy(network)
    callback = lightning_callbacks.WatchCallback(cross_entropy, images, batch_size=16, points=4)
    with pytest.raises(ValueError, match="nothing was trained yet"):
        _ = callback.trace
    random = fit(kind(network), images, tmp_path, [callback], **options)
    assert torch.equal(random, fit(kind(twin), images, tmp_path, [], **options))
    expected = twin.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items())
    trace = callback.trace
    assert trace["loss"].shape == (steps, 5)
    assert np.isfinite(trace["loss"]).all()
    assert (trace["loss"].values[1:, 0] == trace["loss"].values[:-1, -1]).all()
    assert np.isfinite(trace["cosine"].values[1:]).all()
    evaluate = Evaluator(network, cross_entropy, callback.watcher.evaluate.batches)
    assert trace["loss"].values[-1, -1] == pytest.approx(evaluate(), rel=1e-6)
    if kind is Module:
        assert trace["learning_rate"].values[[0, -1]].tolist() == [0.1, 0.05]


def test_lightning_that_fails_in_mid_training(network, images, tmp_path):
    callback = lightning_callbacks.WatchCallback(cross_entropy, images)
    with pytest.raises(ArithmeticError, match="the loop's own"):
        fit(Module(network, fails=True), images, tmp_path, [callback])
    assert len(callback.trace["iteration"]) == 2
    optimizer = callback.watcher.optimizers[0]
    assert not optimizer._optimizer_step_pre_hooks, "the watch has ended"


@pytest.mark.parametrize(
    "options", [{}, {"accumulate_grad_batches": 2}], ids=["plain", "accumulated"]
)
def test_lightning_logs_each_step_where_it_logs_itself(network, images, tmp_path, options):
    """Beside the module's own numbers, to each logger; a sink of one's own is told as well."""

    class Logging(Module):
        def training_step(self, batch, index):
            loss = super().training_step(batch, index)
            self.log("mine", loss)
            return loss

    loggers = [lightning.loggers.CSVLogger(tmp_path, name) for name in ("first", "second")]
    told = []
    callback = lightning_callbacks.WatchCallback(
        cross_entropy, images, log=True, steps=2, sinks=[lambda *given: told.append(given)]
    )
    fit(Logging(network), images, tmp_path, [callback], loggers, log_every_n_steps=1, **options)
    for logger in loggers:
        table = pd.read_csv(Path(logger.log_dir) / "metrics.csv").groupby("step").first()
        ours = table.filter(like="valleywalk/").rename(columns=lambda n: n.split("/")[1])
        for step, numbers in told:
            assert ours.loc[step].dropna().to_dict() == pytest.approx(numbers)
        assert len(told) == len(callback.trace["iteration"])
        assert table["mine"].notna().all()


# Hugging Face -------------------------------------------------------------------------------------


def language_model():
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=17, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    )


def rows(count=16):
    tokens = torch.randint(0, 17, (count, 8), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": row, "labels": row} for row in tokens]


def train(model, folder, callbacks, **options):
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        num_train_epochs=2,
        learning_rate=1e-3,
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        **{"report_to": [], "logging_strategy": "no"} | options,
    )
    trainer = transformers.Trainer(model, arguments, train_dataset=rows())
    for callback in callbacks(trainer) if callable(callbacks) else callbacks:
        trainer.add_callback(callback)
    trainer.train()
    return torch.get_rng_state()


@pytest.mark.parametrize(
    ("options", "steps"),
    [({}, 8), ({"gradient_accumulation_steps": 2, "max_grad_norm": 0.1}, 4)],
    ids=["plain", "clipped and accumulated"],
)
def test_hugging_face(tmp_path, options, steps):
    """The model has dropout, and computes its loss itself."""
    model, twin = language_model(), language_model()
    batches = [transformers.default_data_collator(part) for part in (rows()[:8], rows()[8:])]
    callback = huggingface_callbacks.WatchCallback(batches, points=4)
    with pytest.raises(ValueError, match="nothing was trained yet"):
        _ = callback.trace
    random = train(model, tmp_path, [callback], **options)
    assert torch.equal(random, train(twin, tmp_path, [], **options))
    expected = twin.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    trace = callback.trace
    assert trace["loss"].shape == (steps, 5)
    assert (trace["loss"].values[1:, 0] == trace["loss"].values[:-1, -1]).all()
    model.eval()
    with torch.no_grad():
        loss = np.mean([model(**batch).loss.item() for batch in batches])
    assert trace["loss"].values[-1, -1] == pytest.approx(loss, rel=1e-5)
    assert np.isfinite(trace["cosine"].values[1:]).all()


def test_hugging_face_logs_when_it_logs(tmp_path, monkeypatch):
    """To what it reports to, and its history: the newest of each number since it logged last."""
    board = "tensorboard.backend.event_processing.event_accumulator"
    event_accumulator = pytest.importorskip(board)
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    made = []

    class Ends(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if len(made) == 2:
                made.append("once")
                raise ArithmeticError("the loop's own")

    def callbacks(trainer):
        batches = [transformers.default_data_collator(rows())]
        callback = huggingface_callbacks.WatchCallback(
            batches, log=trainer.log, steps={0, 3, 6}, points=2
        )
        made.extend([trainer, callback])
        return [callback, Ends()]

    options = {"logging_strategy": "steps", "logging_steps": 2, "report_to": ["tensorboard"]}
    with pytest.raises(ArithmeticError, match="the loop's own"):
        train(language_model(), tmp_path, callbacks, **options)
    trainer, callback, _ = made
    callback.options["steps"] = {3, 6}
    trainer.train()
    history = [row for row in trainer.state.log_history if "valleywalk/cosine" in row]
    assert [row["step"] for row in history] == [2, 4, 6, 8]
    trace = callback.trace
    for row, newest, measured in zip(history, [1, 3, 5, 7], [None, 3, None, 6], strict=True):
        assert row["valleywalk/cosine"] == pytest.approx(trace["cosine"].values[newest])
        assert ("valleywalk/loss_end" in row) == (measured is not None)
        if measured is not None:
            assert row["valleywalk/loss_end"] == trace["loss"].values[measured, -1]
    read = event_accumulator.EventAccumulator(str(tmp_path / "board"))
    read.Reload()
    logged = read.Scalars("train/valleywalk/cosine")
    assert [event.step for event in logged] == [2, 4, 6, 8]
    assert [event.value for event in logged] == [
        pytest.approx(row["valleywalk/cosine"]) for row in history
    ]
    assert len(read.Scalars("train/loss")) == 4


def test_hugging_face_without_labels():
    model = language_model()
    batch = {"input_ids": rows()[0]["input_ids"][None]}
    evaluate = Evaluator(model, huggingface_callbacks.own_loss, [(batch, batch)])
    with pytest.raises(ValueError, match="no loss for a batch with input_ids; give batches with"):
        evaluate()


@pytest.mark.parametrize(
    ("name", "needed", "extra"),
    [
        ("valleywalk.lightning", ("lightning.pytorch", "pytorch_lightning"), "lightning"),
        ("valleywalk.huggingface", ("transformers",), "huggingface"),
    ],
)
def test_what_to_install_is_said(monkeypatch, name, needed, extra):
    monkeypatch.delitem(sys.modules, name)
    for package in needed:
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"pip install 'valleywalk\[{extra}\]'"):
        __import__(name)


# Dropout ------------------------------------------------------------------------------------------


def test_dropout_can_be_off_frozen_or_averaged():
    """Of a sum of inputs of one, the mean over masks goes to the value without dropout."""
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(400, 1, bias=False))
    nn.init.constant_(model[1].weight, 1 / 400)
    batches = [(torch.ones(1, 400), torch.zeros(1))]

    def loss(output, target):
        return output.mean()

    def at(masks):
        return Evaluator(model, loss, batches, dropout_masks=masks)

    off, frozen, averaged = at(0), at(1), at(400)
    assert off() == pytest.approx(1.0)
    assert frozen() == frozen() != 1.0
    # A mask's mean has a standard deviation of 1 / sqrt(400).
    assert abs(frozen() - 1) < 5 / 20
    assert abs(averaged() - 1) < 5 / 400
    assert averaged() == averaged()
    assert model.training
    assert model[0].training


def test_frozen_dropout_gives_smooth_segments(network, images):
    """The same masks at every point: neighbouring losses belong to one function."""
    network.insert(3, nn.Dropout(0.5))
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4)
    watcher = watch(network, optimizer, cross_entropy, images, dropout_masks=2)
    with watcher:
        for _ in range(3):
            optimizer.zero_grad()
            cross_entropy(network(images[0]), images[1]).backward()
            optimizer.step()
    loss = watcher.trace["loss"].values
    assert (loss[1:, 0] == loss[:-1, -1]).all()
    assert np.abs(np.diff(loss, n=2, axis=1)).max() < 0.01 * np.abs(np.diff(loss, axis=1)).max()
    with pytest.raises(ValueError, match="dropout_masks is -1"):
        watch(network, optimizer, cross_entropy, images, dropout_masks=-1)
