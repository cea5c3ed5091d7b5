import subprocess
import sys
from itertools import pairwise

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.image import imread

from tests.helpers import refused
from xpnet import metrics, plots
from xpnet.errors import InputError
from xpnet.training import History, Record

DIGITS = [str(digit) for digit in range(10)]


def history(points):
    iteration = [100 * (point + 1) for point in range(points)]
    return {
        "iteration": iteration,
        "loss": [200 / i for i in iteration],
        "weight_decay_loss": [0.1 + 1 / i for i in iteration],
        "total_loss": [0.1 + 201 / i for i in iteration],
        "train_accuracy": [1 - 40 / i for i in iteration],
        "validation_accuracy": [1 - 30 / i for i in iteration],
        "seconds": [i / 300 for i in iteration],
    }


def pixels(figure, path):
    plots.save(figure, path)
    return imread(path)


def only_image(axes):
    (image,) = axes.images
    return image


# Calibration


def test_calibration_draws_accuracies_at_their_confidences_and_how_many_examples_there_are():
    bins = metrics.calibration(np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]]), np.array([0, 1, 0]), bins=4)
    figure = plots.calibration(bins)
    above, below = figure.axes
    assert [bar.get_height() for bar in above.patches] == [0, 0, 1, 0.5]
    assert [bar.get_x() + bar.get_width() / 2 for bar in above.patches] == pytest.approx([0.125, 0.375, 0.625, 0.875])
    assert [bar.get_height() for bar in below.patches] == [0, 0, 1, 2]
    diagonal, dots = above.lines
    np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())
    np.testing.assert_allclose(dots.get_xdata()[2:], [0.6, 0.85])
    assert f"{(0.4 + 2 * 0.35) / 3:.2%}" in above.get_title()


# Learning curves


def test_a_comparison_of_runs_draws_each_at_its_own_iterations():
    record = Record(10, 0.5, 0.0, 0.5, 0.7, 0.6, 0.8, 1.0, 0.1)
    long = History([record, record._replace(iteration=25, loss=0.25, validation_score=0.875)])
    unvalidated = History([record._replace(validation_loss=None, validation_score=None)])
    losses, scores = plots.run_comparison({"long": long, "short": unvalidated}).axes
    assert [line.get_label() for line in losses.lines] == ["long", "short"]
    assert [list(line.get_xdata()) for line in losses.lines] == [[10, 25], [10]]
    assert [list(line.get_ydata()) for line in losses.lines] == [[0.5, 0.25], [0.5]]
    assert list(scores.lines[0].get_ydata()) == [80, 87.5]
    assert (scores.get_title(), scores.get_ylabel()) == ("Validation accuracy", "Accuracy (%)")
    assert np.isnan(scores.lines[1].get_ydata()).all()
    assert len({(line.get_color(), line.get_linestyle()) for line in losses.lines}) == 2
    _, scores = plots.run_comparison({"long": long, "real": History([record], "r2")}).axes
    assert [list(line.get_ydata()) for line in scores.lines] == [[0.8, 0.875], [0.8]]


def test_loss_curves_draw_the_three_losses_against_the_iteration():
    record = history(30)
    (axes,) = plots.loss_curves(record).axes
    drawn = {line.get_label(): line for line in axes.lines}
    assert list(drawn) == ["Total", "Classification", "Weight decay"]
    for label, column in [
        ("Total", "total_loss"),
        ("Classification", "loss"),
        ("Weight decay", "weight_decay_loss"),
    ]:
        np.testing.assert_array_equal(drawn[label].get_xdata(), record["iteration"])
        np.testing.assert_array_equal(drawn[label].get_ydata(), record[column])
    assert axes.get_title() == "Training loss"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Iteration", "Loss")
    assert axes.get_ylim()[0] == 0
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(drawn)


def records(points, metric="accuracy", validated=True):
    """A training's history of 10 iterations each, 20 in an epoch."""
    made = [
        Record(10 * n, 1 / n, 0.1, 1 / n + 0.1, n / 10, *((2 / n, n / 20) if validated else (None, None)), 1.0, 0.1)
        for n in range(1, points + 1)
    ]
    return History(made, metric, 20)


