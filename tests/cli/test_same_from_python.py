"""What the command line trains, objects in Python train too: bit for bit."""

import numpy as np

from xpnet import Network, datasets, models
from xpnet.cli import train
from xpnet.datasets.augment import HorizontalFlip, RandomCrop
from xpnet.losses import SoftmaxCrossEntropy
from xpnet.optimizers import AdamW
from xpnet.runtime import Runtime
from xpnet.schedules import Cosine, Warmup
from xpnet.training import EarlyStopping, Mixup


def test_the_same_training_from_flags_and_from_objects(tmp_path):
    flags = (
        "--model mnist_starter --iterations 8 --batch-size 20 --validation 50 --optimizer adamw --lr 0.01 "
        "--weight-decay 0.1 --schedule cosine --warmup 3 --label-smoothing 0.1 --crop-padding 2 --flip --clip-norm 1 "
        "--mixup 0.3 --early-stopping 5 --report-every 3 --seed 7 --threads 1 --kernels pure --no-plots --quiet"
    )
    assert train.main([*flags.split(), "--out", str(tmp_path / "run")]) == 0

    network = models.create("mnist_starter", seed=7)
    network.fit(
        datasets.load("mnist"),
        iterations=8,
        batch_size=20,
        optimizer=AdamW(0.01, weight_decay=0.1),
        schedule=Warmup(3, Cosine()),
        loss=SoftmaxCrossEntropy(0.1),
        validation=50,
        augmentation=[RandomCrop(2), HorizontalFlip()],
        mixing=Mixup(0.3),
        normalize=1 / 255,
        early_stopping=EarlyStopping(5),
        clip_norm=1.0,
        report_every=3,
        seed=7,
        progress=False,
        runtime=Runtime(threads=1, kernels="pure"),
    )
    trained = Network.load(tmp_path / "run" / "weights.safetensors")
    np.testing.assert_array_equal(network.theta, trained.theta)
    np.testing.assert_array_equal(network.state["normalize1"]["mean"], trained.state["normalize1"]["mean"])
