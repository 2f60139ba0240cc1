/* One question under two settings at once. A setting is what the API calls overrides: configuration of this question. */
import {api, page, h, icon, t, say, hasText, STAGES, stageName, tongue, fmt, meter, copy, errorBox, empty, spinner, onCollection, state, params} from './frame.js';

say('try.', `
lead | 同一个问题，两种设置同时运行，看哪些段落移动了、为什么。 | One question under two settings at once: see which passages moved, and why.
question | 问题 | Question
placeholder | 输入要比较的问题 | A question to compare with
run | 比较 | Compare
share | 复制链接 | Copy link
swap | 交换两侧 | Swap sides
a | 设置 A | Setting A
b | 设置 B | Setting B
preset | 预设 | Preset
custom | 自定义 | custom
more | 逐项设置（{n} 项已改） | Single settings ({n} changed)
asIs | 同配置 | configured
on | 开 | on
off | 关 | off
reset | 全部恢复 | Reset all
none | 输入问题并按“比较”，结果会并排显示。 | Enter a question and press Compare: both results appear side by side.
moves | 段落的名次 | Where the passages stand
movesHelp | ▲ 上升　▼ 下降　新 只在 B 中　— 只在 A 中 | ▲ up   ▼ down   new: only in B   gone: only in A
new | 新 | new
gone | 消失 | gone
same | 不变 | same
up | 上升 {n} 位 | up by {n}
down | 下降 {n} 位 | down by {n}
summary | 前 {n} 名中：{same} 个不变，{moved} 个移动，{fresh} 个换入。 | Of the first {n}: {same} the same, {moved} moved, {fresh} new.
noHits | 没有段落 | No passages
stages | 各阶段用时 | Time by stage
answer | 回答 | Answer
time | 用时 | time
cut | {stage} 时间不够 | {stage} ran out of time
json | 作为 overrides 发送 | Sent as overrides`);
say('preset.', `
current | 当前配置 | current
bm25 | 仅词语 | words only
dense | 仅语义 | meaning only
hybrid | 混合 | hybrid
features | 混合 + 特征 | hybrid + features
late | 混合 + 后期交互 | hybrid + late interaction
full | 完整重排 | full reranking
rrf | 混合（RRF） | hybrid by RRF
extract | 摘录，不用模型 | extract, no model
latency | 方案 latency | profile latency
throughput | 方案 throughput | profile throughput
cost | 方案 cost | profile cost
`);
say('set.', `
stages | 阶段 | Stages
retrieval | 检索 | Retrieval
fusion | 融合 | Fusion
reranking | 重排 | Reranking
generation | 作答 | Answer
stages.dense | 按语义检索 | Search by meaning
stages.reranking | 重排 | Reranking
stages.generation | 由模型作答 | Answer by a model
retrieval.lexical_candidates | 词语候选数 | Candidates by words
retrieval.bm25.k1 | BM25 k1 | BM25 k1
retrieval.bm25.b | BM25 b | BM25 b
fusion.rrf.k | RRF k | RRF k
retrieval.dense_candidates | 语义候选数 | Candidates by meaning
fusion.method | 方法 | Method
fusion.dense_weight | 语义权重 | Weight of meaning
reranking.features | 词语特征 | Features of words
reranking.late_interaction | 后期交互 | Late interaction
reranking.candidates | 候选数 | Candidates
generation.classes | 模型档（只能降低） | Model class (only lower)
generation.output_tokens | 回答词元上限（只能降低） | Answer tokens (only fewer)
generation.passages | 段落数（只能减少） | Passages (only fewer)
generation.extract_sentences | 摘录句数 | Sentences of an extract`);

