"""How the noise of mini-batch gradients lies in the landscape (paper, Section 4, Appendix D).

The paper writes H for the Hessian, C for the covariance of single images' gradients and ḡ for
their mean, and finds H = C + ḡḡᵀ + residual for the negative log likelihood (Equations 3 to 7).
Batch norm in train mode has no gradient of a single image, so there the covariance is that of the
plan's mini-batches, times their size.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, hessian, jacrev

from ..allowed import check_whole
from ..analysis import DIRECTIONS
from ..evaluation import Evaluator, count_of, predict
from ..statistics import FOLDS, Estimate
from ..surroundings import evaluation_mode, trainable
from . import inner
from .curvature import first_vector, hessian_vector_product, multiplier
from .lanczos import lanczos

TOLERANCE = 1e-3


def batch_gradients(evaluate: Evaluator) -> Iterator[tuple[Sequence[Tensor], int]]:
    """Gradient of the mean loss of each batch, and its number of images; one in memory at a time.

    The model is left as it was once all have been taken.

    Parameters
    ----------
    evaluate : Evaluator

    Yields
    ------
    gradient : sequence of Tensor
        Shaped as the trainable parameters.
    images : int

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.evaluation import Evaluator
    >>> from valleywalk.probes.noise_structure import batch_gradients
    >>> batches = [(torch.ones(3, 2), torch.zeros(3, 1))]
    >>> evaluate = Evaluator(nn.Linear(2, 1, bias=False), nn.functional.mse_loss, batches)
    >>> [(gradient[0].shape, images) for gradient, images in batch_gradients(evaluate)]
    [(torch.Size([1, 2]), 3)]
    """
    parameters = trainable(evaluate.model)
    with (
        evaluation_mode(evaluate.model, evaluate.batch_norm, loss=evaluate.loss),
        torch.enable_grad(),
    ):
        for inputs, targets in evaluate.batches:
            loss = evaluate.loss(predict(evaluate.model, inputs), targets)
            yield torch.autograd.grad(loss, parameters, materialize_grads=True), count_of(targets)


def largest_gradient_variance(evaluate: Evaluator) -> float:
    """Largest over the parameters of the estimated variance of single images' gradients.

    Estimated from mini-batches: their size times the variance of their gradients, which is
    unbiased for each parameter where a batch's gradient is the mean of its images'. The largest of
    many estimates is not: from two or three batches it comes out one and a half to two times too
    large or more (see `cross_fitted_variance`). Batches smaller than the first are left out.

    Parameters
    ----------
    evaluate : Evaluator

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Fewer than two batches of equal size.

    Examples
    --------
    The gradient of (θ − y)² at θ = 0 is −2 y; that of y = 1 and y = 2 has the variance 2:

    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.evaluation import Evaluator
    >>> from valleywalk.probes.noise_structure import largest_gradient_variance
    >>> batches = [(torch.ones(1, 1), torch.tensor([[y]])) for y in (1.0, 2.0)]
    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.zeros_(model.weight)
    >>> largest_gradient_variance(Evaluator(model, nn.functional.mse_loss, batches))
    2.0
    """
    squares, size, freedom = _squared_deviations(evaluate)
    return size * max(float(part.max()) for part in squares) / freedom


def cross_fitted_variance(
    evaluate: Evaluator, plans: Sequence[Iterable[tuple[Any, Tensor]]]
) -> Estimate:
    """Largest variance of single images' gradients, estimated where it was not chosen.

    The maximum over many parameters of estimates of few degrees of freedom is too large
    (`largest_gradient_variance`): it finds the parameter whose estimate erred most. Here the plans
    are cut into four folds. Three of them choose the parameter, the fourth estimates its variance;
    the mean over the four ways counts. It is unbiased for the parameters that were chosen, whose
    variance can only be smaller than the largest.

    Parameters
    ----------
    evaluate : Evaluator
    plans : sequence of iterable of (inputs, targets)
        The same images in other batches, drawn at random: for given images they are independent.
        A multiple of four, see `statistics.plans_for_variance`.

    Returns
    -------
    Estimate
        Its error has two parts: V √(2 / ν), with ν degrees of freedom in all plans, as of batches
        whose gradients are normal; and half of how far the maximum of all plans' estimates, which
        is too large where V is too small, lies above V.

    Raises
    ------
    ValueError
        Plans that are no multiple of four, or none; fewer than two batches of equal size.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.evaluation import Batches, EvaluationPlan, Evaluator
    >>> from valleywalk.probes.noise_structure import cross_fitted_variance
    >>> from valleywalk.statistics import plans_for_variance
    >>> x, y = torch.ones(40, 1), torch.arange(40.0)[:, None] % 2
    >>> plan = EvaluationPlan.draw(available=40, batch_size=10, seed=0)
    >>> plans = [
    ...     [(x[indices], y[indices]) for indices in plan.redrawn(seed).batches]
    ...     for seed in range(plans_for_variance(batches=4))
    ... ]
    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = nn.init.zeros_(model.weight)
    >>> evaluate = Evaluator(model, nn.functional.mse_loss, plans[0])
    >>> found = cross_fitted_variance(evaluate, plans)

    Single gradients are −2 y, with y one or zero, so that their variance is 40 / 39:

    >>> abs(found.value - 40 / 39) < 2 * found.error
    True
    """
    if not plans or len(plans) % FOLDS:
        raise ValueError(f"there are {len(plans)} plans; give a multiple of {FOLDS}, for its folds")
    folds: list[list[Tensor]] = []
    freedom = size = 0
    for index, plan in enumerate(plans):
        squares, size, own = _squared_deviations(evaluate.on(plan))
        freedom += own
        if len(folds) <= index % FOLDS:
            folds.append(squares)
        else:
            torch._foreach_add_(folds[index % FOLDS], squares)
    whole = [torch.stack(parts).sum(dim=0) for parts in zip(*folds, strict=True)]
    held_out = 0.0
    for fold in folds:
        where, entry = _largest([total - own for total, own in zip(whole, fold, strict=True)])
        held_out += size / freedom * float(fold[where].flatten()[entry])
    too_large = size / freedom * max(float(part.max()) for part in whole)
    sampling, choice = held_out * (2 / freedom) ** 0.5, (too_large - held_out) / 2
    return Estimate(held_out, (sampling**2 + choice**2) ** 0.5, freedom)


def _largest(parts: Sequence[Tensor]) -> tuple[int, int]:
    """Which tensor has the largest entry, and where."""
    part = max(range(len(parts)), key=lambda i: float(parts[i].max()))
    return part, int(parts[part].argmax())


def _squared_deviations(evaluate: Evaluator) -> tuple[list[Tensor], int, int]:
    """Sum over the batches of each parameter's squared deviation from their mean gradient.

    Then the batches' size and the degrees of freedom. Batches smaller than the first are left out.
    """
    sums: list[Tensor] = []
    squares: list[Tensor] = []
    size = count = 0
    for gradient, images in batch_gradients(evaluate):
        size = size or images
        if images != size:
            continue
        count += 1
        gradient = [part.double() for part in gradient]
        if not sums:
            # Sums of differences from the first batch: no two large numbers are subtracted.
            first = gradient
            sums = [torch.zeros_like(part) for part in gradient]
            squares = [torch.zeros_like(part) for part in gradient]
        for total, square, part, origin in zip(sums, squares, gradient, first, strict=True):
            total += part - origin
            square += (part - origin) ** 2
    if count < 2:
        raise ValueError(
            "the variance of the gradient needs at least 2 batches of equal size; "
            "lower evaluation_batch_size or raise evaluation_images"
        )
    pairs = zip(sums, squares, strict=True)
    return [square - total**2 / count for total, square in pairs], size, count - 1


class NoiseAlignment:
    """How the noise of mini-batches lies along the sharp directions (see `alignment`).

    Parameters
    ----------
    batches : iterable of (inputs, targets), optional
        The mini-batches, on the model's device; default the evaluation's.
    directions : int
        Eigenvectors of the covariance and of the Hessian that are compared.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.evaluation import Evaluator
    >>> from valleywalk.probes.noise_structure import NoiseAlignment
    >>> x = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [2.0, 1.0], [0.0, 1.0]])
    >>> model = nn.Linear(2, 1, bias=False)
    >>> nn.init.zeros_(model.weight).shape
    torch.Size([1, 2])
    >>> batches = [(image[None], torch.ones(1, 1)) for image in x]
    >>> seen = NoiseAlignment(directions=1)(Evaluator(model, nn.functional.mse_loss, batches))
    >>> seen["noise_overlap"] > 0.9
    True
    """

    def __init__(
        self,
        batches: Iterable[tuple[Any, Tensor]] | None = None,
        directions: int = DIRECTIONS,
    ):
        self.batches, self.directions = batches, directions

    def __call__(self, evaluate: Evaluator) -> Mapping[str, float]:
        return alignment(evaluate.on(self.batches), self.directions)


def alignment(evaluate: Evaluator, directions: int = DIRECTIONS) -> dict[str, float]:
    """How the noise of mini-batches lies along the sharp directions, by products alone.

    The paper leaves it unconfirmed that they go together (Section 4).

    Parameters
    ----------
    evaluate : Evaluator
    directions : int
        Eigenvectors of C and of H that are compared.

    Returns
    -------
    dict
        noise_overlap
            Mean squared cosine between the subspaces of the top eigenvectors of C and of H, 0 … 1;
            random ones give about directions / parameters.
        noise_sharpness
            Mean curvature along C's top eigenvectors, as a share of that along H's.
        noise_share
            Share of C's trace that lies along H's top eigenvectors.
        noise_overlap_control
            As `noise_overlap`, for the noise of the same batches with labels that are dealt out
            anew among all of their images. The layers alone make gradients of any labels overlap
            with H far more than random directions do; only what goes beyond is of this noise. Left
            out where the targets of a batch are no tensor.

        All are NaN where nothing is curved, or there is no noise.

    Raises
    ------
    ValueError
        Too few batches: C's rank is below `directions`. More directions than parameters.

    Examples
    --------
    Where all inputs are alike, all noise lies along the one direction that is curved:

    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.evaluation import Evaluator
    >>> from valleywalk.probes.noise_structure import alignment
    >>> batches = [(torch.tensor([[1.0, 2.0]]), torch.tensor([[y]])) for y in (0.0, 1.0, 2.0, 3.0)]
    >>> evaluate = Evaluator(nn.Linear(2, 1, bias=False), nn.functional.mse_loss, batches)
    >>> {name: round(value, 3) for name, value in alignment(evaluate, directions=1).items()}
    {'noise_overlap': 1.0, 'noise_sharpness': 1.0, 'noise_share': 1.0, 'noise_overlap_control': 1.0}
    """
    first, top = first_vector(evaluate), range(-directions, 0)
    check_whole("directions", directions, 1, len(first))
    targets = [targets for _, targets in evaluate.batches]
    if len(targets) <= directions + 1:
        raise ValueError(
            f"the noise's top {directions} directions need more than {directions + 1} batches, "
            f"there are {len(targets)}; lower evaluation_batch_size or raise curvature_images"
        )
    images = sum(map(count_of, targets))

    def hessian_product(vector: Sequence[Tensor]) -> list[Tensor]:
        return hessian_vector_product(evaluate, vector)

    multiply_h = multiplier(evaluate, hessian_product)
    multiply_c, trace = _covariance(evaluate, images)
    _, noisy, _, _ = lanczos(multiply_c, first, top, TOLERANCE)
    sharpness, sharp, _, _ = lanczos(multiply_h, first, top, TOLERANCE)
    along_noise = sum(float(v @ multiply_h(v)) for v in noisy)
    noise_along = sum(float(v @ multiply_c(v)) for v in sharp)
    curvature = float(sharpness.sum())
    found = {
        "noise_overlap": float(((noisy @ sharp.T) ** 2).sum() / directions),
        "noise_sharpness": along_noise / curvature if curvature else math.nan,
        "noise_share": noise_along / trace if trace else math.nan,
    }
    if all(isinstance(each, Tensor) for each in targets):
        other = evaluate.on(Relabelled(evaluate.batches))
        _, control, _, _ = lanczos(_covariance(other, images)[0], first, top, TOLERANCE)
        overlap = float(((control @ sharp.T) ** 2).sum() / directions)
        found["noise_overlap_control"] = overlap
    # Of a matrix that is zero any directions are the sharpest.
    nothing = not trace or not sharpness.any()
    return dict.fromkeys(found, math.nan) if nothing else found


def _covariance(
    evaluate: Evaluator, total: int
) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    """Products with the covariance C of the batches' gradients, and its trace."""
    mean = [torch.zeros_like(parameter) for parameter in trainable(evaluate.model)]
    second_moment = 0.0
    for gradient, images in batch_gradients(evaluate):
        torch._foreach_add_(mean, list(gradient), alpha=images / total)
        second_moment += inner(gradient, gradient) * images / total

    def product(vector: Sequence[Tensor]) -> list[Tensor]:
        product = [part * -inner(mean, vector) for part in mean]
        for gradient, images in batch_gradients(evaluate):
            along = inner(gradient, vector) * images / total
            torch._foreach_add_(product, list(gradient), alpha=along)
        return product

    return multiplier(evaluate, product), second_moment - inner(mean, mean)


