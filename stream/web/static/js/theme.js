// Dark or light: as the system has it, until somebody chooses.

import { button, element, icon } from "./dom.js";
import { recall, remember } from "./preferences.js";

const system = matchMedia("(prefers-color-scheme: light)");
export const themeChanged = new EventTarget();

function isLight() {
  const chosen = recall("theme", null);
  return chosen === null ? system.matches : chosen === "light";
}

/** The colour that a custom property of the style sheet has now, for canvases. */
export function colourOf(property) {
  const probe = element("span", { hidden: true });
  probe.style.color = `var(${property})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

export function themeSwitch() {
  const control = button("Light theme", { class: "quiet square", onclick: toggle }, "sun");
  const show = () => {
    document.documentElement.dataset.theme = isLight() ? "light" : "dark";
    control.title = isLight() ? "Dark theme" : "Light theme";
    control.querySelector(".text").textContent = control.title;
    control.firstChild.replaceWith(icon(isLight() ? "moon" : "sun"));
    themeChanged.dispatchEvent(new Event("change"));
  };
  function toggle() {
    remember("theme", isLight() ? "dark" : "light");
    show();
  }
  system.addEventListener("change", show);
  show();
  return control;
}