const rerank = (features, late) => ({stages: {reranking: true}, reranking: {features, late_interaction: late}});
/* Rungs of the evaluation's ladder first, in its order. */
export const PRESETS = {
  bm25: {stages: {dense: false, reranking: false}},
  dense: {stages: {reranking: false}, fusion: {method: 'convex', dense_weight: 1}},
  hybrid: {stages: {reranking: false}},
  features: rerank(true, false), late: rerank(false, true), full: rerank(true, true), current: {},
  rrf: {fusion: {method: 'rrf'}}, extract: {stages: {generation: false}},
  latency: {profile: 'latency'}, throughput: {profile: 'throughput'}, cost: {profile: 'cost'},
};
export const RUNGS = ['bm25', 'dense', 'hybrid', 'features', 'late', 'full', 'current'];
const ORDER = ['current', ...RUNGS.slice(0, 6), 'rrf', 'extract', 'latency', 'throughput', 'cost'];

/* [path, what it takes]: true: a switch; a list: choices; [from, to, step]: a number. */
const SETTINGS = [
  ['stages.dense', true], ['stages.reranking', true], ['stages.generation', true],
  ['retrieval.lexical_candidates', [1, 1000, 1]], ['retrieval.dense_candidates', [1, 1000, 1]], ['retrieval.bm25.k1', [0, 10, .1]], ['retrieval.bm25.b', [0, 1, .05]],
  ['fusion.method', ['convex', 'rrf']], ['fusion.dense_weight', [0, 1, .05]], ['fusion.rrf.k', [0, 10000, 1]],
  ['reranking.features', true], ['reranking.late_interaction', true], ['reranking.candidates', [1, 100, 1]],
  ['generation.classes', ['small', 'medium', 'large']], ['generation.output_tokens', [1, 32768, 1]], ['generation.passages', [1, 50, 1]], ['generation.extract_sentences', [1, 20, 1]],
];
const TOP = 10;

const canonical = v => (v && typeof v === 'object' && !Array.isArray(v) ? '{' + Object.keys(v).sort().map(k => JSON.stringify(k) + ':' + canonical(v[k])).join() + '}' : JSON.stringify(v));
const presetOf = o => ORDER.find(k => canonical(PRESETS[k]) === canonical(o)) || '';
export const presetName = o => (presetOf(o) ? t('preset.' + presetOf(o)) : t('try.custom'));
const read = (o, path) => path.split('.').reduce((x, k) => (x && typeof x === 'object' ? x[k] : undefined), o);
/* A copy of o with the value at path; undefined takes it out, and the groups that are empty then. */
function write(o, [k, ...rest], v) {
  const next = {...o}, below = rest.length ? write(next[k] || {}, rest, v) : v;
  if (below === undefined || (rest.length && !Object.keys(below).length)) delete next[k];
  else next[k] = below;
  return next;
}
const count = o => Object.values(o).reduce((n, v) => n + (v && typeof v === 'object' && !Array.isArray(v) ? count(v) : 1), 0);

/* What outlives the page: the question, both settings, both results. */
const now = {q: '', side: [{}, PRESETS.bm25], result: [null, null], error: [null, null], busy: false};
let ui = null, abort = null;

/* The address of a comparison. */
export const tryLink = (q, c, a, b) => '#/try?' + new URLSearchParams({q, c, a: JSON.stringify(a), b: JSON.stringify(b)});
function parse(text) {
  try {
    const v = JSON.parse(text || '{}');
    return v && typeof v === 'object' && !Array.isArray(v) ? v : {};
  } catch {
    return {};
  }
}

/* ---- running ---- */

async function run() {
  const q = now.q.trim();
  if (!q) { ui.q.focus(); return; }
  if (abort) abort.abort();
  const mine = abort = new AbortController(), c = state.collection;
  Object.assign(now, {result: [null, null], error: [null, null], busy: true});
  history.replaceState(null, '', tryLink(q, c, ...now.side));
  draw();
  await Promise.all(now.side.map(async (overrides, i) => {
    try {
      now.result[i] = await api('/v1/query', {method: 'POST', signal: mine.signal, body: {query: q, collection: c, top_k: TOP, explain: true, ...(count(overrides) ? {overrides} : {})}});
    } catch (e) {
      if (e.name === 'AbortError') return;
      now.error[i] = e;
    }
  }));
  if (abort !== mine) return;
  now.busy = false;
  draw();
}

/* ---- the two forms ---- */