@pytest.mark.parametrize(("metric", "scale", "label"), [("accuracy", 100, "Accuracy (%)"), ("r2", 1, "R²")])
@pytest.mark.parametrize("validated", [True, False])
def test_a_history_draws_losses_and_scores_against_epochs(metric, scale, label, validated):
    losses, scores = records(3, metric, validated).plot().axes
    drawn = {"Training": [1, 1 / 2, 1 / 3], "Validation": [2, 1, 2 / 3]}
    assert {line.get_label(): line.get_ydata().tolist() for line in losses.lines} == {
        name: pytest.approx(values) for name, values in drawn.items() if validated or name == "Training"
    }
    drawn = {"Training": [0.1, 0.2, 0.3], "Validation": [0.05, 0.1, 0.15]}
    assert {line.get_label(): (line.get_ydata() / scale).tolist() for line in scores.lines} == {
        name: pytest.approx(values) for name, values in drawn.items() if validated or name == "Training"
    }
    assert scores.get_ylabel() == label
    for axes in (losses, scores):
        assert axes.lines[0].get_xdata().tolist() == [0.5, 1.0, 1.5]
        assert axes.get_xlabel() == "Epoch"


def test_a_history_without_records_says_so():
    for axes in records(0).plot().axes:
        assert "No values" in axes.texts[0].get_text()


def test_accuracy_curves_are_in_percent():
    record = history(30)
    (axes,) = plots.accuracy_curves(record).axes
    training, validation = axes.lines
    np.testing.assert_array_equal(training.get_xdata(), record["iteration"])
    np.testing.assert_allclose(training.get_ydata(), [100 - 4000 / i for i in record["iteration"]])
    np.testing.assert_allclose(validation.get_ydata(), [100 - 3000 / i for i in record["iteration"]])
    assert training.get_label() == "Training (moving average)"
    assert validation.get_label() == "Validation"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Iteration", "Accuracy (%)")
    (axes,) = plots.accuracy_curves(record, averaged=False).axes
    assert axes.lines[0].get_label() == "Training"


@pytest.mark.parametrize("draw", [plots.loss_curves, plots.accuracy_curves])
def test_curves_are_against_epochs_where_these_are_counted(draw):
    record = history(30)
    (axes,) = draw(record, batches_per_epoch=150).axes
    for line in axes.lines:
        np.testing.assert_allclose(line.get_xdata(), [i / 150 for i in record["iteration"]])
    assert axes.get_xlabel() == "Epoch"


@pytest.mark.parametrize("draw", [plots.loss_curves, plots.accuracy_curves])
def test_lines_differ_in_more_than_colour(draw):
    lines = draw(history(30)).axes[0].lines
    for look in ("get_color", "get_linestyle", "get_marker"):
        assert len({getattr(line, look)() for line in lines}) == len(lines)


def test_error_rates_are_in_percent_against_epochs():
    record = history(30)
    (axes,) = plots.error_rate_curves(record, batches_per_epoch=200).axes
    training, validation = axes.lines
    np.testing.assert_allclose(training.get_xdata(), [i / 200 for i in record["iteration"]])
    np.testing.assert_allclose(training.get_ydata(), [4000 / i for i in record["iteration"]])
    np.testing.assert_allclose(validation.get_ydata(), [3000 / i for i in record["iteration"]])
    assert (training.get_label(), validation.get_label()) == ("Training", "Validation")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Epoch", "Error rate (%)")


@pytest.mark.parametrize(
    ("rates", "labels"),
    [
        ([0.6, 0.5, 0.45], ["45", "50", "55", "60"]),
        ([0.5, 0.05, 0.01], ["1", "2", "5", "10", "20", "50"]),
        ([0.9999, 0.3, 0.001], ["0.1", "1", "10", "100"]),
    ],
)
def test_error_rates_far_from_0_fill_the_axis(rates, labels):
    accuracies = [1 - rate for rate in rates]
    figure = plots.error_rate_curves(
        {"iteration": [1, 2, 3], "train_accuracy": accuracies, "validation_accuracy": accuracies}, 100
    )
    (axes,) = figure.axes
    assert y_labels(axes) == labels
    assert axes.get_ylim()[1] <= 100
    drawn = axes.transData.transform([(0, 100 * min(rates)), (0, 100 * max(rates))])[:, 1]
    assert drawn[1] - drawn[0] > 0.85 * axes.bbox.height


def y_labels(axes):
    low, high = axes.get_ylim()
    axes.figure.canvas.draw()
    return [label.get_text() for label in axes.get_yticklabels() if low <= label.get_position()[1] <= high]


def test_an_error_rate_of_0_is_on_the_axis():
    (axes,) = plots.error_rate_curves(history(3) | {"train_accuracy": [0.9, 0.999, 1.0]}, 100).axes
    heights = axes.transData.transform([(0, rate) for rate in (0, 0.1, 1, 10)])[:, 1]
    assert heights[0] == pytest.approx(axes.bbox.y0)
    assert heights[2] - heights[1] == pytest.approx(heights[3] - heights[2])