class Relabelled:
    """The same batches with their labels dealt out anew among all images, the same way each time.

    Parameters
    ----------
    batches : iterable of (inputs, targets)
        The same ones whenever they are gone through.

    Examples
    --------
    >>> import torch
    >>> from valleywalk.probes.noise_structure import Relabelled
    >>> batches = [(torch.zeros(2, 1), torch.arange(2)), (torch.zeros(3, 1), torch.arange(2, 5))]
    >>> labels = [targets for _, targets in Relabelled(batches)]
    >>> [len(each) for each in labels], sorted(torch.cat(labels).tolist())
    ([2, 3], [0, 1, 2, 3, 4])
    """

    def __init__(self, batches: Iterable[tuple[Any, Tensor]]):
        self.batches = batches
        targets = [targets for _, targets in batches]
        together = torch.cat(targets)
        generator = torch.Generator().manual_seed(0)
        order = torch.randperm(len(together), generator=generator).to(together.device)
        self.targets = together[order].split([len(each) for each in targets])

    def __iter__(self) -> Iterator[tuple[Any, Tensor]]:
        for (inputs, _), targets in zip(self.batches, self.targets, strict=True):
            yield inputs, targets


@dataclass(frozen=True)
class Decomposition:
    """The terms of Equation 7 as dense matrices, shape (parameters, parameters).

    Attributes
    ----------
    hessian, covariance, mean_outer, residual : ndarray
        H, C, ḡḡᵀ and the mean of ∂L_i/∂p_i · ∂²p_i/∂θ², each computed on its own.
    fisher : ndarray
        The Fisher information: the second moment of the gradients for labels drawn from the
        network's own predictions, where C + ḡḡᵀ takes those of the data. Not a term of the
        equation; near a perfect fit H goes to it.
    """

    hessian: np.ndarray
    covariance: np.ndarray
    mean_outer: np.ndarray
    residual: np.ndarray
    fisher: np.ndarray

    @property
    def error(self) -> float:
        """Norm of H − (C + ḡḡᵀ + residual), relative to H's."""
        rest = self.hessian - self.covariance - self.mean_outer - self.residual
        return float(np.linalg.norm(rest) / np.linalg.norm(self.hessian))

    @property
    def distance_from_fisher(self) -> float:
        """Norm of H − F, relative to H's."""
        return float(np.linalg.norm(self.hessian - self.fisher) / np.linalg.norm(self.hessian))

    def share(self, term: str) -> float:
        """Norm of a term relative to H's.

        Parameters
        ----------
        term : {"hessian", "covariance", "mean_outer", "residual", "fisher"}

        Returns
        -------
        float
        """
        return float(np.linalg.norm(getattr(self, term)) / np.linalg.norm(self.hessian))


