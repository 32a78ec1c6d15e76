"""Kernels of the CEN networks in 8 bits: weights and activations are rounded, products are exact, the rest is float32.

Weights have one scale for each output, activations one for each position, found anew each time. The first layer's
activations have a sign, which is taken away by adding 128 and taken off the sums again; the others come out of a ReLU
or a logistic function and have none. The last layer has one output and stays in float32.

Source of the method: Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
inference", CVPR 2018; scales as in dynamic quantisation, symmetric for the weights.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from auflow.backends.int8 import best_instructions, target_features
from auflow.stages.clnf.int8_product import COLUMNS, ROWS, make_product

CONTRACT = {"contract"}
F0 = np.float32(0.0)
F1 = np.float32(1.0)
HALF = np.float32(0.5)
LARGEST = np.float32(127.0)  # of a weight, and of an activation that has a sign
LARGEST_UNSIGNED = np.float32(255.0)
MIDDLE = 128

INSTRUCTIONS = best_instructions(*target_features())
GROUP = INSTRUCTIONS.group
LANES = INSTRUCTIONS.lanes
product = make_product(INSTRUCTIONS)


@njit(cache=True, nogil=True)
def padded(count, unit):
    """`count` in whole units."""
    return (count + unit - 1) // unit * unit


@njit(cache=True, nogil=True)
def quantise_weights(weights, signed, out, factors, shifts):
    """Round weights (k, n) float32 to int8 as `product` takes them: out flat, zeros where there are none.

    factors (n,): what a unit of each output is worth. shifts (n,) int32: what its sum is too large by where the
    activations have a sign.
    """
    inputs, outputs = weights.shape
    length = padded(inputs, GROUP)
    for column in range(outputs):
        largest = F0
        for k in range(inputs):
            largest = max(largest, abs(weights[k, column]))
        factors[column] = largest / LARGEST
        inverse = LARGEST / largest if largest > F0 else F0
        start = column // LANES * LANES * length + column % LANES * GROUP
        total = 0
        for k in range(inputs):
            q = np.int32(np.rint(weights[k, column] * inverse))
            out[start + k // GROUP * LANES * GROUP + k % GROUP] = q
            total += q
        shifts[column] = MIDDLE * total if signed else 0


@njit(cache=True, nogil=True)
def largest_of(line):
    """The largest magnitude of line (k,) float32: without its sign, a number's bits are in its order."""
    bits = line.view(np.int32)
    largest = np.empty(1, np.int32)
    top = np.int32(0)
    for k in range(bits.size):
        top = max(top, np.int32(bits[k] & np.int32(0x7FFFFFFF)))
    largest[0] = top
    return largest.view(np.float32)[0]


@njit(cache=True, nogil=True)
def quantise_signed(values, first, out, scales):
    """Round values (k, u) from column `first` on to 1 to 255 about 128: out (>= k, >= u - first), scales (k,)."""
    count = values.shape[1] - first
    for row in range(values.shape[0]):
        line, target = values[row, first:], out[row]
        largest = largest_of(line[:count])
        scales[row] = largest / LARGEST
        inverse = LARGEST / largest if largest > F0 else F0
        for k in range(count):
            target[k] = np.int32(line[k] * inverse + (MIDDLE + HALF))  # above 0: cut off is rounded
        target[count:] = 0  # meets weights that are 0


@njit(cache=True, nogil=True)
def quantise_unsigned(values, count, out, scales):
    """Round values (k, >= count), none below 0, to 0 to 255: out (>= k, >= count), scales (k,)."""
    for row in range(values.shape[0]):
        line, target = values[row], out[row]
        largest = largest_of(line[:count])
        scales[row] = largest / LARGEST_UNSIGNED
        inverse = LARGEST_UNSIGNED / largest if largest > F0 else F0
        for k in range(count):
            target[k] = np.int32(line[k] * inverse + HALF)
        target[count:] = 0


@njit(cache=True, nogil=True, fastmath=CONTRACT)
def activate(sums, scales, terms, logistic, out):
    """Layer outputs out (k, n) of sums (>= k, >= n) int32: scaled back, biased, and ReLU or logistic.

    terms : factors (n,), shifts (n,), biases (n,)
    """
    factors, shifts, biases = terms
    count = biases.size
    for row in range(out.shape[0]):
        line, source, scale = out[row], sums[row], scales[row]
        for column in range(count):
            v = np.float32(source[column] - shifts[column]) * (scale * factors[column]) + biases[column]
            line[column] = v if v > F0 or logistic else F0
        if logistic:
            for column in range(count):
                line[column] = F1 / (F1 + np.exp(-line[column]))


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})  # the order of the last layer's sums is free
def answer(values, weights, bias, logistic, out):
    """The last layer: out (k,) of values (k, >= n) and weights (n,)."""
    for row in range(values.shape[0]):
        line = values[row]
        total = F0
        for k in range(weights.size):
            total += line[k] * weights[k]
        total += bias
        if logistic:
            out[row] = F1 / (F1 + np.exp(-total))
        else:
            out[row] = total if total > F0 else F0


@njit(cache=True, nogil=True)
def run(inputs, widths, logistic, numbers, last, memory, out):
    """Outputs out (k,) of a network on inputs (k, 122), the first of which is always 1.

    widths (l + 1,) int64 and logistic (l,) bool: of the layers. numbers: all but the last layer's weights (int8),
    factors, shifts and biases, each one layer after the other. last: weights (n,) and bias. memory: of `memory_for`.
    """
    weights, factors, shifts, biases = numbers
    activations, sums, values, scales = memory
    rows, layers = inputs.shape[0], widths.size - 1
    full = padded(rows, ROWS)
    place, column = 0, 0
    for layer in range(layers - 1):
        count, outputs = widths[layer], widths[layer + 1]
        first = 1 if layer == 0 else 0  # the 1 is in the biases
        length, width = padded(count - first, GROUP), padded(outputs, COLUMNS)
        taken = activations[: full * length].reshape(full, length)
        if layer == 0:
            quantise_signed(inputs, first, taken, scales)
        else:
            quantise_unsigned(values[: rows * count].reshape(rows, count), count, taken, scales)
        size = length * width
        summed = sums[: full * width].reshape(full, width)
        product(taken, weights[place : place + size], length // GROUP, summed)
        terms = factors[column:][:outputs], shifts[column:][:outputs], biases[column:][:outputs]
        activate(summed, scales, terms, logistic[layer], values[: rows * outputs].reshape(rows, outputs))
        place += size
        column += outputs
    if layers == 1:
        answer(inputs, last[0], last[1], logistic[0], out)
    else:
        count = widths[layers - 1]
        answer(values[: rows * count].reshape(rows, count), last[0], last[1], logistic[layers - 1], out)
