/* Collections, their documents, uploads; one document with its chunks and versions. */
import {api, authHeaders, askKey, page, h, icon, t, say, tongue, fmt, meter, table, dialog, toast, spinner, empty, errorBox, errorTitle, copy, state, collections,
  reloadCollections, onCollection, params, navigate, ApiError} from './frame.js';

say('doc.', `
collections | 知识库 | Collections
new | 新建知识库 | New collection
name | 名称 | Name
nameRule | 1 到 64 个字符：A–Z a–z 0–9 _ . - | 1 to 64 of A–Z a–z 0–9 _ . -
create | 新建 | Create
settings | 设置 | Settings
prompt | 系统提示词 | System prompt
promptAbout | 模型作答时遵守的说明；留空则用服务器的默认提示词。 | What a model is told before it answers; empty: the server’s own.
save | 保存 | Save
saved | 已保存 | Saved
delete | 删除 | Delete
deleteCollection | 删除知识库 | Delete collection
deleteTyped | 将删除“{name}”及其 {n} 个文档，无法撤销。请输入名称以确认： | This deletes “{name}” with its {n} documents and cannot be undone. Type its name to confirm:
deleteMany | 删除 {n} 个文档？ | Delete {n} documents?
deleteOne | 删除“{title}”？ | Delete “{title}”?
deleteAbout | 连同全部版本一起删除，无法撤销。 | With all versions; this cannot be undone.
deleted | 已删除 {n} 个文档 | {n} documents deleted
counts | {d} 个文档 · {c} 个分块 | {d} documents · {c} chunks
embedding | 正在计算向量：{a} / {b}。现在已能按词检索。 | Embedding: {a} of {b} chunks. Search by words works already.
vectors | 向量 | Vectors
embedded | 向量已全部就绪 | All chunks embedded
noEncoder | 此服务器没有向量模型，只按词检索 | No embedding model: search is by words
drop | 把文件或文件夹拖到这里 | Drop files or folders here
dropAbout | 同名文件会成为该文档的新版本。 | A file with a name that is there already becomes its new version.
choose | 选择文件 | Choose files
files | 要上传的文件 | Files to upload
paste | 粘贴文本 | Paste text
title | 标题 | Title
source | 来源 | Source
text | 文本 | Text
add | 添加 | Add
uploads | 上传 | Uploads
retryFailed | 重试失败的 | Retry failed
clearDone | 清除已完成 | Clear finished
leave | 取消 | Cancel
chunksN | {n} 个分块 | {n} chunks
filter | 按标题、来源或编号筛选 | Filter by title, source or id
shown | 显示 {a} / {b} | {a} of {b} shown
more | 加载更多 | Load more
all | 全部加载 | Load all
selected | 删除所选（{n}） | Delete selected ({n})
select | 选择 {title} | Select {title}
selectAll | 选择显示的全部 | Select all shown
none | 这里还没有文档。 | No documents here yet.
noMatch | 已加载的文档中没有符合的。 | None of the loaded documents matches.
documents | 文档 | Documents
chunks | 分块 | Chunks
versionShort | 版本 | Version
updated | 更新时间 | Updated
created | 创建时间 | Created
id | 编号 | Id
back | 返回文档列表 | Back to the documents
version | 版本 {n} | version {n}
versions | 版本 | Versions
current | 当前 | current
gone | 此版本的文本已不再保留。 | The text of this version is no longer kept.
noText | 文本已清除 | text gone
metadata | 元数据 | Metadata
outline | 目录 | Outline
showChunks | 显示分块 | Show chunks
copyText | 复制文本 | Copy text
page | 第 {n} 页 | page {n}
points | {n} 字 | {n} characters
part | 长文档的一部分。 | Part of a long document.
whole | 显示全文 | Show the whole document`);
say('up.', `
waiting | 等待 | waiting
sending | 上传中 | sending
reading | 提取中 | extracting
added | 已添加 | added
updated | 已更新 | updated
unchanged | 无变化 | unchanged
failed | 失败 | failed`);

/* ---- a document's text, also for the passages of the Ask page ---- */

/* The elements of a chunk's heading path. */
export const headings = x => (Array.isArray(x.heading_path) ? x.heading_path : []).filter(Boolean);

