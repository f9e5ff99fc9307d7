"""What a kernel backend is: the functions that ``cpu``, ``cuda`` and ``reference`` share, each described once.

A backend is a module that satisfies :class:`Kernels`; mypy checks all three. Similarities and sums are float64 in
``reference``, and float32 (sums: float64) elsewhere, so comparisons between backends allow for that and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from .csr import SparseCodes


class Array(Protocol):
    """An array on the host or on a device: NumPy's, CuPy's, or what behaves like them.

    Only :meth:`Kernels.to_host` makes a NumPy array of it for certain. ``__array__`` is here so that NumPy's functions,
    which call the device's own, accept it; CuPy refuses to be converted that way.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def __array__(self) -> npt.NDArray[Any]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, key: Any, /) -> Any: ...
    def __setitem__(self, key: Any, value: Any, /) -> None: ...
    def __eq__(self, other: object, /) -> Any: ...
    def __add__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __truediv__(self, other: Any, /) -> Any: ...
    def __matmul__(self, other: Any, /) -> Any: ...
    def __neg__(self) -> Any: ...
    def astype(self, dtype: npt.DTypeLike, /) -> Any: ...
    def reshape(self, shape: tuple[int, ...], /) -> Any: ...
    def take(self, indices: Any, /, axis: Any = None) -> Any: ...
    def copy(self) -> Any: ...
    def any(self, axis: Any = None) -> Any: ...
    def all(self, axis: Any = None) -> Any: ...
    def sum(self, axis: Any = None) -> Any: ...
    def min(self, axis: Any = None) -> Any: ...
    def max(self, axis: Any = None) -> Any: ...


class Device(AbstractContextManager["Device"], Protocol):
    """A device that kernels run on: inside ``with device``, work goes to it and arrays are made on it."""

    @property
    def name(self) -> str:
        """``"cpu"`` or ``"cuda:N"``."""


