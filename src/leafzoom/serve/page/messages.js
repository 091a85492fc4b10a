// The page's texts in the reader's language, from one file: messages.json.

export const LANGUAGES = ["en", "de", "fr", "es", "it", "pl"];

const FALLBACK = "en";
const SETTING = "leafzoom-language";

let all = { [FALLBACK]: {} };
let current = FALLBACK;

// The language that was chosen, else the first of the browser's that the page has.
function preferredLanguage() {
  const chosen = readSetting(SETTING);
  if (LANGUAGES.includes(chosen)) return chosen;
  const offered = navigator.languages.map((language) => language.slice(0, 2).toLowerCase());
  return offered.find((language) => LANGUAGES.includes(language)) ?? FALLBACK;
}

// Settings that a browser may refuse to keep.
export function readSetting(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

export function keepSetting(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // It holds until the page is closed.
  }
}

// Read the texts, and put them into the document.
export async function loadMessages() {
  const answer = await fetch("messages.json");
  all = await answer.json();
  useLanguage(preferredLanguage());
}

export function chooseLanguage(language) {
  keepSetting(SETTING, language);
  useLanguage(language);
}

export const language = () => current;

// The language with the reader's country, for dates.
export const locale = () =>
  navigator.languages.find((name) => name.slice(0, 2).toLowerCase() === current) ?? current;

function useLanguage(name) {
  current = name;
  document.documentElement.lang = name;
  for (const element of document.querySelectorAll("[data-t]"))
    element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll("[data-t-label]"))
    element.setAttribute("aria-label", t(element.dataset.tLabel));
}

// A text by its key, with values put into it; in English where a language lacks it.
export function t(key, values = {}) {
  const text = all[current]?.[key] ?? all[FALLBACK][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

// Whether there is a text.
export const has = (key) => key in all[FALLBACK];
