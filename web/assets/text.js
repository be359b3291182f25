// How numbers and times are written, as superctl writes them on a terminal.

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const clockFormat = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const secondsFormat = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const dayFormat = new Intl.DateTimeFormat('en-GB', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });

export const zoneText = () => `Times are in ${zone}.`;
export const clock = (at) => clockFormat.format(at);
export const clockSeconds = (at) => secondsFormat.format(at);
export const day = (at) => dayFormat.format(at).replace(',', '');

export function rate(n) {
  if (n === undefined) return '-';
  return n >= 1000 ? Math.round(n).toLocaleString('en') : n.toFixed(1);
}

export function share(n) {
  if (n === undefined) return '-';
  if (n > 0 && n < 0.0005) return '<0.1 %';
  return `${(100 * n).toFixed(1)} %`;
}

// latency formats a duration in seconds.
export function latency(s) {
  if (s === undefined) return '-';
  if (s < 0.00995) return `${(1000 * s).toFixed(1)} ms`;
  if (s < 0.995) return `${Math.round(1000 * s)} ms`;
  return `${s < 9.95 ? s.toFixed(1) : Math.round(s)} s`;
}

export function memory(bytes) {
  if (!bytes) return '-';
  const mb = bytes / 1e6;
  return mb < 999.5 ? `${Math.round(mb)} MB` : `${(mb / 1000).toFixed(1)} GB`;
}

// elapsed formats how long something lasts, in milliseconds.
export function elapsed(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 100) return `${s} s`;
  if (s < 100 * 60) return `${Math.round(s / 60)} min`;
  if (s < 48 * 3600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

export const seconds = (s) => (s < 9.95 ? `${s.toFixed(1)} s` : elapsed(1000 * s));