def runs(points):
    return {
        name: history(points) | {"total_loss": [k / i for i in range(1, points + 1)]}
        for k, name in enumerate("abcd", 1)
    }


@pytest.mark.parametrize(
    ("draw", "column", "scale"),
    [(plots.cost_comparison, "total_loss", 1), (plots.accuracy_comparison, "validation_accuracy", 100)],
)
def test_runs_are_compared_by_name_against_epochs(draw, column, scale):
    (axes,) = draw(runs(30), batches_per_epoch=400).axes
    assert [line.get_label() for line in axes.lines] == list("abcd")
    for line, record in zip(axes.lines, runs(30).values(), strict=True):
        np.testing.assert_allclose(line.get_xdata(), [i / 400 for i in record["iteration"]])
        np.testing.assert_allclose(line.get_ydata(), [scale * value for value in record[column]])
    assert axes.get_xlabel() == "Epoch"
    for look in ("get_color", "get_linestyle", "get_marker"):
        assert len({getattr(line, look)() for line in axes.lines}) == 4


def test_runs_of_unequal_length_are_refused():
    with pytest.raises(InputError, match=r"cost_comparison: .*'iteration': 3, 'a': 3, 'b': 2"):
        plots.cost_comparison({"a": history(3), "b": history(2)}, 100)


def test_a_perfect_accuracy_is_not_drawn_above_100_percent():
    record = history(3) | {"train_accuracy": [0.1, 0.9, 1.0]}
    assert 100 <= plots.accuracy_curves(record).axes[0].get_ylim()[1] <= 101


@pytest.mark.parametrize(
    "draw", [plots.loss_curves, plots.accuracy_curves, lambda record: plots.error_rate_curves(record, 10)]
)
def test_an_empty_history_says_so(draw, tmp_path):
    figure = draw(history(0))
    (axes,) = figure.axes
    assert not axes.lines
    assert [text.get_text() for text in axes.texts] == ["No values were recorded."]
    assert axes.get_legend() is None
    assert pixels(figure, tmp_path / "empty.png").min() < 0.5


@pytest.mark.parametrize("draw", [plots.loss_curves, plots.accuracy_curves])
def test_a_single_point_is_visible(draw, tmp_path):
    figure = draw(history(1))
    image = pixels(figure, tmp_path / "point.png")[::-1, :, :3]
    (axes,) = figure.axes
    for line in axes.lines:
        column, row = axes.transData.transform(line.get_xydata()[0]).astype(int)
        np.testing.assert_allclose(image[row, column], to_rgb(line.get_color()), atol=0.01)


def test_values_that_are_not_finite_leave_gaps(tmp_path):
    record = history(5)
    record["total_loss"][2] = float("nan")
    record["loss"][3] = float("inf")
    figure = plots.loss_curves(record)
    (axes,) = figure.axes
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), record["total_loss"])
    assert np.isfinite(axes.get_ylim()).all()
    assert axes.get_ylim()[1] < 3
    assert pixels(figure, tmp_path / "gaps.png").size


def test_a_column_without_a_finite_value_is_left_out_of_the_legend():
    record = history(4) | {"validation_accuracy": [float("nan")] * 4}
    (axes,) = plots.accuracy_curves(record).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["Training (moving average)"]


def test_a_history_with_a_missing_or_short_column_is_refused():
    record = history(3)
    del record["total_loss"]
    with pytest.raises(InputError, match=r"loss_curves: .*'iteration': 3, 'total_loss': 0"):
        plots.loss_curves(record)
    with pytest.raises(InputError, match=r"accuracy_curves: .*'train_accuracy': 1"):
        plots.accuracy_curves(history(3) | {"train_accuracy": [0.5]})


# Filters


