// The colours of the style sheet, for canvases; asked for again when the theme changes.

const NAMES = ["ground", "panel", "well", "line", "ink", "soft", "faint", "accent", "present",
  "s1", "s2", "s3", "s4", "s5", "s6"];

export const colours = {};

export function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of NAMES) colours[name] = style.getPropertyValue(`--${name}`).trim();
}
