// The annotated picture over WebRTC: less data for viewers far away, and smooth on a poor line.

import { ask, cameraPath } from "./api.js";

const GATHER_SECONDS = 3;

/** Plays a camera in a video element; `onEnd` gets a sentence when it fails. Gives what ends it. */
export function playWebRtc(name, video, onEnd) {
  const connection = new RTCPeerConnection();
  const over = new AbortController();
  connection.addTransceiver("video", { direction: "recvonly" });
  connection.ontrack = (event) => {
    video.srcObject = new MediaStream([event.track]);
  };
  connection.onconnectionstatechange = () => {
    if (connection.connectionState === "failed") onEnd("The WebRTC connection was lost.");
  };
  offer(connection, name, over.signal).catch((error) => {
    if (!over.signal.aborted) onEnd(error.message);
  });
  return () => {
    over.abort();
    connection.close();
    video.srcObject = null;
  };
}

async function offer(connection, name, signal) {
  await connection.setLocalDescription(await connection.createOffer());
  await gathered(connection);
  const { sdp, type } = connection.localDescription;
  const path = cameraPath(name, "/webrtc");
  const answer = await ask(path, { method: "POST", body: { sdp, type }, signal });
  await connection.setRemoteDescription(answer);
}

function gathered(connection) {
  if (connection.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    setTimeout(resolve, GATHER_SECONDS * 1000);
    connection.onicegatheringstatechange = () => {
      if (connection.iceGatheringState === "complete") resolve();
    };
  });
}
