"""FHOG by whole-array NumPy in double precision; the tie rule of the channels is the one of the C++ library."""

import numpy as np


def fhog(bgr):
    """(112, 112, 3) uint8 -> (12, 12, 31) float64."""
    picture = bgr.astype(np.int64)
    dx = picture[1:-1, 2:] - picture[1:-1, :-2]
    dy = picture[2:, 1:-1] - picture[:-2, 1:-1]
    square = dx**2 + dy**2
    channel = np.argmax(square, axis=2)
    channel[:, 104:] = 2 - np.argmax(square[:, 104:, ::-1], axis=2)
    rows, columns = np.indices(channel.shape)
    gx, gy = dx[rows, columns, channel], dy[rows, columns, channel]

    angles = np.arange(18) * np.pi / 9
    cos, sin = np.round(np.cos(angles), 4), np.round(np.sin(angles), 4)  # four decimals, as the original has them
    votes = gx[..., None] * cos + gy[..., None] * sin
    # Opposite directions alternate so that of equal ones the first is taken, as in a loop over the half turn.
    order = np.arange(18).reshape(2, 9).T.reshape(-1)
    direction = order[np.argmax(np.round(votes[..., order], 9), axis=2)]
    length = np.hypot(gx, gy)

    hist = np.zeros((16, 16, 18))
    position = (np.arange(1, 111) + 0.5) / 8 + 0.5
    low = position.astype(int)
    part = position - low
    for step_y, weight_y in ((0, 1 - part), (1, part)):
        for step_x, weight_x in ((0, 1 - part), (1, part)):
            cell = (low[rows] + step_y, low[columns] + step_x, direction)
            np.add.at(hist, cell, length * weight_y[rows] * weight_x[columns])

    cells = hist[1:-1, 1:-1]
    both = cells[..., :9] + cells[..., 9:]
    energy = (both**2).sum(axis=2)
    block = energy[:-1, :-1] + energy[1:, :-1] + energy[:-1, 1:] + energy[1:, 1:]
    corners = ((1, 1), (0, 1), (1, 0), (0, 0))
    scales = [1 / np.sqrt(block[r : r + 12, c : c + 12] + 1e-4)[..., None] for r, c in corners]
    directed = [np.minimum(cells[1:-1, 1:-1] * scale, 0.2) for scale in scales]
    undirected = [np.minimum(both[1:-1, 1:-1] * scale, 0.2) for scale in scales]
    texture = [0.2357 * part.sum(axis=2, keepdims=True) for part in directed]
    return np.concatenate([0.5 * sum(directed), 0.5 * sum(undirected), *texture], axis=2)
