// A row is [milliseconds, class, transaction, from column, to column, text]; column -1 is everybody's.
const colors = {
  prepare: '#1f5fbf', commit: '#17803b', abort: '#b3451b', hazard: '#b3101f', scan: '#8a5fb0', session: '#8a94a2',
  work: '#1f8a99', client: '#1d2530', log: '#8a94a2', durable: '#17803b', fault: '#d01f2f', death: '#d01f2f',
  life: '#55606e', bad: '#b3101f',
};
const legend = [['prepare', 'prepare, vote'], ['commit', 'commit'], ['abort', 'abort'], ['hazard', 'nobody can tell'],
  ['scan', 'asking after a loss, forgetting'], ['work', 'joining'], ['session', 'connecting'], ['fault', 'fault']];
const signs = [['□', 'written, lost with the power'], ['■', 'durable: survives everything'], ['●', 'something happens to a process']];
const bands = [['dead', 'not running'], ['cut', 'cut off'], ['doubt', 'has promised, waits for the decision']];
const LEFT = 90, TOP = 8, ROW = 22, WIDTH = Math.max(230, Math.min(360, (innerWidth - 160) / heads.length));
const x = column => LEFT + WIDTH * (column + 0.5);
const isLog = row => row[1] === 'log' || row[1] === 'durable';
const choice = { transaction: '', log: true, scan: true };
const opened = new Set();

function el(name, attributes, text) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (text !== undefined) node.textContent = text;
  return node;
}

// Of a run that failed, what it failed of is shown first.
const failed = document.querySelector('.bad');
const culprit = failed && /intent (\d+)/.exec(failed.textContent);
if (culprit) choice.transaction = 't' + culprit[1];

function controls() {
  const div = document.getElementById('controls');
  const names = [...new Set(rows.map(row => row[2]).filter(Boolean))].sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  const select = document.createElement('select');
  select.append(new Option('all transactions', ''), ...names.map(name => new Option(name, name)));
  select.onchange = () => { choice.transaction = select.value; draw(); };
  select.value = choice.transaction;
  div.append(select);
  for (const [key, words] of [['log', 'log and disks'], ['scan', 'sessions and scans']]) {
    const label = document.createElement('label'), box = document.createElement('input');
    box.type = 'checkbox'; box.checked = choice[key];
    box.onchange = () => { choice[key] = box.checked; draw(); };
    label.append(box, ' ' + words);
    div.append(label);
  }
  for (const [name, words] of legend) {
    const span = document.createElement('span'), line = document.createElement('i');
    line.style.color = colors[name];
    span.append(line, words);
    div.append(span);
  }
  for (const [name, words] of [...signs, ...bands]) {
    const span = document.createElement('span'), sign = document.createElement('b');
    if (name.length > 1) sign.className = name; else sign.textContent = name;
    span.append(sign, ' ' + words);
    div.append(span);
  }
}

// What is about to be written is left out: what counts is when it is in the cache, and when it is durable.
// Of a chosen transaction, what is nobody's in particular is shown only while it lives.
function shown() {
  const own = choice.transaction ? rows.filter(row => row[2] === choice.transaction).map(row => row[0]) : [];
  const lives = ms => !own.length || ms >= own[0] - 20 && ms <= own[own.length - 1] + 20;
  return rows.filter(row => {
    if (row[1] === 'merged') return false;
    if (isLog(row) && (!choice.log || row[5].startsWith('writes'))) return false;
    if (!choice.scan && (row[1] === 'scan' || row[1] === 'session')) return false;
    return !choice.transaction || row[2] === choice.transaction || !row[2] && lives(row[0]);
  });
}

// A long run of rows that only show upkeep is one row, until somebody opens it; so is what comes before the first request.
const FOLDED = 12, FOLDED_AT_START = 5;
// A row that names a transaction is none.
const isUpkeep = row => isLog(row) || !row[2] && ['session', 'scan', 'life'].includes(row[1]) && row[3] >= 0;
function folded(all) {
  const out = [];
  for (let from = 0; from < all.length;) {
    let to = from;
    while (to < all.length && isUpkeep(all[to])) to++;
    const isQuiet = to > from, first = all[from];
    // Many arrows of one kind in one direction, too.
    if (!isQuiet) while (to < all.length && all[to][1] === first[1] && all[to][3] === first[3] && all[to][4] === first[4]) to++;
    const key = rows.indexOf(first);
    if (to - from >= (from === 0 ? FOLDED_AT_START : FOLDED)) {
      const words = !isQuiet ? `${first[5]} … ${all[to - 1][5]}`
        : from === 0 ? 'everybody starts and connects' : 'upkeep: disks, connections, questions';
      const sign = opened.has(key) ? '▾' : '▸';
      out.push([all[from][0], 'fold', '', -1, -1, `${sign} ${words} (${to - from} rows)`, key]);
      if (opened.has(key)) out.push(...all.slice(from, to));
      else if (isQuiet) out.push(...all.slice(from, to).filter(row => row[1] === 'life' && row[5] !== 'session over' && from > 0));
    } else {
      out.push(...all.slice(from, to));
    }
    from = to;
  }
  return out;
}