function form(i) {
  const side = now.side[i], name = i ? 'b' : 'a', changed = count(side);
  const set = o => { now.side[i] = o; forms(); };
  const options = [...ORDER, ...(presetOf(side) ? [] : [''])];
  const row = ([path, kind]) => {
    const id = 'try-' + name + '-' + path, v = read(side, path), put = x => { set(write(now.side[i], path.split('.'), x)); document.getElementById(id).focus(); };
    const choices = kind === true ? [['true', t('try.on')], ['false', t('try.off')]] : typeof kind[0] === 'string' ? kind.map(x => [x, x]) : null;
    const input = choices
      ? h('select', {id, onchange: e => put(e.target.value === '' ? undefined : kind === true ? e.target.value === 'true' : e.target.value)},
        h('option', {value: ''}, t('try.asIs')), choices.map(([value, text]) => h('option', {value, selected: String(v) === value}, text)))
      : h('input', {id, type: 'number', inputmode: 'decimal', min: kind[0], max: kind[1], step: kind[2], value: v === undefined ? '' : String(v), placeholder: t('try.asIs'),
        onchange: e => put(e.target.value === '' ? undefined : Number(e.target.value))});
    return h('div', {class: 'setting' + (v === undefined ? '' : ' set')}, h('label', {for: id}, t('set.' + path)), input);
  };
  const groups = [...new Set(SETTINGS.map(([p]) => p.split('.')[0]))];
  return h('section', {class: 'card side-' + name, 'aria-labelledby': 'try-' + name},
    h('div', {class: 'head'}, h('h2', {id: 'try-' + name}, h('span', {class: 'letter', 'aria-hidden': 'true'}, name.toUpperCase()), t('try.' + name)),
      h('select', {id: 'preset-' + name, 'aria-label': t('try.preset') + ' ' + name.toUpperCase(), onchange: e => { set(PRESETS[e.target.value] || {}); document.getElementById('preset-' + name).focus(); }},
        options.map(k => h('option', {value: k, selected: k === presetOf(side)}, k ? t('preset.' + k) : t('try.custom'))))),
    h('details', {open: now['open' + i], ontoggle: e => { now['open' + i] = e.target.open; }},
      h('summary', {}, t('try.more', {n: changed})),
      groups.map(g => h('fieldset', {}, h('legend', {}, t('set.' + g)), SETTINGS.filter(([p]) => p.startsWith(g + '.')).map(row))),
      h('p', {class: 'quiet'}, t('try.json'), ' ', h('code', {}, JSON.stringify(side))),
      changed > 0 && h('button', {type: 'button', onclick: () => set({})}, icon('retry'), t('try.reset'))));
}
function forms() { ui.forms.replaceChildren(form(0), form(1)); }

/* ---- results ---- */

function answer(i) {
  const r = now.result[i], e = now.error[i], cut = r && r.explain && r.explain.cut_short;
  const badge = (name, value, kind) => h('span', {class: 'badge ' + (kind || '')}, name, value && h('b', {}, value));
  return h('section', {class: 'card answer side-' + (i ? 'b' : 'a')},
    h('h2', {}, h('span', {class: 'letter', 'aria-hidden': 'true'}, i ? 'B' : 'A'), presetName(now.side[i])),
    e ? errorBox(e) : !r ? spinner() : [
      h('div', {class: 'badges'}, badge(t(r.found ? 'ask.found' : 'ask.notFound'), null, r.found ? 'yes' : 'no'), badge(t('ask.confidence'), fmt.percent(r.confidence)),
        badge(t('ask.source'), r.model || (hasText('v.' + r.source) ? t('v.' + r.source) : r.source)), r.cost_cny > 0 && badge(t('ask.cost'), fmt.cny(r.cost_cny)),
        badge(t('try.time'), fmt.ms(r.timings_ms.total)), cut && badge(t('try.cut', {stage: stageName(cut)}), null, 'bad')),
      h('p', {class: 'said', lang: tongue(r.answer)}, marked(r.answer))]);
}
/* Bold as Markdown has it and citation marks; everything stays text. */
const marked = text => text.split(/(\*\*[^*\n]+\*\*|\[\d+\])/).map(s => (/^\*\*/.test(s) ? h('strong', {}, s.slice(2, -2)) : /^\[\d+\]$/.test(s) ? h('span', {class: 'cite'}, s.slice(1, -1)) : s));

