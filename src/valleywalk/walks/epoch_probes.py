"""What a walk's experiment asks to be measured at the end of epochs, as probes."""

from collections.abc import Callable, Sequence

from ..probes import IterateProbe
from ..probes.accuracy import LossAndAccuracy, LossNoise
from ..probes.curvature import Curvature, PowerIteration
from ..probes.noise_structure import NoiseAlignment
from .experiment import REDRAWN_PLANS, Experiment
from .loader import Loader

# Whether a probe looks at the end of an epoch, counted from 1, that had these iterations.
Due = Callable[[int, Sequence[int]], bool]


def epoch_probes(experiment: Experiment, loader: Loader) -> list[tuple[IterateProbe, Due]]:
    """What looks at where the model stands at the end of epochs, and of which."""

    def each(every: int) -> Due:
        return lambda epoch, iterations: bool(every) and epoch % every == 0

    def each_with_segments(epoch: int, iterations: Sequence[int]) -> bool:
        steps = loader.steps_in_epoch
        return evaluated(epoch, iterations) and any(experiment.probes(i, steps) for i in iterations)

    evaluated, searched = each(experiment.evaluate_every), each(experiment.curvature_every)
    plans = [loader.planned(loader.plan.redrawn(seed)) for seed in range(REDRAWN_PLANS)]
    batches = loader.measured(loader.plan.first(experiment.curvature_images))
    probes: list[tuple[IterateProbe, Due]] = [
        (LossAndAccuracy("train", loader.planned(loader.plan)), evaluated),
        (LossAndAccuracy("validation", loader.validation, batch_norm="eval"), evaluated),
        (LossNoise(plans), each_with_segments),
    ]
    if experiment.convention == "code":
        return [*probes, (PowerIteration(batches), searched)]
    probes.append((Curvature(batches), searched))
    if experiment.noise_structure:
        probes.append((NoiseAlignment(batches), searched))
    return probes
