/* The frame of the console. A page is a module that imports from here and calls page() once.
 *
 * - Text from anywhere reaches the document as text nodes only: h() has no way to take markup.
 * - A page keeps what must survive in its module and draws it in mount(root, signal). The frame mounts it again when
 *   the language changes. `signal` is aborted when the page goes; hand it to api(), onCollection() and listeners.
 * - Messages: say('ask.', `go | 提问 | Ask`), a line each, then t('ask.go'). {name} takes vars.name. */

/* ---- elements ---- */

/* h('button', {class: 'primary', onclick: run, 'aria-label': t('x'), style: {width: '3px'}}, 'text', node, [more]).
 * null, undefined and false leave a property or child out. */
export function h(tag, props, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props || {})) {
    if (v === null || v === undefined || (v === false && !k.startsWith('aria-'))) continue;
    if (k.startsWith('on')) e.addEventListener(k.slice(2).toLowerCase(), v);
    else if (k === 'class') e.className = v;
    else if (k === 'dataset') Object.assign(e.dataset, v);
    else if (k === 'style') for (const [name, x] of Object.entries(v)) e.style.setProperty(name, x);
    else if (k === 'value' || k === 'checked' || k === 'indeterminate') e[k] = v;
    else e.setAttribute(k, v === true && !k.startsWith('aria-') ? '' : v);
  }
  e.append(...children.flat(Infinity).filter(c => c !== null && c !== undefined && c !== false));
  return e;
}

const SHAPES = {
  ask: 'M20 12a8 8 0 0 1-11.6 7.1L4 20l1-4.1A8 8 0 1 1 20 12z',
  documents: 'M6 3.5h8l4 4v13H6zM14 3.5v4h4M9 12h6M9 16h6',
  try: 'M4 7h9M17 7h3M4 17h3M11 17h9M15 4.8v4.4M9 14.8v4.4',
  evaluate: 'M4 20V10M10 20V4M16 20v-7M21 20H3',
  health: 'M3 12h4l2.5-7 4 14L16 12h5',
  arrow: 'M5 12h14M13 6l6 6-6 6', stop: 'M7 7h10v10H7z', check: 'm5 12.5 4.5 4.5L19 7.5', x: 'm6 6 12 12M18 6 6 18',
  none: 'M20.5 12a8.5 8.5 0 1 1-17 0 8.5 8.5 0 0 1 17 0zM6 18 18 6', warn: 'M12 4 2.8 19.5h18.4zM12 10v4.5M12 17v.2',
  info: 'M20.5 12a8.5 8.5 0 1 1-17 0 8.5 8.5 0 0 1 17 0zM12 11v5M12 8v.2',
  prev: 'm14.5 5-7 7 7 7', next: 'm9.5 5 7 7-7 7', down: 'm5 9.5 7 7 7-7',
  copy: 'M9 9h11v11H9zM5 15V4h11', code: 'm8 7-5 5 5 5M16 7l5 5-5 5',
  good: 'M7 20H4.5V10.5H7zM7 10.5l4-7a2.2 2.2 0 0 1 2.2 2.6l-.7 3.4h5a2 2 0 0 1 2 2.4l-1.2 6.4a2 2 0 0 1-2 1.7H7',
  bad: 'M17 4h2.5v9.5H17zM17 13.5l-4 7a2.2 2.2 0 0 1-2.2-2.6l.7-3.4h-5a2 2 0 0 1-2-2.4l1.2-6.4a2 2 0 0 1 2-1.7H17',
  folder: 'M3.5 6h6l2 2.5h9V19h-17z', key: 'M12 15a4 4 0 1 1-8 0 4 4 0 0 1 8 0zM11 12l8-8M16 7l3 3',
  upload: 'M12 16V4M7 9l5-5 5 5M4 20h16', trash: 'M4 7h16M9 7V4h6v3M6.5 7l1 13h9l1-13', plus: 'M12 5v14M5 12h14',
  edit: 'm4 20 1-4.5L16 4.5 19.5 8 8.5 19z', search: 'M17 10.5a6.5 6.5 0 1 1-13 0 6.5 6.5 0 0 1 13 0zM15.5 15.5 20 20',
  retry: 'M19 12a7 7 0 1 1-2-4.9L19 9M19 4v5h-5',
  sun: 'M16 12a4 4 0 1 1-8 0 4 4 0 0 1 8 0zM12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6 7 7M17 17l1.4 1.4M5.6 18.4 7 17M17 7l1.4-1.4',
  moon: 'M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5z',
  auto: 'M20.5 12a8.5 8.5 0 1 1-17 0 8.5 8.5 0 0 1 17 0zM12 3.5v17M12 8h6M12 12h8M12 16h6',
};