/* points: the text as an array of code points. `chunk` is tinted, `mark` highlighted (its element has the id hit), `spans`
 * are numbered, all as [start, end]. With `around` only so many points beside the chunk are drawn; onWhole runs after the
 * reader asked for the rest. */
export function sourceText(points, {chunk, mark, spans = [], around = Infinity, onWhole} = {}) {
  const box = h('div', {class: 'source'}), n = points.length, focus = chunk || [0, 0];
  const draw = reach => {
    const lo = Math.max(0, focus[0] - reach), hi = Math.min(n, (chunk ? focus[1] : 0) + reach);
    const cuts = [lo, hi, ...[chunk, mark, ...spans].filter(Boolean).flat().filter(x => x > lo && x < hi)].sort((a, b) => a - b).filter((x, i, all) => x !== all[i - 1]);
    const within = (span, a, b) => span && span[0] <= a && b <= span[1];
    const starts = new Map(spans.map((s, i) => [s[0], i + 1]));
    const out = [];
    let hit = null;
    for (let i = 0; i + 1 < cuts.length; i++) {
      const [a, b] = [cuts[i], cuts[i + 1]];
      if (starts.has(a)) out.push(h('span', {class: 'chunk-n', id: 'chunk-' + starts.get(a)}, String(starts.get(a))));
      const parts = lines(points.slice(a, b).join(''), a === 0 || points[a - 1] === '\n');
      if (within(mark, a, b)) {
        if (!hit) out.push(hit = h('mark', {id: 'hit'}));
        hit.append(...parts);
      } else if (within(chunk, a, b)) out.push(h('span', {class: 'chunk'}, parts));
      else out.push(...parts);
    }
    const part = lo > 0 || hi < n;
    box.replaceChildren(...(part ? [h('p', {class: 'cut'}, t('doc.part'), ' ', h('button', {type: 'button', class: 'link', onclick() { draw(Infinity); if (onWhole) onWhole(); }}, t('doc.whole')))] : []),
      h('pre', {lang: tongue(points.slice(focus[0], focus[0] + 200).join(''))}, out));
  };
  draw(around);
  return box;
}
/* Headings bold, the bars of tables faint; not a character changed. */
function lines(s, fresh) {
  const out = [], re = /^(#{1,6} .*)$|^\|[\s:|-]+\|$|^\|.*\|$/gm;
  let at = 0, m;
  while ((m = re.exec(s))) {
    if (!m.index && !fresh) continue;
    out.push(s.slice(at, m.index));
    at = re.lastIndex;
    if (m[1]) out.push(h('span', {class: 'heading'}, m[1]));
    else if (/^[\s:|-]+$/.test(m[0])) out.push(h('span', {class: 'faint'}, m[0]));
    else for (const x of m[0].split(/(\|)/)) out.push(x === '|' ? h('span', {class: 'faint'}, x) : x);
  }
  out.push(s.slice(at));
  return out;
}
/* Scrolls the box so that the highlighted passage can be read with what is before it. */
export function place(box) {
  const hit = box.querySelector('#hit');
  if (!hit) return;
  box.scrollTop = 0;
  const a = hit.getBoundingClientRect(), b = box.getBoundingClientRect();
  box.scrollTop = Math.max(0, a.top - b.top - Math.max(40, (b.height - a.height) / 3));
}

/* ---- the list ---- */

const base = c => '/v1/collections/' + encodeURIComponent(c);
const PAGE = 200, MOST = 20000;
let ui = null;
let docs = [], next = null, loadedFor = '', filter = '';
const chosen = new Set();

async function load(all) {
  const c = state.collection, mine = ui;
  if (loadedFor !== c) { docs = []; next = null; chosen.clear(); }
  do {
    const j = await api(base(c) + '/documents?limit=' + (all ? 1000 : PAGE) + (next ? '&after=' + encodeURIComponent(next) : ''), {signal: mine.signal});
    if (state.collection !== c || ui !== mine) return;
    docs = docs.concat(j.documents);
    next = j.has_more ? j.next : null;
    loadedFor = c;
  } while (all && next && docs.length < MOST);
  drawDocuments();
}
/* From the start again, as much as was shown. */
async function refresh() {
  if (!ui || ui.view !== 'list') return;
  const c = state.collection, mine = ui;
  try {
    const [, j] = await Promise.all([reloadCollections(), api(base(c) + '/documents?limit=' + Math.min(1000, Math.max(PAGE, docs.length)), {signal: mine.signal})]);
    if (ui !== mine || state.collection !== c) return;
    docs = j.documents;
    next = j.has_more ? j.next : null;
    loadedFor = c;
    for (const id of [...chosen]) if (!docs.some(d => d.id === id)) chosen.delete(id);
    drawCollections();
    drawHead();
    drawDocuments();
  } catch (e) {
    if (e.name !== 'AbortError' && ui === mine) ui.documents.replaceChildren(errorBox(e, refresh));
  }
}

function mountList(root, signal) {
  const input = h('input', {type: 'file', multiple: true, id: 'file', class: 'sr', tabindex: '-1', 'aria-label': t('doc.files'), onchange() { addFiles([...input.files].map(f => ({file: f, name: f.name}))); input.value = ''; }});
  ui = {view: 'list', root, signal, head: h('header', {id: 'collection-head'}), list: h('ul', {class: 'collections', id: 'collections'}), documents: h('div', {id: 'documents'}), uploads: h('section', {id: 'uploads', 'aria-label': t('doc.uploads')})};
  const drop = h('div', {class: 'drop', id: 'drop', ondragover(e) { e.preventDefault(); drop.classList.add('over'); }, ondragleave() { drop.classList.remove('over'); },
    ondrop(e) { e.preventDefault(); drop.classList.remove('over'); droppedFiles(e.dataTransfer).then(addFiles); }},
  h('span', {class: 'grow'}, h('b', {}, t('doc.drop')), h('span', {class: 'quiet'}, t('doc.dropAbout'))),
  input, h('button', {type: 'button', class: 'primary', id: 'choose', onclick: () => input.click()}, icon('upload'), t('doc.choose')),
  h('button', {type: 'button', id: 'paste', onclick: pasteText}, icon('edit'), t('doc.paste')));
  root.append(h('h1', {class: 'sr'}, t('page.documents')),
    h('div', {class: 'columns'}, h('section', {class: 'rail', 'aria-labelledby': 'collections-title'},
      h('div', {class: 'head'}, h('h2', {id: 'collections-title'}, t('doc.collections')), h('button', {type: 'button', class: 'ghost square', id: 'new', 'aria-label': t('doc.new'), title: t('doc.new'), onclick: newCollection}, icon('plus'))), ui.list),
    h('div', {class: 'stack'}, ui.head, drop, ui.uploads, ui.documents)));
  onCollection(() => { filter = ''; docs = []; next = null; loadedFor = ''; chosen.clear(); ui.documents.replaceChildren(spinner()); drawCollections(); drawHead(); refresh(); }, signal);
  ui.documents.append(spinner());
  drawCollections();
  drawHead();
  drawUploads();
  return refresh();
}

function drawCollections() {
  ui.list.replaceChildren(...collections().map(c => h('li', {}, h('button', {type: 'button', 'aria-current': c.name === state.collection ? 'true' : null, onclick() { state.collection = c.name; }},
    icon('folder'), h('span', {class: 'grow'}, h('b', {}, c.name), h('small', {}, t('doc.counts', {d: fmt.num(c.documents), c: fmt.num(c.chunks)}))), missing(c) > 0 && meter(c.vectors / c.chunks, {label: c.name})))));
}
const current = () => collections().find(c => c.name === state.collection);
const missing = c => (c && typeof c.vectors === 'number' ? Math.max(0, c.chunks - c.vectors) : 0);

let timer = 0;
function drawHead() {
  const c = current();
  clearTimeout(timer);
  if (!c) { ui.head.replaceChildren(h('div', {class: 'head'}, h('h2', {}, state.collection))); return; }
  const left = missing(c);
  ui.head.replaceChildren(h('div', {class: 'head'}, h('h2', {}, c.name), h('button', {type: 'button', id: 'settings', onclick: () => settings(c)}, icon('edit'), t('doc.settings')),
    c.name !== 'default' && h('button', {type: 'button', id: 'drop-collection', onclick: () => deleteCollection(c)}, icon('trash'), t('doc.delete'))),
  h('p', {class: 'quiet num', id: 'numbers'}, t('doc.counts', {d: fmt.num(c.documents), c: fmt.num(c.chunks)}), ' · ',
    h('span', {id: 'embedding', role: 'status', dataset: {missing: left}}, c.vectors === null ? t('doc.noEncoder') : left ? [t('doc.embedding', {a: fmt.num(c.vectors), b: fmt.num(c.chunks)}), ' ', meter(c.vectors / c.chunks, {label: t('doc.vectors')})]
      : c.chunks ? t('doc.embedded') : '')));
  if (left) timer = setTimeout(() => reloadCollections().then(() => { if (ui && ui.view === 'list') { drawCollections(); drawHead(); } }).catch(() => {}), 1500);
}

function matching() {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  return words.length ? docs.filter(d => words.every(w => (d.title + '\n' + d.source + '\n' + d.id).toLowerCase().includes(w))) : docs;
}
/* The end of a path says most. */
const short = s => (s.length > 44 && s.includes('/') ? '…/' + s.split('/').slice(-2).join('/') : s);
const nameOf = d => d.title || d.source || d.id;
function drawDocuments() {
  if (!docs.length && !next) { ui.documents.replaceChildren(empty(t('doc.none'), {label: t('doc.choose'), run: () => ui.root.querySelector('#file').click()})); ui.table = null; return; }
  if (!ui.table || !ui.documents.contains(ui.table)) {
    const input = h('input', {type: 'search', id: 'filter', class: 'grow', autocomplete: 'off', 'aria-label': t('doc.filter'), placeholder: t('doc.filter'), value: filter, oninput() { filter = input.value; drawDocuments(); }});
    ui.table = table(columns(), [], {caption: t('doc.documents'), onRow: d => navigate(addressOf(d.id))});
    ui.foot = h('div', {class: 'bar quiet'});
    ui.remove = h('button', {type: 'button', id: 'remove', class: 'danger', onclick: removeChosen});
    ui.documents.replaceChildren(h('div', {class: 'stack'}, h('div', {class: 'bar'}, input, ui.remove), ui.table, ui.foot));
  }
  const rows = matching(), c = current();
  ui.table.update(rows);
  drawChosen();
  ui.foot.replaceChildren(...[h('span', {class: 'grow', role: 'status', id: 'shown'}, rows.length || !filter ? t('doc.shown', {a: fmt.num(rows.length), b: fmt.num(Math.max(docs.length, c ? c.documents : 0))}) : t('doc.noMatch')),
    next && h('button', {type: 'button', id: 'more', onclick: () => guard(load(false))}, t('doc.more')), next && h('button', {type: 'button', id: 'all', onclick: () => guard(load(true))}, t('doc.all'))].filter(Boolean));
}
const guard = p => p.catch(e => { if (e.name !== 'AbortError') toast('error', errorTitle(e) + (e.message ? ': ' + e.message : '')); });
function drawChosen() {
  ui.remove.hidden = !chosen.size;
  ui.remove.replaceChildren(icon('trash'), t('doc.selected', {n: chosen.size}));
  const rows = matching(), box = ui.documents.querySelector('#every');
  if (box) { box.checked = rows.length > 0 && rows.every(d => chosen.has(d.id)); box.indeterminate = !box.checked && rows.some(d => chosen.has(d.id)); }
}
const addressOf = (id, query) => '#/documents/' + encodeURIComponent(id) + '?' + new URLSearchParams({collection: state.collection, ...query});
function columns() {
  const box = (id, label, on, change) => h('input', {type: 'checkbox', id, 'aria-label': label, checked: on, onclick: e => e.stopPropagation(), onchange: change});
  return [
    {key: 'box', sort: false, label: box('every', t('doc.selectAll'), false, e => { for (const d of matching()) if (e.target.checked) chosen.add(d.id); else chosen.delete(d.id); drawDocuments(); }),
      cell: d => box(null, t('doc.select', {title: nameOf(d)}), chosen.has(d.id), e => { if (e.target.checked) chosen.add(d.id); else chosen.delete(d.id); drawChosen(); })},
    {key: 'title', label: t('doc.title'), link: true, value: nameOf, cell: nameOf},
    {key: 'source', label: t('doc.source'), cell: d => h('span', {class: 'path', title: d.source}, short(d.source))},
    {key: 'chunks', label: t('doc.chunks'), num: true},
    {key: 'version', label: t('doc.versionShort'), num: true},
    {key: 'updated_at', label: t('doc.updated'), num: true, cell: d => fmt.date(d.updated_at)},
  ];
}

/* ---- collections: create, settings, delete ---- */

/* In a dialog: false keeps it open, the reason stands in `at`. */
const tried = (at, work) => work().then(() => true, e => { at.replaceChildren(errorBox(e)); return false; });

async function newCollection() {
  const why = h('div'), name = h('input', {id: 'new-name', required: true, maxlength: 64, pattern: '[A-Za-z0-9_.\\-]{1,64}', autocomplete: 'off', spellcheck: 'false'});
  const made = await dialog({title: t('doc.new'), body: [h('label', {}, t('doc.name'), name), h('p', {class: 'quiet'}, t('doc.nameRule')), why], actions: [{label: t('app.cancel')},
    {label: t('doc.create'), kind: 'primary', value: true, run: () => tried(why, async () => { await api(base(name.value), {method: 'PUT', body: {}}); await reloadCollections(); })}]});
  if (made) state.collection = name.value;
}
async function settings(c) {
  const why = h('div'), text = h('textarea', {id: 'prompt', rows: 8, value: c.settings.system_prompt || ''});
  const changed = await dialog({title: t('doc.settings') + ' · ' + c.name, wide: true, body: [h('label', {}, t('doc.prompt'), text), h('p', {class: 'quiet'}, t('doc.promptAbout')), why], actions: [{label: t('app.cancel')},
    {label: t('doc.save'), kind: 'primary', value: true, run: () => tried(why, async () => {
      const {system_prompt: old, ...rest} = c.settings;
      await api(base(c.name), {method: 'PUT', body: {settings: text.value.trim() ? {...rest, system_prompt: text.value} : rest}});
      await reloadCollections();
    })}]});
  if (changed) toast('ok', t('doc.saved'));
  if (changed && ui && ui.view === 'list') drawHead();
}
async function deleteCollection(c) {
  const why = h('div'), name = h('input', {id: 'confirm', autocomplete: 'off', spellcheck: 'false', oninput: () => { button().disabled = name.value !== c.name; }});
  const open = dialog({title: t('doc.deleteCollection'), body: [h('label', {}, h('span', {}, t('doc.deleteTyped', {name: c.name, n: fmt.num(c.documents)})), name), why], actions: [{label: t('app.cancel')},
    {label: t('doc.delete'), kind: 'danger', value: true, run: () => name.value === c.name && tried(why, async () => { await api(base(c.name), {method: 'DELETE'}); await reloadCollections(); })}]});
  const button = () => open.element.querySelector('button.danger');
  button().disabled = true;
  await open;
}
async function confirmDelete(title) {
  return dialog({title, body: h('p', {}, t('doc.deleteAbout')), actions: [{label: t('app.cancel')}, {label: t('doc.delete'), kind: 'danger', value: true}]});
}
async function removeChosen() {
  if (!await confirmDelete(t('doc.deleteMany', {n: chosen.size}))) return;
  const ids = [...chosen];
  let n = 0;
  try {
    for (let i = 0; i < ids.length; i += 500) {
      const j = await api(base(state.collection) + '/documents', {method: 'DELETE', body: {filters: {document_id: ids.slice(i, i + 500)}}});
      n += j.deleted;
    }
    chosen.clear();
    toast('ok', t('doc.deleted', {n: fmt.num(n)}));
  } catch (e) {
    toast('error', errorTitle(e) + (e.message ? ': ' + e.message : ''));
  }
  refresh();
}

/* ---- uploads: three at a time; they go on while other pages are open ---- */

const AT_ONCE = 3;
let queue = [];
const OVER = ['added', 'updated', 'unchanged', 'failed'];

/* Files of dropped folders, with their paths. */
async function droppedFiles(transfer) {
  const entries = [...transfer.items].map(i => i.webkitGetAsEntry && i.webkitGetAsEntry()).filter(Boolean), out = [];
  const asked = (o, call) => new Promise((ok, no) => o[call](ok, no));
  async function walk(e, path) {
    if (out.length >= 5000) return;
    if (e.isFile) out.push({file: await new Promise((ok, no) => e.file(ok, no)), name: path + e.name});
    else {
      const reader = e.createReader();
      for (let some; (some = await asked(reader, 'readEntries')).length;) for (const x of some) await walk(x, path + e.name + '/');
    }
  }
  if (!entries.length) return [...transfer.files].map(f => ({file: f, name: f.name}));
  for (const e of entries) await walk(e, '');
  return out;
}
/* The name is the id, so that the same file again is a new version; the server wants at most 512 bytes of it. */
function idOf(name) {
  const id = name.replace(/\//g, ':').replace(/[\u0000-\u001f\u007f]/g, '');
  return id && new TextEncoder().encode(id).length <= 512 ? id : null;
}
function addFiles(list) {
  queue.push(...list.map(({file, name}) => ({kind: 'file', file, name, size: file.size, collection: state.collection, state: 'waiting', sent: 0})));
  pump();
}
async function pasteText() {
  const title = h('input', {id: 'paste-title', maxlength: 300, autocomplete: 'off'}), source = h('input', {id: 'paste-source', autocomplete: 'off', maxlength: 1000}), text = h('textarea', {id: 'paste-text', rows: 10, required: true});
  const ok = await dialog({title: t('doc.paste'), wide: true, body: [h('label', {}, t('doc.title'), title), h('label', {}, t('doc.source'), source), h('label', {}, t('doc.text'), text)],
    actions: [{label: t('app.cancel')}, {label: t('doc.add'), kind: 'primary', value: true, run: () => Boolean(text.value.trim())}]});
  if (!ok) return;
  const body = {text: text.value, ...(title.value.trim() ? {title: title.value.trim()} : {}), ...(source.value.trim() ? {source: source.value.trim()} : {})};
  queue.push({kind: 'text', body, name: title.value.trim() || text.value.trim().slice(0, 40), size: new Blob([text.value]).size, collection: state.collection, state: 'waiting', sent: 0});
  pump();
}
function pump() {
  for (const u of queue) {
    if (queue.filter(x => x.request).length >= AT_ONCE) break;
    if (u.state === 'waiting' && !u.request) send(u);
  }
  drawUploads();
}
function send(u) {
  const x = u.request = new XMLHttpRequest(), used = authHeaders().Authorization || '';
  let body;
  x.open('POST', base(u.collection) + '/documents');
  x.setRequestHeader('Accept', 'application/json');
  for (const [k, v] of Object.entries(authHeaders())) x.setRequestHeader(k, v);
  if (u.kind === 'text') {
    x.setRequestHeader('Content-Type', 'application/json');
    body = JSON.stringify(u.body);
  } else {
    body = new FormData();
    if (idOf(u.name)) body.append('id', idOf(u.name));
    body.append('source', u.name.replace(/[\u0000-\u001f\u007f]/g, '').slice(0, 1000));
    body.append('file', u.file, u.name.split('/').pop());
  }
  u.state = 'sending';
  u.sent = 0;
  u.error = null;
  x.upload.onprogress = e => { u.sent = e.lengthComputable && e.total ? e.loaded / e.total : 0; drawUpload(u); };
  x.upload.onload = () => { u.sent = 1; if (u.state === 'sending') u.state = 'reading'; drawUpload(u); };
  x.onerror = () => over(u, new ApiError({status: 0}));
  x.onabort = () => { queue = queue.filter(q => q !== u); u.request = null; pump(); };
  x.onload = async () => {
    let j = {};
    try { j = JSON.parse(x.responseText); } catch { /* the status says enough */ }
    if (x.status === 401 && await askKey(used)) { u.request = null; u.state = 'waiting'; pump(); return; }
    if (x.status >= 200 && x.status < 300) { Object.assign(u, {result: j}); over(u, null, j.status); }
    else over(u, new ApiError({...(j.error || {}), status: x.status}));
  };
  x.send(body);
}
function over(u, error, status) {
  u.request = null;
  u.error = error;
  u.state = error ? 'failed' : status || 'added';
  pump();
  later();
}
/* One look at the list for a burst of uploads. */
let soon = 0;
function later() { clearTimeout(soon); soon = setTimeout(refresh, queue.some(u => u.request) ? 1500 : 150); }

function uploadRow(u) {
  const kind = u.state === 'failed' ? 'bad' : u.state === 'unchanged' ? '' : OVER.includes(u.state) ? 'yes' : '';
  const bar = u.state === 'sending' || u.state === 'waiting' ? meter(u.sent, {label: u.name}) : u.state === 'reading' ? h('span', {class: 'busy', 'aria-hidden': 'true'}) : null;
  const note = u.error ? [errorTitle(u.error), u.error.message].filter(Boolean).join(': ') : u.result && typeof u.result.chunks === 'number' ? t('doc.chunksN', {n: fmt.num(u.result.chunks)}) : '';
  return h('li', {dataset: {state: u.state}}, h('span', {class: 'grow'}, h('b', {}, u.result ? h('a', {href: '#/documents/' + encodeURIComponent(u.result.id) + '?' + new URLSearchParams({collection: u.collection})}, u.name) : u.name),
    h('small', {class: u.error ? 'why' : null}, [fmt.bytes(u.size), u.collection !== state.collection && u.collection, note].filter(Boolean).join(' · '))), bar,
  h('span', {class: 'badge ' + kind}, t('up.' + u.state) + (u.state === 'sending' ? ' ' + fmt.percent(u.sent) : '')),
  u.state === 'failed' && h('button', {type: 'button', class: 'ghost square retry', 'aria-label': t('app.retry') + ': ' + u.name, onclick() { u.state = 'waiting'; pump(); }}, icon('retry')),
  !OVER.includes(u.state) && h('button', {type: 'button', class: 'ghost square', 'aria-label': t('doc.leave') + ': ' + u.name, onclick() { if (u.request) u.request.abort(); else { queue = queue.filter(q => q !== u); drawUploads(); } }}, icon('x')));
}
function drawUpload(u) {
  if (!ui || ui.view !== 'list') return;
  const row = ui.uploads.querySelectorAll('li')[queue.indexOf(u)];
  if (row) row.replaceWith(uploadRow(u));
}
function drawUploads() {
  if (!ui || ui.view !== 'list') return;
  ui.uploads.hidden = !queue.length;
  const failed = queue.filter(u => u.state === 'failed'), done = queue.filter(u => OVER.includes(u.state));
  ui.uploads.replaceChildren(h('div', {class: 'head'}, h('h3', {role: 'status'}, t('doc.uploads') + ' ' + done.length + ' / ' + queue.length),
    failed.length > 0 && h('button', {type: 'button', id: 'retry-failed', onclick() { for (const u of failed) u.state = 'waiting'; pump(); }}, icon('retry'), t('doc.retryFailed')),
    done.length > 0 && h('button', {type: 'button', class: 'ghost', id: 'clear-done', onclick() { queue = queue.filter(u => !OVER.includes(u.state)); drawUploads(); }}, t('doc.clearDone'))),
  h('ul', {class: 'uploads'}, queue.map(uploadRow)));
}

/* ---- one document ---- */

async function mountDocument(root, signal, p) {
  const id = p.path[0], c = p.query.collection || state.collection, version = p.query.version;
  if (c !== state.collection && collections().some(x => x.name === c)) state.collection = c;
  ui = {view: 'document', root, signal};
  root.append(spinner());
  const mine = ui, url = base(c) + '/documents/' + encodeURIComponent(id);
  let d, versions;
  try {
    [d, versions] = await Promise.all([api(url + (version ? '?version=' + encodeURIComponent(version) : ''), {signal}), api(url + '/versions', {signal})]);
  } catch (e) {
    if (e.name !== 'AbortError' && ui === mine) root.replaceChildren(h('h1', {}, id), errorBox(e), h('p', {}, h('a', {href: '#/documents'}, t('doc.back'))));
    return;
  }
  if (ui === mine) drawDocument(root, d, versions.versions, c, p.query);
}
function drawDocument(root, d, versions, c, query) {
  const points = typeof d.text === 'string' ? Array.from(d.text) : null, spans = d.chunk_spans || [];
  const given = [query.start, query.end].map(Number), mark = points && given[1] > given[0] && given[1] <= points.length ? given : null;
  const box = h('div', {class: 'card doc-text', id: 'text', tabindex: '0', role: 'region', 'aria-label': t('doc.text')});
  const number = h('input', {type: 'checkbox', id: 'show-chunks', onchange: fill});
  function fill() {
    if (!points) { box.replaceChildren(empty(t('doc.gone'))); return; }
    box.replaceChildren(sourceText(points, {chunk: mark, mark, spans: number.checked ? spans.map(s => [s.start, s.end]) : [], around: mark ? 30000 : 60000}));
  }
  const show = i => { if (!number.checked) { number.checked = true; fill(); } const at = box.querySelector('#chunk-' + (i + 1)) || (fillWhole(), box.querySelector('#chunk-' + (i + 1))); if (at) at.scrollIntoView({block: 'center'}); };
  const fillWhole = () => { const b = box.querySelector('.cut button'); if (b) b.click(); };
  const remove = async () => {
    if (!await confirmDelete(t('doc.deleteOne', {title: nameOf(d)}))) return;
    try {
      await api(base(c) + '/documents/' + encodeURIComponent(d.id), {method: 'DELETE'});
      toast('ok', t('doc.deleted', {n: 1}));
      loadedFor = '';
      navigate('#/documents');
    } catch (e) { toast('error', errorTitle(e)); }
  };
  const outline = spans.map((s, i) => [headings(s), i]).filter(([path], i, all) => path.length && (!i || path.join('\n') !== all[i - 1][0].join('\n')));
  const meta = Object.entries(d.metadata || {});
  root.replaceChildren(h('p', {}, h('a', {href: '#/documents', class: 'back'}, icon('prev'), t('doc.back'))),
    h('div', {class: 'head'}, h('h1', {}, nameOf(d)), points && h('button', {type: 'button', onclick: () => copy(d.text)}, icon('copy'), t('doc.copyText')), h('button', {type: 'button', id: 'delete', onclick: remove}, icon('trash'), t('doc.delete'))),
    h('div', {class: 'badges'}, h('span', {class: 'badge'}, c), h('span', {class: 'badge'}, t('doc.version', {n: d.version})), points && h('span', {class: 'badge'}, t('doc.points', {n: fmt.num(points.length)})), d.chunks !== undefined && h('span', {class: 'badge'}, t('doc.chunksN', {n: fmt.num(d.chunks)}))),
    h('div', {class: 'columns flip'}, h('div', {class: 'stack'}, spans.length > 0 && h('label', {class: 'bar'}, number, t('doc.showChunks')), box), h('aside', {class: 'stack', 'aria-label': t('doc.metadata')},
      h('section', {class: 'card'}, h('h2', {}, t('doc.metadata')), h('dl', {class: 'kv'}, [[t('doc.id'), d.id], [t('doc.source'), d.source || '–'], [t('doc.created'), fmt.date(d.created_at)], [t('doc.updated'), fmt.date(d.updated_at)],
        ...meta.map(([k, v]) => [k, Array.isArray(v) ? v.join(', ') : String(v)])].map(([k, v]) => [h('dt', {}, k), h('dd', {}, v)]))),
      h('section', {class: 'card'}, h('h2', {}, t('doc.versions')), h('ul', {class: 'links', id: 'versions'}, versions.map(v => h('li', {}, h('a', {href: addressOf(d.id, {collection: c, version: v.version}), 'aria-current': v.version === d.version ? 'true' : null}, t('doc.version', {n: v.version})),
        h('small', {}, [fmt.date(v.updated_at), v.current && t('doc.current'), !v.text_available && t('doc.noText')].filter(Boolean).join(' · ')))))),
      outline.length > 0 && h('section', {class: 'card'}, h('h2', {}, t('doc.outline')), h('ul', {class: 'links outline'}, outline.slice(0, 300).map(([path, i]) => h('li', {style: {'padding-left': (path.length - 1) * 12 + 'px'}}, h('button', {type: 'button', class: 'link', onclick: () => show(i)}, path[path.length - 1]), spans[i].page && h('small', {}, t('doc.page', {n: spans[i].page})))))))));
  fill();
  if (mark) box.querySelector('#hit').scrollIntoView({block: 'nearest'});
}

page({
  name: 'documents', title: {zh: '文档', en: 'Documents'},
  mount(root, signal) {
    const p = params();
    return p.path.length ? mountDocument(root, signal, p) : mountList(root, signal);
  },
  unmount() { ui = null; clearTimeout(timer); },
});