def test_grey_filters_are_tiles_on_a_scale_symmetric_about_zero():
    weight = np.random.default_rng(0).normal(size=(5, 3, 4, 1))
    weight[2, 1, 1, 0] = 7.5
    figure = plots.filters(weight)
    axes, colour_bar = figure.axes
    image = only_image(axes)
    mosaic = np.ma.filled(image.get_array(), np.nan)
    assert mosaic.shape == (2 * 3 + 1, 3 * 4 + 2)  # 2 rows of 3 tiles, one pixel apart
    np.testing.assert_array_equal(mosaic[:3, :4], weight[0, ..., 0])
    np.testing.assert_array_equal(mosaic[:3, 10:], weight[2, ..., 0])
    np.testing.assert_array_equal(mosaic[4:, :4], weight[3, ..., 0])
    assert np.isnan(mosaic[3]).all()
    assert np.isnan(mosaic[4:, 10:]).all()  # there is no sixth filter
    assert image.get_clim() == (-7.5, 7.5)
    assert colour_bar.get_ylabel() == "Weight"
    assert axes.get_title() == "Filters of the first convolution (5 × 3 × 4 × 1)"
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["0", "3"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["+0", "+1", "+2"]
    assert [(patch.get_x(), patch.get_y()) for patch in axes.patches][4] == (4.5, 3.5)


def test_colour_filters_share_one_scale_from_0_to_1():
    weight = np.random.default_rng(0).normal(size=(4, 5, 5, 3)).astype(np.float32)
    (axes,) = plots.filters(weight).axes
    mosaic = only_image(axes).get_array()
    assert mosaic.shape == (11, 11, 3)
    scaled = (weight - weight.min()) / (weight.max() - weight.min())
    np.testing.assert_allclose(mosaic[:5, :5], scaled[0], atol=1e-6)
    np.testing.assert_allclose(mosaic[6:, 6:], scaled[3], atol=1e-6)
    np.testing.assert_array_equal(mosaic[5], 1.0)


def test_other_channel_counts_are_a_limited_grid_of_filters_by_channels():
    weight = np.random.default_rng(0).normal(size=(20, 3, 3, 18))
    axes, _ = plots.filters(weight).axes
    mosaic = np.ma.filled(only_image(axes).get_array(), np.nan)
    assert mosaic.shape == (63, 63)
    np.testing.assert_array_equal(mosaic[4:7, 8:11], weight[1, :, :, 2])
    assert axes.get_xlabel() == "Input channel (16 of 18)"
    assert axes.get_ylabel() == "Filter (16 of 20)"


def test_filters_of_zeros_are_in_the_middle_of_the_scale():
    low, high = only_image(plots.filters(np.zeros((2, 3, 3, 1))).axes[0]).get_clim()
    assert low == -high < 0


@pytest.mark.parametrize("channels", [1, 3])
def test_weights_that_are_not_finite_stay_white_and_off_the_scale(channels):
    weight = np.random.default_rng(0).normal(size=(4, 3, 3, channels))
    weight[0, 0, 0] = np.inf
    weight[0, 0, 1] = -np.inf
    weight[0, 0, 2] = np.nan
    image = only_image(plots.filters(weight).axes[0])
    broken = image.get_array()[0, :3]
    assert (broken == 1).all() if channels == 3 else np.ma.getmaskarray(broken).all()
    assert np.isfinite(image.get_clim()).all()


@pytest.mark.parametrize("shape", [(1, 5, 5, 1), (64, 7, 7, 1), (1, 5, 5, 3), (64, 7, 7, 3), (1, 1, 1, 2)])
@pytest.mark.parametrize("fill", [0.0, np.nan, None])
def test_one_or_many_constant_or_broken_filters_can_be_drawn(shape, fill, tmp_path):
    weight = np.full(shape, fill) if fill is not None else np.random.default_rng(0).normal(size=shape)
    height, width, _ = pixels(plots.filters(weight), tmp_path / "filters.png").shape
    assert 600 <= width <= 6.5 * 150
    assert 200 <= height <= 1100


@pytest.mark.parametrize("shape", [(5, 5, 1), (0, 5, 5, 1), (16, 75)])
def test_a_weight_that_is_no_convolution_is_refused(shape):
    with pytest.raises(InputError, match="filters: expected a convolution weight"):
        plots.filters(np.zeros(shape))


# Misclassified images


def examples(channels=1):
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, channels), np.uint8)
    labels = np.array([0, 1, 2, 3, 4, 5], np.uint8)
    predictions = np.array([0, 7, 2, 8, 4, 9])
    probabilities = np.full((6, 10), 0.01)
    probabilities[[1, 3, 5], [7, 8, 9]] = [0.5, 0.9, 0.75]
    return images, labels, predictions, probabilities


def tiles(figure):
    return [axes for axes in figure.axes if axes.images]


@pytest.mark.parametrize("channels", [1, 3])
def test_misclassified_images_are_titled_true_and_predicted(channels):
    images, labels, predictions, _ = examples(channels)
    figure = plots.misclassified(images, labels, predictions, DIGITS)
    assert [axes.get_title() for axes in tiles(figure)] == ["1 → 7", "3 → 8", "5 → 9"]
    for axes, index in zip(tiles(figure), [1, 3, 5], strict=True):
        image = only_image(axes)
        np.testing.assert_array_equal(image.get_array(), images[index].squeeze())
        assert image.get_clim() == (0, 255)
    assert figure.get_suptitle() == "Misclassified images: 3 of 3\ntrue → predicted"