/* A drawing by its name in SHAPES; decoration, never read aloud. */
export function icon(name) {
  const ns = 'http://www.w3.org/2000/svg', s = document.createElementNS(ns, 'svg'), p = document.createElementNS(ns, 'path');
  s.setAttribute('viewBox', '0 0 24 24');
  s.setAttribute('class', 'icon');
  s.setAttribute('aria-hidden', 'true');
  p.setAttribute('d', SHAPES[name] || '');
  s.append(p);
  return s;
}

/* ---- what is kept: sessionStorage for the key, localStorage for habits; both may be forbidden ---- */

export function stored(where, key, value) {
  try {
    if (value === undefined) return where.getItem(key);
    if (value === null) where.removeItem(key);
    else where.setItem(key, value);
  } catch { /* a private window: nothing is kept */ }
  return null;
}

const listeners = {language: new Set(), collection: new Set()};
function listen(kind, fn, signal) {
  listeners[kind].add(fn);
  const off = () => listeners[kind].delete(fn);
  if (signal) signal.addEventListener('abort', off, {once: true});
  return off;
}
/* fn(value) after each change, until `signal` is aborted or the function that comes back is called. */
export const onLanguage = (fn, signal) => listen('language', fn, signal);
export const onCollection = (fn, signal) => listen('collection', fn, signal);

