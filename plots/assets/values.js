// Values of the data island, and how they become colours and scales. Read before plots.js, as one script with it.
"use strict";

const NONE = -32768;
const LARGEST = 32767;
const VIRIDIS = ["440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"].map(
  (hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)),
);

function bytesOf(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return new DataView(bytes.buffer);
}

function valuesOf(row) {
  if (row.f4 !== undefined) {
    const view = bytesOf(row.f4);
    return Float64Array.from({ length: view.byteLength / 4 }, (_, i) => view.getFloat32(4 * i, true));
  }
  const view = bytesOf(row.data);
  return Float64Array.from({ length: view.byteLength / 2 }, (_, i) => {
    const number = view.getInt16(2 * i, true);
    return number === NONE ? NaN : row.low + row.step * (number + LARGEST);
  });
}

function lineOf(line) {
  const known = { name: line.name, mean: line.mean ? valuesOf(line.mean) : null };
  if (line.low) {
    known.low = valuesOf(line.low);
    known.high = valuesOf(line.high);
  }
  return known;
}

function colourAt(share) {
  const at = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1);
  const first = Math.min(Math.floor(at), VIRIDIS.length - 2);
  const mixed = [0, 1, 2].map((k) => Math.round(VIRIDIS[first][k] + (at - first) * (VIRIDIS[first + 1][k] - VIRIDIS[first][k])));
  return `rgb(${mixed})`;
}

function rangeOf(lines) {
  let low = Infinity;
  let high = -Infinity;
  for (const line of lines) {
    for (const values of [line.mean, line.low, line.high]) {
      for (const value of values || []) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
  }
  if (!(low < high)) return Number.isFinite(low) ? [low - 1, low + 1] : [0, 1];
  const room = 0.06 * (high - low);
  return [low - room, high + room];
}

function steps(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + 1e-9 * step; value += step) found.push(value);
  return { found, digits: Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) };
}