function item(c, n, badge, other) {
  return h('li', {dataset: {chunk: c.chunk_id}, class: other, onmouseenter: () => light(c.chunk_id), onmouseleave: () => light(null)},
    h('span', {class: 'rank'}, n), h('div', {},
      h('div', {class: 'line'}, h('a', {href: '#/documents/' + encodeURIComponent(c.document_id), onfocus: () => light(c.chunk_id), onblur: () => light(null)}, [c.title || c.document_id, ...c.heading_path.slice(-1).filter(x => x !== c.title)].join(' › ')), badge),
      h('p', {class: 'snippet'}, c.text), h('div', {class: 'score'}, meter(c.score, {label: t('ask.confidence') + ' ' + n}), h('b', {class: 'num'}, c.score.toFixed(2)))));
}
function light(id) {
  for (const e of ui.moves.querySelectorAll('[data-chunk]')) e.classList.toggle('lit', e.dataset.chunk === id);
}
function moves() {
  const [a, b] = now.result.map(r => r.contexts.slice(0, TOP)), at = list => new Map(list.map((c, i) => [c.chunk_id, i])), inA = at(a), inB = at(b);
  const mark = (kind, text, label) => h('span', {class: 'move ' + kind, title: label}, h('span', {'aria-hidden': 'true'}, text), h('span', {class: 'sr'}, label));
  const change = id => {
    if (!inA.has(id)) return mark('new', t('try.new'), t('try.new'));
    const n = inA.get(id) - inB.get(id);
    return n > 0 ? mark('up', '▲' + n, t('try.up', {n})) : n < 0 ? mark('down', '▼' + -n, t('try.down', {n: -n})) : mark('same', '=', t('try.same'));
  };
  const column = (list, i, badge) => h('div', {}, h('h3', {}, h('span', {class: 'letter', 'aria-hidden': 'true'}, i ? 'B' : 'A'), presetName(now.side[i])),
    list.length ? h('ol', {}, list.map((c, k) => item(c, k + 1, badge(c.chunk_id), inA.has(c.chunk_id) && inB.has(c.chunk_id) ? '' : 'alone'))) : h('p', {class: 'quiet'}, t('try.noHits')));
  const ns = 'http://www.w3.org/2000/svg', svg = document.createElementNS(ns, 'svg');
  svg.setAttribute('aria-hidden', 'true');
  const same = b.filter(c => inA.get(c.chunk_id) === inB.get(c.chunk_id)).length, both = b.filter(c => inA.has(c.chunk_id)).length;
  const box = h('div', {class: 'moves'}, column(a, 0, id => !inB.has(id) && mark('gone', '—', t('try.gone'))), svg, column(b, 1, change));
  const lines = () => {
    const top = svg.getBoundingClientRect(), [left, right] = box.querySelectorAll('ol'), w = top.width;
    if (!left || !right || !w) return;
    svg.replaceChildren(...a.filter(c => inB.has(c.chunk_id)).map(c => {
      const from = inA.get(c.chunk_id), to = inB.get(c.chunk_id), path = document.createElementNS(ns, 'path');
      const y = (list, k) => { const r = list.children[k].getBoundingClientRect(); return r.top + Math.min(22, r.height / 2) - top.top; };
      const y1 = y(left, from), y2 = y(right, to);
      path.setAttribute('d', `M0 ${y1}C${w / 2} ${y1} ${w / 2} ${y2} ${w} ${y2}`);
      path.setAttribute('class', to < from ? 'up' : to > from ? 'down' : 'same');
      path.dataset.chunk = c.chunk_id;
      return path;
    }));
  };
  if (ui.watch) ui.watch.disconnect();
  ui.watch = new ResizeObserver(lines);
  ui.watch.observe(box);
  return h('section', {class: 'card', 'aria-labelledby': 'try-moves'}, h('h2', {id: 'try-moves'}, t('try.moves')),
    h('p', {class: 'quiet'}, t('try.summary', {n: b.length, same, moved: both - same, fresh: b.length - both}), ' ', t('try.movesHelp')), box);
}
function times() {
  const of = r => r.timings_ms, names = [...new Set([...STAGES, ...now.result.flatMap(r => Object.keys(of(r)))])].filter(s => s !== 'total' && now.result.some(r => of(r)[s] !== undefined));
  const most = Math.max(...now.result.flatMap(r => names.map(s => of(r)[s] || 0)), 1e-6);
  const bar = (i, s) => h('div', {class: 'side-' + (i ? 'b' : 'a')}, h('span', {class: 'track'}, h('i', {style: {width: (of(now.result[i])[s] || 0) / most * 100 + '%'}})), h('span', {class: 'num'}, fmt.ms(of(now.result[i])[s])));
  return h('section', {class: 'card', 'aria-labelledby': 'try-stages'}, h('h2', {id: 'try-stages'}, t('try.stages')),
    h('dl', {class: 'times'}, names.map(s => [h('dt', {}, stageName(s)), h('dd', {}, bar(0, s), bar(1, s))]),
      h('dt', {}, t('stage.total')), h('dd', {}, now.result.map((r, i) => h('div', {class: 'side-' + (i ? 'b' : 'a')}, h('span'), h('b', {class: 'num'}, fmt.ms(of(r).total)))))));
}
function draw() {
  if (!ui) return;
  ui.go.disabled = now.busy;
  const any = now.busy || now.result.some(Boolean) || now.error.some(Boolean), both = now.result.every(Boolean);
  ui.answers.replaceChildren(...(any ? [answer(0), answer(1)] : []));
  ui.moves.replaceChildren(...(both ? [moves()] : any ? [] : [empty(t('try.none'))]));
  ui.times.replaceChildren(...(both ? [times()] : []));
}

