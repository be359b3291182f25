// The page: it shows what the events say, and asks for nothing itself. All texts are set as text, never as markup.
import { Chart, sample, span } from './chart.js';
import * as text from './text.js';

const byId = (id) => document.getElementById(id);

// make makes an element. Properties that are undefined are left out.
function make(name, properties = {}, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (key === 'class') e.className = value;
    else if (key in e) e[key] = value;
    else e.setAttribute(key, value);
  }
  e.append(...children.filter((c) => c !== undefined && c !== ''));
  return e;
}

// put sets a text only if it differs: a screen reader then hears it once, and a selection stays.
function put(e, string) {
  if (e.textContent !== string) e.textContent = string;
}

const tones = { ok: 'good', degraded: 'fair' };
const signs = { ok: '✓', degraded: '!', down: '✕', stopped: '✕', unknown: '?' };
const tone = (health) => tones[health] || 'poor';

// ages are the elements that say how long ago something was.
function age(at) {
  return make('time', { dateTime: new Date(at).toISOString(), class: 'age' });
}

function updateAges(root, now) {
  for (const e of root.querySelectorAll('time.age')) {
    const at = Date.parse(e.dateTime);
    put(e, `${text.day(at)}, ${text.elapsed(now - at)} ago`);
  }
}

const formatRate = (n, end) => (end !== undefined && end < 4 ? String(+n.toFixed(2)) : n < 10 ? String(+n.toFixed(1)) : Math.round(n).toLocaleString('en'));

// App is one app on the page.
class App {
  constructor(data) {
    this.id = `app-${App.count++}`;
    this.lines = new Map(); // by generation
    this.entries = new Map(); // of the history, by number
    this.health = make('span', { class: 'health' });
    this.live = make('p');
    this.name = make('h2', { id: `${this.id}-name` });
    this.notes = make('div', { class: 'notes' });
    this.change = make('p', { class: 'note change' });
    this.verdict = make('p', { class: 'verdict', role: 'status' });
    this.table = make('table');
    this.scroll = make('div', { class: 'scroll' }, this.table);
    this.legend = make('ul', { class: 'legend' });
    this.noFigures = make('p', { class: 'aside' });
    this.charts = [
      new Chart({ title: 'Requests per second', column: 1, least: 1, format: formatRate }),
      new Chart({ title: 'Errors, % of the requests', column: 2, least: 1, scale: 100, format: (n) => `${+n.toFixed(1)} %` }),
      new Chart({ title: 'p99: 99 % of the answers took less', column: 4, least: 0.001, format: (n) => (n === 0 ? '0' : text.latency(n)) }),
    ];
    this.chartBox = make('div', { class: 'charts' }, this.legend, ...this.charts.map((c) => c.element));
    this.figures = make('div', { class: 'figures' }, this.scroll, this.chartBox);
    this.historyProblem = make('p', { class: 'note' });
    this.newest = make('ol');
    this.older = make('ol');
    this.olderTitle = make('summary');
    this.olderBox = make('details', {}, this.olderTitle, this.older);
    this.noChanges = make('p', { class: 'aside' }, 'No changes so far.');
    this.history = make('section', { class: 'history', 'aria-labelledby': `${this.id}-history` },
      make('h3', { id: `${this.id}-history` }, 'History'), this.historyProblem, this.noChanges, this.newest, this.olderBox);
    this.element = make('section', { class: 'app', id: this.id, 'aria-labelledby': `${this.id}-name` },
      make('div', { class: 'title' }, this.name, this.health, this.live), this.notes, this.change, this.verdict,
      this.noFigures, this.figures, this.history);
    this.link = make('a', { href: `#${this.id}` });
    this.entry = make('li', {}, this.link);
    put(this.name, data.name);
  }

  update(data, screen) {
    this.data = data;
    put(this.health, `${signs[data.health] || '?'} ${data.health}`);
    this.health.className = `health ${tone(data.health)}`;
    put(this.link, `${data.name}: ${data.health}`);
    this.updateLive(data, screen.at);
    this.updateNotes(data);
    this.updateChange(data, screen.at);
    put(this.verdict, data.verdict || '');
    this.verdict.hidden = !data.verdict;
    const failed = (data.verdict || '').match(/: (aborted|reverted)/);
    this.verdict.className = `verdict${failed ? ' poor' : ''}`;
    this.keep(data, screen);
    this.updateTable(data);
    this.draw(screen.at);
    if (data.changes) this.updateHistory(data.changes);
  }

