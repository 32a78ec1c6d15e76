// Draws the series of the page's data island on canvases that share their time. No libraries, nothing from outside.
const UPPER = new Set(["AU01", "AU02", "AU04", "AU05", "AU06", "AU07", "AU45"]);
const LEFT = 178;
const RIGHT = 14;
const AXIS = 20;

class Plots {
  constructor(root, data) {
    this.root = root;
    this.label = data.timeLabel;
    this.rowsAPoint = data.rowsAPoint;
    this.time = valuesOf(data.time);
    this.frame = valuesOf(data.frame);
    this.success = valuesOf(data.success);
    this.aus = data.aus.map((au) => ({
      ...lineOf(au),
      au: au.au,
      title: au.name,
      present: au.present ? valuesOf(au.present) : null,
    }));
    const last = this.time.length - 1;
    this.whole = [this.time[0], Math.max(this.time[last], this.time[0] + 1e-6)];
    this.view = [...this.whole];
    this.cursor = -1;
    this.drag = null;
    this.panels = data.panels.map((panel) => this.makePanel(panel));
    this.readout = root.querySelector(".readout");
    this.listen();
    this.draw();
  }

  makePanel(panel) {
    const figure = document.createElement("figure");
    figure.className = "card plot";
    const head = document.createElement("figcaption");
    const title = document.createElement("b");
    title.textContent = panel.unit ? `${panel.title}, ${panel.unit}` : panel.title;
    const legend = document.createElement("span");
    legend.className = "legend";
    head.append(title, legend);
    const canvas = document.createElement("canvas");
    const still = document.createElement("canvas"); // without the cursor, which moves far more often than the rest
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${panel.title} over time`);
    const rows = { heatmap: 15, intensities: 34 }[panel.kind];
    const height = rows ? rows * this.aus.length + AXIS : (panel.range ? 56 : 130) + AXIS;
    canvas.style.height = `${height}px`;
    figure.append(head, canvas);
    this.root.append(figure);
    const lines = (panel.lines || []).map(lineOf);
    const range = panel.range || (panel.lines ? rangeOf(lines) : [0, 5]);
    return { ...panel, canvas, still, legend, lines, range, height };
  }

  listen() {
    for (const { canvas } of this.panels) {
      canvas.addEventListener("pointermove", (event) => this.move(event, canvas));
      canvas.addEventListener("pointerleave", () => this.point(-1));
      canvas.addEventListener("pointerdown", (event) => {
        canvas.setPointerCapture(event.pointerId);
        this.drag = [this.timeAt(event, canvas), this.timeAt(event, canvas)];
      });
      canvas.addEventListener("pointerup", () => this.zoomToDrag());
      canvas.addEventListener("dblclick", () => this.show(this.whole));
    }
    this.root.addEventListener("keydown", (event) => this.key(event));
    for (const button of this.root.querySelectorAll("button[data-do]")) {
      button.addEventListener("click", () => this.act(button.dataset.do));
    }
    new ResizeObserver(() => this.draw()).observe(this.root);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    addEventListener("beforeprint", () => this.print(true));
    addEventListener("afterprint", () => this.print(false));
  }

  // Paper is light, whatever the screen is.
  print(begins) {
    document.documentElement.classList.toggle("printing", begins);
    this.draw();
  }

  key(event) {
    const acts = { ArrowLeft: "back", ArrowRight: "on", "+": "in", "=": "in", "-": "out", 0: "all", Escape: "all" };
    const act = acts[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.act(act, event.shiftKey ? 25 : 1);
  }

  act(what, by = 1) {
    const [from, to] = this.view;
    const middle = this.cursor >= 0 ? this.time[this.cursor] : (from + to) / 2;
    if (what === "all") this.show(this.whole);
    if (what === "in") this.show([middle - (middle - from) / 2, middle + (to - middle) / 2]);
    if (what === "out") this.show([middle - (middle - from) * 2, middle + (to - middle) * 2]);
    if (what === "back" || what === "on") {
      const start = this.cursor >= 0 ? this.cursor : this.indexAt(from) - (what === "on" ? 1 : 0);
      const next = Math.min(Math.max(start + (what === "on" ? by : -by), 0), this.time.length - 1);
      this.point(next);
    }
  }

  show([from, to]) {
    const least = (this.whole[1] - this.whole[0]) / Math.max(this.time.length - 1, 1);
    if (to - from < 2 * least) return;
    this.view = [Math.max(from, this.whole[0]), Math.min(to, this.whole[1])];
    this.draw();
  }

  point(index) {
    this.cursor = index;
    if (index >= 0) {
      const at = this.time[index];
      const [from, to] = this.view;
      if (at < from || at > to) {
        const half = (to - from) / 2;
        this.view = [at - half, at + half];
        this.draw();
        return;
      }
    }
    this.drawCursors();
  }

  move(event, canvas) {
    const at = this.timeAt(event, canvas);
    if (this.drag) this.drag[1] = at;
    this.point(this.indexAt(at));
  }

  zoomToDrag() {
    const drag = this.drag;
    this.drag = null;
    if (!drag) return;
    const [from, to] = drag.sort((a, b) => a - b);
    if (to - from > 0.01 * (this.view[1] - this.view[0])) this.show([from, to]);
    else this.draw();
  }

  timeAt(event, canvas) {
    const box = canvas.getBoundingClientRect();
    const share = (event.clientX - box.left - LEFT) / Math.max(box.width - LEFT - RIGHT, 1);
    const [from, to] = this.view;
    return from + Math.min(Math.max(share, 0), 1) * (to - from);
  }

  indexAt(at) {
    let low = 0;
    let high = this.time.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.time[middle] <= at) low = middle;
      else high = middle - 1;
    }
    const next = Math.min(low + 1, this.time.length - 1);
    return Math.abs(this.time[next] - at) < Math.abs(this.time[low] - at) ? next : low;
  }

  colours() {
    const style = getComputedStyle(document.documentElement);
    const named = (name) => style.getPropertyValue(name).trim();
    return {
      ink: named("--ink"), faint: named("--faint"), grid: named("--grid"), wash: named("--wash"), card: named("--card"),
      away: named("--away"),
      lines: [named("--line-1"), named("--line-2"), named("--line-3")], present: named("--present"),
    };
  }

  draw() {
    this.colour = this.colours();
    for (const panel of this.panels) this.drawPanel(panel);
    this.drawCursors();
  }

  drawCursors() {
    for (const panel of this.panels) this.drawCursor(panel);
    this.tell();
  }

  areaOf(panel) {
    return { left: LEFT, right: panel.canvas.clientWidth - RIGHT, top: 2, bottom: panel.height - AXIS };
  }

  // Where a time of the view lies across.
  across(area) {
    const [from, to] = this.view;
    return (time) => area.left + ((time - from) / (to - from)) * (area.right - area.left);
  }

  drawPanel(panel) {
    const width = panel.canvas.clientWidth;
    if (!width) return;
    const ratio = window.devicePixelRatio || 1;
    for (const canvas of [panel.canvas, panel.still]) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(panel.height * ratio);
    }
    const pen = panel.still.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    pen.textBaseline = "middle";
    const area = this.areaOf(panel);
    const [from, to] = this.view;
    const x = this.across(area);
    const first = Math.max(this.indexAt(from) - 1, 0);
    const last = Math.min(this.indexAt(to) + 1, this.time.length - 1);
    pen.save();
    pen.beginPath();
    pen.rect(area.left, 0, area.right - area.left, area.bottom + 1);
    pen.clip();
    if (panel.kind === "heatmap") this.drawHeat(pen, area, x, first, last);
    else if (panel.kind === "intensities") this.drawRows(pen, area, x, first, last);
    else this.drawLines(pen, area, x, first, last, panel);
    pen.restore();
    this.drawLabels(pen, area, panel);
    this.drawAxis(pen, area, x);
  }

  // The stretch of time that a point stands for: half way to its neighbours.
  edges(index, x) {
    const before = index > 0 ? (this.time[index - 1] + this.time[index]) / 2 : this.time[index];
    const after = index + 1 < this.time.length ? (this.time[index] + this.time[index + 1]) / 2 : this.time[index];
    const left = x(before);
    return [left, Math.max(x(after), left + 1)];
  }

  // Fills each stretch of points that are `there` as one piece: several with a gap of nothing between them would show.
  fillWhere(pen, there, x, first, last, top, height) {
    for (let i = first; i <= last; i += 1) {
      if (!there(i)) continue;
      const [left] = this.edges(i, x);
      while (i < last && there(i + 1)) i += 1;
      pen.fillRect(left, top, this.edges(i, x)[1] - left, height);
    }
  }

  shadeAway(pen, area, x, first, last) {
    pen.fillStyle = this.colour.away;
    this.fillWhere(pen, (i) => this.success[i] < 0.5, x, first, last, area.top, area.bottom - area.top);
  }

  drawHeat(pen, area, x, first, last) {
    const row = (area.bottom - area.top) / this.aus.length;
    pen.fillStyle = this.colour.wash;
    pen.fillRect(area.left, area.top, area.right - area.left, area.bottom - area.top);
    this.aus.forEach((au, place) => {
      const top = area.top + place * row;
      for (let i = first; i <= last; i += 1) {
        const [left, right] = this.edges(i, x);
        if (!au.mean || Number.isNaN(au.mean[i])) continue;
        pen.fillStyle = colourAt(au.mean[i] / 5);
        pen.fillRect(left, top, right - left + 0.5, row - 1);
      }
      pen.fillStyle = this.colour.present;
      if (au.present) this.fillWhere(pen, (i) => au.present[i] >= 0.5, x, first, last, top + row - 4, 2.5);
    });
  }

  drawRows(pen, area, x, first, last) {
    const row = (area.bottom - area.top) / this.aus.length;
    this.shadeAway(pen, area, x, first, last);
    this.aus.forEach((au, place) => {
      const bottom = area.top + (place + 1) * row - 2;
      const y = (value) => bottom - (Math.min(value, 5) / 5) * (row - 5);
      const colour = this.colour.lines[UPPER.has(au.au) ? 0 : 1];
      pen.globalAlpha = 0.18;
      pen.fillStyle = colour;
      if (au.present) this.fillWhere(pen, (i) => au.present[i] >= 0.5, x, first, last, bottom - row + 4, row - 4);
      pen.globalAlpha = 1;
      if (au.mean) this.stroke(pen, au, x, y, first, last, colour);
      pen.fillStyle = this.colour.grid;
      pen.fillRect(area.left, bottom, area.right - area.left, 1);
    });
  }

  drawLines(pen, area, x, first, last, panel) {
    const [low, high] = panel.range;
    const y = (value) => area.bottom - 1 - ((value - low) / (high - low)) * (area.bottom - area.top - 3);
    this.shadeAway(pen, area, x, first, last);
    pen.fillStyle = this.colour.grid;
    for (const value of steps(low, high, panel.range[1] === 1 ? 2 : 5).found) {
      pen.fillRect(area.left, Math.round(y(value)), area.right - area.left, 1);
    }
    panel.lines.forEach((line, place) => this.stroke(pen, line, x, y, first, last, this.colour.lines[place]));
  }

  stroke(pen, line, x, y, first, last, colour) {
    pen.strokeStyle = colour;
    if (line.low) {
      pen.globalAlpha = 0.35;
      pen.beginPath();
      for (let i = first; i <= last; i += 1) {
        if (Number.isNaN(line.low[i])) continue;
        pen.moveTo(x(this.time[i]), y(line.low[i]));
        pen.lineTo(x(this.time[i]), y(line.high[i]) - 0.5);
      }
      pen.stroke();
      pen.globalAlpha = 1;
    }
    pen.lineWidth = 1.4;
    pen.lineJoin = "round";
    pen.beginPath();
    let drawing = false;
    for (let i = first; i <= last; i += 1) {
      const value = line.mean[i];
      if (Number.isNaN(value)) {
        drawing = false;
      } else if (drawing) {
        pen.lineTo(x(this.time[i]), y(value));
      } else {
        pen.moveTo(x(this.time[i]) - 0.5, y(value));
        pen.lineTo(x(this.time[i]), y(value));
        drawing = true;
      }
    }
    pen.stroke();
    pen.lineWidth = 1;
  }

  drawLabels(pen, area, panel) {
    if (panel.kind === "lines") {
      const [low, high] = panel.range;
      const { found, digits } = steps(low, high, panel.range[1] === 1 ? 2 : 5);
      pen.fillStyle = this.colour.faint;
      pen.textAlign = "right";
      for (const value of found) {
        const at = area.bottom - 1 - ((value - low) / (high - low)) * (area.bottom - area.top - 3);
        pen.fillText(value.toFixed(digits), area.left - 8, Math.min(Math.max(at, area.top + 6), area.bottom - 5));
      }
      return;
    }
    const row = (area.bottom - area.top) / this.aus.length;
    this.aus.forEach((au, place) => {
      const at = area.top + (place + 0.5) * row;
      pen.textAlign = "left";
      pen.fillStyle = this.colour.ink;
      pen.fillText(au.au, 0, at);
      pen.fillStyle = this.colour.faint;
      pen.fillText(au.title, 42, at);
    });
  }

  drawAxis(pen, area, x) {
    const [from, to] = this.view;
    const { found, digits } = steps(from, to, Math.max(2, (area.right - area.left) / 110));
    pen.fillStyle = this.colour.faint;
    pen.textAlign = "center";
    for (const value of found) {
      const at = x(value);
      pen.fillRect(at, area.bottom, 1, 3);
      if (at < area.right - 8) pen.fillText(value.toFixed(digits), at, area.bottom + 11);
    }
    pen.textAlign = "left";
    pen.fillText(this.label === "seconds" ? "time, s" : "frame", 0, area.bottom + 11);
  }

  drawCursor(panel) {
    const { canvas, still } = panel;
    if (!canvas.width || !still.width || !canvas.clientWidth) return;
    const pen = canvas.getContext("2d");
    const area = this.areaOf(panel);
    const x = this.across(area);
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(still, 0, 0);
    const ratio = window.devicePixelRatio || 1;
    pen.scale(ratio, ratio);
    if (this.drag) {
      const [a, b] = this.drag.map(x);
      pen.globalAlpha = 0.18;
      pen.fillStyle = this.colour.ink;
      pen.fillRect(Math.min(a, b), area.top, Math.abs(b - a), area.bottom - area.top);
      pen.globalAlpha = 1;
    }
    if (this.cursor < 0) return;
    pen.fillStyle = this.colour.ink;
    pen.fillRect(x(this.time[this.cursor]) - 0.5, area.top, 1, area.bottom - area.top);
  }

  tell() {
    const i = this.cursor;
    for (const panel of this.panels) panel.legend.replaceChildren(...this.legendOf(panel, i));
    if (!this.readout) return;
    if (i < 0) {
      this.readout.textContent = "Point at a plot to read its values; drag to look closer.";
      return;
    }
    const when = this.label === "seconds" ? `${this.time[i].toFixed(2)} s, frame ${this.frame[i]}` : `frame ${this.frame[i]}`;
    const many = this.rowsAPoint > 1 ? ` and the ${this.rowsAPoint - 1} after it, averaged` : "";
    this.readout.textContent = this.success[i] >= 0.5 ? when + many : `${when}${many}: no face`;
  }

  legendOf(panel, i) {
    const item = (colour, text) => {
      const span = document.createElement("span");
      if (colour) {
        const mark = document.createElement("i");
        mark.style.background = colour;
        span.append(mark);
      }
      span.append(text);
      return span;
    };
    if (panel.kind === "lines") {
      return panel.lines.map((line, place) => {
        const value = i >= 0 && !Number.isNaN(line.mean[i]) ? ` ${line.mean[i].toFixed(panel.range[1] === 1 ? 2 : 1)}` : "";
        return panel.lines.length > 1 ? item(this.colour.lines[place], line.name + value) : item("", value);
      });
    }
    if (i < 0) {
      if (panel.kind === "intensities") return [item("", "0 to 5; shaded: present")];
      return [0, 1, 2, 3, 4, 5].map((value) => item(colourAt(value / 5), `${value}`)).concat(item(this.colour.present, "present"));
    }
    const strongest = this.aus.filter((au) => au.mean && au.mean[i] > 0).sort((a, b) => b.mean[i] - a.mean[i]).slice(0, 5);
    const present = this.aus.filter((au) => au.present && au.present[i] >= 0.5).map((au) => au.au);
    const words = strongest.map((au) => item("", `${au.au} ${au.mean[i].toFixed(2)}`));
    return panel.kind === "heatmap" ? words : [item("", present.length ? `present: ${present.join(" ")}` : "none present")];
  }
}

for (const root of document.querySelectorAll("section.plots")) {
  new Plots(root, JSON.parse(root.querySelector("script[type='application/json']").textContent));
}