const kept = {
  language: stored(localStorage, 'ragd.language') || (/^zh/i.test(navigator.language) ? 'zh' : 'en'),
  theme: stored(localStorage, 'ragd.theme') || 'auto',
  collection: stored(localStorage, 'ragd.collection') || 'default',
};
function keep(name, value) {
  if (kept[name] === value) return;
  kept[name] = value;
  stored(localStorage, 'ragd.' + name, value);
  for (const fn of [...(listeners[name] || [])]) fn(value);
}
/* Assigning changes the page at once and is remembered. language: 'zh' | 'en'; theme: 'auto' | 'light' | 'dark'. */
export const state = {
  get language() { return kept.language; },
  set language(v) { keep('language', v); drawTop(); remount(); },
  get theme() { return kept.theme; },
  set theme(v) { keep('theme', v); dress(); drawTop(); },
  get collection() { return kept.collection; },
  set collection(v) { keep('collection', v); drawTop(); },
};
function dress() {
  if (kept.theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = kept.theme;
}

/* ---- languages ---- */

const words = new Map();
/* Texts as lines "key | 中文 | English", each key behind the prefix. */
export function say(prefix, lines) {
  for (const [k, zh, en] of lines.trim().split('\n').map(l => l.split(' | '))) words.set(prefix + k, {zh, en});
}
export function t(key, vars) {
  const w = words.get(key);
  const s = w ? w[kept.language] || w.en : key;
  return vars ? s.replace(/\{(\w+)\}/g, (all, k) => (k in vars ? String(vars[k]) : all)) : s;
}
export const hasText = key => words.has(key);
/* The language that a text is in, for its lang attribute. */
export const tongue = text => (/[㐀-鿿]/.test(text) ? 'zh-CN' : 'en');

say('stage.', `
admission | 准入 | admission
analysis | 分析 | analysis
cache | 缓存 | cache
variants | 改写 | variants
embedding | 向量 | embedding
retrieval | 检索 | retrieval
fusion | 融合 | fusion
reranking | 重排 | reranking
generation | 作答 | generation
other | 其他 | other
total | 合计 | total`);
/* In the order of their work. */
export const STAGES = ['admission', 'analysis', 'cache', 'variants', 'embedding', 'retrieval', 'fusion', 'reranking', 'generation'];
export const stageName = s => (hasText('stage.' + s) ? t('stage.' + s) : s);

const locale = () => (kept.language === 'zh' ? 'zh-CN' : 'en');
const number = (x, digits) => new Intl.NumberFormat(locale(), {maximumFractionDigits: digits}).format(x);
export const fmt = {
  num: (x, digits = 2) => (typeof x === 'number' && isFinite(x) ? number(x, digits) : '–'),
  ms(x) {
    if (typeof x !== 'number' || !isFinite(x)) return '–';
    return x >= 1000 ? number(x / 1000, 2) + ' s' : number(x, x >= 100 ? 0 : x >= 10 ? 1 : x >= 1 ? 2 : 3) + ' ms';
  },
  bytes(x) {
    if (typeof x !== 'number' || !isFinite(x)) return '–';
    let u = 0;
    while (x >= 1024 && u < 4) { x /= 1024; u++; }
    return number(x, u && x < 100 ? 1 : 0) + ' ' + ['B', 'KB', 'MB', 'GB', 'TB'][u];
  },
  percent: (x, digits = 0) => (typeof x === 'number' && isFinite(x) ? number(x * 100, digits) + '%' : '–'),
  /* ISO 8601, milliseconds since 1970 or a Date. */
  date(x) {
    const d = new Date(x);
    return isNaN(d) ? '–' : new Intl.DateTimeFormat(locale(), {dateStyle: 'medium', timeStyle: 'short'}).format(d);
  },
  cny(x) {
    if (typeof x !== 'number' || !isFinite(x)) return '–';
    return x > 0 && x < 1e-6 ? '< ¥0.000001' : '¥' + number(x, x >= 1 ? 2 : 6);
  },
};

say('app.', `
skip | 跳到正文 | Skip to the content
pages | 页面 | Pages
collection | 知识库 | Collection
language | English | 中文
languageTo | English – switch to English | 中文 – 切换到中文
theme.auto | 外观：跟随系统 | Appearance: as the system
theme.light | 外观：浅色 | Appearance: light
theme.dark | 外观：深色 | Appearance: dark
key | API 密钥 | API key
key.title | API 密钥 | API key
key.asked | 服务器需要密钥。密钥只保存在当前标签页，关闭后即清除。 | The server asks for a key. It is kept in this tab only and forgotten when the tab closes.
key.refused | 服务器没有接受这个密钥，请换一个。 | The server did not accept this key. Try another one.
key.about | 本页的每个请求都会带上它。只保存在当前标签页；留空则不带密钥。 | Sent with every request of this page. Kept in this tab only; leave it empty to send none.
key.use | 使用此密钥 | Use this key
keys | 键盘快捷键 | Keyboard
keys.question | 到提问框 | To the question
keys.help | 显示这些快捷键 | Show these keys
keys.close | 关闭 | Close what is open
cancel | 取消 | Cancel
close | 关闭 | Close
retry | 重试 | Try again
working | 请稍候… | Working…
copied | 已复制 | Copied
notCopied | 浏览器不允许复制 | The browser does not allow copying
request | 请求编号 | request id
field | 字段 | field
broken | 本页出错 | This page failed`);
say('error.', `
offline | 无法连接服务器 | The server cannot be reached
offline.why | 请确认 ragd 正在运行，并且允许本页访问。 | Is ragd running, and may this page talk to it?
cut | 连接中断 | The connection broke off
400 | 请求未被接受 | The request was not accepted
401 | 需要密钥 | A key is needed
403 | 此密钥没有权限 | This key may not do that
404 | 未找到 | Not found
409 | 有冲突 | Conflict
413 | 内容太大 | Too large
415 | 不支持这种文件 | This kind of file is not taken
422 | 内容无法读取 | The content cannot be read
429 | 请求过于频繁 | Too many requests
503 | 服务器繁忙 | The server is busy
504 | 服务器处理超时 | The server took too long
any | 出错了 | Something went wrong
wait | 请在 {s} 秒后重试。 | Try again in {s} s.`);

/* ---- the server ---- */

/* status 0: not reached; -1: the stream said so; -2: it broke off. */
export class ApiError extends Error {
  constructor(fields) {
    super(fields.message || '');
    Object.assign(this, {type: '', param: null, code: null, request_id: null, wait: null}, fields);
  }
}
let key = stored(sessionStorage, 'ragd.key') || '';

async function request(path, {method = 'GET', body, signal, headers} = {}) {
  const plain = body !== undefined && body !== null && Object.getPrototypeOf(body) !== Object.prototype && !Array.isArray(body);
  const used = key;
  let r;
  try {
    r = await fetch(path, {
      method, signal, cache: 'no-store', credentials: 'omit',
      body: body === undefined || body === null || plain ? body : JSON.stringify(body),
      headers: {Accept: 'application/json', ...(body && !plain ? {'Content-Type': 'application/json'} : {}),
        ...(key ? {Authorization: 'Bearer ' + key} : {}), ...headers},
    });
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    throw new ApiError({status: 0});
  }
  if (r.ok) return r;
  if (r.status === 401 && (used !== key || await askKey(used))) return request(path, {method, body, signal, headers});
  throw await errorOf(r);
}
async function errorOf(r) {
  let e = {};
  try {
    const j = await r.json();
    e = j.error && typeof j.error === 'object' ? j.error : {message: String(j.error || '')};
  } catch { /* not ours: the status says enough */ }
  return new ApiError({...e, status: r.status, request_id: e.request_id || r.headers.get('X-Request-Id'), wait: r.headers.get('Retry-After')});
}
/* The JSON of an answer, or with raw the Response. body: a plain object or array is sent as JSON, anything else as it
 * is. Throws ApiError {status, type, message, param, code, request_id, wait}, or AbortError. A 401 asks for the key and
 * tries again. */
export async function api(path, options = {}) {
  const r = await request(path, options);
  if (options.raw) return r;
  try {
    return r.status === 204 ? null : await r.json();
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    throw new ApiError({status: -2, request_id: r.headers.get('X-Request-Id')});
  }
}
/* The headers that api() sends, for XMLHttpRequest. */
export const authHeaders = () => (key ? {Authorization: 'Bearer ' + key} : {});
/* True when another key was given after `used` was refused. */
export const askKey = used => keyDialog(t(used ? 'app.key.refused' : 'app.key.asked'));

/* POST body, then on[event](data) for each server-sent event with JSON in it. An event 'error' throws ApiError. An
 * answer that is no stream is given to on.json. Comes back when the stream has ended. */
export async function stream(path, body, {signal, on = {}} = {}) {
  const r = await request(path, {method: 'POST', body, signal, headers: {Accept: 'text/event-stream'}});
  const id = r.headers.get('X-Request-Id');
  if (!/event-stream/.test(r.headers.get('Content-Type') || '')) {
    const whole = await r.json();
    if (on.json) on.json(whole);
    return;
  }
  const reader = r.body.getReader(), decoder = new TextDecoder();
  let text = '', end;
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (e) {
      if (e.name === 'AbortError') throw e;
      throw new ApiError({status: -2, request_id: id});
    }
    text += part.done ? decoder.decode() : decoder.decode(part.value, {stream: true});
    while ((end = /\r\n\r\n|\n\n|\r\r/.exec(text))) {
      const event = readEvent(text.slice(0, end.index));
      text = text.slice(end.index + end[0].length);
      if (!event) continue;
      if (event.name === 'error') {
        const e = event.data.error || event.data;
        throw new ApiError({...e, status: e.status || -1, request_id: e.request_id || id});
      }
      if (on[event.name]) on[event.name](event.data);
    }
    if (part.done) return;
  }
}
function readEvent(block) {
  let name = 'message';
  const data = [];
  for (const line of block.split(/\r\n|\n|\r/)) {
    const i = line.indexOf(':'), field = i < 0 ? line : line.slice(0, i), value = i < 0 ? '' : line.slice(i + 1).replace(/^ /, '');
    if (field === 'event') name = value;
    else if (field === 'data') data.push(value);
  }
  try {
    return data.length ? {name, data: JSON.parse(data.join('\n'))} : null;
  } catch {
    return null;
  }
}

