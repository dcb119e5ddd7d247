// Who are you? By token, or by user and password.

import { ask } from "./api.js";
import { element, say } from "./dom.js";

/** The form; `onSession` gets the session once somebody is let in. */
export function loginView(onSession) {
  const user = element("input", { id: "user", autocomplete: "username", maxLength: 64 });
  const secret = element("input", {
    id: "secret",
    type: "password",
    autocomplete: "current-password",
    required: true,
    maxLength: 1024,
  });
  const problem = element("p", { class: "problem", role: "alert" });
  const enter = element("button", { class: "main" }, "Log in");
  const root = element(
    "form",
    { class: "card login", onsubmit: submit },
    element("h1", {}, "rcnn-live"),
    element(
      "label",
      { htmlFor: "user" },
      "User ",
      element("span", { class: "faint" }, "(leave empty for a token)"),
    ),
    user,
    element("label", { htmlFor: "secret" }, "Password or token"),
    secret,
    problem,
    enter,
  );

  async function submit(event) {
    event.preventDefault();
    enter.disabled = true;
    say(problem, "");
    const name = user.value.trim();
    const body = name ? { user: name, password: secret.value } : { token: secret.value };
    try {
      onSession(await ask("/api/login", { method: "POST", body }));
    } catch (error) {
      say(problem, error.message);
      secret.select();
    } finally {
      enter.disabled = false;
    }
  }
  return { root, title: "Log in", close() {}, focus: () => user.focus() };
}
