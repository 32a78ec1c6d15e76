// The parts of the page that are text: the list of streams, the figures of one, the table of Action Units.

import { UNITS, WITHOUT_INTENSITY } from "./units.js";
import { duration, number, SHOWN_STATES, stateName, toneOf } from "./words.js";

const element = (id) => document.getElementById(id);

function make(tag, properties = {}, children = []) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// The list of streams. Its buttons stay as long as their streams, so that the focus is not lost.

const buttons = new Map();

export function showStreams(streams, selected, select) {
  const list = element("streams");
  for (const [name, button] of buttons) {
    if (streams.some((stream) => stream.name === name)) continue;
    button.parentElement.remove();
    buttons.delete(name);
  }
  streams.forEach((stream, place) => {
    let button = buttons.get(stream.name);
    if (button === undefined) {
      button = make("button", { type: "button", onclick: () => select(stream.name) }, [
        make("span", { className: "dot" }),
        make("span", { className: "name", textContent: stream.name }),
        make("span", { className: "digit", ariaHidden: "true" }),
        make("span", { className: "state" }),
      ]);
      buttons.set(stream.name, button);
      list.append(make("li", {}, [button]));
    }
    const [dot, , digit, state] = button.children;
    dot.dataset.tone = toneOf(stream.state);
    setText(digit, place < 9 ? `${place + 1}` : "");
    const fps = SHOWN_STATES.includes(stream.state) && stream.fps ? `, ${number(stream.fps, 1)} fps` : "";
    setText(state, stateName(stream.state) + fps);
    button.title = stream.reason || "";
    if (stream.name === selected) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  });
  setText(element("stream-count"), streams.length ? `${streams.length}` : "");
  element("no-streams").hidden = streams.length > 0;
}

export function focusStream(name) {
  if (element("streams").contains(document.activeElement)) buttons.get(name)?.focus();
  buttons.get(name)?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

// What is above the picture, and over it when there is none.

export function showService(status) {
  element("service").querySelector(".dot").dataset.tone = toneOf(status.state);
  setText(element("service-text"), `${stateName(status.state)} · up ${duration(status.uptime_s)} · ${status.version}`);
}

export function showHead(stream) {
  setText(element("title"), stream?.name ?? "–");
  const size = stream?.width_px ? `${stream.width_px} × ${stream.height_px} · ` : "";
  setText(element("source"), stream ? `${size}${stream.source}` : "");
  document.title = stream ? `${stream.name} · auflow` : "auflow";
}

// [what, why] there is no live picture; null when there is one.
export function reasonForNoPicture(stream, paused, sincePicture) {
  if (stream === undefined) return null;
  if (paused) return ["Paused here", "the stream goes on; press Pause again to look"];
  const since = `for ${duration(stream.since_s)}`;
  if (stream.policy === "file") {
    return [`Recording, ${stateName(stream.state)}`, `${number(stream.frames.done)} frames done; recordings are not shown`];
  }
  if (!SHOWN_STATES.includes(stream.state)) {
    return [`${stateName(stream.state)} ${since}`, stream.reason || "no reason was given"];
  }
  return sincePicture > 3 ? ["No picture comes", `the last one ${duration(sincePicture)} ago`] : null;
}

export function showNotice(reason) {
  element("notice").hidden = reason === null;
  element("picture").classList.toggle("down", reason !== null);
  if (reason === null) return;
  setText(element("notice-state"), reason[0]);
  setText(element("notice-reason"), reason[1]);
}

// The figures of one stream.

const figures = new Map();

function figure(name, title, value, unit = "", tone = "") {
  if (!figures.has(name)) {
    const cell = make("dd", {}, [make("span"), make("small")]);
    element("health").append(make("div", { title }, [make("dt", { textContent: name }), cell]));
    figures.set(name, cell);
  }
  const cell = figures.get(name);
  setText(cell.firstChild, value);
  setText(cell.lastChild, value === "–" ? "" : unit);
  cell.dataset.tone = tone;
}

export function showHealth(stream, confidence) {
  const frames = stream?.frames;
  const dropped = frames?.dropped;
  figure("Frames", "results in a second", number(stream?.fps, 1), "/s");
  figure("Age p50", "from a picture's arrival to its result, median of the last minutes", number(stream?.age_p50_ms, 1), "ms");
  figure("Age p99", "of one result in a hundred it is longer", number(stream?.age_p99_ms, 1), "ms");
  figure("Confidence", "how well the landmarks sit, 0 to 1", number(confidence, 2));
  figure("Faces", "in the last frame", number(stream?.faces));
  figure("Reconnects", "connections to the source after its first", number(stream?.reconnects));
  figure("Restarts", "of the stream's lane", number(stream?.restarts), "", stream?.restarts ? "warn" : "");
  figure("Failed", "frames that were lost with a worker", number(frames?.failed), "", frames?.failed ? "bad" : "");
  figure("Superseded", "dropped: a newer picture came", number(dropped?.superseded));
  figure("Too old", "dropped: older than max_age_s", number(dropped?.too_old), "", dropped?.too_old ? "warn" : "");
  figure("While paused", "dropped: the stream was paused", number(dropped?.paused));
  figure("Done", "frames with a result", number(frames?.done));
}

// The table of Action Units.

export const rows = new Map();

export function makeUnits(choose) {
  for (const [unit, name] of UNITS) {
    const key = make("span", { className: "key" });
    const button = make("button", { type: "button", title: `${unit} ${name}`, onclick: () => choose(unit) }, [
      key,
      make("b", { textContent: unit.slice(2) }),
      make("span", { textContent: name }),
    ]);
    button.disabled = unit === WITHOUT_INTENSITY;
    button.setAttribute("aria-label", `${unit} ${name}, in the plot`);
    const spark = make("canvas", { ariaHidden: "true" });
    const value = make("td", { className: "value", textContent: "–" });
    const mark = make("td", { className: "mark" });
    const head = make("th", { scope: "row" }, [button]);
    const row = make("tr", {}, [head, make("td", {}, [spark]), value, mark]);
    element("units").append(row);
    rows.set(unit, { row, key, button, spark, value, mark });
  }
}

export function showChosen(chosen) {
  for (const [unit, { key, button }] of rows) {
    const slot = chosen.indexOf(unit);
    key.dataset.slot = slot + 1;
    button.setAttribute("aria-pressed", String(slot >= 0));
  }
  const names = chosen.filter(Boolean).map((unit) => unit.replace("AU", "AU "));
  setText(element("series-names"), names.length ? names.join(", ") : "choose units in the table");
}

export function showUnits(face) {
  for (const [unit, { row, value, mark }] of rows) {
    const present = Boolean(face?.success && face.au_c[unit]);
    const intensity = face?.success ? (face.au_r[unit] ?? null) : null;
    row.classList.toggle("present", present);
    setText(value, unit === WITHOUT_INTENSITY ? "" : number(intensity, 2));
    setText(mark, present ? "●" : "");
    mark.ariaLabel = present ? "present" : "absent";
  }
}

export function showFaces(faces, chosen, choose) {
  const group = element("faces");
  group.hidden = faces.length < 2;
  const wanted = faces.join();
  if (group.dataset.faces !== wanted) {
    group.dataset.faces = wanted;
    group.replaceChildren(
      ...faces.map((face) => make("button", { type: "button", textContent: `Face ${face}`, onclick: () => choose(face) })),
    );
  }
  [...group.children].forEach((button, place) => button.setAttribute("aria-pressed", String(faces[place] === chosen)));
}
