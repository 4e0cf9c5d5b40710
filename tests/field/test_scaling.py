"""By which numbers values and positions are scaled, and when they are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fields import lattice, make_field_folder, make_other_units, write_array

from siren_sweep.field import UNSCALED, StimulusField, cache_file, load_cached, open_field
from siren_sweep.field.lattice import hexagonal_lattice
from siren_sweep.field.scaling import Scaling, lattice_spacing, scaling_of

EYE = hexagonal_lattice()


def opened(folder: Path, cache: Path | None = None) -> StimulusField:
    return open_field(folder, n_frames=40, n_input_neurons=152, cache_dir=cache)


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        (EYE, UNSCALED),
        (EYE[:1], Scaling(x=-8)),
        (1.005 * EYE, UNSCALED),
        (np.concatenate([EYE, EYE + 5e-7]), UNSCALED),  # two receptors a column, a rounding apart
        (5 * EYE, Scaling(spacing=5)),
        (EYE + np.array([20, -30]), Scaling(x=20, y=-30)),
        (0.01 * EYE + np.array([3, 1]), Scaling(x=3, y=1, spacing=0.01)),
        (hexagonal_lattice(40), UNSCALED),  # 4921 positions, whose distances do not fit at once
    ],
)
def test_positions_come_into_lattice_spacings_about_the_origin(positions: np.ndarray, expected: Scaling) -> None:
    scaling = scaling_of(0.0, 1.0, positions.astype(np.float32))
    for name in ("x", "y", "spacing"):
        assert getattr(scaling, name) == pytest.approx(getattr(expected, name), rel=1e-4, abs=1e-5)
    if expected == UNSCALED:
        assert scaling == UNSCALED
    moved = np.stack(scaling.places(*positions.T), axis=1)
    if len(positions) == len(EYE) and expected != UNSCALED:
        np.testing.assert_allclose(moved, EYE, atol=1e-4)


def test_the_spacing_is_that_of_most_columns() -> None:
    rng = np.random.default_rng(0)
    jittered = 7 * (EYE + rng.normal(0, 0.03, EYE.shape))
    assert lattice_spacing(np.concatenate([jittered, [[1e5, 0]]])) == pytest.approx(7, rel=0.1)


def test_learned_values_have_mean_0_and_standard_deviation_1(tmp_path: Path) -> None:
    field = opened(make_other_units(tmp_path / "other", make_field_folder(tmp_path / "plain")))
    assert field.targets.max() > 200  # the field itself keeps its units
    learned = field.scaling.scaled(field.targets)
    assert learned.dtype == np.float32
    assert (float(learned.mean()), float(learned.std())) == pytest.approx((0, 1), abs=1e-5)
    np.testing.assert_allclose(field.scaling.unscaled(learned), field.targets, atol=1e-4)
    np.testing.assert_allclose(np.stack(field.scaling.places(*field.positions.T), axis=1), lattice(19), atol=1e-5)


def test_the_cache_knows_the_scaling_and_a_part_has_the_whole_s(tmp_path: Path) -> None:
    folder = make_other_units(tmp_path / "other", make_field_folder(tmp_path / "plain"))
    field = opened(folder, tmp_path / "cache")
    file = cache_file(folder, n_frames=40, n_input_neurons=152, cache_dir=tmp_path / "cache")
    assert load_cached(file).scaling == opened(folder).scaling == field.scaling != UNSCALED
    assert field.part(slice(3, 9)).scaling == field.scaling
    first = open_field(folder, n_frames=10, n_input_neurons=152, cache_dir=None)
    assert field.first(10).scaling == first.scaling != field.scaling


def test_values_about_a_far_mean_keep_their_digits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = 30_000 + rng.integers(-8, 9, (40, 19))
    write_array(tmp_path / "stimulus.zarr", np.tile(values, (1, 8)).astype(np.int32))
    write_array(tmp_path / "pos.zarr", np.tile(lattice(19), (8, 1)))
    field = opened(tmp_path)
    assert field.scaling.mean == pytest.approx(values.mean(), abs=2e-3)  # that is float32's step there
    exact = (values - field.scaling.mean) / values.std()
    np.testing.assert_allclose(field.scaling.scaled(field.targets), exact, atol=1e-6)
