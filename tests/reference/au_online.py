"""The webcam correction by counting and summing from the low end, value by value."""


def online_correction(values, *, bins=200, low=-3.0, high=5.0, share=0.1, after=10):
    """values: n frames of k raw intensities; the corrected ones as lists."""
    width = (high - low) / bins
    histograms = [[0] * bins for _ in values[0]]
    corrected = []
    for count, frame in enumerate(values, start=1):
        row = []
        for histogram, value in zip(histograms, frame, strict=True):
            place = min(max(int((value - low) * bins / (high - low)), 0), bins - 1)
            histogram[place] += 1
            shift = 0.0
            if count >= after:
                seen = 0
                for number, here in enumerate(histogram):
                    seen += here
                    if seen > int(share * count):
                        shift = low + number * width
                        break
            row.append(min(max(value - shift, 0.0), 5.0))
        corrected.append(row)
    return corrected
