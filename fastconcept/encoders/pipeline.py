"""From images of any kind to batches for an encoder: threads read, decode and preprocess ahead of it, in order.

Memory does not grow with the number of images. Under way are one decoded image per thread, and the rows of three or so
batches, whose buffers are used again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from ..bundle import Preprocess
from ..errors import ImageError, InputError
from ..kernels.host import staged
from .decode import Pixels, is_path
from .preprocess import preprocess_images

if TYPE_CHECKING:
    from .decode import ImageLike

FloatArray = npt.NDArray[np.float32]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Reader:
    """What is done to each image before an encoder sees it.

    Attributes
    ----------
    load : callable
        From an image of any kind to (H, W, 3) uint8, such as :func:`fastconcept.encoders.decode.load_image`.
    preprocess : Preprocess
        Input size and normalisation of the encoder.
    num_threads : int
        Threads that decode and preprocess.
    allocate : callable
        From a shape to an uninitialised float32 array, for batches of several images.
    """

    load: Callable[[ImageLike], Pixels]
    preprocess: Preprocess
    num_threads: int
    allocate: Callable[[tuple[int, ...]], FloatArray] = staged

    def into(self, image: ImageLike, row: FloatArray, num_threads: int = 1) -> None:
        """Read one image into a row (3, h, w)."""
        from ..kernels import cpu  # loads a BLAS, which machines with a GPU may lack

        preprocess_images([self.load(image)], self.preprocess, cpu, out=row[None], num_threads=num_threads)


def prepared_batches(
    images: Iterable[ImageLike],
    reader: Reader,
    batch_size: int,
    on_error: Callable[[int, ImageError], object] | None = None,
    buffer: FloatArray | None = None,
) -> Iterator[tuple[FloatArray, list[int]]]:
    """Images as an encoder takes them, batch by batch; further ones are read while a batch is at work.

    Parameters
    ----------
    images : iterable of images
        Iterated over by the caller's thread, some images ahead of what is yielded.
    reader : Reader
    batch_size : int
        Images per batch; the last one may be smaller.
    on_error : callable, optional
        Called with the position of an image that cannot be read and the reason, in the order of the images; the image
        is left out. By default the error is raised, and says which image it is about.
    buffer : (batch_size, 3, h, w) float32, optional
        Where the first batch goes.

    Yields
    ------
    pixels, positions
        (m, 3, h, w) float32 in host memory, and which of the images they are. The array is overwritten once the next
        batch is asked for.

    Examples
    --------
    >>> reader = Reader(np.asarray, Preprocess((2, 2), (0.5,) * 3, (0.5,) * 3), num_threads=2)
    >>> batches = prepared_batches([np.full((4, 4, 3), 255, np.uint8)] * 3, reader, 2)
    >>> [(pixels.shape, positions) for pixels, positions in batches]
    [((2, 3, 2, 2), [0, 1]), ((1, 3, 2, 2), [2])]
    """
    source = iter(images)
    several = list(islice(source, 2))
    alone = len(several) < 2
    rows = _Rows((batch_size, 3, *reader.preprocess.size), buffer, staged if alone else reader.allocate)
    threads = 0 if alone or reader.num_threads == 1 else reader.num_threads
    work = partial(reader.into, num_threads=reader.num_threads if alone else 1)
    jobs = ((position, image, rows.take()) for position, image in enumerate(chain(several, source)))
    batch: list[_Row] = []
    positions: list[int] = []
    outcomes = in_order(jobs, lambda job: work(job[1], job[2].values), threads, 2 * batch_size)
    for (position, image, row), outcome in outcomes:
        try:
            outcome()
        except InputError as error:  # an ImageError is one
            if not isinstance(error, ImageError) or on_error is None:
                raise error if alone else _named(error, position, image) from None
            on_error(position, error)
            rows.free([row])
            continue
        batch.append(row)
        positions.append(position)
        if len(batch) == batch_size:
            yield joined(batch), positions
            rows.free(batch)
            batch, positions = [], []
    if batch:
        yield joined(batch), positions


def decoded(
    images: Iterable[Item], load: Callable[[Item], Pixels], num_threads: int
) -> Iterator[tuple[Item, Callable[[], Pixels]]]:
    """Images in their order, of which the next is decoded in a thread while the caller works on one.

    Parameters
    ----------
    images : iterable
    load : callable
        From one of them to (H, W, 3) uint8.
    num_threads : int
        With 1 there is no thread.

    Yields
    ------
    image, outcome
        ``outcome()`` returns the pixels or raises an error that says which image it is about.

    Examples
    --------
    >>> [load().shape for _, load in decoded([np.zeros((2, 4, 3), np.uint8)], np.asarray, num_threads=2)]
    [(2, 4, 3)]
    """

    def result(position: int, image: Item, outcome: Callable[[], Pixels]) -> Pixels:
        try:
            return outcome()
        except InputError as error:
            raise _named(error, position, image) from None

    for position, (image, outcome) in enumerate(in_order(images, load, min(num_threads - 1, 1), ahead=1)):
        yield image, partial(result, position, image, outcome)


def _named(error: InputError, position: int, image: object) -> InputError:
    """The error, saying which of several images it is about; one about a file does so already."""
    return error if is_path(image) else type(error)(f"images[{position}]: {error}")


def in_order(
    items: Iterable[Item], work: Callable[[Item], Result], threads: int, ahead: int
) -> Iterator[tuple[Item, Callable[[], Result]]]:
    """Work on items in threads, and give them back in their order.

    Parameters
    ----------
    items : iterable
        Iterated over by the caller's thread.
    work : callable
        What is done to each item.
    threads : int
        With 0, the caller's thread works.
    ahead : int
        Most items that are begun before they are asked for, beside one per thread.

    Yields
    ------
    item, outcome
        ``outcome()`` waits for the work, and returns its result or raises its error. Work that has not begun when the
        caller stops is dropped.

    Examples
    --------
    >>> [outcome() for _, outcome in in_order(range(5), lambda number: number**2, threads=2, ahead=3)]
    [0, 1, 4, 9, 16]
    """
    if threads == 0:
        for item in items:
            yield item, partial(work, item)
        return
    left = iter(items)
    executor = ThreadPoolExecutor(threads, "fastconcept-reader")
    try:
        begun = deque((item, executor.submit(work, item)) for item in islice(left, ahead + threads))
        while begun:
            item, future = begun.popleft()
            yield item, future.result
            begun.extend((item, executor.submit(work, item)) for item in islice(left, 1))
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


class _Row(NamedTuple):
    buffer: _Buffer
    number: int

    @property
    def values(self) -> FloatArray:
        """(3, h, w)."""
        row: FloatArray = self.buffer.array[self.number]
        return row


class _Buffer:
    """Rows of which each is taken once and given back once."""

    def __init__(self, array: FloatArray) -> None:
        self.array, self.taken, self.freed = array, 0, 0


class _Rows:
    """Rows for images, one after the other, in buffers of the size of a batch that are used again."""

    def __init__(
        self, shape: tuple[int, ...], first: FloatArray | None, allocate: Callable[[tuple[int, ...]], FloatArray]
    ) -> None:
        self._shape, self._spare, self._allocate = shape, [] if first is None else [first], allocate
        self._open: _Buffer | None = None

    def take(self) -> _Row:
        if self._open is None or self._open.taken == self._shape[0]:
            self._open = _Buffer(self._spare.pop() if self._spare else self._allocate(self._shape))
        self._open.taken += 1
        return _Row(self._open, self._open.taken - 1)

    def free(self, rows: Sequence[_Row]) -> None:
        for buffer, _ in rows:
            buffer.freed += 1
            if buffer.freed == self._shape[0]:
                self._spare.append(buffer.array)


def joined(rows: Sequence[Any]) -> FloatArray:
    """The rows of a batch: a part of their buffer, or a copy where images between them could not be read."""
    first = rows[0]
    if all(row.buffer is first.buffer and row.number == first.number + i for i, row in enumerate(rows)):
        part: FloatArray = first.buffer.array[first.number : first.number + len(rows)]
        return part
    return np.stack([row.values for row in rows])
