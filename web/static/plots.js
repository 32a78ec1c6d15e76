// The two kinds of plots: a minute of one unit in a row of the table, and the chosen units with axes.

import { SPAN_S } from "./history.js";
import { colours } from "./palette.js";
import { MOST, WITHOUT_INTENSITY } from "./units.js";

const GAP_S = 1; // between two frames: no line is drawn across it
const TICKS_S = [60, 45, 30, 15, 0];

// A pen in CSS pixels on a cleared canvas, and the canvas's size; null while it is not shown.
function penOf(canvas) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (!width || !height) return null;
  const size = [Math.round(width * devicePixelRatio), Math.round(height * devicePixelRatio)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const pen = canvas.getContext("2d");
  pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

// The line through a column of values: of what falls on one pixel the least and the most, so that no peak is lost.
function trace(pen, history, values, now, x, y) {
  let column = null;
  let open = false;
  let before = null;
  const flush = () => {
    if (column === null) return;
    if (open) pen.lineTo(column.x, y(column.first));
    else pen.moveTo(column.x, y(column.first));
    open = true;
    if (column.most > column.least) {
      pen.lineTo(column.x, y(column.least));
      pen.lineTo(column.x, y(column.most));
      pen.lineTo(column.x, y(column.value));
    }
    column = null;
  };
  pen.beginPath();
  for (let place = history.firstWithin(SPAN_S + 1); place < history.times.length; place++) {
    const [time, value] = [history.times[place], values[place]];
    if (Number.isNaN(value) || (before !== null && time - before > GAP_S)) {
      flush();
      open = false;
    }
    before = time;
    if (Number.isNaN(value) || now - time > SPAN_S) continue;
    const at = Math.round(x(now - time));
    if (column !== null && column.x !== at) flush();
    column ??= { x: at, first: value, least: value, most: value };
    column.least = Math.min(column.least, value);
    column.most = Math.max(column.most, value);
    column.value = value;
  }
  flush();
  pen.stroke();
}

// Where the axis of intensities ends: a whole number from 2 to 5, so that small movements are seen.
export function topOf(history, units) {
  return Math.min(Math.max(Math.ceil(history?.peak(units) ?? MOST), 2), MOST);
}

export function drawSpark(canvas, unit, history, now, value, present, most) {
  const drawing = penOf(canvas);
  if (drawing === null) return;
  const { pen, width, height } = drawing;
  const bar = Math.round(width * 0.3);
  const plot = width - bar - 10;
  const [top, bottom] = [3.5, height - 4.5];
  const x = (age) => plot * (1 - age / SPAN_S);
  pen.fillStyle = colours.line;
  pen.fillRect(0, bottom, plot, 1);
  if (history) {
    pen.fillStyle = colours.present;
    const marks = history.present.get(unit);
    for (let place = history.firstWithin(SPAN_S); place < marks.length; place++) {
      if (marks[place]) pen.fillRect(x(now - history.times[place]) - 0.5, bottom, 1.5, 2);
    }
    pen.strokeStyle = colours.soft;
    pen.lineWidth = 1;
    const y = (each) => bottom - ((bottom - top) * each) / most;
    if (unit !== WITHOUT_INTENSITY) trace(pen, history, history.values.get(unit), now, x, y);
  }
  if (unit === WITHOUT_INTENSITY) return;
  pen.fillStyle = colours.well;
  pen.fillRect(width - bar, height / 2 - 3, bar, 6);
  if (value === null) return;
  pen.fillStyle = present ? colours.present : colours.faint;
  pen.fillRect(width - bar, height / 2 - 3, Math.max((bar * Math.min(value, MOST)) / MOST, 1), 6);
}

export function drawSeries(canvas, chosen, history, now) {
  const drawing = penOf(canvas);
  if (drawing === null) return;
  const { pen, width, height } = drawing;
  const [left, right, top, bottom] = [24, width - 12, 8, height - 22];
  const x = (age) => right - ((right - left) * age) / SPAN_S;
  const most = topOf(history, chosen.filter(Boolean));
  const y = (value) => bottom - ((bottom - top) * value) / most;
  pen.font = '11px system-ui, "DejaVu Sans", sans-serif';
  pen.fillStyle = colours.faint;
  pen.strokeStyle = colours.line;
  pen.lineWidth = 1;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (let value = 0; value <= most; value++) {
    const at = Math.round(y(value)) + 0.5;
    rule(pen, left, at, right, at);
    pen.fillText(value, left - 7, at);
  }
  pen.textBaseline = "top";
  for (const age of TICKS_S) {
    const at = Math.round(x(age)) + 0.5;
    rule(pen, at, bottom, at, bottom + 4);
    pen.textAlign = age === 0 ? "right" : "center";
    pen.fillText(age === 0 ? "now" : `−${age} s`, age === SPAN_S ? at + 8 : at, bottom + 7);
  }
  if (!history) return;
  pen.save();
  pen.beginPath();
  pen.rect(left, top - 2, right - left + 1, bottom - top + 4);
  pen.clip();
  pen.lineWidth = 1.25;
  pen.lineJoin = "round";
  chosen.forEach((unit, slot) => {
    if (unit === null) return;
    pen.strokeStyle = colours[`s${slot + 1}`];
    trace(pen, history, history.values.get(unit), now, x, y);
  });
  pen.restore();
}

function rule(pen, x1, y1, x2, y2) {
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}