page({
  name: 'try',
  title: {zh: '对比', en: 'Try'},
  mount(root, signal) {
    const {query} = params(), linked = query.q !== undefined;
    if (linked) {
      const side = [parse(query.a), parse(query.b)];
      if (query.q !== now.q || canonical(side) !== canonical(now.side)) Object.assign(now, {q: query.q, side, result: [null, null], error: [null, null]});
      if (query.c && query.c !== state.collection) state.collection = query.c;
    }
    ui = {
      q: h('input', {id: 'try-q', type: 'search', class: 'grow', autocomplete: 'off', value: now.q, placeholder: t('try.placeholder'), oninput: e => { now.q = e.target.value; }}),
      go: h('button', {type: 'submit', id: 'try-go', class: 'primary'}, icon('arrow'), t('try.run')),
      forms: h('div', {class: 'pair'}), answers: h('div', {class: 'pair', 'aria-live': 'polite'}), moves: h('div'), times: h('div'),
    };
    root.append(h('div', {class: 'head'}, h('h1', {}, t('page.try')), h('button', {type: 'button', onclick: () => { for (const k of ['side', 'result', 'error']) now[k].reverse(); forms(); draw(); }}, icon('retry'), t('try.swap')),
      h('button', {type: 'button', onclick: () => copy(location.origin + '/' + tryLink(now.q, state.collection, ...now.side))}, icon('copy'), t('try.share'))),
    h('p', {class: 'quiet lead'}, t('try.lead')),
    h('form', {class: 'bar', role: 'search', onsubmit: e => { e.preventDefault(); run(); }}, h('label', {class: 'sr', for: 'try-q'}, t('try.question')), ui.q, ui.go),
    ui.forms, ui.answers, ui.moves, ui.times);
    forms();
    draw();
    onCollection(() => { if (abort) abort.abort(); Object.assign(now, {result: [null, null], error: [null, null], busy: false}); draw(); }, signal);
    if (linked && now.q && !now.result.some(Boolean)) run();
  },
  unmount() {
    if (ui.watch) ui.watch.disconnect();
    ui = null;
  },
});
