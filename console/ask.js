/* Asking: the question, the streamed answer, its passages, what each stage did, feedback, the session's questions. */
import {api, stream, page, h, icon, t, say, STAGES, stageName, tongue, hasText, fmt, meter, copy, errorBox, onCollection, state, stored, navigate, ApiError} from './frame.js';
import {sourceText, headings, place} from './documents.js';

say('ask.', `
title | 向文档提问，句句有出处 | Ask your documents. Check every word.
lead | 回答中的每一句话都指向它所依据的原文，点开即可在文档里核对。 | Each sentence of an answer points to the passage it stands on. Open it and read it in its document.
question | 你的问题 | Your question
placeholder | 输入问题，或客户说的一句话 | Ask, or say what a customer says
go | 提问 | Ask
stop | 停止 | Stop
stopped | 已停止。 | Stopped.
newline | Enter 提问，Shift+Enter 换行 | Enter asks, Shift+Enter breaks the line
examples | 试试这些问题 | Try one of these
about | 《{title}》讲了什么？ | What does “{title}” say?
none | “{name}”还没有文档。上传一些，几秒后即可提问。 | “{name}” has no documents yet. Upload some, and ask seconds later.
upload | 上传文档 | Upload documents
reading | 正在查阅文档… | Reading the documents…
writing | 已找到段落，模型正在作答… | Passages found. The model is writing…
found | 已回答 | answered
notFound | 文档中没有答案 | not in the documents
unsupported | 未引用原文 | cites no passage
confidence | 置信度 | confidence
complexity | 复杂度 | complexity
source | 来源 | source
cache | 缓存 | cache
model | 模型 | model
cost | 费用 | cost
tokens | 词元 | tokens
total | 用时 | time
degraded | 模型未能作答，以下为带引用的原文摘录 | The cited extract answers instead of a model
replaced | 模型已写出的部分已被替换。 | What the model had written so far was replaced.
cite | 引用 {n}：查看原文 | Citation {n}: show the passage
contexts | 参考段落（{n}） | Passages read ({n})
nearest | 最接近的段落（{n}） | Nearest passages ({n})
score | 相关度 | relevance
cited | 引用 | cited as
copy | 复制回答与出处 | Copy with sources
curl | 复制为 curl | Copy as curl
sources | 出处 | Sources
helps | 这个回答有帮助吗？ | Does this answer help?
up | 有帮助 | Yes, it helps
down | 没有帮助 | No, it does not
comment | 说说原因（可不填） | Say why (optional)
send | 提交 | Send
judging | 正在提交… | Sending…
judged | 谢谢，反馈已保存。 | Thank you, your feedback is stored.
notJudged | 未能保存 | Not stored
judgeOff | 此服务器不保存反馈。 | This server keeps no feedback.
judgeGone | 服务器已不再保留这次回答。 | The server no longer knows this answer.
stages | 这次提问经过的阶段 | What each stage did
cutShort | 此阶段时间不够，之后用已有的结果继续 | ran out of time here; what it had found went on
browser | 浏览器中：{a} 收到段落，{b} 出现首字，{c} 完成。 | In the browser: passages after {a}, first words {b}, complete {c}.
history | 本次会话 | This session
clear | 清空 | Clear
again | 重新提问 | Ask again
prev | 上一条引用 | Previous citation
next | 下一条引用 | Next citation
closePanel | 关闭原文 | Close the passage
passage | 原文 | Source document
opening | 正在打开文档… | Opening the document…
passageOnly | 无法打开存储的文档，下面是检索到的段落。 | The stored document could not be opened; this is the passage as it was retrieved.
openDocument | 在文档页打开 | Open in Documents
untitled | 无标题 | Untitled
more | 另有 {n} 项 | {n} more
table | 表格 | Table`);
say('v.', `
simple | 简单 | simple
medium | 中等 | medium
complex | 复杂 | complex
extract | 原文摘录 | extract
primary | 首选模型 | primary model
fallback | 备用模型 | fallback model
cache | 缓存 | cache
true | 是 | yes
false | 否 | no`);
say('why.', `
budget_exceeded | 预算已用完 | the budget is used up
breaker | 模型连续失败，已暂时熔断 | the models failed too often and are left alone for a while
timeout | 模型未在时限内作答 | no model answered in time
upstream_error | 模型无法连接或出错 | the models could not be reached or failed
rate_limited | 模型限制了请求频率 | the models refused more requests
busy | 模型名额已满 | all places were taken
internal | 服务器内部错误 | an error inside the server
cut | 模型的回答中途断开 | the model’s answer broke off
empty_answer | 模型的回答为空 | the model’s answer was empty`);
/* Names of fields in Chinese; in English, and where one is new, the field's own name serves. */
const FIELDS = {language: '语言', complexity: '复杂度', kind: '类别', answer_type: '答案类型', confidence: '置信度', asks: '问题数', comparison: '比较', condition: '条件',
  aggregation: '汇总', terms: '检索词', term: '词', weight: '权重', dimensions: '维度', segments: '索引段', chunks: '分块', lexical: '词法命中', dense: '向量命中',
  candidates: '候选', known_terms: '已知词', legs: '检索路', source: '来源', found: '已找到', citations: '引用', dropped_citations: '去掉的引用', class: '模型档',
  one_class_down: '降一档', reason: '理由', passages: '段落', duplicates: '重复', prompt_tokens: '提示词元', max_tokens: '词元上限', first_token_ms: '首字毫秒',
  finish: '结束', attempts: '尝试', model: '模型', outcome: '结果', start_ms: '开始毫秒', ms: '毫秒', background: '背景', fused: '融合', reranked: '重排', parts: '部分', moved: '移动', coverage: '覆盖'};
