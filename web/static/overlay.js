// What is drawn over the picture: landmarks, the head's axes, gaze, bars of Action Units. In pixels of the frame.

import { MOST, UNITS, WITHOUT_INTENSITY } from "./units.js";

const range = (from, to) => Array.from({ length: to - from }, (_, place) => from + place);
const LINES = [
  [range(0, 17), false], // jaw
  [range(17, 22), false], // brows
  [range(22, 27), false],
  [range(27, 31), false], // nose
  [range(31, 36), false],
  [range(36, 42), true], // eyes
  [range(42, 48), true],
  [range(48, 60), true], // lips
  [range(60, 68), true],
];
const EYES = { left: [36, 42], right: [42, 48] }; // of the picture
const AXIS_MM = 70;
const GAZE_MM = 60;
// The same in both themes: they lie on the picture.
const COLOUR = {
  line: "rgba(127, 214, 220, 0.9)",
  point: "#ffffff",
  x: "#ff7b6b",
  y: "#7ddc83",
  z: "#6fb4ff",
  gaze: "#ffc857",
  present: "#ffb45c",
  absent: "#9fb2c2",
  shade: "rgba(10, 14, 18, 0.66)",
  text: "#eef2f5",
};

export function drawOverlay(canvas, head, layers, chosen) {
  const box = canvas.getBoundingClientRect();
  const { width_px: width, height_px: height } = head;
  const shown = Math.min(box.width / width, box.height / height) || 1; // CSS pixels for one of the frame
  const scale = Math.min(shown * devicePixelRatio, 3);
  const size = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const pen = canvas.getContext("2d");
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  const unit = 1 / shown; // one CSS pixel
  for (const face of head.results) {
    if (!face.success || !face.landmarks) continue;
    pen.globalAlpha = chosen === null || face.face === chosen ? 1 : 0.45;
    if (layers.landmarks) drawLandmarks(pen, face.landmarks, unit);
    if (layers.pose) drawAxes(pen, face.pose, head, unit);
    if (layers.gaze) drawGaze(pen, face, head, unit);
  }
  pen.globalAlpha = 1;
  const first = head.results.find((face) => face.face === chosen) ?? head.results[0];
  if (layers.bars && first?.success) drawBars(pen, first, unit, height);
}

function drawLandmarks(pen, points, unit) {
  pen.lineWidth = 1.2 * unit;
  pen.lineJoin = "round";
  pen.strokeStyle = COLOUR.line;
  for (const [places, closed] of LINES) {
    pen.beginPath();
    for (const place of places) pen.lineTo(points[place][0], points[place][1]);
    if (closed) pen.closePath();
    pen.stroke();
  }
  pen.fillStyle = COLOUR.point;
  for (const [x, y] of points) {
    pen.beginPath();
    pen.arc(x, y, 1.4 * unit, 0, 7);
    pen.fill();
  }
}

function cameraOf(head) {
  if (head.camera) return head.camera;
  const focal = (500 * (head.width_px / 640 + head.height_px / 480)) / 2; // OpenFace's guess
  return [focal, focal, head.width_px / 2, head.height_px / 2];
}

function project([x, y, z], [fx, fy, cx, cy]) {
  return [(x / z) * fx + cx, (y / z) * fy + cy];
}

function rotation({ rx, ry, rz }) {
  const [cx, sx, cy, sy, cz, sz] = [rx, ry, rz].flatMap((angle) => [Math.cos(angle), Math.sin(angle)]);
  // R = Rx Ry Rz
  return [
    [cy * cz, -cy * sz, sy],
    [cx * sz + sx * sy * cz, cx * cz - sx * sy * sz, -sx * cy],
    [sx * sz - cx * sy * cz, sx * cz + cx * sy * sz, cx * cy],
  ];
}

function drawAxes(pen, pose, head, unit) {
  const from = [pose.tx, pose.ty, pose.tz];
  if (from.some((value) => value === null) || from[2] <= AXIS_MM) return;
  const camera = cameraOf(head);
  const turn = rotation(pose);
  const start = project(from, camera);
  pen.lineWidth = 2.2 * unit;
  pen.lineCap = "round";
  // To the right, up, and out of the face: the camera's y points down, its z away.
  for (const [axis, column, sign] of [["x", 0, 1], ["y", 1, -1], ["z", 2, -1]]) {
    const to = from.map((value, row) => value + sign * AXIS_MM * turn[row][column]);
    line(pen, start, project(to, camera), COLOUR[axis]);
  }
}

function drawGaze(pen, face, head, unit) {
  const perMm = cameraOf(head)[0] / face.pose.tz;
  if (!(perMm > 0)) return;
  pen.lineWidth = 1.8 * unit;
  pen.lineCap = "round";
  for (const [side, [from, to]] of Object.entries(EYES)) {
    const direction = face.gaze[side];
    if (!direction || direction.some((value) => value === null) || !direction.some(Boolean)) continue;
    const lids = face.landmarks.slice(from, to);
    const centre = [0, 1].map((place) => lids.reduce((sum, point) => sum + point[place], 0) / lids.length);
    const end = centre.map((value, place) => value + direction[place] * GAZE_MM * perMm);
    line(pen, centre, end, COLOUR.gaze);
    pen.fillStyle = COLOUR.gaze;
    pen.beginPath();
    pen.arc(end[0], end[1], 2 * unit, 0, 7);
    pen.fill();
  }
}

function line(pen, from, to, colour) {
  pen.strokeStyle = colour;
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
}

function drawBars(pen, face, unit, height) {
  const row = Math.min(15 * unit, height / (UNITS.length + 1));
  const [left, width] = [8 * unit, 92 * unit];
  pen.fillStyle = COLOUR.shade;
  pen.fillRect(left - 4 * unit, 4 * unit, width + 12 * unit, row * UNITS.length + 6 * unit);
  pen.font = `${row * 0.7}px ui-monospace, "DejaVu Sans Mono", monospace`;
  pen.textBaseline = "middle";
  UNITS.forEach(([name], place) => {
    const y = 7 * unit + row * (place + 0.5);
    const present = face.au_c[name] === 1;
    pen.fillStyle = present ? COLOUR.present : COLOUR.absent;
    pen.fillText(name.slice(2), left, y);
    if (name === WITHOUT_INTENSITY) {
      if (present) pen.fillText("present", left + row * 1.5, y);
      return;
    }
    const share = Math.min(Math.max((face.au_r[name] ?? 0) / MOST, 0), 1);
    pen.fillRect(left + row * 1.5, y - row * 0.25, Math.max(share * (width - row * 1.5), unit), row * 0.5);
  });
}