/* ---- small parts ---- */

export const spinner = label => h('p', {class: 'spinner', role: 'status'}, h('i', {'aria-hidden': 'true'}), label || t('app.working'));
/* action: {label, run} or nothing. */
export const empty = (text, action) => h('div', {class: 'empty'}, h('p', {}, text),
  action && h('button', {type: 'button', class: 'primary', onclick: action.run}, action.label));

export function errorTitle(e) {
  if (!(e instanceof ApiError)) return t('error.any');
  const name = e.status === 0 ? 'error.offline' : e.status === -2 ? 'error.cut' : 'error.' + e.status;
  return (hasText(name) ? t(name) : t('error.any')) + (e.status > 0 ? ' (' + e.status + ')' : '');
}
/* What went wrong, in the server's words too; retry: a function behind "Try again". */
export function errorBox(e, retry) {
  const why = e.status === 0 ? t('error.offline.why') : e.message;
  return h('div', {class: 'note error', role: 'alert'}, icon('warn'), h('div', {},
    h('strong', {}, errorTitle(e)), why && h('p', {}, why),
    e.param && h('p', {}, t('app.field') + ' ', h('code', {}, e.param)), e.wait && h('p', {}, t('error.wait', {s: e.wait})),
    e.request_id && h('p', {class: 'quiet'}, t('app.request') + ' ', h('code', {}, e.request_id)),
    retry && h('button', {type: 'button', onclick: retry}, icon('retry'), t('app.retry'))));
}
/* value 0..1; label names what is measured. */
export function meter(value, {label} = {}) {
  const v = Math.max(0, Math.min(1, +value || 0));
  return h('span', {class: 'meter', role: 'meter', 'aria-valuemin': 0, 'aria-valuemax': 1, 'aria-valuenow': +v.toFixed(3),
    'aria-valuetext': fmt.percent(v), 'aria-label': label || fmt.percent(v)}, h('i', {style: {width: v * 100 + '%'}}));
}
/* kind: 'ok' | 'warn' | 'error'. */
export function toast(kind, text) {
  const e = h('div', {class: 'toast ' + kind}, icon(kind === 'ok' ? 'check' : 'warn'), h('span', {}, text));
  document.getElementById('toasts').append(e);
  setTimeout(() => e.remove(), kind === 'error' ? 8000 : 3500);
}
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast('ok', t('app.copied'));
  } catch {
    toast('error', t('app.notCopied'));
  }
}

