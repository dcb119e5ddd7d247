// Numbers and times as people read them.

const clock = new Intl.DateTimeFormat([], {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const day = new Intl.DateTimeFormat([], {
  weekday: "short",
  day: "numeric",
  month: "short",
  year: "numeric",
});

/** 14:03:59, of unix seconds or an ISO time. */
export function clockTime(moment) {
  return clock.format(asDate(moment));
}

/** Sat, 21 Nov 2026. */
export function dayOf(moment) {
  return day.format(asDate(moment));
}

/** 1:02:03 or 2:03. */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(whole / 60) % 60, whole % 60];
  if (whole >= 3600) parts.unshift(Math.floor(whole / 3600));
  return parts.map((part, i) => (i ? String(part).padStart(2, "0") : part)).join(":");
}

/** 12.3 MB. */
export function fileSize(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const step = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
  return `${(bytes / 1000 ** step).toFixed(step > 1 ? 1 : 0)} ${units[step]}`;
}

/** 8.4, 8 or 143. */
export function short(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return value < 10 && !Number.isInteger(value) ? value.toFixed(1) : value.toFixed(0);
}

/** "2 person, 1 car", or "nothing". */
export function tally(counts) {
  const rows = Object.entries(counts ?? {}).filter(([, count]) => count > 0);
  return rows.map(([name, count]) => `${count} ${name}`).join(", ") || "nothing";
}

/** How many there are of all classes together. */
export function total(counts) {
  return Object.values(counts ?? {}).reduce((sum, count) => sum + count, 0);
}

function asDate(moment) {
  return new Date(typeof moment === "number" ? moment * 1000 : moment);
}
