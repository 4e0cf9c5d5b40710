"""Windows: the frames of a field, cut along time. Each window has a network of its own.

The cost of one network over all frames is steps times parameters, and both grow with the number of frames. The cost of
windows grows only in proportion to the number of frames. Compare Reiser et al., "KiloNeRF" (ICCV 2021), section 3.1,
which divides space into a grid of small networks.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

OVERLAP = 1  # frames beyond each end of a window on which its network is trained as well


@dataclass(frozen=True)
class Window:
    """Window number `index`, from 0: the frames `start`, ..., `stop - 1` of a field of `n_frames`.

    Its network is trained on `seen`: these frames and the next one on either side, where there is one, so that it also
    fits the time between two windows. The network's time is counted from `start`; the frame before it is at -1.
    """

    index: int
    start: int
    stop: int
    n_frames: int

    @property
    def frames(self) -> np.ndarray:
        """The frames (n,) int64 that the network predicts."""
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
    """Whether `n_frames` are cut into windows: at least two must fit; `window_frames` 0 means one window."""
    return 0 < window_frames <= n_frames // 2


@functools.cache  # asked for of each trial in turn
def cut(n_frames: int, window_frames: int) -> tuple[Window, ...]:
    """The windows of a field in order; one window of all frames where `fits` is false.

    There are n_frames // window_frames of them. Frames that are left over make some windows longer, so that no two
    differ by more than one frame.
    """
    n_windows = n_frames // window_frames if fits(n_frames, window_frames) else 1
    edges = np.arange(n_windows + 1) * n_frames // n_windows
    return tuple(Window(index, int(edges[index]), int(edges[index + 1]), n_frames) for index in range(n_windows))


def spread(windows: Sequence[Window], n: int) -> tuple[Window, ...]:
    """`n` evenly spread windows: the middle one of each of n equal parts. All of them where n is 0 or too high."""
    if n == 0 or n >= len(windows):
        return tuple(windows)
    return tuple(windows[int((place + 0.5) * len(windows) / n)] for place in range(n))


def frames_of(windows: Sequence[Window]) -> np.ndarray:
    """The frames (n,) int64 that the networks of `windows` predict, in order."""
    return np.concatenate([window.frames for window in windows])
