// The keyboard. Buttons keep Space and Enter, and whoever holds a modifier means the browser.

const LAYERS = { l: "landmarks", p: "pose", g: "gaze", a: "bars" };

export function keys(page) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea")) return;
    if (act(page, event)) event.preventDefault();
  });
}

function act(page, event) {
  const inList = event.target.closest("#streams") !== null;
  const key = event.key.toLowerCase();
  const step = { arrowleft: -1, arrowright: 1, ...(inList ? { arrowup: -1, arrowdown: 1 } : {}) }[key];
  if (step !== undefined) page.neighbour(step);
  else if (/^[1-9]$/.test(key)) page.nth(Number(key) - 1);
  else if (key === " " && !event.target.matches("button, a")) page.pause();
  else if (key in LAYERS) page.toggle(LAYERS[key]);
  else if (key === "t") page.theme();
  else if (key === "f") page.nextFace();
  else return false;
  return true;
}
