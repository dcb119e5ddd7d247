// Keys: those of everywhere, those of what is shown, and a page that tells of them.

import { button, element } from "./dom.js";
import { LAYERS } from "./overlay.js";

const HELP = [
  [
    "Everywhere",
    [
      ["?", "these keys"],
      ["1 … 9", "a camera"],
      ["Esc", "back"],
      ["d", "dark or light"],
    ],
  ],
  [
    "All cameras",
    [
      ["← ↑ → ↓", "from picture to picture"],
      ["Enter", "one camera"],
    ],
  ],
  [
    "One camera",
    [
      ["r", "record"],
      ["s", "snapshot"],
      ["f", "full screen"],
      ["c", "classes"],
      ...LAYERS.map((layer) => [layer.key, layer.text.toLowerCase()]),
    ],
  ],
  [
    "Drawing a zone",
    [
      ["Tab", "from corner to corner"],
      ["← ↑ → ↓", "move it; with shift slowly"],
      ["Delete", "remove it"],
      ["Enter", "store"],
      ["Esc", "cancel"],
    ],
  ],
];

/** Calls what `find(key)` gives for a key, but never while somebody writes, and once for a key that is held. */
export function listenForKeys(find) {
  addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || isWriting(event)) return;
    if (document.querySelector("dialog[open]")) return;
    const action = find(event.key);
    if (!action) return;
    event.preventDefault();
    action();
  });
}

/** Shows all keys until it is closed. */
export function showHelp() {
  const parts = HELP.map(([where, keys]) =>
    element(
      "section",
      {},
      element("h3", {}, where),
      element(
        "dl",
        {},
        ...keys.flatMap(([key, what]) => [
          element("dt", {}, element("kbd", {}, key)),
          element("dd", {}, what),
        ]),
      ),
    ),
  );
  const close = button("Close", { onclick: () => dialog.close() });
  const dialog = element(
    "dialog",
    { class: "help", "aria-label": "Keys" },
    element("h2", {}, "Keys"),
    element("div", { class: "keys" }, ...parts),
    close,
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

function isWriting(event) {
  const { target, key } = event;
  if (key === "Escape") return target.matches?.("input[type=search]");
  if (target.matches?.("textarea, select")) return true;
  return target.matches?.("input") && !["checkbox", "range"].includes(target.type);
}
