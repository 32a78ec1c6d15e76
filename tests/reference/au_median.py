"""The running median by a histogram that is summed up from its low end at every sample."""

import numpy as np


def running_median(samples, *, bins, low, high):
    """samples (n, k): the medians (n, k) after each of them."""
    size = samples.shape[1]
    histogram = np.zeros((size, bins), int)
    medians = []
    for count, values in enumerate(samples, start=1):
        index = np.clip((values - low) * (bins / (high - low)), 0, bins - 1).astype(int)
        histogram[np.arange(size), index] += 1
        bin_of_median = np.argmax(histogram.cumsum(axis=1) >= (count + 1) // 2, axis=1)
        centre = low + (bin_of_median + 0.5) * (high - low) / bins
        medians.append(values.copy() if count == 1 else centre)
    return np.array(medians)