const SCORES = {bm25: 'BM25', dense: 'cosine'};
/* Questions for the sample; offered where its documents are. */
const SAMPLE_TITLES = ['白金卡产品说明', 'Platinum Card'];
const SAMPLE = {
  zh: ['白金卡的年费是多少？', '积分怎么兑换？', '请详细对比百夫长卡和白金卡的权益差异', '客户说太贵了，怎么回应？'],
  en: ['What is the annual fee of the Platinum Card?', 'How do I redeem my points?', 'Compare the benefits of the Centurion and the Platinum Card', 'The customer says it is too expensive'],
};

/* A run: {q, c, text, ctx, res, busy, stopped, err, deg, over, t, vote, ...}. It outlives the page it is drawn on. */
let run = null, runs = [], abort = null, ui = null, passage = null, draft = '';
const documents = new Map();
const narrow = matchMedia('(max-width:979.98px)');
const value = v => (hasText('v.' + v) ? t('v.' + v) : String(v));
const field = k => (state.language === 'zh' && FIELDS[k]) || k.replace(/_/g, ' ');
const titleOf = x => x.title || x.document_id || t('ask.untitled');

try {
  runs = (JSON.parse(stored(sessionStorage, 'ragd.runs') || '[]') || []).filter(x => x && x.q && x.res && Array.isArray(x.ctx));
} catch { /* something else wrote there */ }
function save() {
  stored(sessionStorage, 'ragd.runs', JSON.stringify(runs.slice(0, 12).map(({q, c, text, ctx, res, t: times, over, vote}) => ({q, c, text, ctx, res, t: times, over, vote}))));
}

/* ---- asking ---- */

async function ask(question, collection) {
  const q = question.trim();
  if (!q) { ui && ui.q.focus(); return; }
  if (abort) abort.abort();
  flushVote();
  closePassage(false);
  const mine = run = {q, c: collection || state.collection, text: '', ctx: [], res: null, busy: true, t: {}}, control = abort = new AbortController();
  const began = performance.now(), at = k => { mine.t[k] = mine.t[k] || performance.now() - began; };
  draft = q;
  draw();
  if (narrow.matches && ui) ui.q.blur();
  try {
    await stream('/v1/query', {query: q, collection: mine.c, stream: true, explain: true}, {signal: control.signal, on: {
      context(d) { mine.ctx = d.contexts || []; at('ctx'); if (run === mine) drawContexts(); later(); },
      token(d) { mine.text += d.text || ''; at('tok'); later(); },
      degraded(d) { mine.deg = d.reason || ''; mine.over = d.replaces; if (typeof d.answer === 'string') mine.text = d.answer; if (run === mine) drawDegraded(); later(); },
      done(d) { mine.res = d; if (typeof d.answer === 'string') mine.text = d.answer; if (d.contexts) mine.ctx = d.contexts; },
      json(d) { mine.res = d; mine.text = d.answer || ''; mine.ctx = d.contexts || []; },
    }});
    if (!mine.res) throw new ApiError({status: -2});
    at('end');
    runs = [mine, ...runs.filter(x => x.q !== q || x.c !== mine.c)].slice(0, 30);
    save();
  } catch (e) {
    if (e.name === 'AbortError') mine.stopped = true;
    else mine.err = e;
  }
  mine.busy = false;
  if (abort === control) abort = null;
  if (run === mine) draw();
}
function stop() { if (abort) abort.abort(); if (ui) ui.q.focus(); }
function show(x) {
  if (abort) abort.abort();
  abort = null;
  flushVote();
  closePassage(false);
  run = x;
  draft = x ? x.q : '';
  draw();
  scrollTo(0, 0);
}
/* Tokens come faster than frames. */
let frame = 0;
function later() { if (!frame) frame = requestAnimationFrame(() => { frame = 0; if (run && run.busy) drawText(); }); }

/* ---- the page ---- */