def decompose(model: nn.Module, inputs: Tensor, targets: Tensor) -> Decomposition:
    """H, C, ḡḡᵀ and the residual of a small network without batch norm (paper, Equations 3 to 7).

    Parameters
    ----------
    model : nn.Module
        In float64 for the identity to hold to rounding; a few thousand parameters at most.
    inputs : Tensor
    targets : Tensor of int64, shape (images,)

    Returns
    -------
    Decomposition

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from valleywalk.probes.noise_structure import decompose
    >>> model = nn.Linear(3, 2).double()
    >>> inputs, targets = torch.randn(20, 3).double(), torch.randint(0, 2, (20,))
    >>> terms = decompose(model, inputs, targets)
    >>> terms.hessian.shape, terms.error < 1e-12
    ((8, 8), True)
    """
    named = {name: parameter.detach() for name, parameter in model.named_parameters()}
    sizes = [value.numel() for value in named.values()]
    theta = torch.cat([value.flatten() for value in named.values()])

    def log_probabilities(flat: Tensor) -> Tensor:
        """Of each image and class."""
        pieces = flat.split(sizes)
        state = {
            name: piece.view_as(value)
            for (name, value), piece in zip(named.items(), pieces, strict=True)
        }
        return functional_call(model, state, (inputs,)).log_softmax(dim=1)

    def probabilities(flat: Tensor) -> Tensor:
        """Of each image's own class."""
        return log_probabilities(flat).gather(1, targets[:, None])[:, 0].exp()

    def loss(flat: Tensor) -> Tensor:
        return -probabilities(flat).log().mean()

    weights = -1 / probabilities(theta)  # ∂L_i/∂p_i

    def weighted(flat: Tensor) -> Tensor:
        return (weights * probabilities(flat)).mean()

    each = weights[:, None] * jacrev(probabilities)(theta)
    mean = each.mean(dim=0)
    # Each class's score, weighed by the root of its probability.
    scores = jacrev(log_probabilities)(theta) * (log_probabilities(theta) / 2).exp()[..., None]
    scores = scores.flatten(0, 1)
    centred = each - mean
    return Decomposition(
        hessian=hessian(loss)(theta).numpy(),
        covariance=(centred.T @ centred / len(targets)).numpy(),
        mean_outer=torch.outer(mean, mean).numpy(),
        residual=hessian(weighted)(theta).numpy(),
        fisher=(scores.T @ scores / len(targets)).numpy(),
    )