def test_misclassified_images_with_probabilities_come_most_confident_first():
    images, labels, predictions, probabilities = examples()
    figure = plots.misclassified(images, labels, predictions, DIGITS, probabilities, limit=2)
    assert [axes.get_title() for axes in tiles(figure)] == ["3 → 8 (0.90)", "5 → 9 (0.75)"]
    np.testing.assert_array_equal(only_image(tiles(figure)[0]).get_array(), images[3, ..., 0])
    assert "2 of 3, most confident first" in figure.get_suptitle()


def test_long_class_names_are_broken_and_cut():
    images, labels, predictions, _ = examples()
    names = ["abcdefghijklmnopqrstuvwxyz", *DIGITS[1:]]
    (axes,) = tiles(plots.misclassified(images[:1], labels[:1] + 1, predictions[:1], names))
    assert axes.get_title() == "1 →\nabcdefghijklm…"


def test_a_dollar_sign_in_a_class_name_is_no_formula(tmp_path):
    images, labels, predictions, _ = examples()
    figure = plots.misclassified(images, labels, predictions, [rf"$\{digit}" for digit in DIGITS])
    assert pixels(figure, tmp_path / "dollars.png").size
    figure = plots.confusion_matrix(np.eye(2, dtype=int), [r"$\a$", r"$\b$"])
    assert pixels(figure, tmp_path / "dollars.png").size


def test_no_misclassified_image_is_said_in_words():
    images, labels, _, _ = examples()
    (axes,) = plots.misclassified(images, labels, labels, DIGITS).axes
    assert [text.get_text() for text in axes.texts] == ["None of 6 images was misclassified."]


def test_misclassified_refuses_what_does_not_fit_together():
    images, labels, predictions, probabilities = examples()
    for arguments, message in [
        ((images / 255, labels, predictions, DIGITS), "uint8, got .* float64"),
        ((images[..., 0], labels, predictions, DIGITS), r"got \(6, 8, 8\)"),
        ((images[..., [0, 0]], labels, predictions, DIGITS), r"got \(6, 8, 8, 2\)"),
        ((images[1:], labels, predictions, DIGITS), "expected 6 images, .* got 5"),
        ((images, labels, predictions[1:], DIGITS), "expected 6 predictions, .* got 5"),
        ((images, labels, predictions, DIGITS[:9]), "predictions in 0..8, got 9"),
        (
            (images, labels, predictions, DIGITS, probabilities[:, 0]),
            r"probabilities .* \(6, 10\), got \(6,\)",
        ),
        ((images, labels, predictions, DIGITS, probabilities, 0), "limit of at least 1, got 0"),
    ]:
        with pytest.raises(InputError, match=message):
            plots.misclassified(*arguments)


# Confusion matrix


def test_confusion_matrix_colours_rows_and_writes_counts():
    matrix = np.array([[30, 10, 0], [0, 200, 0], [0, 0, 0]])
    axes, colour_bar = plots.confusion_matrix(matrix, ["cat", "dog", "owl"]).axes
    percent = only_image(axes).get_array()
    np.testing.assert_allclose(percent, [[75, 25, 0], [0, 100, 0], [0, 0, 0]])
    assert only_image(axes).get_clim() == (0, 100)
    written = {text.get_position(): text for text in axes.texts}
    assert {place: text.get_text() for place, text in written.items()} == {
        (column, row): str(matrix[row, column]) for row in range(3) for column in range(3)
    }
    assert to_hex(written[1, 1].get_color()) == "#ffffff"  # on dark blue
    assert to_hex(written[0, 1].get_color()) == "#000000"  # on almost white
    assert axes.get_title() == "Confusion matrix"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Predicted class", "True class")
    assert colour_bar.get_ylabel() == "Share of the true class (%)"
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [tick.get_text() for tick in ticks] == ["cat", "dog", "owl"]


def test_every_count_stands_out_from_its_cell():
    share = 5 * np.arange(20)
    matrix = np.zeros((20, 20), int)
    matrix[:, 0], matrix[:, 1] = share, 100 - share
    axes = plots.confusion_matrix(matrix, [str(c) for c in range(20)]).axes[0]
    image = only_image(axes)
    for text in axes.texts:
        column, row = text.get_position()
        cell = np.array(image.to_rgba(image.get_array())[row, column, :3])
        assert contrast(cell, np.array(to_rgb(text.get_color()))) >= 4.5


def contrast(one, other):
    """Contrast ratio of two sRGB colours, 1 to 21 (WCAG 2.1); 4.5 is enough for body text."""

    def luminance(colour):
        linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("classes", [1, 2, 10, 25])