function mount(root, signal) {
  const q = h('textarea', {id: 'q', rows: 1, autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', enterkeyhint: 'send', 'aria-keyshortcuts': '/',
    'aria-label': t('ask.question'), placeholder: t('ask.placeholder'), value: draft, oninput: grow, onkeydown(e) {
      if (e.key === 'Enter' && !e.shiftKey && !e.isComposing && e.keyCode !== 229) { e.preventDefault(); ask(q.value); }
    }});
  ui = {
    root, q, signal,
    go: h('button', {type: 'submit', id: 'go', class: 'primary'}, t('ask.go'), icon('arrow')),
    stop: h('button', {type: 'button', id: 'stop', onclick: stop}, icon('stop'), t('ask.stop')),
    hero: h('div', {class: 'hero'}, h('h1', {}, t('ask.title')), h('p', {}, t('ask.lead'))),
    start: h('section', {id: 'start', 'aria-label': t('ask.examples')}),
    alert: h('div', {id: 'alert'}),
    answer: h('article', {id: 'answer', class: 'card', 'aria-labelledby': 'asked'}),
    side: h('section', {id: 'side', 'aria-labelledby': 'side-title'}),
    history: h('nav', {id: 'history', 'aria-labelledby': 'history-title'}),
    panel: panel(),
  };
  Object.assign(ui, answerParts());
  root.append(h('div', {class: 'ask-main'}, ui.hero,
    h('form', {class: 'question', role: 'search', onsubmit(e) { e.preventDefault(); ask(q.value); }}, q,
      h('div', {class: 'row'}, h('span', {class: 'quiet grow hint'}, t('ask.newline')), h('kbd', {'aria-hidden': 'true'}, '/'), ui.stop, ui.go)),
    ui.alert, ui.start, ui.answer), h('div', {class: 'ask-side'}, ui.panel, ui.side, ui.history));
  onCollection(() => drawStart(), signal);
  narrow.addEventListener('change', () => { if (ui && ui.panel.open) { ui.panel.close(); openPanel(); } }, {signal});
  document.addEventListener('visibilitychange', () => { if (document.hidden) flushVote(); }, {signal});
  document.addEventListener('keydown', e => { if (e.key === 'Escape' && passage && !document.querySelector('.modal')) { e.preventDefault(); closePassage(); } }, {signal});
  draw();
  if (passage) showPassage(passage, false);
  if (!narrow.matches && !run && [document.body, document.getElementById('main')].includes(document.activeElement)) q.focus();
}
function unmount() {
  flushVote();
  ui = null;
  document.body.classList.remove('split');
}
function grow() {
  if (!ui) return;
  draft = ui.q.value;
  ui.q.style.height = 'auto';
  ui.q.style.height = Math.min(180, ui.q.scrollHeight + 2) + 'px';
}
/* What stays in place while the answer comes, so that it is read aloud once. */
function answerParts() {
  return {
    asked: h('h2', {id: 'asked'}), badges: h('div', {class: 'badges', id: 'badges', role: 'list'}), degraded: h('div', {class: 'note warn', id: 'degraded', role: 'status'}),
    text: h('div', {class: 'text', id: 'text', 'aria-live': 'polite'}), actions: h('div', {class: 'actions', id: 'actions'}), stages: h('section', {id: 'stages', 'aria-labelledby': 'stages-title'}),
  };
}

function draw() {
  if (!ui) return;
  const blank = run && run.err && !run.text;
  ui.root.classList.toggle('home', !run);
  ui.q.value = draft;
  grow();
  ui.stop.hidden = !(run && run.busy);
  ui.go.hidden = Boolean(run && run.busy);
  ui.hero.classList.toggle('sr', Boolean(run)); /* still the page's heading */
  ui.answer.hidden = !run || blank;
  ui.alert.replaceChildren(...(run && run.err ? [errorBox(run.err, () => ask(run.q, run.c))] : []));
  drawStart();
  drawHistory();
  drawContexts();
  if (!run) return;
  ui.asked.textContent = run.q;
  ui.asked.lang = tongue(run.q);
  if (!ui.answer.firstChild) ui.answer.append(ui.asked, ui.badges, ui.degraded, ui.text, ui.actions, ui.stages);
  drawBadges();
  drawDegraded();
  drawText();
  drawActions();
  drawStages();
}

/* Questions to begin with: the sample's, else about the collection's own documents; how to get documents when it has none. */
let startFor = '';
async function drawStart() {
  ui.start.hidden = Boolean(run);
  const c = state.collection, mine = ui;
  if (run || (startFor === c + state.language && ui.start.firstChild)) return;
  startFor = c + state.language;
  const list = await examples(c, mine.signal).catch(() => null);
  if (ui !== mine || run || state.collection !== c) return;
  if (!list) { startFor = ''; mine.start.replaceChildren(); return; }
  mine.start.replaceChildren(...(list.length ? [h('h2', {class: 'label'}, t('ask.examples')),
    h('ul', {class: 'examples'}, list.map(q => h('li', {}, h('button', {type: 'button', lang: tongue(q), onclick: () => ask(q)}, icon('ask'), h('span', {}, q)))))]
    : [h('div', {class: 'empty', id: 'empty'}, h('p', {}, t('ask.none', {name: c})),
      h('button', {type: 'button', class: 'primary', onclick: () => navigate('#/documents')}, icon('upload'), t('ask.upload')))]));
}
async function examples(c, signal) {
  const sample = await api('/v1/search', {method: 'POST', signal, body: {collection: c, filters: {title: SAMPLE_TITLES}, top_k: 1}});
  if (sample.hits.length) return SAMPLE[state.language].concat(SAMPLE[state.language === 'zh' ? 'en' : 'zh'].slice(0, 2));
  const first = await api('/v1/collections/' + encodeURIComponent(c) + '/documents?limit=4', {signal});
  return first.documents.map(d => t('ask.about', {title: d.title || d.id}));
}