// Times during which nothing gets through to a node or from it, as far as the run tells how long.
const healed = (rows.find(row => row[5] === 'no more faults') || [Infinity])[0];
const cuts = rows.filter(row => row[1] === 'fault' && /^cut( in| out)? for/.test(row[5])).map(row => {
  const [, way, ms] = /^cut( in| out)? for (\d+)/.exec(row[5]);
  return { column: row[3], from: row[0], to: Math.min(healed, row[0] + Number(ms)), way: (way || '').trim() };
});
rows.forEach(row => {
  if (row[3] === row[4] || row[3] < 0 || row[1] === 'client') return;
  const isIn = cut => row[0] >= cut.from && row[0] < cut.to &&
    (row[4] === cut.column && cut.way !== 'out' || row[3] === cut.column && cut.way !== 'in');
  const cut = cuts.find(isIn);
  if (cut) { row[6] = 'held back'; row[7] = row[4] === cut.column ? 0.85 : 0.15; }
});

// From its yes until it has done what was decided, a participant is in doubt.
function doubts(all, y) {
  const open = new Map(), spans = [];
  all.forEach((row, index) => {
    const yes = row[1] === 'prepare' && row[5].startsWith('yes') && row[3] !== row[4];
    const done = row[5].startsWith('done:') || row[1] === 'hazard';
    const key = row[3] + ' ' + row[2];
    if (yes && !open.has(key)) open.set(key, y(index));
    if (done && open.has(key)) { spans.push([row[3], open.get(key), y(index)]); open.delete(key); }
  });
  for (const [key, from] of open) spans.push([Number(key.split(' ')[0]), from, y(all.length)]);
  return spans;
}

// Times of a node during which its process does not run.
function deaths(all, y) {
  const gaps = heads.map(() => []), since = heads.map(() => null);
  all.forEach((row, index) => {
    const column = row[3];
    if (column < 0) return;
    const dies = row[1] === 'death' || row[1] === 'fault' && /^(kill|power loss|flip bit|restore|empty|.*(Dies|LosesPower))$/.test(row[5]);
    if (dies && since[column] === null) since[column] = y(index);
    if (row[1] === 'life' && row[5] === 'starts' && since[column] !== null) {
      gaps[column].push([since[column], y(index)]);
      since[column] = null;
    }
  });
  since.forEach((from, column) => { if (from !== null) gaps[column].push([from, y(all.length)]); });
  return gaps;
}

// What happened to a frame is told right behind its messages: it is drawn on the last of them.
const fates = { drop: 'lost', duplicate: 'arrives twice', overtake: 'late, others pass it', delay: 'late' };
rows.forEach((row, index) => {
  const before = rows[index - 1];
  if (row[1] === 'fault' && row[3] < 0 && fates[row[5]] && before && before[3] !== before[4]) {
    before[6] = fates[row[5]];
    row[1] = 'merged';
  }
});

function draw() {
  const main = document.getElementById('diagram'), all = folded(shown());
  // A pause in which nothing happens is a little space, however long it was.
  const ys = []; let at = TOP + ROW, before = 0;
  for (const row of all) {
    const gap = row[0] - before;
    at += ROW + (gap > 50 ? 8 : 0) + (gap > 400 ? 12 : 0);
    ys.push(at); before = row[0];
  }
  ys.push(at + ROW);
  const y = index => ys[index], width = LEFT + WIDTH * heads.length + 40, height = at + 2 * ROW;
  const top = el('svg', { id: 'heads', width, height: 30 });
  heads.forEach((head, column) => top.append(el('text', { class: 'head', x: x(column), y: 20 }, head)));
  const svg = el('svg', { width, height });
  const defs = el('defs', {});
  for (const name in colors) {
    const marker = el('marker', { id: 'to-' + name, viewBox: '0 0 8 8', refX: 8, refY: 4, markerWidth: 8, markerHeight: 8, orient: 'auto' });
    marker.append(el('path', { d: 'M0 0 L8 4 L0 8 z', fill: colors[name] }));
    defs.append(marker);
  }
  svg.append(defs);
  heads.forEach((_, column) => svg.append(el('line', { x1: x(column), x2: x(column), y1: 0, y2: height, stroke: '#c5ccd6', 'stroke-width': 2 })));
  deaths(all, y).forEach((gaps, column) => gaps.forEach(([from, to]) => {
    svg.append(el('rect', { x: x(column) - 7, y: from, width: 14, height: Math.max(4, to - from), fill: '#f7d4d6', stroke: '#d01f2f', 'stroke-dasharray': '3 3' }));
  }));
  const times = all.map(row => row[0]);
  const yAt = ms => { const after = times.findIndex(time => time >= ms); return after < 0 ? y(all.length) : y(after); };
  for (const cut of cuts) {
    const from = yAt(cut.from), to = yAt(cut.to);
    svg.append(el('rect', { class: 'cut', x: x(cut.column) - 11, y: from, width: 22, height: Math.max(8, to - from) }));
  }
  if (new Set(all.map(row => row[2]).filter(Boolean)).size <= 6) {
    for (const [column, from, to] of doubts(all, y)) svg.append(el('rect', { class: 'doubt', x: x(column) - 3, y: from, width: 6, height: Math.max(6, to - from) }));
  }
  let last = '';
  all.forEach((row, index) => svg.append(...drawRow(row, y(index), row[0].toFixed(0) === last ? '' : (last = row[0].toFixed(0)))));
  main.replaceChildren(top, svg);
}

