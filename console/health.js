/* The state of the server: readiness, dependencies, models and money, knowledge, latency, build, configuration. */
import {api, page, h, icon, t, say, hasText, STAGES, stageName, fmt, meter, errorBox, spinner, state} from './frame.js';

say('he.', `
ok | 正常 | ok
starting | 正在启动 | starting
stopping | 正在停止 | stopping
rebuilding | 正在重建 | rebuilding
embedding | 正在向量化 | embedding
off | 关闭 | off
down | 不可用 | down
partial | 部分可用 | partial
unreachable | 无法连接 | unreachable
closed | 正常 | closed
open | 熔断 | open
half_open | 试探 | half-open
half-open | 试探 | half-open
no model | 没有模型 | no model
exceeded | 预算已用完 | budget used up
warning | 预算将尽 | budget nearly used
ready | 可以服务 | Ready
notReady | 尚不可服务 | Not ready
up | 已运行 {d} | up {d}
live | 每 5 秒更新 | updates every 5 s
paused | 更新中断：{why} | not updated: {why}
dependencies | 组成部分 | Parts
index | 索引 | Index
encoder | 向量模型 | Encoder
llm | 语言模型 | Language models
writer | 写入 | Writer
traffic | 问题与延迟 | Questions and latency
answered | 已回答 | answered
degraded | 降级 | degraded
rejected | 被拒绝 | rejected
error | 出错 | errors
now | 进行中 | at work
connections | 连接 | connections
byStage | 各阶段延迟 | Latency by stage
stage | 阶段 | Stage
n | 次数 | times
noQuestions | 还没有问题。 | No question yet.
spread | p50–p99 | p50 to p99
models | 语言模型 | Language models
noLlm | 没有语言模型：回答是带引用的原文摘录。 | No language model: answers are cited extracts.
model | 模型 | Model
class | 档 | Class
price | 价格 输入/输出（¥/百万词元） | Price in/out (¥ a million tokens)
breaker | 断路器 | Breaker
probe | {s} 秒后试探 | next probe in {s} s
failures | 连续失败 | failures in a row
opened | 熔断次数 | times opened
today | 今日花费 | Spent today
month | 本月花费 | Spent this month
of | {a} / {b} | {a} of {b}
noLimit | 不限 | no limit
reserved | 另有 {a} 已预留 | {a} more reserved
knowledge | 知识库 | Knowledge
name | 名称 | Name
documents | 文档 | Documents
chunks | 分块 | Chunks
vectors | 向量 | Vectors
segments | 索引段 | segments
onDisk | 索引大小 | index size
vectorBytes | 向量大小 | vector size
rate | 向量化速度 | embedding speed
perS | {n} 段/秒 | {n} passages/s
memory | 内存 | memory
build | 程序与机器 | Build and machine
version | 版本 | version
compiler | 编译器 | compiler
cpu | 处理器 | CPU
cores | 核 | cores
features | 指令集 | instructions
libraries | 库 | libraries
profile | 方案 | profile
started | 启动于 | started
kernels | 计算核 | kernels
digest | 摘要 | digest
dims | 维 | dimensions
config | 生效的配置 | Configuration in effect
find | 查找配置项、值或来源 | Find a key, a value, an origin
key | 配置项 | Key
value | 值 | Value
origin | 来源 | Origin
changed | 只看改过的 | changed only
noMatch | 没有匹配的配置项。 | No key matches.
noRight | 当前密钥没有 admin 权限，所以不显示配置。用右上角的钥匙换一个密钥。 | This key lacks the scope admin, so the configuration is not shown. Give another one with the key at the top.
count | {n} 项 | {n} keys`);