/* ---- the answer ---- */

const badge = (kind, name, v, extra) => h('span', {class: 'badge ' + kind, role: 'listitem'}, extra, name && name + ' ', h('b', {}, v));
function drawBadges() {
  const r = run.res;
  ui.badges.hidden = !r;
  if (!r) return;
  const money = r.model || r.cost_cny > 0, used = r.usage && r.usage.total_tokens > 0;
  ui.badges.replaceChildren(...[
    badge(r.found ? 'yes' : 'no', '', t(r.found ? 'ask.found' : 'ask.notFound'), icon(r.found ? 'check' : 'none')),
    typeof r.confidence === 'number' && h('span', {class: 'badge', role: 'listitem'}, t('ask.confidence'), ' ', meter(r.confidence, {label: t('ask.confidence')}), h('b', {}, fmt.percent(r.confidence))),
    r.supported === false && badge('no', '', t('ask.unsupported'), icon('warn')),
    r.source && badge('', t('ask.source'), value(r.source)),
    r.model && badge('', t('ask.model'), r.model),
    r.complexity && badge('', t('ask.complexity'), value(r.complexity)),
    r.cache_hit && r.cache_hit !== 'none' && badge('yes', t('ask.cache'), r.cache_hit),
    used && badge('', t('ask.tokens'), r.usage.prompt_tokens + ' + ' + r.usage.completion_tokens),
    money && badge('', t('ask.cost'), fmt.cny(r.cost_cny)),
    r.timings_ms && badge('', t('ask.total'), fmt.ms(r.timings_ms.total)),
  ].filter(Boolean));
}
function drawDegraded() {
  if (!ui) return;
  const r = run.res, on = r ? r.degraded : run.deg !== undefined, why = (r && r.degraded_reason) || run.deg;
  ui.degraded.hidden = !on;
  ui.degraded.dataset.reason = on ? why : '';
  if (!on) return;
  const colon = state.language === 'zh' ? '：' : ': ', end = state.language === 'zh' ? '。' : '. ';
  ui.degraded.replaceChildren(icon('warn'), h('span', {}, h('b', {}, t('ask.degraded')), why ? colon + (hasText('why.' + why) ? t('why.' + why) : why) + end : '', run.over && t('ask.replaced')));
}
function drawText() {
  if (!ui) return;
  const e = ui.text;
  e.setAttribute('aria-busy', String(run.busy));
  e.lang = tongue(run.text || '');
  if (!run.text) {
    const hint = run.busy ? t(run.ctx.length ? 'ask.writing' : 'ask.reading') : run.stopped ? t('ask.stopped') : '';
    e.replaceChildren(h('p', {class: run.busy ? 'quiet caret' : 'quiet', lang: tongue(hint)}, hint));
    return;
  }
  const blocks = markdown(run.text);
  if (run.busy && blocks.length) blocks[blocks.length - 1].classList.add('caret');
  if (run.stopped) blocks.push(h('p', {class: 'quiet', lang: tongue(t('ask.stopped'))}, t('ask.stopped')));
  e.replaceChildren(...blocks);
}

