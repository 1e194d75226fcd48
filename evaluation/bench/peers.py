"""Other libraries at the task of the training benchmark, each by its own loop and data path.

Imported in a process of its own, since these packages do things at import. Each is measured twice:
as it comes, with its own defaults for all that the task leaves open (gates, regularisation), and
stripped to the function that our network computes: linear gates, nothing regularised.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evaluation.bench.mixture import LEARNING_RATE, Columns, Sizes


@dataclass(frozen=True)
class Contest:
    """A built model, of which nothing is trained yet."""

    epoch: Callable[[int], object]
    """Trains once over the first n rows."""
    prepare: Callable[[int], object]
    """Writes what the library wants to read on disk for n rows; not timed."""


@dataclass(frozen=True)
class Peer:
    """Another library."""

    name: str
    package: str
    """Distribution, as pip knows it."""
    module: str
    build: Callable[[Sizes, Columns, int, bool], Contest]
    """(sizes, columns, rows of a batch, stripped) -> the model and its loop."""


def torch_rechub(sizes: Sizes, columns: Columns, batch_rows: int, stripped: bool) -> Contest:
    """Return an epoch of torch-rechub's MMOE under its MTLTrainer.

    As it comes, Adam decays weights by 1e-5. Gates are linear, and all layers are batch-normalised,
    which has no switch.
    """
    from torch_rechub.basic.features import SparseFeature
    from torch_rechub.models.multi_task import MMOE
    from torch_rechub.trainers import MTLTrainer
    from torch_rechub.utils.data import DataGenerator

    names = _names(sizes)
    features = [SparseFeature(name, vocab_size=sizes.ids, embed_dim=sizes.dim) for name in names]
    kinds = ["classification"] * sizes.targets
    towers = [{"dims": [sizes.tower]} for _ in kinds]
    model = MMOE(features, kinds, sizes.experts, {"dims": list(sizes.expert)}, towers)
    adam = {"lr": LEARNING_RATE, "weight_decay": 0.0 if stripped else 1e-5}
    trainer = MTLTrainer(model, kinds, optimizer_params=adam, n_epoch=1)

    def epoch(n_rows: int) -> None:
        part = columns.take(n_rows)
        x = {name: part.ids[:, i] for i, name in enumerate(names)}
        loader, _, _ = DataGenerator(x, part.labels).generate_dataloader(
            x_val=x, y_val=part.labels, x_test=x, y_test=part.labels, batch_size=batch_rows
        )
        trainer.train_one_epoch(loader)

    return Contest(epoch, _nothing)


def deepctr_torch(sizes: Sizes, columns: Columns, batch_rows: int, stripped: bool) -> Contest:
    """Return a `fit` of DeepCTR-Torch's MMOE under Adam.

    As it comes, gates have a hidden layer of 64, and the L2 of the tables counts 1e-5.
    """
    import requests

    def refuse(*args: object) -> None:
        raise OSError("a benchmark asks no server whether there is a newer version")

    requests.get = refuse  # type: ignore[assignment]
    from deepctr_torch.inputs import SparseFeat
    from deepctr_torch.models import MMOE

    names = _names(sizes)
    features = [SparseFeat(name, sizes.ids, embedding_dim=sizes.dim) for name in names]
    model = MMOE(
        features,
        num_experts=sizes.experts,
        expert_dnn_hidden_units=sizes.expert,
        gate_dnn_hidden_units=() if stripped else (64,),
        tower_dnn_hidden_units=(sizes.tower,),
        l2_reg_embedding=0 if stripped else 1e-5,
        task_types=["binary"] * sizes.targets,
        task_names=[f"t{k}" for k in range(sizes.targets)],
    )
    model.compile(torch.optim.Adam(model.parameters(), LEARNING_RATE), "binary_crossentropy")

    def epoch(n_rows: int) -> None:
        part = columns.take(n_rows)
        x = {name: part.ids[:, i] for i, name in enumerate(names)}
        model.fit(x, part.labels, batch_size=batch_rows, epochs=1, verbose=0)

    return Contest(epoch, _nothing)


def fuxictr(sizes: Sizes, columns: Columns, batch_rows: int, stripped: bool) -> Contest:
    """Return a `train_epoch` of an MMoE on FuxiCTR's multi-task base, from its npz loader.

    The package has the base, the blocks and the loader; its MMoE is part of the repository only,
    so the mixture is put together here from its blocks. As it comes means the values of that
    repository's configs: gates with hidden layers of 128 and 64, and 1e-6 on the L2 of the tables.
    """
    from fuxictr.features import FeatureMap
    from fuxictr.pytorch.dataloaders import RankDataLoader
    from fuxictr.pytorch.layers import FeatureEmbedding, MLP_Block
    from fuxictr.pytorch.models import MultiTaskModel

    class MMoE(MultiTaskModel):  # type: ignore[misc]
        def __init__(self, feature_map: Any, folder: str) -> None:
            super().__init__(
                feature_map,
                task=["binary_classification"] * sizes.targets,
                num_tasks=sizes.targets,
                embedding_regularizer=None if stripped else 1e-6,
                verbose=0,
                model_root=folder,
                metrics=["AUC"],
            )
            width = sizes.fields * sizes.dim
            self.table = FeatureEmbedding(feature_map, sizes.dim)
            self.experts = nn.ModuleList(
                MLP_Block(width, list(sizes.expert)) for _ in range(sizes.experts)
            )
            self.gates = nn.ModuleList(
                nn.Linear(width, sizes.experts)
                if stripped
                else MLP_Block(width, [128, 64], output_dim=sizes.experts)
                for _ in labels
            )
            self.towers = nn.ModuleList(
                MLP_Block(sizes.expert[-1], [sizes.tower], output_dim=1) for _ in labels
            )
            self.compile("adam", "binary_crossentropy", LEARNING_RATE)
            self.reset_parameters()
            self.model_to_device()

        def forward(self, inputs: Any) -> dict[str, Tensor]:
            x = self.table(self.get_inputs(inputs), flatten_emb=True)
            h = torch.stack([expert(x) for expert in self.experts], dim=1)
            found = {}
            for k, (gate, tower) in enumerate(zip(self.gates, self.towers, strict=True)):
                mixed = (gate(x).softmax(1).unsqueeze(-1) * h).sum(1)
                found[f"{labels[k]}_pred"] = self.output_activation[k](tower(mixed))
            return found

    labels = [f"t{k}" for k in range(sizes.targets)]
    names = _names(sizes)
    scratch = tempfile.TemporaryDirectory(prefix="swipelab-fuxictr-")
    folder = scratch.name
    spec = {"source": "", "type": "categorical", "vocab_size": sizes.ids, "padding_idx": None}
    record = {
        "dataset_id": "bench",
        "labels": labels,
        "num_fields": sizes.fields,
        "total_features": sizes.fields * sizes.ids,
        "input_length": sizes.fields,
        "features": [{name: spec} for name in names],
    }
    described = Path(folder) / "feature_map.json"
    described.write_text(json.dumps(record))
    feature_map = FeatureMap("bench", folder)
    feature_map.load(str(described), {"embedding_dim": sizes.dim})
    model = MMoE(feature_map, folder)
    model._max_gradient_norm, model._total_steps, model._stop_training = 10.0, 0, False
    model._eval_steps = 10**9

    def epoch(n_rows: int) -> None:
        file = Path(folder) / f"{n_rows}.npz"
        loader = RankDataLoader(
            feature_map,
            stage="train",
            train_data=str(file),
            batch_size=batch_rows,
            data_format="npz",
            num_workers=0,
        )[0]
        model.train_epoch(loader)
        assert scratch  # lives as long as the epoch does

    def prepare(n_rows: int) -> None:
        file = Path(folder) / f"{n_rows}.npz"
        part = columns.take(n_rows)
        arrays = dict(zip(names, part.ids.T, strict=True))
        arrays |= dict(zip(labels, part.labels.T, strict=True))
        np.savez(file, **arrays)

    return Contest(epoch, prepare)


def _nothing(n_rows: int) -> None:
    """Write nothing: the library reads arrays."""


def _names(sizes: Sizes) -> list[str]:
    return [f"f{i}" for i in range(sizes.fields)]


PEERS = (
    Peer("torch-rechub", "torch-rechub", "torch_rechub", torch_rechub),
    Peer("DeepCTR-Torch", "deepctr-torch", "deepctr_torch", deepctr_torch),
    Peer("FuxiCTR", "fuxictr", "fuxictr", fuxictr),
)
"""Libraries with a multi-task family that install from PyPI."""
