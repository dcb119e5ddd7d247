// Live frames over a WebSocket: a clean JPEG each, with what was found in it.

import { Socket } from "./socket.js";
import { withQuery } from "./api.js";

const decoder = new TextDecoder();

/**
 * The frames of one camera.
 *
 * The server sends the newest frame after an older one was drawn (`ack`), so a slow browser gets
 * fewer of them, and none while its tab is hidden.
 *
 * `onFrame` gets the header and an ImageBitmap, which it closes; `onState` the camera's state as the
 * server tells it; `onConnection` what Socket tells.
 */
export class LiveFeed {
  constructor(name, { width, fps, onFrame, onState, onConnection }) {
    this.onFrame = onFrame;
    this.isClosed = false;
    this.order = Promise.resolve(); // frames are drawn one after the other
    const path = withQuery(`/ws/live/${encodeURIComponent(name)}`, { width, fps });
    this.socket = new Socket(path, {
      onState: onConnection,
      onMessage: (message) => {
        if (typeof message !== "string") this.order = this.order.then(() => this.#draw(message));
        else onState(JSON.parse(message));
      },
    });
  }

  close() {
    this.isClosed = true;
    this.socket.close();
  }

  async #draw(message) {
    await shown();
    if (this.isClosed) return;
    try {
      const { header, jpeg } = parse(message);
      const picture = await createImageBitmap(jpeg);
      if (this.isClosed) picture.close();
      else this.onFrame(header, picture);
    } catch (error) {
      console.warn("A frame could not be read:", error.message);
    }
    if (!this.isClosed) this.socket.send("ack");
  }
}

/** Header and JPEG of a message: the header's length, the header, the JPEG. */
function parse(message) {
  const length = new DataView(message).getUint32(0);
  const header = JSON.parse(decoder.decode(new Uint8Array(message, 4, length)));
  return { header, jpeg: new Blob([new Uint8Array(message, 4 + length)], { type: "image/jpeg" }) };
}

/** Until the page can be seen. */
function shown() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => {
    document.addEventListener("visibilitychange", resolve, { once: true });
  });
}
