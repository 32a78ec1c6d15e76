"""The box arithmetic against values worked out by hand and a reference loop."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from auflow.stages.detect import boxes as geometry
from auflow.stages.detect import widest

REFERENCE = Path(__file__).resolve().parents[1] / "reference"


def rows(*values: tuple[float, ...]) -> np.ndarray:
    return np.array(values, np.float32)


def test_pyramid_of_vga_has_seven_levels_from_a_fifth_down() -> None:
    scales = geometry.pyramid_scales(480, 640)
    assert scales == pytest.approx([0.2 * 0.709**level for level in range(7)])
    assert geometry.level_size_px(480, 640, scales[0]) == (96, 128)
    assert geometry.level_size_px(480, 640, scales[1]) == (69, 91)  # 68.06 x 90.75
    assert geometry.level_size_px(480, 640, scales[6]) == (13, 17)  # 12.19 x 16.26


@pytest.mark.parametrize(
    ("height", "width", "levels"),
    [(0, 0, 0), (11, 11, 0), (59, 640, 0), (640, 59, 0), (60, 60, 1), (84, 84, 1), (85, 85, 2)],
)
def test_pyramid_ends_where_a_level_is_smaller_than_the_network(height: int, width: int, levels: int) -> None:
    assert len(geometry.pyramid_scales(height, width)) == levels


def test_cells_decode_to_their_field_in_row_major_order() -> None:
    outputs = np.zeros((6, 30, 30), np.float32)
    outputs[0] = 5.0
    outputs[0, 3, 20], outputs[1, 3, 20] = 0.0, 1.0
    outputs[0, 7, 2], outputs[1, 7, 2] = 0.0, 2.0
    outputs[2:, 7, 2] = 0.1, 0.2, 0.3, 0.4
    boxes, corrections = geometry.decode_cells(outputs, 0.2, 0.6)
    # Cell (row 7, column 2): from (2 * 2 + 1) / 0.2 = 25 to (2 * 2 + 12) / 0.2 = 80.
    np.testing.assert_array_equal(boxes[:, :4], rows((205, 35, 55, 55), (25, 75, 55, 55)))
    np.testing.assert_allclose(boxes[:, 4], [1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-2))], rtol=1e-6)
    np.testing.assert_array_equal(corrections, rows((0, 0, 0, 0), (0.1, 0.2, 0.3, 0.4)))
    assert boxes.dtype == corrections.dtype == np.float32


def test_cells_below_the_threshold_give_empty_arrays() -> None:
    outputs = np.zeros((6, 4, 4), np.float32)
    outputs[1] = 0.4  # a probability of 0.5987
    boxes, corrections = geometry.decode_cells(outputs, 0.2, 0.6)
    assert boxes.shape == (0, 5)
    assert corrections.shape == (0, 4)


def test_decoded_edges_are_cut_and_not_rounded() -> None:
    outputs = np.zeros((6, 20, 20), np.float32)
    outputs[0] = 9.0
    outputs[:2, 15, 11] = 0.0, 9.0
    boxes, _ = geometry.decode_cells(outputs, 0.2 * 0.709, 0.6)
    # x 162.2 to 239.8 and y 218.6 to 296.2
    np.testing.assert_array_equal(boxes[:, :4], rows((162, 218, 77, 78)))


def test_probability_is_the_softmax_and_survives_extremes() -> None:
    outputs = rows((0, 0), (0, 1), (500, -500), (-500, 500))
    np.testing.assert_allclose(geometry.face_probability(outputs), [0.5, 0.7310586, 0, 1], rtol=1e-6)


def test_suppression_by_union_and_by_minimum() -> None:
    boxes = rows((0, 0, 10, 10, 0.8), (0, 5, 10, 10, 0.9), (2, 6, 4, 4, 0.7), (50, 50, 5, 5, 0.6))
    # Rows 0 and 1 share 50 of 150; row 2 lies wholly inside row 1 and is 16 of its 100.
    assert geometry.suppress(boxes, 0.5).tolist() == [1, 0, 2, 3]
    assert geometry.suppress(boxes, 0.3).tolist() == [1, 2, 3]
    assert geometry.suppress(boxes, 0.7, by_minimum=True).tolist() == [1, 0, 3]


def test_suppression_takes_the_later_of_equal_scores() -> None:
    boxes = rows((0, 0, 10, 10, 0.9), (1, 0, 10, 10, 0.9), (30, 0, 10, 10, 0.9))
    assert geometry.suppress(boxes, 0.5).tolist() == [2, 1]


def test_suppression_of_nothing_and_of_boxes_without_area() -> None:
    assert geometry.suppress(np.empty((0, 5), np.float32), 0.5).shape == (0,)
    assert geometry.suppress(rows((3, 3, 0, 0, 0.9), (3, 3, 0, 0, 0.8)), 0.5).tolist() == [0, 1]


@pytest.mark.parametrize("by_minimum", [False, True])
@pytest.mark.parametrize("overlap", [0.3, 0.7])
def test_suppression_agrees_with_the_reference_loop(overlap: float, by_minimum: bool) -> None:
    reference = runpy.run_path(str(REFERENCE / "mtcnn_suppress.py"))["suppress"]
    rng = np.random.default_rng(3)
    boxes = np.column_stack(
        (rng.integers(0, 60, (120, 2)), rng.integers(15, 40, (120, 2)), rng.integers(0, 40, 120) / 40)
    )
    kept = geometry.suppress(boxes.astype(np.float32), overlap, by_minimum=by_minimum)
    assert kept.tolist() == reference(boxes.tolist(), overlap, by_minimum=by_minimum)
    assert 5 < len(kept) < 120


def test_regression_moves_edges_by_fractions_of_the_size() -> None:
    box, corrections = rows((10, 20, 100, 50)), rows((0.1, -0.1, 0.2, 0.4))
    np.testing.assert_allclose(geometry.regress(box, corrections), rows((20, 15, 110, 75)), rtol=1e-6)
    # One pixel more: the size is 101 x 51 for the far edge as well as for the fractions.
    np.testing.assert_allclose(
        geometry.regress(box, corrections, extra_px=1), rows((20.1, 14.9, 111.1, 76.5)), rtol=1e-6
    )


def test_squares_keep_the_centre_and_are_cut_towards_zero() -> None:
    boxes = rows((10.4, 20, 20, 40.6), (-30.5, 5, 20, 40))
    np.testing.assert_array_equal(geometry.square(boxes), rows((0, 20, 40, 40), (-40, 5, 40, 40)))


def test_patches_start_a_pixel_early_and_are_a_pixel_larger() -> None:
    image = np.random.default_rng(5).uniform(0, 255, (40, 50, 3)).astype(np.float32)
    patch = geometry.normalised_patches(image, rows((11, 7, 23, 23)), 24)
    expected = (image[6:30, 10:34, ::-1].transpose(2, 0, 1) - 127.5) / 128
    np.testing.assert_allclose(patch[0], expected, atol=1e-6)
    assert patch.dtype == np.float32


def test_patches_are_black_outside_the_image() -> None:
    image = np.full((40, 50, 3), 255, np.float32)
    boxes = rows((-11, 1, 23, 23), (39, 29, 23, 23), (200, 200, 23, 23), (5, 5, -4, -4))
    patches = geometry.normalised_patches(image, boxes, 24)
    white = 127.5 / 128
    assert (patches[0, :, :, :12] == -127.5 / 128).all()
    assert (patches[0, :, :, 12:] == white).all()
    assert (patches[1, :, :12, :12] == white).all()
    assert (patches[1, :, 12:] == -127.5 / 128).all()
    assert (patches[2:] == -127.5 / 128).all()


def test_patches_of_bytes_are_those_of_floats() -> None:
    bgr = np.random.default_rng(2).integers(0, 256, (70, 90, 3), np.uint8)
    boxes = rows((-11, 1, 23, 23), (10, 9, 60, 60), (85, 40, 100, 90), (5, 5, -4, -4), (300, 5, 9, 9))
    of_bytes = geometry.normalised_patches(bgr, boxes, 48)
    assert of_bytes.tobytes() == geometry.normalised_patches(bgr.astype(np.float32), boxes, 48).tobytes()


def test_final_correction() -> None:
    box = geometry.fit_to_landmarks(rows((100, 200, 40, 60, 0.5)))
    np.testing.assert_allclose(box, rows((99.7, 214.754, 41.292, 46.506, 0.5)), rtol=1e-6)
    assert box.dtype == np.float32


def test_widest_takes_the_first_of_equals() -> None:
    boxes = rows((1, 2, 30, 90, 0.99), (5, 6, 40, 20, 0.8), (7, 8, 40, 30, 0.7))
    np.testing.assert_array_equal(widest(boxes), np.float32([5, 6, 40, 20]))
    assert widest(np.empty((0, 5), np.float32)) is None
