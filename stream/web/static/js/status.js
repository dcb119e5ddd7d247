// The figures of all cameras, each second, and what they were in the last minutes.

import { ask } from "./api.js";
import { announce } from "./notice.js";
import { stateSentence } from "./screen.js";
import { Socket } from "./socket.js";

const KEPT = 300; // seconds

/** Tells "figures" each second, "cameras" when some came or went, "connection" when that changed. */
export class StatusStore extends EventTarget {
  constructor() {
    super();
    this.cameras = {};
    this.histories = new Map();
    this.connection = { state: "connecting", seconds: 0 };
    this.socket = new Socket("/ws/status", {
      onMessage: (text) => this.#take(JSON.parse(text).cameras),
      onState: (state, seconds, failures) => {
        this.connection = { state, seconds };
        this.dispatchEvent(new Event("connection"));
        if (failures === 1) ask("/api/metrics").catch(() => {}); // perhaps it wants a login
      },
    });
  }

  /** What a camera's figures were: `times` in unix seconds and a status for each. */
  history(name) {
    return this.histories.get(name) ?? { times: [], samples: [] };
  }

  close() {
    this.socket.close();
  }

  #take(cameras) {
    const before = this.cameras;
    this.cameras = cameras;
    const now = Date.now() / 1000;
    for (const [name, status] of Object.entries(cameras)) {
      this.#keep(name, now, status);
      const was = before[name];
      if (was && stateSentence(was) !== stateSentence(status)) {
        announce(`${name}: ${stateSentence(status)}`);
      }
    }
    if (Object.keys(before).join("\n") !== Object.keys(cameras).join("\n")) {
      this.dispatchEvent(new Event("cameras"));
    }
    this.dispatchEvent(new Event("figures"));
  }

  #keep(name, now, status) {
    if (!this.histories.has(name)) this.histories.set(name, { times: [], samples: [] });
    const { times, samples } = this.histories.get(name);
    times.push(now);
    samples.push(status);
    if (times.length > KEPT) {
      times.shift();
      samples.shift();
    }
  }
}