def test_counts_fit_into_their_cells(classes):
    matrix = np.full((classes, classes), 888)
    figure = plots.confusion_matrix(matrix, [str(c) for c in range(classes)])
    axes = figure.axes[0]
    assert len(axes.texts) == classes * classes
    figure.draw_without_rendering()
    cell = axes.get_window_extent().width / classes
    assert max(text.get_window_extent().width for text in axes.texts) < cell


def test_a_hundred_classes_have_no_counts_and_names_that_do_not_overlap():
    figure = plots.confusion_matrix(np.eye(100, dtype=int), [str(c) for c in range(100)])
    axes = figure.axes[0]
    assert not axes.texts
    figure.draw_without_rendering()
    names = [tick for tick in axes.get_xticklabels() if tick.get_text()]
    assert [tick.get_text() for tick in names] == [str(c) for c in range(0, 100, 4)]
    boxes = [tick.get_window_extent() for tick in names]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_names_that_do_not_fit_side_by_side_are_slanted():
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    axes = plots.confusion_matrix(np.eye(10, dtype=int), names).axes[0]
    assert {tick.get_rotation() for tick in axes.get_xticklabels()} == {45}
    axes = plots.confusion_matrix(np.eye(10, dtype=int), DIGITS).axes[0]
    assert {tick.get_rotation() for tick in axes.get_xticklabels()} == {0}


def test_confusion_matrix_refuses_other_shapes_and_names():
    with pytest.raises(InputError, match=r"confusion_matrix: .*\(2, 3\)"):
        plots.confusion_matrix(np.ones((2, 3), int), ["a", "b"])
    with pytest.raises(InputError, match="expected 2 class names, got 3"):
        plots.confusion_matrix(np.ones((2, 2), int), ["a", "b", "c"])


# All of them


def every_figure():
    images, labels, predictions, probabilities = examples()
    return {
        "loss": plots.loss_curves(history(30)),
        "accuracy": plots.accuracy_curves(history(30)),
        "filters": plots.filters(np.random.default_rng(0).normal(size=(16, 5, 5, 1))),
        "misclassified": plots.misclassified(images, labels, predictions, DIGITS, probabilities),
        "confusion_matrix": plots.confusion_matrix(np.eye(10, dtype=int), DIGITS),
    }


def test_saved_figures_are_pngs_at_150_dpi_that_fit_on_a_page(tmp_path):
    for name, figure in every_figure().items():
        image = pixels(figure, tmp_path / f"{name}.png")
        assert image.shape[:2] == tuple(np.round(150 * figure.get_size_inches())[::-1]), name
        assert 4 * 150 <= image.shape[1] <= 6.5 * 150, name
        assert 0.5 <= image.shape[0] / image.shape[1] <= 1.4, name
        assert (image[..., :3].min(axis=-1) < 0.9).mean() > 0.01, f"{name} is blank"


def test_settings_of_the_caller_stay_and_do_not_matter(tmp_path):
    before = dict(matplotlib.rcParams)
    expected = pixels(plots.loss_curves(history(3)), tmp_path / "expected.png")
    every_figure()
    assert dict(matplotlib.rcParams) == before
    with matplotlib.rc_context({"font.size": 20, "lines.linewidth": 9, "figure.dpi": 30, "savefig.dpi": 40}):
        actual = pixels(plots.loss_curves(history(3)), tmp_path / "actual.png")
    np.testing.assert_array_equal(actual, expected)


def run_python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_does_not_import_matplotlib():
    run_python("import sys, xpnet, xpnet.metrics; assert 'matplotlib' not in sys.modules")