let dialogs = 0;
/* A modal dialog; Esc closes it with null. actions: [{label, kind: 'primary' | 'danger' | undefined, value, run?}]:
 * run() may be async; when it returns false the dialog stays. Gives a promise of the value. The promise's `element`
 * is the <dialog>. */
export function dialog({title, body, actions = [], wide}) {
  const back = document.activeElement, id = 'dialog-' + ++dialogs;
  let settle;
  const done = new Promise(resolve => { settle = resolve; });
  const close = value => { settle(value); d.close(); };
  const buttons = actions.map(a => h('button', {type: a.kind ? 'submit' : 'button', class: a.kind, onclick: a.kind ? null : () => press(a)}, a.label));
  const main = actions.find(a => a.kind);
  async function press(a) {
    for (const b of buttons) b.disabled = true;
    const stay = a.run && (await a.run()) === false;
    for (const b of buttons) b.disabled = false;
    if (!stay) close(a.value);
  }
  const d = h('dialog', {class: wide ? 'modal wide' : 'modal', 'aria-labelledby': id, 'aria-modal': 'true'},
    h('form', {method: 'dialog', onsubmit: e => { e.preventDefault(); if (main) press(main); }},
      h('header', {}, h('h2', {id}, title),
        h('button', {type: 'button', class: 'ghost square', 'aria-label': t('app.close'), onclick: () => close(null)}, icon('x'))),
      h('div', {class: 'body'}, body), actions.length > 0 && h('footer', {}, buttons)));
  d.addEventListener('close', () => {
    settle(null);
    d.remove();
    /* The browser may have given the focus back already, and then removing the dialog took the caret with it. */
    if (back && back.isConnected) { back.blur(); back.focus(); }
  });
  document.body.append(d);
  d.showModal();
  const first = d.querySelector('[autofocus], .body input, .body textarea, .body select') || buttons[buttons.length - 1];
  if (first) first.focus();
  done.element = d;
  return done;
}

