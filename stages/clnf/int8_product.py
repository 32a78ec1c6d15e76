"""Matrix products of 8-bit numbers, by the instructions that this CPU has for them.

A product of unsigned activations and signed weights, summed in 32 bits: exact, so every CPU gives the same numbers.
Numba has no vectors of its own, so the innermost loop is written in LLVM's language: `rows` x `vectors` sums stay in
registers while one group of weights after the other meets them.

Sources: Intel's description of VPDPBUSD (AVX-512 VNNI, AVX-VNNI) and VPMADDWD; register blocking as in Goto, van de
Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 2008.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from auflow.errors import BackendError

__all__ = ["COLUMNS", "ROWS", "Instructions", "best_instructions", "make_product", "require_int8", "target_features"]

COLUMNS = 16  # columns of a product come in multiples of this, whatever the instructions
ROWS = 8  # and rows of this

_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


@dataclass(frozen=True, slots=True)
class Instructions:
    """One way to multiply: `lanes` columns of sums to a vector, `rows` x `vectors` vectors of them in registers."""

    name: str
    llvm: str  # the intrinsic that multiplies; "" is plain arithmetic, which every CPU has
    lanes: int
    rows: int  # a divisor of ROWS
    vectors: int
    pairs: bool = False  # two activations of 16 bits at a time instead of four of 8

    @property
    def group(self) -> int:
        """Activations of one row that are multiplied at a time."""
        return 2 if self.pairs else 4

    @property
    def dtype(self) -> type[np.uint8] | type[np.int16]:
        """Of the activations, whose values are 0 to 255."""
        return np.int16 if self.pairs else np.uint8


VNNI_512 = Instructions("AVX-512 VNNI", "llvm.x86.avx512.vpdpbusd.512", 16, 8, 3)
VNNI_256 = Instructions("AVX-VNNI", "llvm.x86.avx512.vpdpbusd.256", 8, 4, 3)
PAIRS_512 = Instructions("AVX-512 in pairs", "llvm.x86.avx512.pmaddw.d.512", 16, 8, 3, pairs=True)
PAIRS_256 = Instructions("AVX2 in pairs", "llvm.x86.avx2.pmadd.wd", 8, 4, 2, pairs=True)
PLAIN = Instructions("plain", "", 4, 4, 4, pairs=True)
# What NUMBA_CPU_NAME may say with NUMBA_CPU_FEATURES empty, for kernels that run on many machines.
_LEVELS = {"x86-64-v3": ("avx2",), "x86-64-v4": ("avx2", "avx512bw", "avx512vl")}


def target_features() -> tuple[str, Mapping[str, bool]]:
    """The processor that Numba compiles for, and its features; fewer than this CPU's where the user has told so."""
    from numba.core.registry import cpu_target

    triple, processor, features = cpu_target.target_context.codegen().magic_tuple()
    known = dict.fromkeys(_LEVELS.get(processor, ()), True)
    return triple, known | {each[1:]: each[0] == "+" for each in features.split(",") if each}


def best_instructions(triple: str, features: Mapping[str, bool]) -> Instructions:
    """The fastest way that a target of these features has."""
    if not triple.startswith("x86_64"):
        return PLAIN
    if features.get("avx512vnni") and features.get("avx512vl"):
        return VNNI_512
    if features.get("avxvnni"):
        return VNNI_256
    if features.get("avx512bw"):
        return PAIRS_512
    return PAIRS_256 if features.get("avx2") else PLAIN


def require_int8() -> Instructions:
    """The fastest way of this machine.

    Raises
    ------
    BackendError
        It has none that is faster than float32.
    """
    how = best_instructions(*target_features())
    if how is PLAIN:
        raise BackendError(
            "int8 needs a CPU with AVX2, AVX-512 or VNNI, and kernels that may use them (NUMBA_CPU_NAME, "
            "NUMBA_CPU_FEATURES): without them it is slower than float32; leave the CEN experts at float32"
        )
    return how


def make_product(how: Instructions) -> Callable[..., None]:
    """A compiled `product(activations, weights, groups, out)`.

    activations : (rows, groups * how.group) of how.dtype, C-contiguous, 0 to 255, rows a multiple of ROWS
    weights : flat int8, element [column // how.lanes, group, column % how.lanes, place in the group]
    out : (rows, columns) int32, columns a multiple of COLUMNS
    """
    tiles = tuple(_make_tile(how, vectors) for vectors in range(1, how.vectors + 1))
    tile, last = tiles[-1], {count: tiles[count - 1] for count in range(1, how.vectors)}
    lanes, rows, vectors, group = how.lanes, how.rows, how.vectors, how.group
    # Of what is left beside whole tiles there are one and two vectors, and three of plain arithmetic.
    one, two, three = (last.get(count, tile) for count in (1, 2, 3))

    @njit(nogil=True)
    def product(activations, weights, groups, out):  # type: ignore[no-untyped-def]
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

    return product  # type: ignore[no-any-return]


def _make_tile(how: Instructions, vectors: int) -> Any:
    """`tile(values, at, length, weights, at, step, groups, sums, at, width)`: the sums of rows x vectors."""

    @intrinsic  # type: ignore[misc]
    def tile(_, values, at, length, weights, weights_at, step, groups, sums, sums_at, width):  # type: ignore[no-untyped-def]
        index = types.int64
        signature = types.void(values, index, index, weights, index, index, index, sums, index, index)

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
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