def test_drawing_and_saving_never_imports_pyplot():
    run_python(
        "import io, sys, numpy\n"
        "from xpnet import plots\n"
        "plots.confusion_matrix(numpy.eye(2, dtype=int), ['a', 'b']).savefig(io.BytesIO())\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )


# Feature maps


def test_feature_maps_show_every_channel_in_order():
    output = np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    figure = plots.feature_maps(output, np.zeros((8, 8, 1), np.uint8), "conv1")
    picture, axes = figure.axes[:2]
    assert picture.images[0].get_array().shape[:2] == (8, 8)
    tiles = axes.images[0].get_array()
    for channel in range(6):
        row, column = divmod(channel, 3)
        np.testing.assert_array_equal(tiles[row * 5 : row * 5 + 4, column * 6 : column * 6 + 5], output[:, :, channel])
    assert axes.get_title() == "conv1 (4 × 5 × 6)"


def test_of_many_channels_the_first_64_are_drawn():
    output = np.zeros((2, 2, 100))
    output[:, :, 64:] = 1
    axes = plots.feature_maps(output, np.zeros((8, 8, 3), np.uint8), "conv1").axes[1]
    assert np.nanmax(axes.images[0].get_array().filled(0)) == 0
    assert "first 64 of 100 channels" in axes.get_title()


def test_a_vector_of_features_is_drawn_as_bars():
    axes = plots.feature_maps(np.array([1.0, -2.0, 0.5]), np.zeros((8, 8, 1), np.uint8), "dense1").axes[1]
    assert [bar.get_height() for bar in axes.patches] == [1.0, -2.0, 0.5]


def test_feature_maps_of_a_batch_are_refused():
    with refused("feature_maps", "the output (H, W, C) or (units,) for one image", "got shape (1, 2, 2, 3)"):
        plots.feature_maps(np.zeros((1, 2, 2, 3)), np.zeros((8, 8, 1), np.uint8), "conv1")


def test_a_plot_that_cannot_be_written_is_an_input_error(tmp_path):
    figure = plots.feature_maps(np.zeros(2), np.zeros((8, 8, 1), np.uint8), "dense1")
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "a.png"
    with refused(f"Plot {path}", f"{path.parent} to be a folder, found a file. Move it"):
        plots.save(figure, path)
    path = tmp_path / f"{'a' * 300}.png"
    with refused(f"Plot {path}: cannot be written ("):
        plots.save(figure, path)


@pytest.mark.parametrize("name", ["f10", "f10.", "f10.xyz", ".png"])
def test_a_plot_whose_name_gives_no_format_is_refused(tmp_path, name):
    figure = plots.feature_maps(np.zeros(2), np.zeros((8, 8, 1), np.uint8), "dense1")
    with refused(f"Plot {tmp_path / name}", "a name that ends in .png, .pdf or .svg"):
        plots.save(figure, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.PNG", "b.c.svg", "d.pdf"])
def test_a_plot_is_written_under_the_name_given(tmp_path, name):
    plots.save(plots.feature_maps(np.zeros(2), np.zeros((8, 8, 1), np.uint8), "dense1"), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


# Searches


def test_search_trials_show_every_trial_against_every_parameter():
    accuracies, completed = np.array([0.9, 0.5, 0.95, 1.0]), np.array([True, False, True, False])
    parameters = {"Rate": [0.1, 0.001, 1.0, 0.2], "Decay": [0.0, 0.1, 0.2, 0.3], "Hidden": ["8", "100", "8", "9,9"]}
    figure = plots.search_trials(accuracies, completed, parameters, logarithmic=["Rate", "Decay"])
    trial, rate, decay, hidden = figure.axes
    kept, given_up, best = trial.lines
    np.testing.assert_allclose(kept.get_xydata(), [[0, 10], [2, 5]])
    np.testing.assert_allclose(given_up.get_xydata(), [[1, 50], [3, 0.01]])  # an error of 0 has no logarithm
    np.testing.assert_allclose(best.get_ydata(), [10, 10, 5, 5])
    assert [axes.get_xscale() for axes in (trial, rate, decay)] == ["linear", "log", "linear"]
    np.testing.assert_allclose(rate.lines[0].get_xdata(), [0.1, 1.0])
    assert [label.get_text() for label in hidden.get_xticklabels()] == ["8", "100", "9,9"]
    np.testing.assert_allclose(hidden.lines[1].get_xdata(), [1, 2])


@pytest.mark.parametrize(
    ("errors", "labels"),
    [
        ([0.0902, 0.0975], ["9", "9.2", "9.4", "9.6"]),
        ([0.069, 0.4], ["7", "10", "15", "20", "30"]),
        ([0.002, 0.9], ["0.3", "1", "3", "10", "30", "100"]),
        ([0.0001, 1.0], ["0.01", "0.1", "1", "10", "100"]),
    ],
)
def test_a_logarithmic_axis_has_labels_whatever_its_range(errors, labels):
    figure = plots.search_trials(1 - np.array(errors), np.array([True, True]), {})
    assert y_labels(figure.axes[0]) == labels


def test_small_parameters_are_labelled_alike():
    parameters = {"Decay": [1e-5, 1e-3], "Rate": [0.03, 0.9]}
    figure = plots.search_trials(np.array([0.5, 0.6]), np.array([True, True]), parameters, ["Decay", "Rate"])
    figure.canvas.draw()
    shown = []
    for axes in figure.axes[1:3]:
        (low, high), labels = axes.get_xlim(), axes.get_xticklabels()
        shown.append([label.get_text() for label in labels if low <= label.get_position()[0] <= high])
    assert shown == [["1e-5", "1e-4", "1e-3"], ["0.03", "0.1", "0.3", "1"]]


def test_range_test_shows_losses_and_the_suggestion():
    axes = plots.range_test([0.1, 1.0, 10.0], [2.0, 1.0, 9.0], [2.0, 1.5, 4.0], 0.1).axes[0]
    assert axes.get_xscale() == "log"
    one, smoothed, line = axes.lines
    np.testing.assert_allclose(one.get_xydata(), [[0.1, 2], [1, 1], [10, 9]])
    np.testing.assert_allclose(smoothed.get_ydata(), [2, 1.5, 4])
    assert line.get_xdata() == [0.1, 0.1]


def test_range_test_without_a_suggestion_has_no_line_for_it(tmp_path):
    figure = plots.range_test([0.1, 1.0, 10.0], [2.0, 1.0, np.inf], [2.0, 1.5, np.inf], None)
    assert len(figure.axes[0].lines) == 2
    assert pixels(figure, tmp_path / "plot.png").size > 0


def test_regularization_shows_the_median_and_range_of_the_seeds():
    runs = np.array([[0.5, 0.6], [0.7, 0.9], [0.6, 0.5]])
    figure = plots.regularization([10, 20], {"L2": {"none": runs}, "dropout": {"none": runs, "p = 0.5": runs - 0.1}})
    assert [axes.get_title() for axes in figure.axes] == ["L2", "dropout"]
    for axes, count in zip(figure.axes, (1, 2), strict=True):
        assert len(axes.lines) == count
        np.testing.assert_allclose(axes.lines[0].get_xydata(), [[10, 60], [20, 60]])
    many = plots.regularization([10, 20], {"L2": {f"λ = {number}": runs for number in range(8)}}).axes[0]
    assert len({(line.get_color(), line.get_linestyle()) for line in many.lines}) == 8
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert {(10.0, 50.0), (10.0, 70.0), (20.0, 50.0), (20.0, 90.0)} <= {tuple(np.round(v, 6)) for v in band.tolist()}


def test_relative_times_keep_disturbed_calls_from_shrinking_the_bars():
    times = {"xpnet-numpy": np.array([[0.5, 0.4, 50.0], [1.5, 1.0, 2.0]]), "torch": np.array([[1.0, 0.9, 1.1]] * 2)}
    figure = plots.relative_times(["a, 16", "b, 128"], {"Training step": times}, "torch")
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [0.5, 1.5, 1.0, 1.0]
    places = [bar.get_y() + bar.get_height() / 2 for bar in axes.patches]
    assert places == pytest.approx([-0.2125, 0.7875, 0.2125, 1.2125])
    assert axes.get_xlim() == pytest.approx((0, 1.8))
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["a, 16", "b, 128"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["xpnet-numpy", "torch"]


def test_scaling_curves_draw_the_guide_apart():
    curve = np.array([[1.0, 20.0], [4.0, 30.0], [16.0, 90.0]])
    names = ("images", "pixels", "channels", "convolutions")
    panels = {name: {"xpnet-numpy": curve, "guide": curve * [1, 0.5]} for name in names}
    figure = plots.scaling_curves(panels, "guide")
    assert [axes.get_xlabel() for axes in figure.axes] == list(names)
    for axes in figure.axes:
        ours, guide = axes.get_lines()
        np.testing.assert_array_equal(ours.get_xydata(), curve)
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert ours.get_marker() == "o"
        assert guide.get_marker() == ""
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "4", "16"]
        assert "$" not in "".join(tick.get_text() for tick in axes.get_yticklabels())


# Segmentation


def test_segmentation_shows_images_classes_and_mistakes(tmp_path):
    rng = np.random.default_rng(0)
    images, targets = rng.integers(0, 256, (3, 8, 6, 3)).astype(np.uint8), rng.integers(0, 4, (3, 8, 6))
    predictions = np.where(rng.random(targets.shape) < 0.25, 0, targets)
    figure = plots.segmentation(images, targets, predictions, ["none", "disc", "square", "triangle"])
    drawn = [axes for axes in figure.axes if axes.images]
    assert [axes.get_ylabel() for axes in drawn[::3]] == ["Image", "True", "Predicted", "Mistakes"]
    np.testing.assert_array_equal(only_image(drawn[1]).get_array(), images[1])
    np.testing.assert_array_equal(only_image(drawn[8]).get_array(), predictions[2])
    np.testing.assert_array_equal(only_image(drawn[11]).get_array(), predictions[2] != targets[2])
    assert f"{np.mean(predictions != targets):.1%}" in figure.get_suptitle()
    assert pixels(figure, tmp_path / "s.png").ndim == 3
    with refused("segmentation", "images (N, H, W, C), targets and predictions (N, H, W)", "got shapes"):
        plots.segmentation(images, targets[:, 0], predictions, ["a"] * 4)
