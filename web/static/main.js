// The page: what is looked at, what came of it, and who draws it.

import { Feed } from "./feed.js";
import { History } from "./history.js";
import { keys } from "./keys.js";
import { drawOverlay } from "./overlay.js";
import { readColours } from "./palette.js";
import * as panel from "./panel.js";
import { drawSeries, drawSpark, topOf } from "./plots.js";
import { stateName } from "./words.js";

const SERIES_MS = 100;
const SPARKS_MS = 250;
const SLOTS = 6; // units in the plot
const element = (id) => document.getElementById(id);
const picture = element("frame");
const overlay = element("overlay");

const page = {
  streams: [],
  stream: decodeURIComponent(location.hash.slice(1)) || null,
  state: null, // of the stream, as it was announced last
  paused: false,
  layers: { landmarks: true, pose: true, gaze: true, bars: false },
  chosen: ["AU01", "AU12", "AU45", null, null, null],
  face: null, // that was chosen; null: the first
  shown: null, // head of the picture that is on the screen
  latest: null, // head of the last frame
  pictureAt: performance.now(),
  histories: new Map(), // by stream and face
};

// What comes

const feed = new Feed({
  status(message) {
    if (message.status === null) return;
    page.streams = message.status.streams;
    panel.showService(message.status);
    const isKnown = page.streams.some((each) => each.name === page.stream);
    if (!isKnown || !page.selected) {
      const first = page.streams.find((each) => each.policy === "live") ?? page.streams[0];
      select(isKnown ? page.stream : (first?.name ?? null));
    }
    show();
  },
  frame(head, jpeg) {
    if (head.stream !== page.stream || page.paused) return;
    for (const result of head.results) historyOf(head.stream, result.face, true).add(result);
    page.latest = head;
    page.latestAt = performance.now();
    if (jpeg.length) showPicture(head, jpeg);
  },
  lost: (text) => banner(text),
  quiet: () => banner("The service has said nothing for some seconds."),
  back: () => banner(""),
});

function banner(text) {
  element("banner").hidden = !text;
  element("banner").textContent = text;
}

let decoding = false;
let waiting = null;

async function showPicture(head, jpeg) {
  if (decoding) {
    waiting = [head, jpeg]; // the newest wins here, too
    return;
  }
  decoding = true;
  try {
    const bitmap = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
    if (head.stream === page.stream && !page.paused) draw(head, bitmap);
    bitmap.close();
  } catch (error) {
    console.warn("a picture could not be decoded", error);
  }
  decoding = false;
  if (waiting !== null) {
    const next = waiting;
    waiting = null;
    showPicture(...next);
  }
}

function draw(head, bitmap) {
  if (picture.width !== bitmap.width || picture.height !== bitmap.height) {
    [picture.width, picture.height] = [bitmap.width, bitmap.height];
    picture.parentElement.style.setProperty("--ratio", `${bitmap.width} / ${bitmap.height}`);
  }
  picture.getContext("2d").drawImage(bitmap, 0, 0);
  page.shown = head;
  page.pictureAt = performance.now();
  panel.showNotice(noPicture());
  drawOverlay(overlay, head, page.layers, face());
  element("clock").textContent = head.results.length ? `frame ${head.results[0].frame}` : "";
}

// What is shown

const stream = () => page.streams.find((each) => each.name === page.stream);
const noPicture = () => panel.reasonForNoPicture(stream(), page.paused, (performance.now() - page.pictureAt) / 1000);

function historyOf(name, face, make = false) {
  const key = `${name} ${face}`;
  if (make && !page.histories.has(key)) page.histories.set(key, new History());
  return page.histories.get(key);
}

function face() {
  const faces = (page.latest?.results ?? []).map((result) => result.face);
  return faces.includes(page.face) ? page.face : (faces[0] ?? null);
}

const resultOf = (head) => head?.results.find((result) => result.face === face()) ?? null;

function show() {
  const now = stream();
  panel.showStreams(page.streams, page.stream, select);
  panel.showHead(now);
  panel.showHealth(now, resultOf(page.latest)?.confidence);
  panel.showNotice(noPicture());
  describe(now);
}