const EVERY_MS = 5000;
let config = null, find = '', changed = false, ui = null;
const word = s => (hasText('he.' + s) ? t('he.' + s) : s);
const kind = s => (['ok', 'closed'].includes(s) ? 'yes' : ['down', 'open', 'exceeded', 'unreachable'].includes(s) ? 'bad' : s === 'off' ? '' : 'no');
const badge = s => h('span', {class: 'badge ' + kind(s)}, word(s));
const facts = pairs => h('dl', {class: 'kv'}, pairs.filter(p => p[1] !== undefined && p[1] !== null && p[1] !== '').map(([k, v]) => [h('dt', {}, k), h('dd', {}, v)]));
function duration(s) {
  const unit = (n, u) => new Intl.NumberFormat(state.language === 'zh' ? 'zh-CN' : 'en', {style: 'unit', unit: u, unitDisplay: 'short'}).format(n);
  return s >= 86400 ? unit(Math.floor(s / 86400), 'day') + ' ' + unit(Math.floor(s % 86400 / 3600), 'hour') : s >= 3600 ? unit(Math.floor(s / 3600), 'hour') + ' ' + unit(Math.floor(s % 3600 / 60), 'minute') : s >= 60 ? unit(Math.floor(s / 60), 'minute') : unit(Math.floor(s), 'second');
}

/* Prometheus text: {stage: {count, quantile(p) in ms}}, complexities together. */
export function latencies(text) {
  const stages = {};
  for (const [, labels, value] of text.matchAll(/^production_rag_latency_seconds_bucket\{([^}]*)\} (\S+)/gm)) {
    const {stage, le} = Object.fromEntries([...labels.matchAll(/(\w+)="([^"]*)"/g)].map(m => [m[1], m[2]]));
    const buckets = (stages[stage] ||= new Map()), at = le === '+Inf' ? Infinity : Number(le);
    buckets.set(at, (buckets.get(at) || 0) + Number(value));
  }
  return Object.fromEntries(Object.entries(stages).map(([stage, map]) => {
    const buckets = [...map].sort((a, b) => a[0] - b[0]), count = buckets.length ? buckets[buckets.length - 1][1] : 0;
    return [stage, {count, quantile(p) {
      let low = 0, before = 0;
      for (const [le, n] of buckets) {
        if (n >= p * count && n > before) return (le === Infinity ? low : low + (le - low) * (p * count - before) / (n - before)) * 1000;
        low = le;
        before = n;
      }
      return null;
    }}];
  }));
}

/* ---- sections: each gives its nodes; one whose data is the same as before is not touched ---- */