/* A small part of Markdown: paragraphs, lists, tables, headings, bold, code, citations. Everything ends in text nodes. */
function markdown(text) {
  const out = [];
  let list = null, para = null, rows = null, code = null;
  const end = () => { list = para = rows = null; };
  for (const line of text.split('\n')) {
    let m;
    if (/^\s*```/.test(line)) {
      end();
      if (code) code = null;
      else out.push(code = h('pre'));
    } else if (code) {
      code.append(line + '\n');
    } else if (!line.trim()) {
      end();
    } else if ((m = /^\s*\|(.+)\|?\s*((?:\[\d+\])*)\s*$/.exec(line))) {
      if (/^[\s:|-]+$/.test(m[1])) continue;
      const first = !rows;
      if (first) { end(); rows = h('table'); out.push(h('div', {class: 'wide', tabindex: '0', role: 'group', 'aria-label': t('ask.table')}, rows)); }
      rows.append(h('tr', {}, m[1].replace(/\|\s*$/, '').split('|').map((c, i, all) => h(first ? 'th' : 'td', {}, inline(c.trim() + (i === all.length - 1 ? m[2] : ''))))));
    } else if ((m = /^#{1,6}\s+(.*)/.exec(line))) {
      end();
      out.push(h('h3', {}, inline(m[1])));
    } else if ((m = /^\s*(?:([-*•])|(\d{1,3})[.)、])\s+(.*)/.exec(line))) {
      const tag = m[1] ? 'UL' : 'OL';
      if (!list || list.tagName !== tag) { end(); list = h(tag, m[2] ? {start: m[2]} : {}); out.push(list); }
      list.append(h('li', {}, inline(m[3])));
    } else {
      if (para) para.append(h('br'));
      else { end(); out.push(para = h('p')); }
      para.append(...inline(line));
    }
  }
  return out;
}
/* [3] is a button when the answer has citation 3; before the answer is complete it is a mark, after that what it says. */
function inline(s) {
  const out = [], re = /\*\*(.+?)\*\*|`([^`]+)`|\[(\d{1,3}(?:\s*[,，、]\s*\d{1,3})*)\]/g, cited = (run.res && run.res.citations) || [];
  let at = 0, m;
  while ((m = re.exec(s))) {
    if (m[3] && run.res && !m[3].split(/\D+/).some(n => cited.some(c => c.n === +n))) continue;
    out.push(s.slice(at, m.index));
    at = re.lastIndex;
    if (m[1]) out.push(h('strong', {}, inline(m[1])));
    else if (m[2]) out.push(h('code', {}, m[2]));
    else for (const n of m[3].split(/\D+/)) out.push(mark(+n, cited.find(c => c.n === +n)));
  }
  out.push(s.slice(at));
  return out;
}
function mark(n, c) {
  return c ? h('button', {class: 'cite', type: 'button', dataset: {n}, 'aria-label': t('ask.cite', {n}), 'aria-haspopup': 'dialog', 'aria-expanded': 'false', title: c.title, onclick: e => showCitation(c, e.currentTarget)}, String(n))
    : h('span', {class: 'cite'}, String(n));
}

/* ---- copy, feedback ---- */

const where = c => [titleOf(c), ...headings(c), c.page ? t('doc.page', {n: c.page}) : null].filter((x, i, a) => x && a.indexOf(x) === i).join(' › ');
function withSources() {
  const list = run.res.citations || [];
  return run.text + (list.length ? '\n\n' + t('ask.sources') + '\n' + list.map(c => '[' + c.n + '] ' + where(c) + ' (' + c.document_id + ', v' + c.version + ')').join('\n') : '');
}
function curl() {
  const quoted = s => "'" + s.replace(/'/g, "'\\''") + "'";
  return ['curl -s ' + quoted(location.origin + '/v1/query'), "-H 'Content-Type: application/json'", stored(sessionStorage, 'ragd.key') ? '-H "Authorization: Bearer $RAGD_KEY"' : null,
    '-d ' + quoted(JSON.stringify({query: run.q, collection: run.c, explain: true}))].filter(Boolean).join(' \\\n  ');
}
function drawActions() {
  const on = run.res && !run.busy;
  ui.actions.hidden = !on;
  if (!on) return;
  const thumb = (id, kind, shape) => h('button', {type: 'button', id, class: 'square', 'aria-label': t('ask.' + id), title: t('ask.' + id), 'aria-pressed': String(run.vote === kind), disabled: Boolean(run.vote) && !run.voting,
    onclick() { run.vote = kind; run.voting = true; run.voteError = null; drawActions(); ui.actions.querySelector('#why').focus(); }}, icon(shape));
  const e = run.voteError, said = e ? t('ask.notJudged') + ': ' + (e.code === 'history_off' ? t('ask.judgeOff') : e.code === 'query_not_found' ? t('ask.judgeGone') : e.message || t('error.offline'))
    : run.sending ? t('ask.judging') : run.vote && !run.voting ? t('ask.judged') : '';
  const why = h('input', {id: 'why', maxlength: 2000, autocomplete: 'off', 'aria-label': t('ask.comment'), placeholder: t('ask.comment'), value: run.comment || '', oninput() { run.comment = why.value; }});
  const held = ui.actions.contains(document.activeElement) ? document.activeElement.id : '';
  ui.actions.replaceChildren(...[
    h('div', {class: 'bar judge'}, h('span', {class: 'quiet'}, t('ask.helps')), thumb('up', 'thumbs_up', 'good'), thumb('down', 'thumbs_down', 'bad'),
      h('span', {id: 'judged', class: e ? 'quiet bad' : 'quiet', role: 'status'}, said)),
    h('div', {class: 'bar'}, h('button', {type: 'button', id: 'copy', class: 'ghost', onclick: () => copy(withSources())}, icon('copy'), t('ask.copy')),
      h('button', {type: 'button', id: 'curl', class: 'ghost', onclick: () => copy(curl())}, icon('code'), t('ask.curl'))),
    run.voting && h('form', {class: 'bar comment', onsubmit(ev) { ev.preventDefault(); vote(run); }}, why, h('button', {type: 'submit', id: 'send', class: 'primary'}, t('ask.send'))),
  ].filter(Boolean));
  const again = held && ui.actions.querySelector('#' + held);
  if (again) again.focus();
}
async function vote(x) {
  x.voting = false;
  x.sending = true;
  if (run === x && ui) drawActions();
  try {
    await api('/v1/feedback', {method: 'POST', body: {query_id: x.res.id, type: x.vote, ...(x.comment && x.comment.trim() ? {comment: x.comment.trim()} : {})}});
    save();
  } catch (e) {
    x.vote = null;
    x.voteError = e;
  }
  x.sending = false;
  if (run === x && ui) drawActions();
}
/* A thumb whose comment was never sent still counts. */
function flushVote() { if (run && run.voting) vote(run); }

/* ---- stages ---- */

function drawStages() {
  const ms = run.res && run.res.timings_ms, explain = (run.res && run.res.explain) || {};
  ui.stages.hidden = !ms;
  if (!ms) return;
  const order = k => (STAGES.indexOf(k) + 99) % 99;
  const names = [...new Set([...Object.keys(ms), ...Object.keys(explain).filter(k => explain[k] && typeof explain[k] === 'object')])].filter(k => k !== 'total' && k !== 'cut_short').sort((a, b) => order(a) - order(b));
  const took = k => (typeof ms[k] === 'number' ? ms[k] : explain[k] && typeof explain[k].ms === 'number' ? explain[k].ms : 0);
  const sum = names.reduce((a, k) => a + took(k), 0), total = Math.max(ms.total || 0, sum) || 1;
  let off = 0;
  const rows = names.map(k => {
    const row = stageRow(k, took(k), off / total, total, explain[k], explain.cut_short === k);
    off += took(k);
    return row;
  });
  if (ms.total > sum * 1.005) rows.push(stageRow('other', ms.total - sum, off / total, total));
  const times = run.t || {};
  ui.stages.replaceChildren(h('h3', {id: 'stages-title', class: 'label'}, t('ask.stages')), h('div', {class: 'stages'}, axis(total), rows,
    h('div', {class: 'stage sum'}, h('span', {}, t('stage.total')), h('span'), h('span', {class: 'num'}, fmt.ms(ms.total ?? sum)))),
  times.end && h('p', {class: 'quiet'}, t('ask.browser', {a: fmt.ms(times.ctx || times.end), b: fmt.ms(times.tok || times.end), c: fmt.ms(times.end)})));
}
function axis(total) {
  return h('div', {class: 'stage axis', 'aria-hidden': 'true'}, h('span'), h('span', {class: 'ticks'}, [0, .25, .5, .75, 1].map(x => h('i', {style: {left: x * 100 + '%'}}, x ? fmt.ms(total * x) : '0'))), h('span'));
}
function stageRow(name, ms, from, total, what, cut) {
  const wait = what && typeof what.first_token_ms === 'number' ? Math.min(1, what.first_token_ms / (ms || 1)) : 0;
  const bar = h('span', {class: 'track', 'aria-hidden': 'true'}, h('i', {style: {left: Math.min(99.3, from * 100) + '%', width: ms / total * 100 + '%'}}, wait > 0 && h('b', {style: {width: wait * 100 + '%'}})));
  const line = [h('span', {class: 'name'}, stageName(name)), bar, h('span', {class: 'num'}, fmt.ms(ms))];
  const facts = what ? Object.entries(what).filter(([k]) => k !== 'ms') : [];
  if (!facts.length && !cut) return h('div', {class: 'stage plain'}, line);
  const brief = facts.filter(([, v]) => v !== null && typeof v !== 'object' && v !== false).slice(0, 6).map(([k, v]) => field(k) + ' ' + scalar(v)).join(' · ');
  return h('details', {class: 'stage-box', dataset: {stage: name}}, h('summary', {class: 'stage'}, line, h('span', {class: 'brief'}, cut && h('b', {class: 'cut'}, t('ask.cutShort') + ' · '), brief)), facts.length > 0 && pairs(Object.fromEntries(facts)));
}
const scalar = v => (typeof v === 'number' ? fmt.num(v, 3) : v === null ? '–' : value(v));
/* Whatever a stage explains: numbers and words as pairs, lists of objects as tables. */
const pairs = o => h('dl', {class: 'kv'}, Object.entries(o).map(([k, v]) => [h('dt', {}, field(k)), h('dd', {}, anything(v))]));
function anything(v) {
  if (Array.isArray(v)) return v.length && v.every(x => x && typeof x === 'object' && !Array.isArray(x)) ? grid(v) : v.map(x => (x && typeof x === 'object' ? JSON.stringify(x) : scalar(x))).join(', ') || '–';
  return v && typeof v === 'object' ? pairs(v) : scalar(v);
}
function grid(list) {
  const keys = [...new Set(list.flatMap(Object.keys))], most = 24;
  if (keys.length === 2 && list.every(r => typeof r[keys[0]] === 'string' && typeof r[keys[1]] === 'number')) /* words with a number each */
    return h('span', {class: 'words'}, list.slice(0, 60).map(r => h('span', {}, r[keys[0]], ' ', h('b', {}, scalar(r[keys[1]])))));
  return [h('div', {class: 'wide', tabindex: '0', role: 'group', 'aria-label': t('ask.table')}, h('table', {class: 'facts'}, h('thead', {}, h('tr', {}, keys.map(k => h('th', {scope: 'col'}, field(k))))),
    h('tbody', {}, list.slice(0, most).map(r => h('tr', {}, keys.map(k => h('td', {}, r[k] === undefined ? '' : anything(r[k])))))))),
  list.length > most && h('p', {class: 'quiet'}, t('ask.more', {n: list.length - most}))];
}

/* ---- passages ---- */

function drawContexts() {
  if (!ui) return;
  const list = run ? run.ctx : [], cited = (run && run.res && run.res.citations) || [];
  ui.side.hidden = !list.length;
  if (!list.length) return;
  ui.side.replaceChildren(h('h2', {id: 'side-title', class: 'label'}, t(run.res && run.res.found === false ? 'ask.nearest' : 'ask.contexts', {n: list.length})),
    h('ol', {class: 'contexts', id: 'ctx'}, list.map((x, i) => contextRow(x, i, cited.filter(c => c.chunk_id === x.chunk_id && c.document_id === x.document_id).map(c => c.n)))));
}
function contextRow(x, i, numbers) {
  const path = headings(x).filter(p => p !== x.title).join(' › '), scores = Object.entries(x.scores || {}).filter(([, v]) => typeof v === 'number');
  return h('li', {}, h('div', {class: 'line'}, h('span', {class: 'rank num', 'aria-hidden': 'true'}, String(i + 1)),
    h('button', {class: 'open', type: 'button', 'aria-haspopup': 'dialog', onclick: e => showContext(x, e.currentTarget)}, titleOf(x)),
    numbers.slice(0, 4).map(n => h('span', {class: 'tag'}, h('span', {class: 'sr'}, t('ask.cited') + ' '), String(n)))),
  (path || x.page) && h('p', {class: 'quiet'}, path, x.page ? (path ? ' · ' : '') + t('doc.page', {n: x.page}) : null),
  h('p', {class: 'snippet', lang: tongue(x.text || '')}, (x.text || '').replace(/\s+/g, ' ').slice(0, 400)),
  typeof x.score === 'number' && h('div', {class: 'score'}, h('span', {}, t('ask.score')), meter(x.score, {label: t('ask.score')}), h('b', {class: 'num'}, fmt.num(x.score, 2))),
  scores.length > 0 && h('p', {class: 'scores num'}, scores.map(([k, v]) => h('span', {}, (SCORES[k] || field(k)) + ' ' + fmt.num(v, 3)))));
}

/* The panel: beside the answer, or over it where there is no room. */
function panel() {
  const button = (id, shape, label) => h('button', {type: 'button', id, class: 'ghost square', 'aria-label': t(label)}, icon(shape));
  return h('dialog', {class: 'panel', id: 'panel', 'aria-labelledby': 'panel-title', oncancel(e) { e.preventDefault(); closePassage(); },
    onclick(e) { if (e.target === e.currentTarget && narrow.matches && e.clientY < e.currentTarget.getBoundingClientRect().top) closePassage(); }},
  h('header', {}, h('div', {class: 'grow'}, h('h2', {id: 'panel-title'}), h('p', {class: 'quiet', id: 'panel-path'})),
    button('prev', 'prev', 'ask.prev'), h('span', {class: 'tag', id: 'panel-n'}), button('next', 'next', 'ask.next'),
    h('button', {type: 'button', id: 'close', class: 'ghost square', 'aria-label': t('ask.closePanel'), onclick: () => closePassage()}, icon('x'))),
  h('div', {class: 'doc', id: 'doc', tabindex: '0', role: 'region', 'aria-label': t('ask.passage')}), h('footer', {id: 'panel-foot', class: 'quiet'}));
}
function openPanel() {
  if (narrow.matches) ui.panel.showModal();
  else ui.panel.show();
  document.body.classList.add('split');
}
const contextOf = c => run.ctx.find(x => x.chunk_id === c.chunk_id && x.document_id === c.document_id);
const showCitation = (c, from) => showPassage({...c, ctx: contextOf(c), from});
const showContext = (x, from) => showPassage({...x, n: null, ctx: x, from});
const markButton = n => ui.text.querySelector('button.cite[data-n="' + n + '"]');

async function showPassage(p, focus = true) {
  passage = p;
  p.c = p.c || run.c;
  const at = id => ui.panel.querySelector('#' + id), path = headings(p).filter(x => x !== p.title).join(' › '), doc = at('doc');
  at('panel-title').textContent = titleOf(p);
  at('panel-path').textContent = [path, p.page ? t('doc.page', {n: p.page}) : ''].filter(Boolean).join(' · ');
  at('panel-n').hidden = !p.n;
  at('panel-n').textContent = p.n || '';
  at('panel-foot').replaceChildren();
  const list = (run.res && run.res.citations) || [], i = list.findIndex(c => c.n === p.n);
  for (const [id, step] of [['prev', -1], ['next', 1]]) {
    const b = at(id), other = list[i + step];
    b.hidden = !p.n || list.length < 2;
    b.disabled = !other;
    b.onclick = () => { showCitation(other, markButton(other.n)); doc.focus(); };
  }
  for (const b of ui.text.querySelectorAll('button.cite')) b.setAttribute('aria-expanded', String(+b.dataset.n === p.n));
  doc.replaceChildren(h('p', {class: 'quiet'}, t('ask.opening')));
  if (!ui.panel.open) openPanel();
  if (focus) doc.focus({preventScroll: true});
  const whole = await documentOf(p).catch(() => null);
  if (passage === p && ui) drawPassage(p, whole);
}
async function documentOf(p) {
  const url = '/v1/collections/' + encodeURIComponent(p.c) + '/documents/' + encodeURIComponent(p.document_id) + (p.version ? '?version=' + p.version : '');
  if (!documents.has(url)) {
    const doc = await api(url);
    if (documents.size > 20) documents.clear();
    documents.set(url, doc);
  }
  return documents.get(url);
}
function drawPassage(p, whole) {
  const doc = ui.panel.querySelector('#doc'), points = whole && typeof whole.text === 'string' ? Array.from(whole.text) : null;
  if (points && p.start >= 0 && p.end > p.start && p.end <= points.length) {
    const x = p.ctx, chunk = x && x.start <= p.start && x.end >= p.end && x.end <= points.length ? [x.start, x.end] : [p.start, p.end];
    doc.replaceChildren(sourceText(points, {chunk, mark: [p.start, p.end], around: 12000, onWhole: () => place(doc)}));
    ui.panel.querySelector('#panel-foot').replaceChildren([whole.source, t('doc.version', {n: whole.version}), t('doc.points', {n: fmt.num(points.length)})].filter(Boolean).join(' · '), ' ',
      h('a', {href: '#/documents/' + encodeURIComponent(p.document_id) + '?' + new URLSearchParams({collection: p.c, version: p.version || whole.version, start: p.start, end: p.end})}, t('ask.openDocument')));
  } else { /* the context's own text, with the cited part marked where its place is known */
    const x = p.ctx, own = Array.from((x && x.text) || ''), a = x ? p.start - x.start : 0, b = x ? p.end - x.start : 0, known = a >= 0 && b > a && b <= own.length;
    doc.replaceChildren(h('p', {class: 'cut'}, t('ask.passageOnly')), sourceText(own, {chunk: [0, own.length], mark: known ? [a, b] : [0, own.length]}));
  }
  place(doc);
}
function closePassage(back = true) {
  const p = passage;
  passage = null;
  if (!ui) return;
  document.body.classList.remove('split');
  for (const b of ui.text.querySelectorAll('button.cite')) b.setAttribute('aria-expanded', 'false');
  if (ui.panel.open) ui.panel.close();
  if (back && p) {
    const to = p.from && p.from.isConnected ? p.from : p.n ? markButton(p.n) : null;
    if (to) to.focus();
  }
}

/* ---- the session ---- */

function drawHistory() {
  ui.history.hidden = !runs.length;
  if (!runs.length) { ui.history.replaceChildren(); return; }
  const clear = () => { runs = []; stored(sessionStorage, 'ragd.runs', null); drawHistory(); ui.q.focus(); };
  ui.history.replaceChildren(h('div', {class: 'label'}, h('h2', {id: 'history-title', class: 'label grow'}, t('ask.history')), h('button', {type: 'button', id: 'clear', class: 'ghost', onclick: clear}, t('ask.clear'))),
    h('ol', {class: 'history'}, runs.map(x => h('li', {}, h('button', {type: 'button', class: 'past', 'aria-current': x === run ? 'true' : null, onclick: () => show(x)},
      h('span', {class: x.res.found ? 'dot' : 'dot no', 'aria-hidden': 'true'}), h('span', {class: 'q', lang: tongue(x.q)}, x.q),
      h('small', {}, [t(x.res.found ? 'ask.found' : 'ask.notFound'), x.c !== 'default' && x.c, x.res.timings_ms && fmt.ms(x.res.timings_ms.total)].filter(Boolean).join(' · '))),
    h('button', {type: 'button', class: 'ghost square', 'aria-label': t('ask.again') + ': ' + x.q, title: t('ask.again'), onclick: () => ask(x.q, x.c)}, icon('retry'))))));
}

page({
  name: 'ask', title: {zh: '问答', en: 'Ask'}, mount, unmount,
  /* The page's own address again, by the name in the header or a link: a new question. */
  update() { if (run && !run.busy) show(null); },
});