/* columns: [{key, label, num?: right-aligned, value?: row => what is sorted by, cell?: row => node or text, sort?: false}].
 * onRow(row) makes the rows clickable; the cell of the column with `link` (else the first) becomes the button. Gives an
 * element with update(rows). */
export function table(columns, rows, {caption, onRow, id} = {}) {
  const value = (c, r) => (c.value ? c.value(r) : r[c.key]), linkAt = Math.max(0, columns.findIndex(c => c.link));
  let by = null, down = false;
  const body = h('tbody'), head = h('tr');
  const box = h('div', {class: 'table', tabindex: '0', role: 'region', 'aria-label': caption, id},
    h('table', {}, caption && h('caption', {class: 'sr'}, caption), h('thead', {}, head), body));
  function press(c) { down = by === c ? !down : false; by = c; draw(); }
  function compare(a, b) {
    const x = value(by, a), y = value(by, b);
    const none = v => v === null || v === undefined;
    if (none(x) || none(y)) return none(x) - none(y);
    return (down ? -1 : 1) * (typeof x === 'number' && typeof y === 'number' ? x - y : String(x).localeCompare(String(y), locale(), {numeric: true}));
  }
  function cell(c, r, i) {
    const v = c.cell ? c.cell(r) : c.num && typeof r[c.key] === 'number' ? fmt.num(r[c.key]) : r[c.key];
    return h('td', {class: c.num ? 'num' : null},
      onRow && i === linkAt ? h('button', {type: 'button', class: 'link', onclick: e => { e.stopPropagation(); onRow(r); }}, v) : v);
  }
  function draw() {
    head.replaceChildren(...columns.map(c => h('th', {scope: 'col', class: c.num ? 'num' : null,
      'aria-sort': by === c ? (down ? 'descending' : 'ascending') : null},
    c.sort === false ? c.label : h('button', {type: 'button', onclick: () => { press(c); head.children[columns.indexOf(c)].firstChild.focus(); }}, c.label, h('i', {'aria-hidden': 'true'})))));
    const list = by ? [...rows].sort(compare) : rows;
    body.replaceChildren(...list.map(r => h('tr', {class: onRow ? 'pick' : null, onclick: onRow ? () => onRow(r) : null}, columns.map((c, i) => cell(c, r, i)))));
  }
  box.update = more => { rows = more; draw(); };
  draw();
  return box;
}