class PreparedBank(Protocol):
    """A concept bank in the form that ``subtree_ranks`` and ``all_ranks`` read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """N and d."""


class PreparedPatches(Protocol):
    """Patch embeddings in the form that ``subtree_ranks`` reads when the same bank is asked again and again."""

    @property
    def shape(self) -> tuple[int, ...]:
        """n and d."""

    @property
    def nbytes(self) -> int:
        """Memory, in bytes."""


class PreparedDictionary(Protocol):
    """A dictionary in the form that ``nnlasso`` and ``nnlasso_l0`` read."""

    @property
    def rows(self) -> Array:
        """(N, d) float32, where the kernels read them."""

    @property
    def shape(self) -> tuple[int, int]:
        """N and d."""


class SubtreeRanks(NamedTuple):
    """Best rank (int32) and best similarity (floating point) of every concept at every patch, both (n, k)."""

    ranks: Array
    similarities: Array


class SaliencyMaps(NamedTuple):
    """Maps (k, h, w) float32 in [0, 1], and the raw extremes (k,) float64 that were stretched to 0 and 1."""

    maps: Array
    low: Array
    high: Array


class Kernels(Protocol):
    """The functions of a backend.

    Arrays are C-contiguous. A backend on a device takes its own arrays without a copy and then returns arrays of the
    device; it takes NumPy arrays, too, and then returns NumPy arrays. ``num_threads`` is a number of CPU threads; None
    means :func:`fastconcept.kernels.threads.default_num_threads`, and backends that use no threads ignore it.
    """

    @property
    def __name__(self) -> str:
        """``"fastconcept.kernels.cpu"`` and so on."""

    def open_device(self, name: str, /) -> Device:
        """A device of this backend.

        Parameters
        ----------
        name : str
            ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.

        Raises
        ------
        DeviceError
            If there is no such device.

        Examples
        --------
        >>> from fastconcept.kernels import reference
        >>> with reference.open_device("cpu") as device:
        ...     device.name
        'cpu'
        """

    def place(self) -> str:
        """Name of the device on which arrays are made now.

        Examples
        --------
        >>> from fastconcept.kernels import reference
        >>> reference.place()
        'cpu'
        """

    def upload(self, array: Array, /) -> Array:
        """A copy of an array where the kernels read it; the array itself if it is there."""

    def staged(self, shape: tuple[int, ...], /) -> npt.NDArray[np.float32]:
        """An uninitialised array of the host, which :meth:`upload_staged` copies faster than others."""

    def upload_staged(self, array: npt.NDArray[np.float32], /) -> Array:
        """As :meth:`upload`; on return the array may be written to again where a copy was made."""

    def to_host(self, array: Array, /) -> npt.NDArray[Any]:
        """A NumPy array of a result; waits for it where it is made on a device."""

    def beside(self, rows: Array, array: Array, /) -> Array:
        """An array on the device of ``rows``, so that the two can be computed with."""

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike, /) -> Array:
        """An uninitialised array where the kernels read it."""

    def noise(self, shape: tuple[int, ...], seed: int, /) -> Array:
        """Uniform noise over 0 to 255, uint8: equal on every backend, and the start of any larger array of the seed.

        Examples
        --------
        >>> from fastconcept.kernels import reference
        >>> reference.noise((3,), 0), reference.noise((2,), 0)
        (array([ 95, 130, 194], dtype=uint8), array([ 95, 130], dtype=uint8))
        """

    def check_rows(self, rows: object, name: str, /) -> Array:
        """Finite float32 rows (n, d) with d >= 1, unchanged and where they are.

        Parameters
        ----------
        rows : object
            What a caller gave.
        name : str
            The argument, for the message.

        Raises
        ------
        InputError
            If they are anything else. Nothing is converted silently.

        Examples
        --------
        >>> from fastconcept.kernels import reference
        >>> reference.check_rows(np.ones((2, 3), np.float32), "embeddings").shape
        (2, 3)
        """

    def prepare_bank(self, rows: Array, /) -> PreparedBank:
        """Concept embeddings in the form that ranks are computed from; worth doing once where they are used again.

        Parameters
        ----------
        rows : (N, d) float32
            Concept embeddings, unit rows; on the CPU kept by reference, so leave them unchanged. The CPU kernels keep a
            second copy of a bank of up to 64 MB, in the order in which products read it.

        Raises
        ------
        InputError
            If the rows have another dtype, shape or layout, or (CPU kernels) are not finite.

        Examples
        --------
        >>> from fastconcept.kernels import reference
        >>> reference.prepare_bank(np.eye(3, dtype=np.float32)).shape
        (3, 3)
        """

    def prepare_dictionary(self, rows: Array, *, num_threads: int | None = None) -> PreparedDictionary:
        """Dictionary rows in the form that codes are computed from; worth doing once where they are used again.

        Parameters
        ----------
        rows : (N, d) float32
            Finite; kept by reference where the kernels can read them, so leave them unchanged. N may be 0.
        num_threads : int, optional
            Threads for the preparation.

        Raises
        ------
        InputError
            If the rows have another dtype, shape or layout, or are not finite.

        Examples
        --------
        >>> from fastconcept.kernels import reference
        >>> reference.prepare_dictionary(np.eye(3, dtype=np.float32)).shape
        (3, 3)
        """

    def prepare_patches(
        self, patches: Array, bank: Array | PreparedBank, *, num_threads: int | None = None
    ) -> Array | PreparedPatches:
        """Patch embeddings in the form that further questions to one bank are answered from.

        On the CPU that is their products with the bank, 4 n N bytes, which are most of the work of ``subtree_ranks``.
        A GPU makes them in about a millisecond, and keeps the rows alone. Ranks are the same to the last one.

        Parameters
        ----------
        patches : (n, d) float32
            Patch embeddings, unit rows.
        bank : (N, d) float32 or PreparedBank
            The bank that ``subtree_ranks`` will be asked about.
        num_threads : int, optional

        Raises
        ------
        InputError
            If an argument has another type or shape or is not finite.

        Examples
        --------
        >>> from fastconcept.kernels import cpu
        >>> axes = np.eye(3, dtype=np.float32)
        >>> prepared = cpu.prepare_patches(axes[:1], axes)
        >>> cpu.subtree_ranks(prepared, axes, np.array([0, 1, 3]), np.array([0, 1, 2])).ranks
        array([[0, 1]], dtype=int32)
        """

    def subtree_ranks(
        self,
        patches: Array | PreparedPatches,
        bank: Array | PreparedBank,
        indptr: Array,
        indices: Array,
        queries: Array | None = None,
        *,
        num_threads: int | None = None,
    ) -> SubtreeRanks:
        """Best rank of each concept's subtree at each patch: the most similar member, and how many concepts beat it.

        For patch v and concept c with members sub(c):
        ``rank(v, c) = #{s : z(v, s) > max over d in sub(c) of z(v, d)}`` with ``z(v, s) = v . t_s`` (0 is best).
        A query q (a phrase that is not in the bank) has the threshold ``z(v, q)`` instead.

        Parameters
        ----------
        patches : (n, d) float32 or PreparedPatches
            Patch embeddings, unit rows; prepared ones belong to the very bank that they were prepared for.
        bank : (N, d) float32 or PreparedBank
            Concept embeddings, unit rows.
        indptr, indices : (k + 1,) and (m,) integers
            Subtree of concept j: ``indices[indptr[j]:indptr[j + 1]]``, rows of the bank; not empty.
        queries : (q, d) float32, optional
            Further concepts outside the bank; their columns follow the k subtrees.
        num_threads : int, optional

        Returns
        -------
        SubtreeRanks
            ``ranks`` (n, k + q) int32 in [0, N], ``similarities`` (n, k + q). A query equal to a row of the bank ties
            with it exactly.

        Raises
        ------
        InputError
            If an argument has another type or shape or is not finite, a subtree is empty, or an index is no row.

        Examples
        --------
        >>> from fastconcept.kernels import reference
        >>> axes = np.eye(3, dtype=np.float32)
        >>> reference.subtree_ranks(axes[:1], axes, np.array([0, 1, 3]), np.array([0, 1, 2])).ranks
        array([[0, 1]], dtype=int32)
        """

    def all_ranks(
        self,
        patches: Array,
        bank: Array | PreparedBank,
        child_indptr: Array,
        child_indices: Array,
        order: Array,
        *,
        num_threads: int | None = None,
    ) -> Array:
        """Best rank of *every* concept's subtree at each patch, in one pass over the graph of concepts.

        Parameters
        ----------
        patches : (n, d) float32
            Patch embeddings, unit rows.
        bank : (N, d) float32 or PreparedBank
            Concept embeddings, unit rows.
        child_indptr, child_indices : (N + 1,) and (edges,) integers
            Children of concept j: ``child_indices[child_indptr[j]:child_indptr[j + 1]]``.
        order : (N,) integers
            A permutation of 0..N-1 with every child before its parents.
        num_threads : int, optional

        Returns
        -------
        (n, N) int32
            Ranks in [0, N); column j as ``subtree_ranks`` gives it for the descendants of j and j itself.

        Raises
        ------
        InputError
            If an argument has another type or shape or is not finite, an index is no row, or ``order`` does not hold
            every row once with children before parents.

        Examples
        --------
        >>> from fastconcept.kernels import reference
        >>> axes = np.eye(3, dtype=np.float32)  # 0 is the parent of 1 and 2
        >>> reference.all_ranks(axes[2:], axes, np.array([0, 2, 2, 2]), np.array([1, 2]), np.array([1, 2, 0]))
        array([[0, 1, 0]], dtype=int32)
        """

    def saliency_maps(
        self,
        values: Array,
        boxes: Array,
        weights: Array,
        shape: tuple[int, int],
        *,
        num_threads: int | None = None,
    ) -> SaliencyMaps:
        """Weighted mean of patch values over every cell a patch covers, then ``1 - min-max``.

        Parameters
        ----------
        values : (n, k) float32 or int32
            One value per patch and concept; *low* is salient (a rank, a log-rank, a negated similarity).
        boxes : (n, 4) int32
            Patches as x0, y0, x1, y1 in cells; parts outside the map count for nothing.
        weights : (n,) float64
            Positive weight of each patch.
        shape : (h, w)
            Cells of the map; every cell must be covered by at least one patch.
        num_threads : int, optional

        Returns
        -------
        SaliencyMaps
            A concept whose mean is the same in every cell gets a map of ones: no cell is less salient than another.
            "The same" allows for rounding: means that span at most 1e-10 of the largest magnitude among the concept's
            values (one rank in 82,000 at one of 1,800 patches spans more).

        Raises
        ------
        InputError
            If an argument has another type or shape, a value or weight is not finite, a weight is not positive, a box
            is empty, or a cell is not covered.

        Examples
        --------
        >>> from fastconcept.kernels import reference
        >>> halves = np.array([[0, 0, 1, 1], [1, 0, 2, 1]])
        >>> reference.saliency_maps(np.array([[3], [7]], np.int32), halves, np.ones(2), (1, 2)).maps
        array([[[1., 0.]]], dtype=float32)
        """

    def resize_patches(
        self,
        image: Array,
        boxes: Array,
        size: tuple[int, int],
        mean: Sequence[float] | Array,
        std: Sequence[float] | Array,
        interpolation: str = "bicubic",
        *,
        out: Array | None = None,
        num_threads: int | None = None,
    ) -> Array:
        """Cut boxes out of one image, resize each as Pillow does (antialiased), and normalise.

        Width first, then height, with 8-bit pixels in between, as Pillow has always done. From version 13 on Pillow
        takes the height first where a box shrinks much more in height than in width, which moves some pixels by a few
        levels; asking it for one side at a time keeps the definition the same in every version.

        Parameters
        ----------
        image : (H, W, 3) uint8
            RGB pixels.
        boxes : (n, 4) int32
            x0, y0, x1, y1 in pixels, inside the image, not empty. A box is cut out first and then resized:
            pixels outside it never leak in.
        size : (h, w)
            Size of every result.
        mean, std : (3,) float
            Per channel, on the scale where white is 1.
        interpolation : {"bicubic", "bilinear"}
            Pillow's filter of that name.
        out : (n, 3, h, w) float32, optional
            Array to write to, so that a caller can use one buffer again and again. On a device it may be float16.
        num_threads : int, optional

        Returns
        -------
        (n, 3, h, w) float32
            ``(pixel / 255 - mean) / std``; ``out`` itself where that is given.

        Raises
        ------
        InputError
            If an argument has another type or shape, or a box is empty or not inside the image.

        Examples
        --------
        >>> from fastconcept.kernels import reference
        >>> white = np.full((8, 8, 3), 255, np.uint8)
        >>> reference.resize_patches(white, np.array([[0, 0, 4, 4]]), (2, 2), (0.5,) * 3, (0.5,) * 3).max()
        np.float32(1.0)
        """

    def resize_images(
        self,
        images: Sequence[Array],
        placements: Array,
        size: tuple[int, int],
        mean: Sequence[float] | Array,
        std: Sequence[float] | Array,
        interpolation: str = "bicubic",
        *,
        fill: int = 0,
        out: Array | None = None,
        num_threads: int | None = None,
    ) -> Array:
        """Resize whole images as Pillow does (antialiased), cut or pad each to one size, and normalise.

        The order of the two passes is that of Pillow 13, whichever version is installed: width first, except where
        the height shrinks by more than twice as many pixels as the width does.

        Parameters
        ----------
        images : sequence of n (H, W, 3) uint8
            RGB pixels; every image may have a size of its own.
        placements : (n, 4) integers
            Per image the height and width to which it is resized, and the row and column of the resized image where
            the window of the result begins. The window may reach outside. Only what it shows is computed.
        size : (h, w)
            Size of every result.
        mean, std : (3,) float
            Per channel, on the scale where white is 1.
        interpolation : {"bicubic", "bilinear"}
            Pillow's filter of that name.
        fill : int
            Value from 0 to 255 of pixels outside the resized image.
        out : (n, 3, h, w) float32, optional
            Array to write to, so that a caller can use one buffer again and again. On a device it may be float16.
        num_threads : int, optional

        Returns
        -------
        (n, 3, h, w) float32
            ``(pixel / 255 - mean) / std``; ``out`` itself where that is given.

        Raises
        ------
        InputError
            If an argument has another type or shape, an image is empty, or a size is not positive.

        Examples
        --------
        >>> from fastconcept.kernels import reference
        >>> white = np.full((8, 4, 3), 255, np.uint8)
        >>> reference.resize_images([white], np.array([[4, 2, 0, -1]]), (4, 4), (0,) * 3, (1,) * 3)[0, 0, 0]
        array([0., 1., 1., 0.], dtype=float32)
        """

    def resize_image(
        self,
        image: Array,
        box: tuple[int, int, int, int],
        size: tuple[int, int],
        /,
        *,
        num_threads: int | None = None,
    ) -> Array:
        """Cut one box out of an image and resize it as Pillow 13 does (bicubic, antialiased).

        Parameters
        ----------
        image : (H, W, 3) uint8
            RGB pixels.
        box : (x0, y0, x1, y1)
            In pixels, inside the image.
        size : (h, w)
            Size of the result.
        num_threads : int, optional
            Ignored on a GPU.

        Returns
        -------
        (h, w, 3) uint8
            Where the image is.

        Examples
        --------
        >>> from fastconcept.kernels import reference
        >>> reference.resize_image(np.zeros((8, 8, 3), np.uint8), (0, 0, 4, 4), (2, 3)).shape
        (2, 3, 3)
        """

    def nnlasso(
        self,
        dictionary: Array | PreparedDictionary,
        targets: Array,
        l1_penalty: float | Array,
        warm_start: SparseCodes | None = None,
        *,
        signed: bool = False,
        tolerance: float = 1e-6,
        num_threads: int | None = None,
    ) -> SparseCodes:
        """Sparse nonnegative codes: ``min over w >= 0 of ||C^T w - z||^2 + lambda * sum(w)`` for every target z.

        In scikit-learn's terms ``Lasso(alpha=lambda / (2 d), fit_intercept=False, positive=True)`` fitted on ``C.T``.
        The minimiser need not be unique (near-duplicate words); its objective is.

        Parameters
        ----------
        dictionary : (N, d) float32 or PreparedDictionary
            Rows C, usually centred unit rows.
        targets : (n, d) float32
            Rows z. n may be 0.
        l1_penalty : float or (n,) float64
            lambda > 0. The code is empty exactly when ``lambda >= 2 max_j c_j . z``.
        warm_start : SparseCodes, optional
            Codes of similar targets; only their supports are used. The result is as exact as without.
        signed : bool
            Weights of either sign, with ``lambda * sum(|w|)``: the lasso without the constraint. Optimality is then
            ``|2 c_j . r| <= lambda``.
        tolerance : float
            Relative duality gap to reach, from 1e-12 to 1.
        num_threads : int, optional

        Returns
        -------
        SparseCodes
            With ``gap`` as reached (0 where the objective is 0) and the violation ``kkt`` of
            ``2 c_j . r <= lambda`` (equality on the support) per problem.

        Raises
        ------
        InputError
            If an argument has the wrong dtype, shape, layout or range, or is not finite.

        Notes
        -----
        Bhalla et al., "Interpreting CLIP with Sparse Linear Concept Embeddings", arXiv 2402.10376.

        Examples
        --------
        >>> from fastconcept.kernels import reference
        >>> words = np.eye(3, dtype=np.float32)
        >>> codes = reference.nnlasso(words, np.array([[1.0, 0.5, 0.1]], np.float32), 0.4)
        >>> codes.indices, codes.values.round(6)
        (array([0, 1], dtype=int32), array([0.8, 0.3]))
        >>> reference.nnlasso(words, np.array([[1.0, -0.5, 0.1]], np.float32), 0.4, signed=True).values.round(6)
        array([ 0.8, -0.3])
        """

    def nnlasso_l0(
        self,
        dictionary: Array | PreparedDictionary,
        targets: Array,
        l0: int,
        *,
        signed: bool = False,
        tolerance: float = 1e-6,
        num_threads: int | None = None,
    ) -> SparseCodes:
        """Codes of ``l0`` words: the point of the regularisation path where the next word is about to enter.

        The minimiser of :meth:`nnlasso` is piecewise linear in lambda. Starting from ``2 max_j c_j . z``, lambda falls
        until the support is about to exceed ``l0`` words for the first time; the code at that lambda is returned, with
        its ``l1_penalty``. It has exactly ``l0`` words, except: fewer where several words enter at once (ties), and
        fewer where the path reaches 1/10000 of its first lambda before it has enough words; none, and lambda 0, where
        no word correlates positively with the target.

        Parameters
        ----------
        dictionary, targets, signed, num_threads
            As in :meth:`nnlasso`.
        l0 : int
            Number of words, at least 1.
        tolerance : float
            Relative duality gap to reach at the returned ``l1_penalty``.

        Returns
        -------
        SparseCodes
            ``l1_penalty`` holds the lambda at which each problem's path ends.

        Raises
        ------
        InputError
            If an argument has the wrong dtype, shape, layout or range, or is not finite.

        Notes
        -----
        The homotopy of Osborne, Presnell and Turlach (2000) and Efron et al. (LARS, 2004), with w >= 0.

        Examples
        --------
        >>> from fastconcept.kernels import reference
        >>> words = np.eye(3, dtype=np.float32)
        >>> codes = reference.nnlasso_l0(words, np.array([[1.0, 0.5, 0.25]], np.float32), 2)
        >>> codes.indices, codes.values.round(6), codes.l1_penalty
        (array([0, 1], dtype=int32), array([0.75, 0.25]), array([0.5]))
        """
