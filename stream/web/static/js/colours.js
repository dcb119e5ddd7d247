// The colours of stream/render.py, so that picture, recording and page show a thing alike.

const TONES = [
  [0.6, 1.0],
  [0.85, 1.0],
  [0.6, 0.7],
  [0.85, 0.9],
  [0.4, 0.9],
  [0.6, 0.8],
];
const FIRST_ZONE = 4;

export const LINE_COLOUR = "rgb(255 196 0)";
export const DARK = "rgb(16 16 16 / 0.72)";

/** Of a class or a track, by its number: neighbours differ. */
export function colourOfNumber(number) {
  const hue = (((0.42 + 0.618034 * (number - 1)) % 1) + 1) % 1;
  const [saturation, value] = TONES[number % TONES.length];
  return fromHsv(hue, saturation, value);
}

/** Of the zone at this place of the list. */
export function colourOfZone(place) {
  return colourOfNumber(FIRST_ZONE + place);
}

function fromHsv(hue, saturation, value) {
  const channel = (offset) => {
    const k = (offset + hue * 6) % 6;
    return Math.round(255 * value * (1 - saturation * Math.max(0, Math.min(k, 4 - k, 1))));
  };
  return `rgb(${channel(5)} ${channel(3)} ${channel(1)})`;
}
