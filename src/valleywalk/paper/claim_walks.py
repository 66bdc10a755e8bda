"""Walks that no figure shows and some claims need."""

from ..walks.experiment import Experiment
from .scales import ModelPage
from .tables import table_walk
from .walks import window_experiment

SMALL_RATE = 0.01
# Learning rate and batch size, all of the same ratio.
EQUAL_RATIOS = ((0.05, 50), (0.1, 100), (0.2, 200))
# Epoch from whose start on the walks of equal ratio are compared: equal in images seen.
COMPARED_EPOCH = 10


class SmallRate(ModelPage):
    """SGD at a tenth of the paper's learning rate (Section 6)."""

    @property
    def experiments(self) -> list[Experiment]:
        return [table_walk(self, self.model, self.dataset, SMALL_RATE)]


class EqualRatio(ModelPage):
    """SGD at one ratio of learning rate to batch size (footnote 2 and Section 2)."""

    @property
    def experiments(self) -> list[Experiment]:
        fields = self.fields()
        images = self.available(fields["dataset"], fields)
        # A data set of very few images takes a tenth of each batch size: still one ratio.
        divisor = 1 if images >= 2 * max(size for _, size in EQUAL_RATIOS) else 10
        return [
            window_experiment(
                fields | {"learning_rate": rate, "batch_size": size // divisor},
                images,
                (COMPARED_EPOCH,),
            )
            for rate, size in EQUAL_RATIOS
        ]
