// Small helpers for the document.

// True for people who have asked their system for less motion.
export const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)").matches;

export const byId = (id) => document.getElementById(id);

// A new element. Texts come from files and services: they are set as text, never as markup.
export function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}

// A probability as a percentage; 100 % is for certainty alone.
export function percent(probability) {
  const rounded = Math.round(100 * probability);
  return `${probability < 1 ? Math.min(rounded, 99) : 100} %`;
}

// Offer a blob for download.
export function saveFile(blob, name) {
  const link = make("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();

  // The browser has read the blob long before.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
