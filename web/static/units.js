// Action Units as the messages have them, and what the Facial Action Coding System calls them.

export const UNITS = [
  ["AU01", "inner brow raiser"],
  ["AU02", "outer brow raiser"],
  ["AU04", "brow lowerer"],
  ["AU05", "upper lid raiser"],
  ["AU06", "cheek raiser"],
  ["AU07", "lid tightener"],
  ["AU09", "nose wrinkler"],
  ["AU10", "upper lip raiser"],
  ["AU12", "lip corner puller"],
  ["AU14", "dimpler"],
  ["AU15", "lip corner depressor"],
  ["AU17", "chin raiser"],
  ["AU20", "lip stretcher"],
  ["AU23", "lip tightener"],
  ["AU25", "lips part"],
  ["AU26", "jaw drop"],
  ["AU28", "lip suck"], // present or not; it has no intensity
  ["AU45", "blink"],
];

export const WITHOUT_INTENSITY = "AU28";
export const MOST = 5; // of an intensity
