// Which layers are drawn over the pictures: remembered, and the same for all cameras.

import { element } from "./dom.js";
import { LAYERS } from "./overlay.js";
import { recall, remember } from "./preferences.js";

/** A Set of the names that are on. */
export function layersNow() {
  const off = new Set(recall("layers-off", []));
  return new Set(LAYERS.map((layer) => layer.name).filter((name) => !off.has(name)));
}

/** A switch for each layer; `onChange` gets the new Set. */
export function layerSwitches(onChange) {
  const boxes = new Map();
  const on = layersNow();
  const root = element("div", {
    class: "switches",
    role: "group",
    "aria-label": "Drawn over the picture",
  });
  for (const { name, text, key } of LAYERS) {
    const box = element("input", {
      type: "checkbox",
      name,
      checked: on.has(name),
      onchange: changed,
    });
    boxes.set(name, box);
    root.append(element("label", { class: "switch", title: `${text} (${key})` }, box, text));
  }

  function changed() {
    const off = [...boxes].filter(([, box]) => !box.checked).map(([name]) => name);
    remember("layers-off", off);
    onChange(layersNow());
  }

  function toggle(name) {
    boxes.get(name).checked = !boxes.get(name).checked;
    changed();
  }

  /** Without a way to switch them, because the picture comes with all of it drawn. */
  function setEnabled(isEnabled) {
    for (const box of boxes.values()) box.disabled = !isEnabled;
    root.title = isEnabled ? "" : "This picture comes with all of it drawn.";
  }
  return { root, toggle, setEnabled };
}
