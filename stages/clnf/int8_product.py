"""Matrix products of 8-bit numbers, by the instructions that this CPU has for them.

A product of unsigned activations and signed weights, summed in 32 bits: exact, so every CPU gives the same numbers.
Numba has no vectors of its own, so the innermost loop is written in LLVM's language: `rows` x `vectors` sums stay in
registers while one group of weights after the other meets them.

Source of the blocking: Goto, van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 2008.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from auflow.backends.int8 import Instructions

__all__ = ["COLUMNS", "ROWS", "make_product"]

COLUMNS = 16  # columns of a product come in multiples of this, whatever the instructions
ROWS = 8  # and rows of this

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


def make_product(how: Instructions) -> Callable[..., None]:
    """A compiled `product(activations, weights, groups, out)`.

    activations : (rows, groups * how.group) C-contiguous, 0 to 255, uint8 or (how.pairs) int16; rows in whole ROWS
    weights : flat int8, element [column // how.lanes, group, column % how.lanes, place in the group]
    out : (rows, columns) int32, columns a multiple of COLUMNS
    """
    if config.DISABLE_JIT:  # type: ignore[attr-defined]
        return _interpreted(how)
    tiles = tuple(_make_tile(how, vectors) for vectors in range(1, how.vectors + 1))
    tile, last = tiles[-1], {count: tiles[count - 1] for count in range(1, how.vectors)}
    lanes, rows, vectors, group = how.lanes, how.rows, how.vectors, how.group
    # Of what is left beside whole tiles there are one and two vectors, and three of plain arithmetic.
    one, two, three = (last.get(count, tile) for count in (1, 2, 3))

    @njit(nogil=True)
    def product(activations, weights, groups, out):
        values, sums = activations.reshape(-1), out.reshape(-1)
        length, width = groups * group, out.shape[1]
        step = length * lanes  # bytes of the weights of one vector of columns
        count = width // lanes
        for row in range(0, out.shape[0], rows):
            for vector in range(0, count, vectors):
                left = count - vector
                goal = row * width + vector * lanes
                if left >= vectors:
                    tile(values, row * length, length, weights, vector * step, step, groups, sums, goal, width)
                elif left == 1:
                    one(values, row * length, length, weights, vector * step, step, groups, sums, goal, width)
                elif left == 2:
                    two(values, row * length, length, weights, vector * step, step, groups, sums, goal, width)
                else:
                    three(values, row * length, length, weights, vector * step, step, groups, sums, goal, width)

    return product


def _interpreted(how: Instructions) -> Callable[..., None]:
    """The same in NumPy: what is written in LLVM's language cannot run uncompiled."""

    def product(activations: Any, weights: Any, groups: int, out: Any) -> None:
        held = weights.reshape(out.shape[1] // how.lanes, groups, how.lanes, how.group)
        whole = held.transpose(1, 3, 0, 2).reshape(groups * how.group, -1)
        out[:] = activations.astype(out.dtype) @ whole.astype(out.dtype)

    return product


def _make_tile(how: Instructions, vectors: int) -> Any:
    """`tile(values, at, length, weights, at, step, groups, sums, at, width)`: the sums of rows x vectors."""

    @intrinsic
    def tile(_, values, at, length, weights, weights_at, step, groups, sums, sums_at, width):
        index = types.int64
        signature = types.void(values, index, index, weights, index, index, index, sums, index, index)

        def generate(context, builder, signature, arguments):
            def place(array: int, offset: int) -> Any:
                held = context.make_array(signature.args[array])(context, builder, arguments[array])
                return builder.gep(held.data, [arguments[offset]])

            values_at, length = place(0, 1), arguments[2]
            weights_at, step, groups = place(3, 4), arguments[5], arguments[6]
            emitter = _Emitter(builder, how, vectors)
            emitter.multiply(values_at, length, weights_at, step, groups)
            emitter.store(place(7, 8), arguments[9])
            return context.get_dummy_value()

        return signature, generate

    return tile


class _Emitter:
    """Writes the code of one tile."""

    def __init__(self, builder: Any, how: Instructions, vectors: int) -> None:
        self._builder, self._how, self._vectors = builder, how, vectors
        self._vector = ir.VectorType(_I32, how.lanes)
        self._sums = [[cgutils.alloca_once(builder, self._vector) for _ in range(vectors)] for _ in range(how.rows)]

    def multiply(self, values: Any, length: Any, weights: Any, step: Any, groups: Any) -> None:
        builder, how = self._builder, self._how
        for line in self._sums:
            for place in line:
                builder.store(ir.Constant(self._vector, None), place)
        with cgutils.for_range(builder, groups) as loop:
            met = [self._weights(weights, step, loop.index, column) for column in range(self._vectors)]
            for row in range(how.rows):
                activation = self._activations(values, length, loop.index, row)
                for column, weight in enumerate(met):
                    place = self._sums[row][column]
                    builder.store(self._added(builder.load(place), activation, weight), place)

    def store(self, sums: Any, width: Any) -> None:
        builder = self._builder
        for row, line in enumerate(self._sums):
            for column, place in enumerate(line):
                offset = builder.add(builder.mul(width, _I64(row)), _I64(column * self._how.lanes))
                goal = builder.bitcast(builder.gep(sums, [offset]), self._vector.as_pointer())
                builder.store(builder.load(place), goal, align=4)

    def _weights(self, weights: Any, step: Any, group: Any, column: int) -> Any:
        """Of one group and vector of columns: bytes, or numbers of 16 bits where they are multiplied in pairs."""
        builder, size = self._builder, self._how.lanes * self._how.group
        offset = builder.add(builder.mul(step, _I64(column)), builder.mul(group, _I64(size)))
        kind = ir.VectorType(_I8, size)
        held = builder.load(builder.bitcast(builder.gep(weights, [offset]), kind.as_pointer()), align=1)
        return builder.sext(held, ir.VectorType(_I16, size)) if self._how.pairs else held

    def _activations(self, values: Any, length: Any, group: Any, row: int) -> Any:
        """Of one group and row, in every lane."""
        builder = self._builder
        offset = builder.add(builder.mul(length, _I64(row)), builder.mul(group, _I64(self._how.group)))
        held = builder.load(builder.bitcast(builder.gep(values, [offset]), _I32.as_pointer()), align=1)
        nothing = ir.Constant(self._vector, ir.Undefined)
        first = builder.insert_element(nothing, held, _I32(0))
        return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(_I32, self._how.lanes), None))

    def _added(self, sums: Any, activation: Any, weight: Any) -> Any:
        builder, vector = self._builder, self._vector
        if not self._how.pairs:
            return self._call([sums, activation, builder.bitcast(weight, vector)])
        activation = builder.bitcast(activation, weight.type)
        if self._how.llvm:
            return builder.add(sums, self._call([activation, weight]))
        for half in (0, 1):
            sums = builder.add(sums, builder.mul(self._half(activation, half), self._half(weight, half)))
        return sums

    def _half(self, pairs: Any, half: int) -> Any:
        """The first or second of each pair, in 32 bits."""
        builder, lanes = self._builder, self._how.lanes
        chosen = ir.Constant(ir.VectorType(_I32, lanes), [2 * lane + half for lane in range(lanes)])
        picked = builder.shuffle_vector(pairs, ir.Constant(pairs.type, ir.Undefined), chosen)
        return builder.sext(picked, self._vector)

    def _call(self, arguments: list[Any]) -> Any:
        kind = ir.FunctionType(self._vector, [argument.type for argument in arguments])
        function = cgutils.get_or_insert_function(self._builder.module, kind, self._how.llvm)
        return self._builder.call(function, arguments)
