// Before anything is painted: the theme that was chosen here before. Without one the system's is taken.
"use strict";
try {
  const chosen = localStorage.getItem("auflow-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be forbidden; the system's theme it is.
}
