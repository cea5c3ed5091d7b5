"""The exercises of the course, one a file: the right formulas and a catalogue of wrong ones."""

from __future__ import annotations

from xpnet.grading.catalogue.adaptive import ADAGRAD, ADAM, RMSPROP
from xpnet.grading.catalogue.batch_norm import BATCH_NORM
from xpnet.grading.catalogue.batches import BATCHES
from xpnet.grading.catalogue.confusion import CONFUSION_MATRIX, PRECISION_AND_RECALL
from xpnet.grading.catalogue.convolution import CONVOLUTION
from xpnet.grading.catalogue.dense import DENSE
from xpnet.grading.catalogue.features import COSINE, TOP_K
from xpnet.grading.catalogue.max_pool import MAX_POOL
from xpnet.grading.catalogue.preparation import DROPOUT, FLIP, STANDARDIZE
from xpnet.grading.catalogue.relu import RELU
from xpnet.grading.catalogue.sizes import OUTPUT_SIZE, RECEPTIVE_FIELD
from xpnet.grading.catalogue.softmax import SOFTMAX
from xpnet.grading.catalogue.steps import MOMENTUM, NESTEROV, SGD
from xpnet.grading.catalogue.weights import HE_WEIGHTS
from xpnet.grading.exercises import Lesson

LESSONS: dict[str, Lesson] = {
    "lesson1": Lesson("Layers and backpropagation", (DENSE, RELU, SOFTMAX, CONVOLUTION, MAX_POOL)),
    "lesson2": Lesson("Training and momentum", (SGD, BATCHES, MOMENTUM, NESTEROV)),
    "lesson3": Lesson("Digits", (OUTPUT_SIZE, CONFUSION_MATRIX, PRECISION_AND_RECALL)),
    "lesson4": Lesson("Tiny images", (STANDARDIZE, FLIP, DROPOUT)),
    "lesson5": Lesson(
        "Optimizers, initial weights and batch normalisation", (ADAGRAD, RMSPROP, ADAM, HE_WEIGHTS, BATCH_NORM)
    ),
    "lesson6": Lesson("Features of a deep network", (RECEPTIVE_FIELD, TOP_K, COSINE)),
}
"""The lessons of the course by name."""
