"""Windows: the frames of a field cut along time, each stretch for a network of its own.

One network over all frames costs steps times parameters, and both grow with the frames; cut along time, the cost grows
with the frames alone. Compare Reiser et al., "KiloNeRF" (ICCV 2021), section 3.1, which cuts space into a grid of small
networks.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

OVERLAP = 1  # frames beyond each end that a window's network is trained on as well


@dataclass(frozen=True)
class Window:
    """Frames `start`, ..., `stop - 1` of a field of `n_frames`, counted as window `index` from 0.

    Its network is trained on `seen`: these frames and one more on either side, where there is one, so that it is right
    up to the border and beyond. Time is counted from `start`: the frame before it is at -1.
    """

    index: int
    start: int
    stop: int
    n_frames: int

    @property
    def frames(self) -> np.ndarray:
        """The frames (n,) int64 that the network answers for."""
        return np.arange(self.start, self.stop)

    @property
    def alone(self) -> bool:
        """Whether it holds every frame of the field."""
        return self.stop - self.start == self.n_frames

    @property
    def seen(self) -> slice:
        """The frames that the network is trained on."""
        return slice(max(self.start - OVERLAP, 0), min(self.stop + OVERLAP, self.n_frames))


def fits(n_frames: int, window_frames: int) -> bool:
    """Whether frames are cut into windows of so many: where these fit twice; 0 stands for all frames."""
    return 0 < window_frames <= n_frames // 2


@functools.cache  # asked for of each trial in turn
def cut(n_frames: int, window_frames: int) -> tuple[Window, ...]:
    """The windows of a field in order; one of all frames where none `fits`.

    As many as fit whole; the frames left over make windows longer, and no two differ by more than a frame.
    """
    n_windows = n_frames // window_frames if fits(n_frames, window_frames) else 1
    edges = np.arange(n_windows + 1) * n_frames // n_windows
    return tuple(Window(index, int(edges[index]), int(edges[index + 1]), n_frames) for index in range(n_windows))


def spread(windows: Sequence[Window], n: int) -> tuple[Window, ...]:
    """`n` of the windows, the middle ones of n equal stretches; all of them where there are no more, or n is 0."""
    if n == 0 or n >= len(windows):
        return tuple(windows)
    return tuple(windows[int((place + 0.5) * len(windows) / n)] for place in range(n))


def frames_of(windows: Sequence[Window]) -> np.ndarray:
    """The frames (n,) int64 that windows answer for, in order."""
    return np.concatenate([window.frames for window in windows])