function top({health, stats}) {
  const ready = health && health.status === 'ok';
  return [h('div', {class: 'state ' + (ready ? 'yes' : 'bad')}, icon(ready ? 'check' : 'warn'), h('strong', {}, t(ready ? 'he.ready' : 'he.notReady')), health && !ready && badge(health.status)),
    health && h('span', {class: 'quiet'}, 'ragd ', health.version, ' · ', t('he.up', {d: duration(health.uptime_s)})),
    stats && h('span', {class: 'quiet'}, t('he.memory'), ' ', fmt.bytes(Object.values(stats.memory_bytes).reduce((a, b) => a + b, 0)), ' · ', t('he.connections'), ' ', fmt.num(stats.connections))];
}
function dependencies({health}) {
  const detail = d => Object.entries(d).filter(([k, v]) => !['status', 'budget'].includes(k) && v !== 0).map(([k, v]) => k.replace(/_/g, ' ') + ' ' + (typeof v === 'number' ? fmt.num(v) : v)).join(' · ');
  return [h('ul', {class: 'tiles'}, Object.entries(health.dependencies).map(([name, d]) => h('li', {}, h('div', {class: 'line'}, h('b', {}, word(name)), badge(d.status), d.budget && d.budget !== 'ok' && badge(d.budget)), h('p', {class: 'quiet'}, detail(d)))))];
}
function traffic({stats, metrics}) {
  const q = stats.queries, l = metrics ? latencies(metrics) : {}, rows = ['total', ...STAGES].filter(s => l[s] && l[s].count), most = rows.length ? Math.max(...rows.map(s => l[s].quantile(.99))) : 1;
  const number = (name, v, bad) => h('div', {class: bad && v ? 'down' : ''}, h('dt', {}, name), h('dd', {class: 'num'}, v));
  return [h('dl', {class: 'numbers'}, number(t('he.answered'), fmt.num(q.ok)), number(t('he.degraded'), fmt.num(q.degraded)), number(t('he.rejected'), fmt.num(q.rejected)), number(t('he.error'), fmt.num(q.error), q.error),
    number(t('he.now'), t('he.of', {a: fmt.num(q.concurrent), b: fmt.num(q.max_concurrent)})), number('p50', q.ok ? fmt.ms(stats.latency_ms.p50) : '–'), number('p95', q.ok ? fmt.ms(stats.latency_ms.p95) : '–'), number('p99', q.ok ? fmt.ms(stats.latency_ms.p99) : '–')),
  h('h3', {}, t('he.byStage')), rows.length ? h('div', {class: 'table', tabindex: '0', role: 'group', 'aria-label': t('he.byStage')}, h('table', {}, h('thead', {}, h('tr', {}, h('th', {scope: 'col'}, t('he.stage')), [t('he.n'), 'p50', 'p95', 'p99'].map(x => h('th', {scope: 'col', class: 'num'}, x)), h('th', {scope: 'col', class: 'wide-only'}, t('he.spread')))),
    h('tbody', {}, rows.map(s => {
      const p = [.5, .95, .99].map(x => l[s].quantile(x));
      return h('tr', {}, h('th', {scope: 'row'}, stageName(s)), h('td', {class: 'num'}, fmt.num(l[s].count)), p.map(x => h('td', {class: 'num'}, fmt.ms(x))),
        h('td', {class: 'wide-only'}, h('span', {class: 'span', 'aria-hidden': 'true'}, h('i', {style: {left: p[0] / most * 100 + '%', width: Math.max(1, (p[2] - p[0]) / most * 100) + '%'}}))));
    })))) : h('p', {class: 'quiet'}, t('he.noQuestions'))];
}
function models({health, stats, config: c}) {
  const names = Object.keys(health.breakers), known = c && c.values && c.values['llm.models'] ? c.values['llm.models'].value : [], l = stats.llm;
  if (!names.length) return [h('p', {class: 'quiet'}, t('he.noLlm'))];
  const money = (name, spent, reserved, limit) => h('div', {}, h('h3', {}, name), h('p', {class: 'num'}, limit ? t('he.of', {a: fmt.cny(spent), b: fmt.cny(limit)}) : fmt.cny(spent) + ' · ' + t('he.noLimit'), reserved > 0 && h('span', {class: 'quiet'}, ' ', t('he.reserved', {a: fmt.cny(reserved)}))), limit > 0 && meter(spent / limit, {label: name}));
  return [h('div', {class: 'pair money'}, money(t('he.today'), l.day_spent_cny, l.day_open_cny, l.day_limit_cny), money(t('he.month'), l.month_spent_cny, l.month_open_cny, l.month_limit_cny)),
    h('div', {class: 'table', tabindex: '0', role: 'group', 'aria-label': t('he.models')}, h('table', {}, h('thead', {}, h('tr', {}, [t('he.model'), t('he.class'), t('he.price')].map(x => h('th', {scope: 'col'}, x)), h('th', {scope: 'col'}, t('he.breaker')), [t('he.failures'), t('he.opened')].map(x => h('th', {scope: 'col', class: 'num'}, x)))),
      h('tbody', {}, names.map(n => {
        const b = health.breakers[n], m = (Array.isArray(known) ? known : []).find(x => x.name === n) || {};
        return h('tr', {}, h('th', {scope: 'row'}, n), h('td', {}, m.class || '–'), h('td', {class: 'num'}, m.price ? fmt.num(m.price.input) + ' / ' + fmt.num(m.price.output) : '–'), h('td', {}, badge(b.state), b.retry_in_ms > 0 && h('small', {}, ' ', t('he.probe', {s: Math.ceil(b.retry_in_ms / 1000)}))), h('td', {class: 'num'}, fmt.num(b.failures)), h('td', {class: 'num'}, fmt.num(b.times_opened)));
      }))))];
}
function knowledge({stats, collections: list}) {
  const e = stats.embedding, i = stats.index;
  return [facts([[t('he.segments'), fmt.num(i.segments)], [t('he.onDisk'), fmt.bytes(i.segment_bytes)], [t('he.vectorBytes'), fmt.bytes(e.vector_bytes)], [t('he.rate'), e.missing && e.passages_per_s ? t('he.perS', {n: fmt.num(e.passages_per_s, 0)}) : null]]),
    h('div', {class: 'table', tabindex: '0', role: 'group', 'aria-label': t('he.knowledge')}, h('table', {}, h('thead', {}, h('tr', {}, h('th', {scope: 'col'}, t('he.name')), [t('he.documents'), t('he.chunks')].map(x => h('th', {scope: 'col', class: 'num'}, x)), h('th', {scope: 'col'}, t('he.vectors')))),
      h('tbody', {}, list.map(c => h('tr', {}, h('th', {scope: 'row'}, c.name), h('td', {class: 'num'}, fmt.num(c.documents)), h('td', {class: 'num'}, fmt.num(c.chunks)),
        h('td', {class: 'num left'}, typeof c.vectors === 'number' ? [meter(c.chunks ? c.vectors / c.chunks : 1, {label: t('he.vectors') + ' ' + c.name}), ' ', c.vectors >= c.chunks ? '100%' : fmt.percent(Math.min(.999, c.vectors / c.chunks), 1)] : t('he.off')))))))];
}
function build({info}) {
  return [facts([[t('he.version'), info.version], [t('he.started'), fmt.date(info.started_at)], [t('he.profile'), info.profile], [t('he.cpu'), [info.cpu.name, info.cpu.cores && fmt.num(info.cpu.cores) + ' ' + t('he.cores')].filter(Boolean).join(' · ')], [t('he.features'), info.cpu.features],
    ...info.models.map(m => [t('he.encoder') + (info.models.length > 1 ? ' (' + m.role + ')' : ''), h('span', {}, m.name, ' · ', fmt.num(m.dimensions), ' ', t('he.dims'), ' · ', t('he.kernels'), ' ', m.kernels, h('br'), h('code', {class: 'quiet'}, t('he.digest') + ' ' + m.digest.slice(0, 16)))]),
    [t('he.compiler'), info.build.compiler], [t('he.libraries'), Object.entries(info.libraries).map(x => x.join(' ')).join(' · ')]])];
}