/* ---- pages and addresses: #/documents/ID?version=3 ---- */

const ORDER = ['ask', 'documents', 'try', 'evaluate', 'health'];
const pages = new Map();
let shown = null, leave = null;

/* {name, title: {zh, en}, mount(root, signal), unmount?(), update?(params)}: with update the page stays when only the
 * rest of its address changes, else it is mounted anew. */
export function page(p) {
  pages.set(p.name, p);
  words.set('page.' + p.name, p.title);
}
export const navigate = hash => { location.hash = hash; };
/* {page: 'documents', path: ['ID'], query: {version: '3'}} of the address. */
export function params() {
  const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
  const parts = path.split('/').filter(Boolean).map(s => { try { return decodeURIComponent(s); } catch { return s; } });
  return {page: parts[0] || 'ask', path: parts.slice(1), query: Object.fromEntries(new URLSearchParams(query || ''))};
}
function route(focus) {
  const p = params(), next = pages.get(p.page) || pages.get('ask');
  if (next === shown && next.update) {
    next.update(p);
    return;
  }
  mount(next, focus);
}
function mount(next, focus) {
  const main = document.getElementById('main');
  if (leave) leave.abort();
  if (shown && shown.unmount) shown.unmount();
  shown = next;
  leave = new AbortController();
  const root = h('div', {class: 'page page-' + next.name});
  main.replaceChildren(root);
  document.title = t('page.' + next.name) + ' · ragd';
  drawNavigation();
  if (focus) { main.focus({preventScroll: true}); scrollTo(0, 0); }
  /* Whatever a page throws is shown in its place, the frame goes on. */
  new Promise(done => done(next.mount(root, leave.signal))).catch(e => {
    if (e.name === 'AbortError') return;
    root.replaceChildren(h('h1', {}, t('app.broken')), errorBox(e, remount));
    if (!(e instanceof ApiError)) console.error(e);
  });
}
function remount() { if (shown) mount(shown, false); }

/* ---- collections ---- */

let known = [];
/* [{name, documents, chunks, settings, created_at}] as last seen; empty before the first answer. */
export const collections = () => known;
/* Asks again. Throws like api(). */
export async function reloadCollections() {
  const all = [];
  for (let after = ''; ;) {
    const j = await api('/v1/collections?limit=1000' + (after && '&after=' + encodeURIComponent(after)));
    all.push(...j.collections);
    if (!j.has_more || all.length >= 10000) break;
    after = j.next;
  }
  known = all;
  if (known.length && !known.some(c => c.name === kept.collection)) keep('collection', (known.find(c => c.name === 'default') || known[0]).name);
  drawTop();
  return known;
}

/* ---- the header ---- */