function label(text, at, y, anchor, color, weight) {
  const attributes = { x: at, y, 'text-anchor': anchor, style: `fill:${color};font-weight:${weight};paint-order:stroke;stroke:#fff;stroke-width:4px` };
  return el('text', attributes, text);
}

function drawRow([ms, kind, , from, to, text, fate, broken], y, time) {
  const parts = [], color = colors[kind];
  if (time) parts.push(el('text', { class: 'time', x: LEFT - 14, y: y + 4 }, time + ' ms'));
  const words = text.length > 90 ? text.slice(0, 89) + '…' : text;
  if (kind === 'fold') {
    const row = label(words, LEFT + 6, y + 4, 'start', '#55606e', 400);
    row.setAttribute('class', 'fold');
    row.onclick = () => { opened.has(fate) ? opened.delete(fate) : opened.add(fate); draw(); };
    return [...parts, row];
  }
  if (from < 0) {
    parts.push(el('line', { x1: LEFT, x2: LEFT + WIDTH * heads.length, y1: y, y2: y, stroke: color, 'stroke-dasharray': '2 4' }));
    parts.push(label((kind === 'fault' ? '⚡ ' : '') + words, LEFT + 6, y - 3, 'start', color, 600));
  } else if (from === to) {
    const isStrong = kind === 'fault' || kind === 'death';
    if (isLog([0, kind])) {
      parts.push(el('rect', { x: x(from) - 5, y: y - 5, width: 10, height: 10, fill: kind === 'durable' ? color : '#fff', stroke: color, 'stroke-width': 2 }));
    } else {
      parts.push(el('circle', { cx: x(from), cy: y, r: isStrong ? 6 : 4, fill: color }));
    }
    const isLast = from === heads.length - 1 && heads.length > 1;
    const mark = kind === 'fault' ? '⚡ ' : kind === 'death' ? '✝ ' : '';
    parts.push(label(mark + words, x(from) + (isLast ? -12 : 12), y + 4, isLast ? 'end' : 'start', color, isStrong ? 600 : 400));
  } else {
    const isRight = to > from, gap = isRight ? 5 : -5;
    const line = { x1: x(from) + gap, x2: x(to) - gap, y1: y - 3, y2: y + 3, stroke: color, 'stroke-width': 1.8, 'marker-end': `url(#to-${kind})` };
    if (fate) {
      const middle = x(from) + (x(to) - x(from)) * (broken || 0.5);
      line['stroke-dasharray'] = '6 4';
      if (fate === 'lost' || broken) {
        line.x2 = middle;
        delete line['marker-end'];
        const size = 6;
        for (const slope of [1, -1]) parts.push(el('line', { x1: middle - size, x2: middle + size, y1: y - size * slope, y2: y + size * slope, stroke: colors.fault, 'stroke-width': 3 }));
      }
      const isLeft = broken && middle > x(Math.min(from, to)) + WIDTH / 2;
      parts.push(label(fate, middle + (isLeft ? -10 : 10), y + 14, isLeft ? 'end' : 'start', colors.fault, 600));
    }
    parts.push(el('line', line));
    parts.push(label(words, x(from) + (isRight ? 14 : -14), y - 5, isRight ? 'start' : 'end', color, 500));
  }
  const title = el('title', {}, `${ms.toFixed(3)} ms: ${text}`);
  parts[parts.length - 1].append(title);
  return parts;
}

controls();
draw();