/* ---- configuration: asked for once, drawn when the search changes ---- */

const show = v => (v === null || v === undefined || v === '' ? '–' : typeof v === 'object' ? JSON.stringify(v) : String(v));
function rows() {
  const needle = find.trim().toLowerCase(), list = Object.entries(config.values).filter(([k, v]) => (!changed || !/^(default|profile)/.test(v.origin)) && (!needle || (k + ' ' + show(v.value) + ' ' + v.origin).toLowerCase().includes(needle)));
  ui.count.textContent = t('he.count', {n: list.length});
  ui.rows.replaceChildren(...(list.length ? list.map(([k, v]) => h('tr', {}, h('th', {scope: 'row'}, h('code', {}, k)), h('td', {}, h('code', {}, show(v.value))), h('td', {class: /^(default|profile)/.test(v.origin) ? 'quiet' : ''}, v.origin))) : [h('tr', {}, h('td', {colspan: 3, class: 'quiet'}, t('he.noMatch')))]));
}
function drawConfig(e) {
  if (!ui) return;
  if (e) { ui.config.replaceChildren(e.status === 403 ? h('p', {class: 'note warn'}, icon('key'), t('he.noRight')) : errorBox(e, loadConfig)); return; }
  ui.rows = h('tbody');
  ui.count = h('span', {class: 'quiet', role: 'status'});
  ui.config.replaceChildren(
    h('div', {class: 'bar'}, h('input', {type: 'search', id: 'he-find', class: 'grow', 'aria-label': t('he.find'), placeholder: t('he.find'), value: find, oninput: x => { find = x.target.value; rows(); }}),
      h('label', {}, h('input', {type: 'checkbox', id: 'he-changed', checked: changed, onchange: x => { changed = x.target.checked; rows(); }}), ' ', t('he.changed')), ui.count),
    ...config.notes.map(n => h('p', {class: 'note warn'}, icon('info'), n)),
    h('div', {class: 'table config', tabindex: '0', role: 'group', 'aria-label': t('he.config')}, h('table', {}, h('thead', {}, h('tr', {}, ['he.key', 'he.value', 'he.origin'].map(x => h('th', {scope: 'col'}, t(x))))), ui.rows)));
  rows();
}
async function loadConfig() {
  try {
    config = await api('/v1/config');
    drawConfig();
    if (ui && ui.data) drawSections();
  } catch (e) {
    config = null;
    if (e.name !== 'AbortError') drawConfig(e);
  }
}