  updateLive(data, now) {
    if (!data.release) {
      put(this.live, data.health === 'stopped' || data.health === 'unknown' ? '' : 'no release is live');
      return;
    }
    const parts = [];
    if (data.live_since) parts.push(`for ${text.elapsed(now - data.live_since)}`);
    if (data.live_by) parts.push(`by ${data.live_by}`);
    const commit = data.commit ? `, commit ${data.commit}` : '';
    put(this.live, `${data.release} is live ${parts.join(' ')}${commit}`);
  }

  updateNotes(data) {
    const notes = [];
    if (data.reason) notes.push([data.reason, tone(data.health) === 'poor' ? 'note poor' : 'note']);
    for (const t of data.troubles || []) notes.push([t, 'note']);
    if (data.lock) notes.push([data.lock, 'note']);
    if (data.uncounted) notes.push([`Requests are not counted: ${data.uncounted.join(', ')}. There are no figures of them, and no guard.`, 'note']);
    const key = JSON.stringify(notes);
    if (key === this.notesKey) return;
    this.notesKey = key;
    this.notes.replaceChildren(...notes.map(([t, c]) => make('p', { class: c }, t)));
  }

  updateChange(data, now) {
    const c = data.changing;
    this.change.hidden = !c;
    if (!c) return;
    const canary = c.share ? ` (${c.share} % of the connections)` : '';
    put(this.change, `${c.kind}${c.release ? ` to ${c.release}` : ''} by ${c.who || 'unknown'}: step ${c.step}${canary}, for ${text.elapsed(now - c.since)}`);
  }

  // keep adds the new points, and forgets those that no chart shows any more.
  keep(data, screen) {
    const states = new Map((data.releases || []).map((r) => [r.generation, r.state]));
    const before = this.lines;
    this.lines = new Map();
    for (const l of data.lines || []) {
      const known = screen.whole ? undefined : before.get(l.generation);
      const points = (known ? known.points : []).concat(l.points).filter((p) => p[0] >= screen.at - span);
      this.lines.set(l.generation, { generation: l.generation, release: l.release, points, state: states.get(l.generation) });
    }
  }

  updateTable(data) {
    const all = data.releases || [];
    const present = all.filter((r) => r.state !== 'ended');
    const releases = present.concat(all.filter((r) => r.state === 'ended')).slice(0, Math.max(present.length, 4)).slice(0, 6);
    releases.sort((a, b) => a.generation - b.generation);
    this.scroll.hidden = releases.length === 0;
    if (releases.length === 0) return;
    const past = releases.map((r) => Boolean(r.until));
    const count = (r, value) => (r.counted ? value : 'not counted');
    const rows = [
      ['Requests/s', releases.map((r) => count(r, text.rate(r.rate)))],
      ['Errors', releases.map((r) => count(r, text.share(r.failed))), releases.map((r) => r.failed > 0)],
      ['p50', releases.map((r) => count(r, text.latency(r.p50)))],
      ['p99', releases.map((r) => count(r, text.latency(r.p99)))],
      ['In flight', releases.map((r) => (r.in_flight === undefined ? '-' : r.in_flight.toLocaleString('en')))],
      ['Memory', releases.map((r) => text.memory(r.memory))],
      ['Restarts', releases.map((r) => (r.restarts === undefined ? '-' : String(r.restarts)))],
    ];
    if (releases.some((r) => r.share)) rows.unshift(['Connections', releases.map((r) => (r.share ? `${r.share} %` : '-'))]);
    const key = JSON.stringify([releases.map((r) => r.generation), rows.map((r) => r[0])]);
    if (key !== this.tableKey) this.buildTable(releases, rows);
    this.tableKey = key;
    releases.forEach((r, i) => put(this.states[i], stateText(r)));
    rows.forEach(([, values, bad], y) => values.forEach((value, i) => {
      const cell = this.cells[y][i];
      put(cell, value);
      const className = bad && bad[i] ? 'bad' : past[i] && y < rows.length - 3 ? 'past' : '';
      if (cell.className !== className) cell.className = className;
    }));
    const overflows = this.scroll.scrollWidth > this.scroll.clientWidth;
    if (overflows === (this.scroll.tabIndex === 0)) return;
    this.scroll.tabIndex = overflows ? 0 : -1;
    if (overflows) this.scroll.setAttribute('role', 'region');
    else this.scroll.removeAttribute('role');
    this.scroll.setAttribute('aria-label', `Releases of ${data.name}`);
  }

