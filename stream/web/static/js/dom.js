// Elements are made here alone. Whatever comes from a server goes in as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with properties and children; a string child becomes text.
 *
 * `class`, `dataset` and `onclick` (any event) mean what they say; what the element has no property
 * for is set as an attribute; null and undefined are left out.
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name === "class") made.className = value;
    else if (name === "dataset") Object.assign(made.dataset, value);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...present(children));
  return made;
}

/** An SVG element with attributes and children. */
export function drawing(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...present(children));
  return made;
}

/** An icon of a 24x24 grid, by the `d` of its stroke; never read aloud. */
export function icon(name) {
  return drawing(
    "svg",
    { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" },
    drawing("path", { d: ICONS[name] }),
  );
}

/** A button with a text, and perhaps an icon before it. */
export function button(text, properties = {}, iconName = null) {
  return element(
    "button",
    { type: "button", ...properties },
    iconName && icon(iconName),
    element("span", { class: "text" }, text),
  );
}

/** Puts `children` in the place of all that `parent` has. */
export function fill(parent, ...children) {
  parent.replaceChildren(...present(children));
}

/** As `fill`, but for a list that is made anew: what had the focus has it again, if it is there. */
export function refill(parent, ...children) {
  const held = parent.contains(document.activeElement) ? likeness(document.activeElement) : null;
  fill(parent, ...children);
  if (held === null) return;
  const controls = [...parent.querySelectorAll("a, button")];
  controls.find((one) => likeness(one) === held)?.focus({ preventScroll: true });
}

/** Sets a text only where it changes, so that nothing is read aloud twice. */
export function say(parent, text) {
  if (parent.textContent !== text) parent.textContent = text;
}

/** What tells one link or button of a list from the others. */
function likeness(control) {
  return `${control.getAttribute("href")} ${control.getAttribute("aria-label")}`;
}

function present(children) {
  return children
    .flat()
    .filter((child) => child !== null && child !== undefined && child !== false);
}

const ICONS = {
  back: "M15 5l-7 7 7 7",
  camera: "M4 7h3l2-2h6l2 2h3v12H4zM12 16a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7z",
  expand: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
  help: "M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 17.5v.2",
  line: "M5 19L19 5M13 17l4 0 0-4",
  moon: "M20 14.5A8 8 0 1 1 9.5 4a6.5 6.5 0 0 0 10.5 10.5z",
  record: "M12 17a5 5 0 1 0 0-10 5 5 0 0 0 0 10z",
  stop: "M8 8h8v8H8z",
  sun: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6l1.4 1.4M17 17l1.4 1.4M5.6 18.4L7 17M17 7l1.4-1.4",
  zone: "M5 8l8-4 7 7-4 9-10-3z",
};