/* ---- every 5 seconds while the page is seen ---- */

/* name, what draws it, what it draws; null: not known. */
const SECTIONS = [['dependencies', dependencies, d => d.health && d.health.dependencies], ['traffic', traffic, d => d.stats && [d.stats.queries, d.stats.latency_ms, d.metrics && d.metrics.match(/^production_rag_latency.*/gm)]],
  ['models', models, d => d.health && d.stats && [d.health.breakers, d.stats.llm, d.config]], ['knowledge', knowledge, d => d.stats && d.collections && [d.stats.embedding, d.stats.index, d.collections]], ['build', build, d => d.info]];
async function look(signal) {
  const r = await Promise.allSettled([
    fetch('/health', {signal, cache: 'no-store', credentials: 'omit'}).then(x => x.json()), /* 503 says what is missing */
    api('/v1/stats', {signal}), api('/metrics', {signal, raw: true, headers: {Accept: 'text/plain'}}).then(x => x.text()), api('/v1/collections?limit=1000', {signal}).then(x => x.collections), api('/v1/info', {signal})]);
  if (signal.aborted || !ui) return;
  const [health, stats, metrics, collections, info] = r.map(x => (x.status === 'fulfilled' ? x.value : null)), failed = r.find(x => x.status === 'rejected');
  ui.data = {health, stats, metrics, collections, info};
  update('top', [health, stats], () => top(ui.data));
  drawSections(failed);
  ui.live.textContent = failed ? t('he.paused', {why: failed.reason.status ? failed.reason.message : t('he.unreachable')}) : t('he.live');
  ui.live.classList.toggle('down', Boolean(failed));
}
function drawSections(failed) {
  const data = {...ui.data, config};
  for (const [name, make, of] of SECTIONS)
    if (of(data)) update(name, of(data), () => make(data));
    else if (failed && !ui.last[name]) update(name, String(failed.reason.status), () => [errorBox(failed.reason)]);
}
function update(name, data, make) {
  const key = JSON.stringify(data);
  if (ui.last[name] === key) return;
  ui.last[name] = key;
  const box = ui[name], at = document.activeElement && box.contains(document.activeElement) ? [...box.querySelectorAll('[tabindex]')].indexOf(document.activeElement) : -1;
  box.replaceChildren(...make().filter(Boolean));
  if (at >= 0 && box.querySelectorAll('[tabindex]')[at]) box.querySelectorAll('[tabindex]')[at].focus({preventScroll: true});
}

page({
  name: 'health',
  title: {zh: '状态', en: 'Health'},
  mount(root, signal) {
    ui = {last: {}, top: h('div', {class: 'bar'}, spinner()), live: h('span', {class: 'quiet'}), config: h('div', {class: 'stack'}, spinner())};
    const card = name => {
      const id = 'he-' + name;
      ui[name] = ui[name] || h('div', {class: 'stack'});
      return h('section', {class: 'card', 'aria-labelledby': id}, h('h2', {id}, t('he.' + name)), ui[name]);
    };
    root.append(h('div', {class: 'head'}, h('h1', {}, t('page.health')), ui.live), ui.top, h('div', {class: 'sections'}, [['dependencies', 'models', 'build'], ['traffic', 'knowledge']].map(names => h('div', {class: 'stack'}, names.map(card)))), card('config'));
    let id = 0;
    const tick = async () => {
      clearTimeout(id);
      if (signal.aborted) return;
      if (!document.hidden) await look(signal);
      if (!signal.aborted) { clearTimeout(id); id = setTimeout(tick, EVERY_MS); }
    };
    document.addEventListener('visibilitychange', () => { if (!document.hidden) tick(); }, {signal});
    signal.addEventListener('abort', () => clearTimeout(id));
    tick();
    loadConfig();
  },
  unmount() { ui = null; },
});
