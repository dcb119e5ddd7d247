// Sentences: a short-lived note for everybody, and a region that screen readers speak.

import { element, say } from "./dom.js";

const NOTE_SECONDS = 6;
const spoken = element("div", { class: "for-readers", role: "status", "aria-live": "polite" });
const notes = element("div", { class: "notes", role: "alert" });

export function noticePlaces() {
  return [spoken, notes];
}

/** Speak without showing. */
export function announce(sentence) {
  say(spoken, sentence);
}

/** Show for a while, and speak. `kind` is "good" or "bad". */
export function note(sentence, kind = "good") {
  const shown = element("div", { class: `note ${kind}` }, sentence);
  notes.append(shown);
  setTimeout(() => shown.remove(), NOTE_SECONDS * 1000);
}

/** Show why something failed, unless it was called off. */
export function complain(error) {
  if (error.name !== "AbortError" && error.status !== 401) note(error.message, "bad");
}