  buildTable(releases, rows) {
    this.states = releases.map(() => make('small'));
    this.cells = rows.map(() => releases.map(() => make('td')));
    const head = make('tr', {}, make('th', { scope: 'col' }, 'Release'), ...releases.map((r, i) =>
      make('th', { scope: 'col' }, make('span', { class: 'name', title: r.release }, r.release), this.states[i])));
    const body = rows.map(([name], y) => make('tr', {}, make('th', { scope: 'row' }, name), ...this.cells[y]));
    this.table.replaceChildren(make('caption', {}, 'The releases, oldest first'), make('thead', {}, head), make('tbody', {}, ...body));
  }

  draw(now) {
    const lines = [...this.lines.values()].filter((l) => l.points.length > 0);
    this.chartBox.hidden = lines.length === 0;
    this.updateNoFigures(lines);
    if (lines.length === 0 || document.hidden) return;
    const legend = lines.map((l) => [l.generation, l.state, `${l.release} (${l.state || 'ended'})`]);
    const key = JSON.stringify(legend);
    if (key !== this.legendKey) {
      this.legend.replaceChildren(...legend.map(([g, state, t]) => make('li', {}, sample(g, state), t)));
      this.legendKey = key;
    }
    const marks = (this.data.marks || []).map((m) => ({ at: m.at, text: `${m.reverted ? 'back to' : 'cutover to'} ${m.release}` }));
    for (const c of this.charts) c.draw(lines, marks, now);
  }

  // updateNoFigures says why there are no charts.
  updateNoFigures(lines) {
    const releases = this.data.releases || [];
    let why = '';
    if (lines.length === 0 && releases.length > 0 && !this.data.uncounted) {
      why = releases.some((r) => r.counted) ? 'The charts begin in a moment.' : 'No process of this app serves requests.';
    }
    put(this.noFigures, why);
    this.noFigures.hidden = !why;
  }

  // updateHistory shows the changes. An entry never changes, so one that is there stays, open or not.
  updateHistory(changes) {
    put(this.historyProblem, changes.problem ? `The history could not be read: ${changes.problem}` : '');
    this.historyProblem.hidden = !changes.problem;
    const before = this.entries;
    this.entries = new Map((changes.list || []).map((c) => [c.number, before.get(c.number) || change(c)]));
    const all = [...this.entries.values()];
    this.noChanges.hidden = all.length > 0 || Boolean(changes.problem);
    this.newest.replaceChildren(...all.slice(0, 5));
    this.older.replaceChildren(...all.slice(5));
    this.olderBox.hidden = all.length <= 5;
    put(this.olderTitle, `${all.length - 5} earlier changes`);
    this.history.hidden = !this.data.release && all.length === 0 && !changes.problem;
  }
}
App.count = 1;

function stateText(r) {
  return r.until ? `${r.state}, until ${text.clock(r.until)}` : r.state;
}

// change makes an entry of the history.
function change(c) {
  const failed = c.result !== 'done';
  const from = c.previous && c.previous !== c.release ? `${c.previous} → ` : '';
  const entry = make('li', {}, make('div', { class: 'what' },
    age(c.started), make('span', {}, `${c.kind} ${from}${c.release}`), make('span', { class: `result ${failed ? 'poor' : 'good'}` }, c.result),
    make('span', { class: 'aside' }, `${text.seconds(c.seconds)}${c.who ? `, by ${c.who}` : ''}`)));
  if (c.error) entry.append(make('p', { class: 'reason' }, c.error));
  if (c.guard && !c.error) entry.append(make('p', { class: 'aside' }, `Guard: ${c.guard}`));
  for (const w of c.warnings || []) entry.append(make('p', { class: 'aside' }, w));
  if (c.log && c.log.length > 0) {
    entry.append(make('details', {}, make('summary', {}, `The last lines of the ${c.culprit || 'worker'}`),
      make('pre', { tabIndex: 0, 'aria-label': `Log of ${c.release}` }, c.log.join('\n'))));
  }
  return entry;
}