function describe(now) {
  const result = resultOf(page.shown);
  const present = result?.success ? Object.keys(result.au_c).filter((unit) => result.au_c[unit]) : [];
  const seen = noPicture()?.join(": ") ??
    (result?.success ? `a face, confidence ${result.confidence}, present: ${present.join(", ") || "no unit"}` : "no face");
  picture.setAttribute("aria-label", now ? `${now.name}: ${seen}` : "No stream");
  const state = now ? `${now.name}: ${stateName(now.state)}` : "";
  if (state === page.state) return;
  page.state = state;
  element("announce").textContent = state;
}

let sparksAt = 0;
let seriesAt = 0;

function tick(at) {
  requestAnimationFrame(tick);
  if (page.paused && !page.dirty) return;
  const history = historyOf(page.stream, face());
  const now = history?.last != null ? history.last + (at - page.latestAt) / 1000 : 0;
  const result = resultOf(page.latest);
  if (page.dirty || at - seriesAt >= SERIES_MS) {
    seriesAt = at;
    drawSeries(element("series"), page.chosen, history, now);
  }
  if (page.dirty || at - sparksAt >= SPARKS_MS) {
    sparksAt = at;
    panel.showUnits(result);
    panel.showFaces((page.latest?.results ?? []).map((each) => each.face), face(), chooseFace);
    const top = topOf(history, panel.rows.keys());
    for (const [unit, { spark }] of panel.rows) {
      const value = result?.success ? (result.au_r[unit] ?? null) : null;
      drawSpark(spark, unit, history, now, value, Boolean(result?.success && result.au_c[unit]), top);
    }
  }
  page.dirty = false;
}

// What the user does

function select(name) {
  if (name === page.stream && page.selected) return;
  page.selected = true;
  page.stream = name;
  Object.assign(page, { latest: null, shown: null, face: null, pictureAt: performance.now(), dirty: true });
  picture.getContext("2d").clearRect(0, 0, picture.width, picture.height);
  overlay.getContext("2d").clearRect(0, 0, overlay.width, overlay.height);
  element("clock").textContent = "";
  history.replaceState(null, "", name ? `#${encodeURIComponent(name)}` : location.pathname);
  feed.watch(page.paused ? null : name);
  show();
  panel.focusStream(name);
}

function pause() {
  page.paused = !page.paused;
  element("pause").setAttribute("aria-pressed", String(page.paused));
  page.pictureAt = performance.now();
  feed.watch(page.paused ? null : page.stream);
  show();
}

function toggle(layer) {
  page.layers[layer] = !page.layers[layer];
  const button = document.querySelector(`[data-layer="${layer}"]`);
  button.setAttribute("aria-pressed", String(page.layers[layer]));
  redraw();
}

function redraw() {
  page.dirty = true;
  if (page.shown) drawOverlay(overlay, page.shown, page.layers, face());
}

function choose(unit) {
  const slot = page.chosen.indexOf(unit);
  if (slot >= 0) page.chosen[slot] = null;
  else {
    const free = page.chosen.indexOf(null);
    page.chosen[free >= 0 ? free : SLOTS - 1] = unit;
  }
  panel.showChosen(page.chosen);
  page.dirty = true;
}

function chooseFace(number) {
  page.face = number;
  redraw();
}

function nextFace() {
  const faces = (page.latest?.results ?? []).map((result) => result.face);
  if (faces.length) chooseFace(faces[(faces.indexOf(face()) + 1) % faces.length]);
}

const THEMES = ["system", "light", "dark"];

function theme() {
  const root = document.documentElement;
  const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "system") + 1) % THEMES.length];
  if (next === "system") delete root.dataset.theme;
  else root.dataset.theme = next;
  try {
    localStorage.setItem("auflow-theme", next);
  } catch {
    // It holds until the page is left.
  }
  themed();
}

function themed() {
  element("theme").textContent = `Theme: ${document.documentElement.dataset.theme ?? "system"}`;
  readColours();
  page.dirty = true;
}

function neighbour(step) {
  const place = page.streams.findIndex((each) => each.name === page.stream);
  const count = page.streams.length;
  if (count) select(page.streams[(place + step + count) % count].name);
}

panel.makeUnits(choose);
panel.showChosen(page.chosen);
panel.showHealth(undefined, null);
themed();
element("pause").onclick = pause;
element("theme").onclick = theme;
for (const button of document.querySelectorAll("[data-layer]")) button.onclick = () => toggle(button.dataset.layer);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", themed);
new ResizeObserver(redraw).observe(picture.parentElement);
keys({ neighbour, pause, theme, toggle, nextFace, nth: (place) => page.streams[place] && select(page.streams[place].name) });
requestAnimationFrame(tick);
