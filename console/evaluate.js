/* A labelled set of questions under several settings: which rung of the ladder is worth its time. */
import {api, page, h, icon, t, say, fmt, table, meter, dialog, toast, errorBox, empty, spinner, onCollection, state, collections, reloadCollections} from './frame.js';
import {PRESETS, RUNGS, tryLink} from './try.js';
import {METRICS, judge, intervals, mean, quantile} from './metrics.js';

say('ev.', `
lead | 用标注好的问题衡量检索：每一级设置找到了多少、慢了多少、改善是否可靠。 | Measure retrieval with labelled questions: what each setting finds, what it costs in time, and whether the gain is more than chance.
set | 问题集 | Set of questions
rungs | 要比较的设置 | Settings to compare
option | {name}（{n} 题，{c}） | {name} ({n} questions, {c})
upload | 上传 | Upload
delete | 删除问题集 | Delete the set
get | 下载问题集 | Download the set
deleteAsk | 删除问题集“{name}”？此操作不可撤销。 | Delete the set “{name}”? It cannot be brought back.
cancel | 取消 | Cancel
run | 开始评测 | Run
stop | 停止 | Stop
noSets | 还没有问题集。上传一个 JSON Lines 或 CSV 文件即可开始。 | No labelled questions yet. Upload a JSON Lines or CSV file to begin.
progress | 第 {k}/{m} 级 {name}：{i}/{n} 题 | rung {k} of {m}, {name}: question {i} of {n}
stopped | 已停止，只显示已完成的部分。 | Stopped: only finished rungs are shown.
noCollection | 此问题集属于知识库“{c}”，服务器上没有它。 | This set is for the collection “{c}”, which this server does not have.
missing | 还有 {n} 个分块没有向量，向量化完成后再评测才准确。 | {n} chunks have no vector yet: figures are right once embedding is done.
ladder | 阶梯 | The ladder
ladderHelp | {a} 个有答案的问题，{u} 个文档答不了的问题。小字：与上一行之差及其 95% 自助法区间；区间不含 0 的用颜色标出。 | {a} questions with an answer, {u} that the documents do not answer. Small: difference to the row above with its 95 % bootstrap interval; coloured where that leaves out 0.
rung | 设置 | Setting
found | 已回答 | Found
refused | 正确拒答 | Refused
errors | {n} 题出错 | {n} failed
cut | {n} 题超时截断 | {n} cut short
foundHelp | 有答案的问题中被判为“已回答”的比例 | Of the questions with an answer, the share that is answered
refusedHelp | 无答案的问题中被正确判为“文档中没有答案”的比例 | Of the questions without one, the share that is refused
questions | 逐题 | Question by question
from | 从 | From
to | 到 | to
filter | 显示 | Show
all | 全部 | all
gained | 改善 | gained
lost | 变差 | lost
missed | 前 10 未找到 | missed
wrong | 回答/拒答判错 | wrong on found
shown | {n} 题 | {n} questions
truncated | 只显示前 {n} 题，下载中有全部。 | The first {n} are shown; the downloads have all.
question | 问题 | Question
kind | 类型 | Kind
rankHelp | 数字为第一个相关段落的名次；– 前 10 名中没有；对无答案的问题：✓ 正确拒答，✗ 误答。点击问题到“对比”页。 | The number is the rank of the first relevant passage; – none among ten. Without an answer: ✓ refused, ✗ answered. A question opens in Try.
refusedMark | 正确拒答 | refused, as it should be
answeredMark | 误答 | answered, but should not
missMark | 未找到 | not found
csv | 下载 CSV | Download CSV
json | 下载 JSON | Download JSON
uploadTitle | 上传标注问题 | Upload labelled questions
name | 名称（A-Z a-z 0-9 _ . -） | Name (A-Z a-z 0-9 _ . -)
for | 知识库 | Collection
file | 文件（.jsonl 或 .csv，UTF-8） | File (.jsonl or .csv, UTF-8)
text | 或直接粘贴 | Or paste it
format | 格式说明 | Format
formatLines | JSON Lines：每行一个问题。relevant 是文档的来源、编号或标题；must_contain 是段落中必须出现的文字；空的 relevant 表示文档答不了。多个文档任一即可，除非 "need": "all"。 | JSON Lines: a question a line. relevant names documents by source, id or title; must_contain is text that the passage must have; an empty relevant says that the documents do not answer. Any of several documents is enough, unless "need": "all".
formatCsv | CSV：第一行是列名 query, relevant, must_contain, answer, kind, need；只有 query 必填，relevant 与 must_contain 的多项用竖线分隔。 | CSV: the first line names the columns query, relevant, must_contain, answer, kind, need; only query is needed; a vertical bar separates several in relevant and must_contain.
ready | {n} 题可以上传，其中 {a} 题有答案。 | {n} questions are ready, {a} with an answer.
bad | 有错的行：{n} | Lines that are wrong: {n}
line | 第 {n} 行： | line {n}: 
e.json | 不是 JSON： | no JSON: 
e.object | 应为对象 | must be an object
e.query | 缺少 query | query is missing
e.relevant | relevant 应为文档列表 | relevant must be a list of documents
e.columns | 第一行须有列名 query | the first line must name a column query
e.column | 未知的列 {name} | unknown column {name}
e.quote | 引号没有结束 | a quote does not end
e.contain | must_contain 需要 relevant | must_contain needs a relevant
stored | 已保存 {n} 题。 | {n} questions stored.`);