const apps = new Map(); // by key

function show(screen) {
  document.documentElement.dataset.at = screen.at;
  put(byId('host'), screen.host);
  put(byId('version'), `superctl ${screen.version}.`);
  put(byId('clock'), text.clockSeconds(screen.at));
  put(byId('problem'), screen.problem || '');
  byId('problem').hidden = !screen.problem;
  const known = new Set(screen.apps.map((a) => a.key));
  for (const [key, app] of apps) {
    if (known.has(key)) continue;
    app.element.remove();
    app.entry.remove();
    apps.delete(key);
  }
  const main = byId('apps');
  const list = byId('index').querySelector('ul');
  screen.apps.forEach((data, i) => {
    const added = !apps.has(data.key);
    if (added) apps.set(data.key, new App(data));
    const app = apps.get(data.key);
    if (main.children[i] !== app.element) main.insertBefore(app.element, main.children[i] || null);
    if (list.children[i] !== app.entry) list.insertBefore(app.entry, list.children[i] || null);
    app.update(data, screen);
  });
  byId('index').hidden = screen.apps.length < 2;
  showEmpty(main, screen.apps.length === 0);
  summarize(screen);
  updateAges(main, screen.at);
}

function showEmpty(main, empty) {
  const there = main.querySelector('.empty');
  if (there && !empty) there.remove();
  if (!there && empty) {
    main.append(make('p', { class: 'empty' }, 'No apps on this host: no config in /etc/superctl and no running daemon. superctl init sets one up.'));
  }
}

function summarize(screen) {
  const unwell = screen.apps.filter((a) => a.health !== 'ok');
  const count = `${screen.apps.length} ${screen.apps.length === 1 ? 'app' : 'apps'}`;
  const state = unwell.length === 0 ? 'all ok' : unwell.map((a) => `${a.name} ${a.health}`).slice(0, 5).join(', ');
  put(byId('summary'), screen.apps.length === 0 ? count : `${count}: ${state}`);
  const title = screen.apps.length === 0 ? screen.host : `${state} - ${screen.host}`;
  if (document.title !== title) document.title = title;
}

addEventListener('resize', () => {
  for (const app of apps.values()) app.draw(Number(document.documentElement.dataset.at));
});

// The events. A page that nobody has seen for ten minutes closes its connection, and opens it when it is seen again.
const unseenTime = 10 * 60 * 1000;
const lateTime = 12 * 1000; // a daemon may be waited for 5 s
let source;
let heard = Date.now();
let unseen;

function lost(why) {
  const at = Number(document.documentElement.dataset.at);
  document.body.classList.add('stale');
  put(byId('connection'), `${why}; trying again.${at ? ` The figures are of ${text.clockSeconds(at)}.` : ''}`);
}

function connect() {
  if (source) source.close();
  heard = Date.now();
  source = new EventSource('events');
  source.onmessage = (event) => {
    heard = Date.now();
    document.body.classList.remove('stale');
    put(byId('connection'), '');
    show(JSON.parse(event.data));
  };
  source.onerror = () => lost('No connection to superctl web');
}

document.addEventListener('visibilitychange', () => {
  clearTimeout(unseen);
  if (document.hidden) {
    unseen = setTimeout(() => source.close(), unseenTime);
  } else if (source.readyState === EventSource.CLOSED) {
    connect();
  }
});

// A browser gives up after an answer such as 503.
setInterval(() => {
  if (document.hidden) return;
  if (source.readyState === EventSource.CLOSED) connect();
  else if (Date.now() - heard > lateTime) lost('No answer from superctl web');
}, 5000);

put(byId('zone'), text.zoneText());
connect();
