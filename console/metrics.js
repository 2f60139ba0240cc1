/* What a ranking is worth: the definitions of `ragd eval` (src/pipeline/evaluate_metrics.c), to the last digit. */

export const METRICS = ['recall@1', 'recall@5', 'recall@10', 'mrr@10', 'ndcg@10'];

const dcg = (grades, k) => grades.slice(0, k).reduce((sum, g, i) => sum + g / Math.log2(i + 2), 0);
const recall = (grades, k, n) => grades.slice(0, k).filter(g => g > 0).length / n;

/* grades: of what was found, in its order, 0: not relevant. ideal: of everything that is relevant. */
export function measure(grades, ideal) {
  const first = grades.slice(0, 10).findIndex(g => g > 0);
  return {
    'recall@1': recall(grades, 1, ideal.length), 'recall@5': recall(grades, 5, ideal.length), 'recall@10': recall(grades, 10, ideal.length),
    'mrr@10': first < 0 ? 0 : 1 / (first + 1), 'ndcg@10': dcg(grades, 10) / dcg([...ideal].sort((a, b) => b - a), 10),
  };
}

/* ---- labelled questions, as tools/eval_sample.py reads them ---- */

const plain = s => s.replace(/\s+/g, '');
/* label: {doc: the end of a source, an id or a title, must_contain?: [text that stands in the chunk]}. */
export function isRelevant(hit, {doc, must_contain: texts = []}) {
  const place = hit.source || hit.document_id;
  if (place !== doc && !place.endsWith('/' + doc) && hit.document_id !== doc && hit.title !== doc &&
    !hit.document_id.endsWith(':' + doc.replaceAll('/', ':'))) return false;
  const text = plain(hit.title + ' ' + hit.heading_path.join(' ') + ' ' + hit.text);
  return texts.every(x => text.includes(plain(x)));
}
/* The labels of a question stand for one another, any of them is enough, unless it needs all. rank: of the first
 * relevant hit, 0: none. */
export function judge(question, hits) {
  const ranks = question.relevant.map(label => hits.findIndex(hit => isRelevant(hit, label)) + 1), found = ranks.filter(Boolean);
  const rank = found.length ? Math.min(...found) : 0, all = question.need === 'all', grades = new Array(hits.length).fill(0);
  if (all) for (const r of found) grades[r - 1]++;
  else if (rank) grades[rank - 1] = 1;
  const values = measure(grades, new Array(all ? ranks.length : 1).fill(1));
  if (all) for (const k of [1, 5, 10]) values['recall@' + k] = found.filter(r => r <= k).length / ranks.length;
  return {rank, values};
}

/* ---- bootstrap ---- */

const RESAMPLES = 2000;
/* The high half of a 32 x 32 bit product. */
function mulHigh(a, b) {
  const a0 = a & 65535, a1 = a >>> 16, b0 = b & 65535, b1 = b >>> 16;
  const low = (a0 * b0) >>> 0, x = (a1 * b0) >>> 0, y = (a0 * b1) >>> 0;
  return (a1 * b1 + (x >>> 16) + (y >>> 16) + (((low >>> 16) + (x & 65535) + (y & 65535)) >>> 16)) >>> 0;
}
/* SplitMix64 (Steele, Lea & Flood 2014) in two halves; the high half of each number. */
function splitMix(seed) {
  let hi = 0, lo = seed >>> 0, h, l;
  const mul = (ch, cl) => {
    const high = mulHigh(l, cl) + Math.imul(h, cl) + Math.imul(l, ch);
    l = Math.imul(l, cl) >>> 0;
    h = high >>> 0;
  };
  const fold = n => {
    const x = ((l >>> n) | (h << (32 - n))) >>> 0;
    h = (h ^ (h >>> n)) >>> 0;
    l = (l ^ x) >>> 0;
  };
  return () => {
    const sum = lo + 0x7F4A7C15;
    lo = sum >>> 0;
    hi = (hi + 0x9E3779B9 + (sum > 0xFFFFFFFF ? 1 : 0)) >>> 0;
    h = hi;
    l = lo;
    fold(30);
    mul(0xBF58476D, 0x1CE4E5B9);
    fold(27);
    mul(0x94D049BB, 0x133111EB);
    fold(31);
    return h;
  };
}
/* [mean, low, high] of each list of numbers, all of one length: the 95 % bootstrap interval of its mean. */
export function intervals(lists) {
  const n = lists.length ? lists[0].length : 0, next = splitMix(20240601);
  if (!n) return lists.map(() => [0, 0, 0]);
  const means = lists.map(() => new Float64Array(RESAMPLES)), sums = new Float64Array(lists.length);
  for (let r = 0; r < RESAMPLES; r++) {
    sums.fill(0);
    for (let i = 0; i < n; i++) {
      const at = Math.floor(next() * n / 4294967296);
      for (let k = 0; k < lists.length; k++) sums[k] += lists[k][at];
    }
    for (let k = 0; k < lists.length; k++) means[k][r] = sums[k] / n;
  }
  return lists.map((list, k) => {
    const sorted = means[k].sort();
    return [list.reduce((a, b) => a + b, 0) / n, sorted[RESAMPLES * 25 / 1000], sorted[RESAMPLES * 975 / 1000 - 1]];
  });
}
export const mean = list => (list.length ? list.reduce((a, b) => a + b, 0) / list.length : null);
export function quantile(list, p) {
  const sorted = [...list].sort((a, b) => a - b);
  return sorted.length ? sorted[Math.floor((sorted.length - 1) * p)] : null;
}
