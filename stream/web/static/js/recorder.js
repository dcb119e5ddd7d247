// Starts and stops the recording, and takes snapshots.

import { ask, cameraPath, saveAs } from "./api.js";
import { button, element, icon, say } from "./dom.js";
import { complain, note } from "./notice.js";

/** The buttons beside the picture; `layers` gives what is switched on at the moment. */
export function recorder(name, { mayChange, layers }) {
  let isOn = false;
  const record = button("Record", { class: "record", onclick: toggle }, "record");
  const shot = button("Snapshot", { onclick: snapshot, title: "Snapshot (s)" }, "camera");
  const told = element("span", { class: "faint told" });
  record.title = "Record (r)";
  record.hidden = !mayChange;
  const root = element("div", { class: "row" }, record, shot, told);

  async function toggle() {
    record.disabled = true;
    try {
      show(await ask(cameraPath(name, "/recording"), { method: "POST", body: { on: !isOn } }));
      note(isOn ? "The recording has begun." : "The recording is finished: see Recordings.");
    } catch (error) {
      complain(error);
    } finally {
      record.disabled = false;
    }
  }

  async function snapshot() {
    const annotated = layers().size > 0;
    try {
      const response = await fetch(cameraPath(name, `/snapshot.jpg?annotated=${annotated}`));
      if (!response.ok) throw new Error((await response.json()).detail);
      const stamp = new Date().toISOString().replace(/[:-]|\.\d+/g, "");
      saveAs(await response.blob(), `${name}-${stamp}.jpg`);
      note("The snapshot is among your downloads.");
    } catch (error) {
      complain(error);
    }
  }

  /** The recording as the server tells of it. */
  function show(recording) {
    if (recording.on !== isOn)
      record.firstChild.replaceWith(icon(recording.on ? "stop" : "record"));
    isOn = recording.on;
    record.classList.toggle("on", isOn); // not as pressed: its text says what it does
    say(record.querySelector(".text"), isOn ? "Stop recording" : "Record");
    record.disabled = !isOn && !recording.possible;
    const missing = recording.dropped ? `, ${recording.dropped} missing` : "";
    const written = isOn ? `${recording.file ?? ""} ${recording.written} frames${missing}` : "";
    say(told, recording.reason || written);
  }
  return { root, show, toggle: () => record.click(), snapshot };
}