let nav = null;
/* A link to the address that is there already changes nothing by itself. */
function again(e) { if (e.currentTarget.hash === location.hash) route(true); }
function drawNavigation() {
  if (!nav) return;
  nav.setAttribute('aria-label', t('app.pages'));
  nav.replaceChildren(...ORDER.filter(n => pages.has(n)).map(n =>
    h('a', {href: '#/' + n, 'aria-current': shown && shown.name === n ? 'page' : null, onclick: again}, icon(n), h('span', {}, t('page.' + n)))));
}
function drawTop() {
  const top = document.getElementById('top'), focused = document.activeElement && document.activeElement.id;
  document.documentElement.lang = locale();
  if (!nav) {
    nav = h('nav', {class: 'pages'});
    const skip = h('a', {class: 'skip', href: '#main', onclick: e => { e.preventDefault(); document.getElementById('main').focus(); }});
    document.body.prepend(skip);
    top.querySelector('.brand').addEventListener('click', again);
    top.append(nav, h('div', {class: 'tools'}));
  }
  document.querySelector('.skip').textContent = t('app.skip');
  const names = known.length ? known.map(c => c.name) : [kept.collection];
  const next = {auto: 'light', light: 'dark', dark: 'auto'}[kept.theme];
  top.querySelector('.tools').replaceChildren(
    h('label', {class: 'collection'}, icon('folder'), h('span', {class: 'sr'}, t('app.collection')),
      h('select', {id: 'collection', onchange: e => { state.collection = e.target.value; }},
        names.map(n => h('option', {value: n, selected: n === kept.collection}, n)))),
    h('button', {type: 'button', id: 'key', class: 'ghost square' + (key ? ' on' : ''), 'aria-label': t('app.key'), title: t('app.key'), onclick: () => keyDialog(t('app.key.about'))}, icon('key')),
    h('button', {type: 'button', id: 'theme', class: 'ghost square', 'aria-label': t('app.theme.' + kept.theme), title: t('app.theme.' + kept.theme), onclick: () => { state.theme = next; }},
      icon({auto: 'auto', light: 'sun', dark: 'moon'}[kept.theme])),
    h('button', {type: 'button', id: 'language', class: 'ghost', lang: kept.language === 'zh' ? 'en' : 'zh-CN', 'aria-label': t('app.languageTo'), onclick: () => { state.language = kept.language === 'zh' ? 'en' : 'zh'; }}, t('app.language')));
  drawNavigation();
  if (['collection', 'key', 'theme', 'language'].includes(focused)) document.getElementById(focused).focus();
}

/* One dialog, however many requests wait for it. Promise of: was a key set? */
let asking = null;
function keyDialog(hint) {
  if (asking) return asking;
  const input = h('input', {type: 'password', id: 'key-input', autocomplete: 'off', spellcheck: 'false'});
  asking = dialog({
    title: t('app.key.title'),
    body: [h('p', {class: 'quiet', id: 'key-hint'}, hint), h('label', {}, t('app.key'), input)],
    actions: [{label: t('app.cancel'), value: false}, {label: t('app.key.use'), kind: 'primary', value: true, run: () => {
      key = input.value.trim();
      stored(sessionStorage, 'ragd.key', key || null);
      drawTop();
    }}],
  }).then(given => {
    asking = null;
    if (given) reloadCollections().catch(() => {});
    return Boolean(given);
  });
  return asking;
}

/* ---- the keyboard ---- */

function showKeys() {
  const row = (keys, text) => [h('dt', {}, keys.map(k => h('kbd', {}, k))), h('dd', {}, text)];
  dialog({title: t('app.keys'), body: h('dl', {class: 'keys'}, row(['/'], t('app.keys.question')),
    ORDER.filter(n => pages.has(n)).map(n => row(['g', n[0]], t('page.' + n))), row(['?'], t('app.keys.help')), row(['Esc'], t('app.keys.close')))});
}
function focusQuestion() {
  if (!shown || shown.name !== 'ask') navigate('#/ask');
  const at = performance.now();
  (function wait() {
    const q = document.getElementById('q');
    if (q) { q.focus(); q.select(); } else if (performance.now() - at < 1000) requestAnimationFrame(wait);
  })();
}
let gAt = -Infinity;
function onKey(e) {
  if (e.ctrlKey || e.metaKey || e.altKey || e.isComposing) return;
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName) || document.querySelector('dialog:modal')) return;
  const name = performance.now() - gAt < 1500 && ORDER.find(n => n[0] === e.key && pages.has(n));
  gAt = e.key === 'g' ? performance.now() : -Infinity;
  if (name) navigate('#/' + name);
  else if (e.key === '/') focusQuestion();
  else if (e.key === '?') showKeys();
  else return;
  e.preventDefault();
}

/* ---- the start ---- */

dress();
document.addEventListener('keydown', onKey);
window.addEventListener('hashchange', () => route(true));
document.addEventListener('DOMContentLoaded', () => {
  drawTop();
  route(false);
  reloadCollections().catch(e => { if (e.name !== 'AbortError' && e.status !== 401) toast('error', errorTitle(e)); });
});
