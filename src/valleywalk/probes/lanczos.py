"""Ends of the spectrum of a symmetric matrix that is known by its products alone."""

from collections.abc import Callable, Sequence

import numpy as np

from ..allowed import check_whole


def lanczos(
    multiply: Callable[[np.ndarray], np.ndarray],
    first: np.ndarray,
    wanted: Sequence[int],
    tolerance: float,
    max_products: int = 400,
    max_vectors: int = 64,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Eigenvalues at the ends of a symmetric matrix's spectrum, from as few products as possible.

    Lanczos with full reorthogonalisation, tested after each product, restarted from the outermost
    Ritz vectors when memory is full (thick restart; Wu and Simon 2000). scipy's eigsh asks for the
    accuracy of each eigenvalue by itself, and first builds twenty vectors: along walks it needed
    two to four times the products.

    Parameters
    ----------
    multiply : callable
        Matrix times flat vector.
    first : ndarray, shape (n,)
        Where to begin; its kind of float is that of the vectors that are kept.
    wanted : sequence of int
        Positions in ascending order, such as 0 and −1 for both ends.
    tolerance : float
        Largest residual, as a share of the largest absolute eigenvalue.
    max_products : int
        After so many, what was found is returned with the residuals that it has. More than are
        wanted.
    max_vectors : int
        Vectors in memory at a time.

    Returns
    -------
    values : ndarray, shape (wanted,)
    vectors : ndarray, shape (wanted, n)
    residuals : ndarray, shape (wanted,)
        ‖Av − λv‖ as a share of the largest absolute eigenvalue. These three are NaN where a product
        is not finite, as of a walk that diverges.
    products : int

    Raises
    ------
    ValueError
        So few products that nothing can be found.

    Examples
    --------
    >>> import numpy as np
    >>> from valleywalk.probes.lanczos import lanczos
    >>> matrix = np.diag([-1.0, 0.0, 0.5, 4.0])
    >>> values, vectors, residuals, products = lanczos(
    ...     lambda v: matrix @ v, first=np.ones(4), wanted=[0, -1], tolerance=1e-6
    ... )
    >>> values.round(3)
    array([-1.,  4.])
    """
    wanted = list(wanted)
    check_whole("max_products", max_products, len(wanted) + 1)
    kept = max_vectors // 3
    max_vectors = min(max_vectors, len(first))
    vectors = np.empty((max_vectors, len(first)), first.dtype)
    projected = np.zeros((max_vectors, max_vectors))
    vectors[0] = first / np.linalg.norm(first)
    count = 1
    for products in range(1, max_products + 1):
        rest = multiply(vectors[count - 1]).astype(first.dtype)
        if not np.isfinite(rest).all():
            unknown = np.full(len(wanted), np.nan)
            return unknown, np.full((len(wanted), len(first)), np.nan), unknown, products
        along = np.zeros(count)
        for _ in range(2):
            more = vectors[:count] @ rest
            rest -= more @ vectors[:count]
            along += more
        projected[:count, count - 1] = projected[count - 1, :count] = along
        length = float(np.linalg.norm(rest))
        values, mixes = np.linalg.eigh(projected[:count, :count])
        scale = np.abs(values).max() or 1.0
        if length <= np.finfo(first.dtype).eps * scale:
            length = 0.0  # The vectors span an invariant subspace: nothing more is to be found.
        least = min(len(wanted), len(first))
        if count > len(wanted) or (count >= least and not length):
            residuals = length * np.abs(mixes[-1, wanted]) / scale
            if (residuals <= tolerance).all() or products == max_products:
                break
        if count == max_vectors:
            outer = [*range(kept), *range(count - kept, count)]
            vectors[: len(outer)] = mixes[:, outer].T.astype(first.dtype) @ vectors
            projected[:] = 0
            projected[range(len(outer)), range(len(outer))] = values[outer]
            count = len(outer)
        if not length:
            # Fewer directions than are wanted: go on from any other.
            rest = np.random.Generator(np.random.PCG64([1, products])).standard_normal(len(first))
            for _ in range(2):
                rest -= (vectors[:count] @ rest) @ vectors[:count]
            length = float(np.linalg.norm(rest))
        vectors[count] = rest / length
        count += 1
    found = mixes[:, wanted].T @ vectors[: len(mixes)]
    return values[wanted], found, residuals, products
