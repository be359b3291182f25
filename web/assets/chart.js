// A small chart: one line for each release over the last ten minutes, as inline SVG, with a mark at each cutover.
import { clock, clockSeconds } from './text.js';

export const span = 10 * 60 * 1000;
const gap = 15 * 1000; // between two points: nothing was asked for meanwhile
const height = 124;
const frame = { left: 46, right: 10, top: 20, bottom: 20 };
const namespace = 'http://www.w3.org/2000/svg';

function shape(name, attributes, text) {
  const e = document.createElementNS(namespace, name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  if (text !== undefined) e.textContent = text;
  return e;
}

// look returns the class of a line: it stays the same while a release exists, and neighbours differ.
const look = (generation) => `line-${generation % 3}`;

const lineClass = (generation, state) => `line ${look(generation)}${state === 'live' ? ' live' : ''}`;

// sample returns a short line, as a chart draws it, for a legend.
export function sample(generation, state) {
  const svg = shape('svg', { class: 'sample', viewBox: '0 0 28 8', 'aria-hidden': 'true' });
  svg.append(shape('path', { class: lineClass(generation, state), d: 'M1 4H27' }));
  return svg;
}

// beginning returns where the time axis begins: with the first point, between two and ten minutes ago.
function beginning(lines, now) {
  const first = Math.min(...lines.map((l) => l.points[0][0]));
  return Math.max(now - span, Math.min(first, now - 2 * 60 * 1000));
}

// steps returns the distance of the labels of the time axis, and how they are written.
function steps(length, width) {
  const fits = Math.max(2, Math.floor(width / 75));
  const step = [15, 30, 60, 120, 300].map((s) => 1000 * s).find((s) => length / s <= fits) || 300 * 1000;
  return { step, write: step < 60 * 1000 ? clockSeconds : clock };
}

// ceiling returns the end of an axis: the next of 1, 2 and 5 with zeros.
function ceiling(most, least) {
  const n = Math.max(most, least);
  const power = 10 ** Math.floor(Math.log10(n));
  return [1, 2, 5, 10].map((f) => f * power).find((end) => end >= n * 0.999);
}

export class Chart {
  // column is the index of the value in a point; least is the smallest end of the axis.
  constructor({ title, column, least, format, scale = 1 }) {
    Object.assign(this, { title, column, least, format, scale });
    this.element = document.createElement('figure');
    const caption = document.createElement('figcaption');
    caption.textContent = title;
    this.svg = shape('svg', { role: 'img', class: 'chart', height });
    this.element.append(caption, this.svg);
  }

  // draw draws the lines ({generation, release, points, state}) and the marks ({at, text}) until now.
  draw(lines, marks, now) {
    const width = Math.max(200, this.element.clientWidth);
    const from = beginning(lines, now);
    const x = (at) => frame.left + ((at - from) / (now - from)) * (width - frame.left - frame.right);
    let most = 0;
    for (const l of lines) for (const p of l.points) most = Math.max(most, p[this.column] * this.scale);
    const end = ceiling(most, this.least);
    const y = (value) => height - frame.bottom - (Math.min(value, end) / end) * (height - frame.top - frame.bottom);

    const drawn = [...this.axes(width, x, y, end, from, now)];
    const shown = marks.filter((m) => m.at >= from && m.at <= now);
    for (const m of shown) {
      drawn.push(shape('line', { class: 'mark', x1: x(m.at), x2: x(m.at), y1: frame.top - 4, y2: height - frame.bottom }));
    }
    drawn.push(...this.markTexts(shown, width, x));
    for (const l of lines) {
      const d = this.path(l.points, x, y, from);
      if (!d) continue;
      drawn.push(shape('path', { class: lineClass(l.generation, l.state), d }));
      const last = l.points.findLast((p) => !this.unknown(p)); // a release that was live for a moment is a dot
      drawn.push(shape('circle', { class: `end ${look(l.generation)}`, r: 2.5, cx: x(last[0]), cy: y(last[this.column] * this.scale) }));
    }
    this.svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    this.svg.setAttribute('width', width);
    const text = this.description(lines, marks);
    if (this.svg.getAttribute('aria-label') !== text) this.svg.setAttribute('aria-label', text);
    this.svg.replaceChildren(...drawn);
  }

  * axes(width, x, y, end, from, now) {
    for (const part of [0, 0.5, 1]) {
      const at = y(part * end);
      yield shape('line', { class: part ? 'grid' : 'axis', x1: frame.left, x2: width - frame.right, y1: at, y2: at });
      yield shape('text', { class: 'tick', x: frame.left - 6, y: at + 4, 'text-anchor': 'end' }, this.format(part * end, end));
    }
    const { step, write } = steps(now - from, width - frame.left - frame.right);
    for (let at = Math.ceil(from / step) * step; at <= now; at += step) {
      if (x(at) < frame.left + 10 || x(at) > width - 26) continue;
      yield shape('line', { class: 'axis', x1: x(at), x2: x(at), y1: height - frame.bottom, y2: height - frame.bottom + 3 });
      yield shape('text', { class: 'tick', x: x(at), y: height - 5, 'text-anchor': 'middle' }, write(at));
    }
  }

  // markTexts names the cutovers, the newest first, as far as the texts do not overlap.
  * markTexts(marks, width, x) {
    let free = width;
    for (const m of [...marks].reverse()) {
      const length = Math.min(m.text.length, 24) * 6.2;
      const right = x(m.at) > width / 2;
      const begin = right ? x(m.at) - length : x(m.at);
      if (begin < 0 || begin + length > free) continue;
      free = begin - 6;
      const text = m.text.length > 24 ? `${m.text.slice(0, 23)}…` : m.text;
      yield shape('text', { class: 'mark-text', x: x(m.at), y: frame.top - 8, 'text-anchor': right ? 'end' : 'start' }, text);
    }
  }

  path(points, x, y, from) {
    let d = '';
    let before = 0;
    for (const p of points) {
      if (p[0] < from) continue;
      if (this.unknown(p)) {
        before = 0;
        continue;
      }
      d += `${p[0] - before > gap ? 'M' : 'L'}${x(p[0]).toFixed(1)} ${y(p[this.column] * this.scale).toFixed(1)}`;
      before = p[0];
    }
    return d;
  }

  // unknown: errors and latency of no requests
  unknown(p) {
    return this.column > 1 && p[1] === 0;
  }

  // description says in words what the chart shows.
  description(lines, marks) {
    const parts = [];
    for (const l of lines) {
      const known = l.points.filter((p) => !this.unknown(p));
      if (known.length === 0) continue;
      const values = known.map((p) => p[this.column] * this.scale);
      const last = known[known.length - 1];
      parts.push(`${l.release} from ${this.format(Math.min(...values))} to ${this.format(Math.max(...values))}, last ${this.format(values[values.length - 1])} at ${clock(last[0])}`);
    }
    for (const m of marks) parts.push(`${m.text} at ${clock(m.at)}`);
    return `${this.title} in the last 10 minutes: ${parts.join('; ') || 'no figures'}`;
  }
}