const AT_ONCE = 4, SHOWN = 500, TRIES = 6;
/* What outlives the page. run: {set, name, rungs, rows: {rung: [{rank, values, found, ms, cut, error}]}, at, busy, stopped, error} */
let sets = null, chosen = '', picked = ['bm25', 'dense', 'hybrid', 'features', 'full', 'current'], run = null, abort = null, ui = null;
const view = {from: '', to: '', filter: 'all'};
const label = k => t('preset.' + k);

/* ---- reading a file ---- */

/* RFC 4180; [{cells, line}] or {error, line}. */
export function readCsv(text) {
  const rows = [];
  let cells = [], cell = '', quoted = false, line = 1, from = 1;
  const end = () => { cells.push(cell); cell = ''; };
  const flush = () => { end(); if (cells.some(c => c.trim())) rows.push({cells, line: from}); cells = []; };
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === '\n') line++;
    if (quoted) {
      if (c !== '"') cell += c;
      else if (text[i + 1] === '"') { cell += c; i++; } else quoted = false;
    } else if (c === '"' && !cell) quoted = true;
    else if (c === ',') end();
    else if (c === '\n') { flush(); from = line; } else if (c !== '\r') cell += c;
  }
  if (quoted) return {error: t('ev.e.quote'), line: from};
  flush();
  return rows;
}
const split = s => s.split('|').map(x => x.trim()).filter(Boolean);
function fromCsv(text) {
  const rows = readCsv(text), questions = [], errors = [], known = ['query', 'relevant', 'must_contain', 'answer', 'kind', 'need', 'id', 'lang'];
  if (rows.error) return {questions, errors: [{line: rows.line, text: rows.error}]};
  const head = rows.length ? rows[0].cells.map(c => c.trim().toLowerCase()) : [], strange = head.find(c => c && !known.includes(c));
  if (!head.includes('query') || strange) return {questions, errors: [{line: 1, text: strange && head.includes('query') ? t('ev.e.column', {name: strange}) : t('ev.e.columns')}]};
  for (const {cells, line} of rows.slice(1)) {
    const get = k => (cells[head.indexOf(k)] || '').trim(), docs = split(get('relevant')), must = split(get('must_contain'));
    if (!get('query') || (must.length && !docs.length)) { errors.push({line, text: t(get('query') ? 'ev.e.contain' : 'ev.e.query')}); continue; }
    const q = {query: get('query'), relevant: docs.map(doc => (must.length ? {doc, must_contain: must} : {doc}))};
    for (const k of ['answer', 'kind', 'need', 'id', 'lang']) if (get(k)) q[k] = get(k);
    questions.push(q);
  }
  return {questions, errors};
}
function fromLines(text) {
  const questions = [], errors = [];
  text.split('\n').forEach((s, i) => {
    if (!s.trim()) return;
    const wrong = why => errors.push({line: i + 1, text: why});
    try {
      const q = JSON.parse(s);
      if (!q || typeof q !== 'object' || Array.isArray(q)) wrong(t('ev.e.object'));
      else if (typeof (q.query ?? q.text) !== 'string' || !(q.query ?? q.text).trim()) wrong(t('ev.e.query'));
      else if (q.relevant !== undefined && !Array.isArray(q.relevant)) wrong(t('ev.e.relevant'));
      else questions.push(q);
    } catch (e) {
      wrong(t('ev.e.json') + e.message);
    }
  });
  return {questions, errors};
}
/* {questions, errors: [{line, text}]} of JSON lines or CSV. */
export const readQuestions = text => (/^\s*[{[]/.test(text) ? fromLines : fromCsv)(text.replace(/^\ufeff/, ''));

function upload() {
  const example = '{"query": "白金卡年费多少？", "relevant": [{"doc": "annual-fees.csv", "must_contain": ["3600"]}], "kind": "plain"}\n{"query": "What is the weather on Mars?", "relevant": []}';
  const exampleCsv = 'query,relevant,must_contain,kind\n白金卡年费多少？,annual-fees.csv|overview.md,3600,plain\n"Weather on Mars, please?",,,unanswerable';
  let parsed = null;
  const name = h('input', {id: 'ev-name', required: true, pattern: '[A-Za-z0-9_\\-][A-Za-z0-9_.\\-]{0,63}', autocomplete: 'off'});
  const names = collections().length ? collections().map(c => c.name) : [state.collection];
  const target = h('select', {id: 'ev-for'}, names.map(n => h('option', {value: n, selected: n === state.collection}, n)));
  const text = h('textarea', {id: 'ev-text', rows: 4, spellcheck: 'false', oninput: check}), said = h('div', {id: 'ev-said', 'aria-live': 'polite'});
  const file = h('input', {type: 'file', id: 'ev-file', accept: '.jsonl,.ndjson,.json,.csv,.txt', onchange: async () => {
    const f = file.files[0];
    if (!f) return;
    text.value = await f.text();
    if (!name.value) name.value = f.name.replace(/\.[^.]*$/, '').replace(/[^A-Za-z0-9_.-]+/g, '-').replace(/^[.-]+/, '').slice(0, 64);
    check();
  }});
  function check() {
    parsed = text.value.trim() ? readQuestions(text.value) : null;
    const bad = parsed ? parsed.errors : [];
    said.replaceChildren(...(parsed ? [
      bad.length > 0 && h('div', {class: 'note error'}, h('div', {}, h('strong', {}, t('ev.bad', {n: bad.length})), h('ul', {}, bad.slice(0, 20).map(e => h('li', {}, t('ev.line', {n: e.line}), e.text))))),
      bad.length === 0 && h('p', {class: 'note'}, icon('check'), t('ev.ready', {n: parsed.questions.length, a: parsed.questions.filter(q => (q.relevant || []).length).length}))].filter(Boolean) : []));
  }
  dialog({title: t('ev.uploadTitle'), wide: true, actions: [{label: t('ev.cancel'), value: null}, {label: t('ev.upload'), kind: 'primary', value: true, run: async () => {
    check();
    if (!parsed || parsed.errors.length || !parsed.questions.length) { (text.value ? text : file).focus(); return false; }
    try {
      const r = await api('/v1/labelled/' + encodeURIComponent(name.value), {method: 'PUT', body: {collection: target.value, questions: parsed.questions}});
      chosen = r.name;
      toast('ok', t('ev.stored', {n: r.questions}));
      load();
    } catch (e) {
      said.replaceChildren(errorBox(e));
      return false;
    }
  }}], body: [h('label', {}, t('ev.file'), file), h('label', {}, t('ev.text'), text), said, h('div', {class: 'pair'}, h('label', {}, t('ev.name'), name), h('label', {}, t('ev.for'), target)),
    h('details', {}, h('summary', {}, t('ev.format')), h('p', {}, t('ev.formatLines')), h('pre', {}, example), h('p', {}, t('ev.formatCsv')), h('pre', {}, exampleCsv))]});
}

/* ---- the sets ---- */

async function load() {
  try {
    sets = (await api('/v1/labelled')).sets;
    await reloadCollections();
    if (!sets.some(s => s.name === chosen)) chosen = sets.length ? (sets.find(s => s.collection === state.collection) || sets[0]).name : '';
    draw();
  } catch (e) {
    if (e.name !== 'AbortError' && ui) ui.setup.replaceChildren(errorBox(e, load));
  }
}
async function remove() {
  const name = chosen;
  await dialog({title: t('ev.delete'), body: h('p', {}, t('ev.deleteAsk', {name})), actions: [{label: t('ev.cancel')}, {label: t('ev.delete'), kind: 'danger', run: async () => {
    try {
      await api('/v1/labelled/' + encodeURIComponent(name), {method: 'DELETE'});
      load();
    } catch (e) {
      toast('error', e.message);
      return false;
    }
  }}]});
}
function save(name, type, text) {
  const a = h('a', {href: URL.createObjectURL(new Blob([text], {type})), download: name});
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 10000);
}
async function download() {
  try {
    save(chosen + '.json', 'application/json', JSON.stringify((({collection, questions}) => ({collection, questions}))(await api('/v1/labelled/' + encodeURIComponent(chosen))), null, 1));
  } catch (e) {
    toast('error', e.message);
  }
}

/* ---- running ---- */

const pause = (ms, signal) => new Promise((done, fail) => {
  const id = setTimeout(done, ms);
  signal.addEventListener('abort', () => { clearTimeout(id); fail(signal.reason); }, {once: true});
});
/* A server at its limit is asked again when it says so. */
async function search(body, signal) {
  for (let k = 1; ; k++) {
    try {
      return await api('/v1/search', {method: 'POST', body, signal});
    } catch (e) {
      if ((e.status !== 429 && e.status !== 503) || k === TRIES) throw e;
      await pause((Number(e.wait) || 1) * 1000, signal);
    }
  }
}
async function measure(r, q, rung, signal) {
  const overrides = PRESETS[rung];
  try {
    const a = await search({query: q.query, collection: r.set.collection, top_k: 10, explain: true, ...(Object.keys(overrides).length ? {overrides} : {})}, signal);
    return {...(q.relevant.length ? judge(q, a.hits) : {rank: 0}), found: a.found, ms: a.timings_ms.total, cut: Boolean(a.explain.cut_short)};
  } catch (e) {
    if (e.name === 'AbortError' || [0, 401, 403, 404].includes(e.status)) throw e; /* the others would say the same */
    return {error: e, rank: 0};
  }
}
async function start() {
  const mine = abort = new AbortController(), rungs = RUNGS.filter(k => picked.includes(k));
  run = {rungs, rows: {}, at: {k: 0, i: 0, n: 0}, busy: true};
  const r = run;
  draw();
  try {
    r.set = await api('/v1/labelled/' + encodeURIComponent(chosen), {signal: mine.signal});
    r.at.n = r.set.questions.length;
    for (const [k, rung] of rungs.entries()) {
      const rows = new Array(r.at.n);
      let next = 0;
      Object.assign(r.at, {k: k + 1, i: 0, name: rung});
      await Promise.all(Array.from({length: AT_ONCE}, async () => {
        while (next < r.at.n) {
          const i = next++;
          rows[i] = await measure(r, r.set.questions[i], rung, mine.signal);
          r.at.i++;
          progress();
        }
      }));
      r.rows[rung] = rows;
      summarise(r);
      draw();
    }
  } catch (e) {
    mine.abort();
    if (e.name === 'AbortError') r.stopped = true;
    else r.error = e;
  }
  r.busy = false;
  if (abort === mine) abort = null;
  draw();
}
/* A line for each rung that is done; differences are paired, question by question. */
function summarise(r) {
  const with_ = r.set.questions.map((q, i) => (q.relevant.length ? i : -1)).filter(i => i >= 0), none = r.set.questions.map((q, i) => (q.answerable ? -1 : i)).filter(i => i >= 0), able = r.set.questions.map((q, i) => (q.answerable ? i : -1)).filter(i => i >= 0);
  const value = (row, m) => (row.values ? row.values[m] : 0);
  Object.assign(r, {n: with_.length, unanswerable: none.length});
  r.lines = r.rungs.filter(k => r.rows[k]).map((rung, at, done) => {
    const rows = r.rows[rung], above = at ? r.rows[done[at - 1]] : null, fine = rows.filter(x => !x.error);
    const known = (r.lines || [])[at];
    if (known) return known;
    const differences = above ? intervals(METRICS.map(m => with_.map(i => value(rows[i], m) - value(above[i], m)))) : null;
    return {rung, values: Object.fromEntries(METRICS.map(m => [m, mean(with_.map(i => value(rows[i], m)))])), difference: differences && Object.fromEntries(METRICS.map((m, k) => [m, differences[k]])),
      found: mean(able.map(i => +Boolean(rows[i].found))), refused: mean(none.map(i => +(rows[i].found === false))), p50: quantile(fine.map(x => x.ms), .5), p95: quantile(fine.map(x => x.ms), .95),
      errors: rows.length - fine.length, cut: rows.filter(x => x.cut).length, why: (rows.find(x => x.error) || {}).error};
  });
  const done = r.lines.map(x => x.rung);
  if (!done.includes(view.from)) view.from = done[0];
  view.to = done[done.length - 1];
}

/* ---- drawing ---- */

const points = x => (x === null || x === undefined ? '–' : (x * 100).toFixed(1));
const signed = x => (x < 0 ? '−' : '+') + (Math.abs(x) * 100).toFixed(1);
function ladder() {
  const cell = (line, m) => {
    const d = line.difference && line.difference[m], sure = d && (d[1] > 0 ? 'up' : d[2] < 0 ? 'down' : '');
    return h('td', {class: 'num'}, points(line.values[m]), d && h('small', {class: sure}, d[1] || d[2] ? [signed(d[0]), ' [', signed(d[1]), ', ', signed(d[2]), ']'] : '='));
  };
  const th = (text, help) => h('th', {scope: 'col', class: 'num', title: help}, text);
  return h('section', {class: 'card', 'aria-labelledby': 'ev-ladder'}, h('div', {class: 'head'}, h('h2', {id: 'ev-ladder'}, t('ev.ladder')),
    h('button', {type: 'button', onclick: saveCsv}, icon('down'), t('ev.csv')), h('button', {type: 'button', onclick: saveJson}, icon('code'), t('ev.json'))),
  h('p', {class: 'quiet'}, t('ev.ladderHelp', {a: run.n, u: run.unanswerable})),
  h('div', {class: 'table ladder', tabindex: '0', role: 'group', 'aria-labelledby': 'ev-ladder'}, h('table', {}, h('thead', {}, h('tr', {}, h('th', {scope: 'col'}, t('ev.rung')),
    ['Recall@1', 'Recall@5', 'Recall@10', 'MRR@10', 'nDCG@10'].map(m => th(m)), th(t('ev.found'), t('ev.foundHelp')), th(t('ev.refused'), t('ev.refusedHelp')), th('ms p50'), th('ms p95'))),
  h('tbody', {}, run.lines.map(line => h('tr', {}, h('th', {scope: 'row'}, label(line.rung), line.errors > 0 && h('small', {class: 'down', title: line.why.message}, t('ev.errors', {n: line.errors})), line.cut > 0 && h('small', {}, t('ev.cut', {n: line.cut}))),
    METRICS.map(m => cell(line, m)), h('td', {class: 'num'}, points(line.found)), h('td', {class: 'num'}, points(line.refused)), h('td', {class: 'num'}, fmt.num(line.p50, 1)), h('td', {class: 'num'}, fmt.num(line.p95, 1))))))));
}
function questionRows() {
  const from = run.rows[view.from], to = run.rows[view.to], far = r => r || 11;
  return run.set.questions.map((q, i) => ({q, i, n: i + 1})).filter(({q, i}) => {
    const a = from[i], b = to[i], wrong = b.found !== q.answerable;
    const better = q.answerable ? far(a.rank) - far(b.rank) : a.found - b.found;
    return {all: true, gained: better > 0, lost: better < 0, missed: q.relevant.length && !b.rank, wrong}[view.filter];
  });
}
function rankCell(q, row, above) {
  if (row.error) return h('span', {class: 'down', title: row.error.message}, '!');
  if (!q.relevant.length) {
    const right = row.found === q.answerable, text = t(right ? 'ev.refusedMark' : 'ev.answeredMark');
    return h('span', {class: right ? 'quiet' : 'down', title: text}, h('span', {'aria-hidden': 'true'}, right ? '✓' : '✗'), h('span', {class: 'sr'}, text));
  }
  const a = above && !above.error ? (above.rank || 11) - (row.rank || 11) : 0;
  return h('span', {class: a > 0 ? 'up' : a < 0 ? 'down' : ''}, row.rank || h('span', {title: t('ev.missMark')}, '–'));
}
function questions() {
  const done = run.lines.map(x => x.rung), rows = questionRows();
  const choose = (key, values, name) => h('label', {}, t('ev.' + key), ' ', h('select', {id: 'ev-' + key, onchange: e => { view[key] = e.target.value; drawQuestions(); document.getElementById('ev-' + key).focus(); }},
    values.map(v => h('option', {value: v, selected: v === view[key]}, name(v)))));
  const kinds = run.set.questions.some(q => q.kind);
  return h('section', {class: 'card'}, h('h2', {id: 'ev-questions'}, t('ev.questions')), h('p', {class: 'quiet'}, t('ev.rankHelp')),
    h('div', {class: 'bar'}, choose('from', done, label), choose('to', done, label), choose('filter', ['all', 'gained', 'lost', 'missed', 'wrong'], v => t('ev.' + v)), h('span', {class: 'quiet', role: 'status'}, t('ev.shown', {n: rows.length}), rows.length > SHOWN && ' ' + t('ev.truncated', {n: SHOWN}))),
    table([{key: 'n', label: '#', num: true}, {key: 'q', label: t('ev.question'), link: true, value: r => r.q.query, cell: r => r.q.query},
      ...(kinds ? [{key: 'kind', label: t('ev.kind'), value: r => r.q.kind, cell: r => r.q.kind || ''}] : []),
      ...done.map((k, at) => ({key: k, label: label(k), num: true, value: r => run.rows[k][r.i].rank || 11, cell: r => rankCell(r.q, run.rows[k][r.i], at ? run.rows[done[at - 1]][r.i] : null)})),
    ], rows.slice(0, SHOWN), {caption: t('ev.questions'), onRow: r => { location.hash = tryLink(r.q.query, run.set.collection, PRESETS[view.from], PRESETS[view.to]); }}));
}
const quote = s => (/[",\n\r]/.test(s) ? '"' + s.replaceAll('"', '""') + '"' : /^[=+@\t-]/.test(s) ? "'" + s : s); /* a sheet must not take a question for a formula */
function saveCsv() {
  const done = run.lines.map(x => x.rung), lines = [['n', 'query', 'kind', 'answerable', ...done.flatMap(k => [k + ' rank', k + ' found', k + ' ms'])]];
  run.set.questions.forEach((q, i) => lines.push([i + 1, q.query, q.kind || '', q.answerable, ...done.flatMap(k => { const r = run.rows[k][i]; return r.error ? ['', '', ''] : [r.rank || '', r.found, r.ms]; })]));
  save(run.set.name + '-results.csv', 'text/csv', '\ufeff' + lines.map(l => l.map(x => quote(String(x))).join(',')).join('\r\n'));
}
function saveJson() {
  save(run.set.name + '-results.json', 'application/json', JSON.stringify({set: run.set.name, collection: run.set.collection, ladder: run.lines.map(({why, ...line}) => ({...line, overrides: PRESETS[line.rung]})),
    questions: run.set.questions.map((q, i) => ({query: q.query, kind: q.kind, answerable: q.answerable, results: Object.fromEntries(run.lines.map(({rung}) => [rung, (({rank, values, found, ms, error}) => ({rank, values, found, ms, error: error && error.message}))(run.rows[rung][i])]))}))}, null, 1));
}
function setup() {
  if (!sets) return [spinner()];
  if (!sets.length) return [empty(t('ev.noSets'), {label: t('ev.upload'), run: upload})];
  const set = sets.find(s => s.name === chosen), gone = collections().length > 0 && !collections().some(c => c.name === set.collection), busy = run && run.busy;
  const home = collections().find(c => c.name === set.collection), missing = home && typeof home.vectors === 'number' ? home.chunks - home.vectors : 0;
  return [h('div', {class: 'bar'}, h('label', {class: 'grow'}, h('span', {class: 'sr'}, t('ev.set')), h('select', {id: 'ev-set', disabled: busy, onchange: e => { chosen = e.target.value; draw(); document.getElementById('ev-set').focus(); }},
    sets.map(s => h('option', {value: s.name, selected: s.name === chosen}, t('ev.option', {name: s.name, n: s.questions, c: s.collection}))))),
  h('button', {type: 'button', id: 'ev-upload', onclick: upload}, icon('upload'), t('ev.upload')),
  h('button', {type: 'button', class: 'square', 'aria-label': t('ev.get'), title: t('ev.get'), onclick: download}, icon('down')), h('button', {type: 'button', class: 'square', 'aria-label': t('ev.delete'), title: t('ev.delete'), onclick: remove}, icon('trash'))),
  h('fieldset', {class: 'rungs'}, h('legend', {}, t('ev.rungs')), RUNGS.map(k => h('label', {class: 'chip'}, h('input', {type: 'checkbox', checked: picked.includes(k), disabled: busy, value: k, onchange: e => { picked = e.target.checked ? [...picked, k] : picked.filter(x => x !== k); ui.go.disabled = !picked.length; }}), label(k)))),
  gone && h('p', {class: 'note warn'}, icon('warn'), t('ev.noCollection', {c: set.collection})),
  missing > 0 && h('p', {class: 'note warn'}, icon('warn'), t('ev.missing', {n: missing})),
  h('div', {class: 'bar'}, busy ? h('button', {type: 'button', id: 'ev-stop', onclick: () => abort && abort.abort()}, icon('stop'), t('ev.stop')) : (ui.go = h('button', {type: 'button', id: 'ev-go', class: 'primary', disabled: !picked.length || gone, onclick: start}, icon('arrow'), t('ev.run'))), ui.progress)].filter(Boolean);
}
function progress() {
  if (!ui || !run || ui.waits) return;
  ui.waits = requestAnimationFrame(() => { if (ui) { ui.waits = 0; showProgress(); } });
}
function showProgress() {
  const {k, i, n, name} = run ? run.at : {}, part = run && run.busy && n ? (k - 1 + i / n) / run.rungs.length : 0;
  ui.progress.replaceChildren(...(run && run.busy && n && k ? [meter(part, {label: t('ev.run')}), h('span', {class: 'quiet num'}, t('ev.progress', {k, m: run.rungs.length, name: label(name), i, n}))] : []));
}
function drawQuestions() { ui.questions.replaceChildren(...(run && run.lines && run.lines.length ? [questions()] : [])); }
function draw() {
  if (!ui) return;
  const focused = document.activeElement && document.activeElement.id, out = run && run.lines && run.lines.length;
  ui.setup.replaceChildren(...setup());
  showProgress();
  ui.ladder.replaceChildren(...(run && run.error ? [errorBox(run.error)] : run && run.stopped ? [h('p', {class: 'note warn'}, icon('warn'), t('ev.stopped'))] : []), ...(out ? [ladder()] : []));
  drawQuestions();
  const next = {'ev-go': 'ev-stop', 'ev-stop': 'ev-go'}[focused];
  if (next && document.getElementById(next)) document.getElementById(next).focus();
}

page({
  name: 'evaluate',
  title: {zh: '评测', en: 'Evaluate'},
  mount(root, signal) {
    ui = {setup: h('section', {class: 'card setup', 'aria-label': t('ev.set')}), progress: h('div', {class: 'bar progress', role: 'status'}), ladder: h('div', {class: 'stack'}), questions: h('div')};
    root.append(h('h1', {}, t('page.evaluate')), h('p', {class: 'quiet lead'}, t('ev.lead')), ui.setup, ui.ladder, ui.questions);
    draw();
    load();
    onCollection(() => draw(), signal);
  },
  unmount() { ui = null; },
});
