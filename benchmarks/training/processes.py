"""Trainings in separate processes: one for each variant, in turn, or one for each core."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, TypeVar
from unittest.mock import patch

import torch
from tqdm import tqdm

from pipeline.service.processes import end_with_parent
from pipeline.training.device import reuse_memory

Result = TypeVar("Result")


@contextmanager
def process_for_each(
    names: Iterable[str],
    start: Callable[..., None],
    *arguments: Any,
    environments: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> Iterator[dict[str, ProcessPoolExecutor]]:
    """A process for each name, which calls `start(name, *arguments)` first, one after the other.

    `environments`: environment variables that the process of a name has in addition.
    """
    context = multiprocessing.get_context("spawn")
    pools = {}
    try:
        for name in names:
            pool = ProcessPoolExecutor(1, context, initializer=start, initargs=(name, *arguments))
            pools[name] = pool
            with patch.dict(os.environ, environments.get(name, {})):
                pool.submit(os.getpid).result()  # starts the process
        yield pools
    finally:
        for pool in pools.values():
            pool.shutdown()


def on_all_cores(
    train: Callable[..., Result], trainings: Sequence[Sequence[Any]]
) -> Iterator[Result]:
    """Yield what `train` returns for each tuple of arguments, in order of completion.

    One training per core runs at a time, with one thread each. If one fails, the rest are
    cancelled; if the caller is killed, they end.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context, initializer=_prepare) as pool:
        futures = [pool.submit(train, *arguments) for arguments in trainings]
        try:
            for future in tqdm(as_completed(futures), total=len(futures), unit=" trainings"):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _prepare() -> None:
    end_with_parent()
    # not as this process was started: a DataLoader starts one in each epoch
    multiprocessing.set_start_method(None, force=True)
    torch.set_num_threads(1)
    reuse_memory()
