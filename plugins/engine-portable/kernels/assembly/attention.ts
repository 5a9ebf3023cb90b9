// Causal attention of one segment, head by head, four queries at a time. Heads are padded to D4, the next multiple of four,
// in scratch memory; keys of a group are packed once for all of its heads.
import { exp4, max4, sum4 } from './math';

const HIDDEN: f32 = -1e30;

/** Shape of the segment in work: one call at a time, so module variables carry it. */
let D: i32 = 0;
let D4: i32 = 0;
let M4: i32 = 0;

/** Bytes of scratch that a segment needs. */
export function attentionScratch(m: i32, d: i32): usize {
  const d4 = (d + 3) & ~3;
  const m4 = (m + 7) & ~7;
  return usize((6 * m4 * d4 + 8 * m4 + 12 * d4) << 2);
}

/** rows of x [.., heads, D] -> packed [m, D4], and its transpose [D4, M4] where asked. */
function pack(x: usize, stride: i32, m: i32, rows: usize, columns: usize): void {
  memory.fill(rows, 0, usize((M4 * D4) << 2));
  for (let j = 0; j < m; j++) memory.copy(rows + ((j * D4) << 2), x + ((j * stride) << 2), usize(D << 2));
  for (let d = 0; d < D4; d += 4) {
    for (let j = 0; j < M4; j += 4) {
      const from = rows + ((j * D4 + d) << 2);
      const a = v128.load(from);
      const b = v128.load(from + (D4 << 2));
      const c = v128.load(from + (D4 << 3));
      const e = v128.load(from + D4 * 12);
      const ab = v128.shuffle<f32>(a, b, 0, 4, 1, 5);
      const AB = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
      const ce = v128.shuffle<f32>(c, e, 0, 4, 1, 5);
      const CE = v128.shuffle<f32>(c, e, 2, 6, 3, 7);
      const to = columns + ((d * M4 + j) << 2);
      v128.store(to, v128.shuffle<f32>(ab, ce, 0, 1, 4, 5));
      v128.store(to + (M4 << 2), v128.shuffle<f32>(ab, ce, 2, 3, 6, 7));
      v128.store(to + (M4 << 3), v128.shuffle<f32>(AB, CE, 0, 1, 4, 5));
      v128.store(to + M4 * 12, v128.shuffle<f32>(AB, CE, 2, 3, 6, 7));
    }
  }
}

/** Up to four rows of x [.., heads, D] -> packed [4, D4]; missing rows are zero. */
function packFour(x: usize, stride: i32, count: i32, four: usize): void {
  memory.fill(four, 0, usize(D4 << 4));
  for (let i = 0; i < count; i++) memory.copy(four + ((i * D4) << 2), x + ((i * stride) << 2), usize(D << 2));
}

/** out [4, M4] = a [4, D4] b [D4, M4] in columns [from, to), both multiples of eight. */
function scores(a: usize, b: usize, out: usize, from: i32, to: i32): void {
  const row = D4 << 2;
  for (let j = from; j < to; j += 8) {
    let s00 = f32x4.splat(0), s01 = s00, s10 = s00, s11 = s00, s20 = s00, s21 = s00, s30 = s00, s31 = s00;
    let column = b + (j << 2);
    for (let d = 0; d < row; d += 4) {
      const b0 = v128.load(column);
      const b1 = v128.load(column, 16);
      const a0 = v128.load32_splat(a + d);
      s00 = f32x4.add(s00, f32x4.mul(a0, b0));
      s01 = f32x4.add(s01, f32x4.mul(a0, b1));
      const a1 = v128.load32_splat(a + row + d);
      s10 = f32x4.add(s10, f32x4.mul(a1, b0));
      s11 = f32x4.add(s11, f32x4.mul(a1, b1));
      const a2 = v128.load32_splat(a + 2 * row + d);
      s20 = f32x4.add(s20, f32x4.mul(a2, b0));
      s21 = f32x4.add(s21, f32x4.mul(a2, b1));
      const a3 = v128.load32_splat(a + 3 * row + d);
      s30 = f32x4.add(s30, f32x4.mul(a3, b0));
      s31 = f32x4.add(s31, f32x4.mul(a3, b1));
      column += M4 << 2;
    }
    let to = out + (j << 2);
    v128.store(to, s00);
    v128.store(to, s01, 16);
    to += M4 << 2;
    v128.store(to, s10);
    v128.store(to, s11, 16);
    to += M4 << 2;
    v128.store(to, s20);
    v128.store(to, s21, 16);
    to += M4 << 2;
    v128.store(to, s30);
    v128.store(to, s31, 16);
  }
}

/** out [4, D4] = p [4, M4] x [m, D4] over rows [from, to) of x. */
function weighted(p: usize, x: usize, out: usize, from: i32, to: i32): void {
  const p1 = p + (M4 << 2), p2 = p1 + (M4 << 2), p3 = p2 + (M4 << 2);
  for (let d = 0; d < D4; ) {
    const wide = d + 8 <= D4;
    let s00 = f32x4.splat(0), s01 = s00, s10 = s00, s11 = s00, s20 = s00, s21 = s00, s30 = s00, s31 = s00;
    let row = x + ((from * D4 + d) << 2);
    for (let j = from << 2; j < to << 2; j += 4) {
      const w0 = v128.load32_splat(p + j);
      const w1 = v128.load32_splat(p1 + j);
      const w2 = v128.load32_splat(p2 + j);
      const w3 = v128.load32_splat(p3 + j);
      const x0 = v128.load(row);
      s00 = f32x4.add(s00, f32x4.mul(w0, x0));
      s10 = f32x4.add(s10, f32x4.mul(w1, x0));
      s20 = f32x4.add(s20, f32x4.mul(w2, x0));
      s30 = f32x4.add(s30, f32x4.mul(w3, x0));
      if (wide) {
        const x1 = v128.load(row, 16);
        s01 = f32x4.add(s01, f32x4.mul(w0, x1));
        s11 = f32x4.add(s11, f32x4.mul(w1, x1));
        s21 = f32x4.add(s21, f32x4.mul(w2, x1));
        s31 = f32x4.add(s31, f32x4.mul(w3, x1));
      }
      row += D4 << 2;
    }
    const to0 = out + (d << 2);
    v128.store(to0, s00);
    v128.store(to0 + (D4 << 2), s10);
    v128.store(to0 + (D4 << 3), s20);
    v128.store(to0 + D4 * 12, s30);
    if (wide) {
      v128.store(to0, s01, 16);
      v128.store(to0 + (D4 << 2), s11, 16);
      v128.store(to0 + (D4 << 3), s21, 16);
      v128.store(to0 + D4 * 12, s31, 16);
    }
    d += wide ? 8 : 4;
  }
}

/** acc [m, D4] += p^T a over rows [from, to): p [4, M4], a [4, D4]. */
function scatter(p: usize, a: usize, acc: usize, from: i32, to: i32): void {
  const p1 = p + (M4 << 2), p2 = p1 + (M4 << 2), p3 = p2 + (M4 << 2);
  for (let d = 0; d < D4; ) {
    const wide = d + 8 <= D4;
    const a0 = a + (d << 2), a1 = a0 + (D4 << 2), a2 = a1 + (D4 << 2), a3 = a2 + (D4 << 2);
    const v00 = v128.load(a0), v10 = v128.load(a1), v20 = v128.load(a2), v30 = v128.load(a3);
    let v01 = v00, v11 = v10, v21 = v20, v31 = v30;
    if (wide) {
      v01 = v128.load(a0, 16);
      v11 = v128.load(a1, 16);
      v21 = v128.load(a2, 16);
      v31 = v128.load(a3, 16);
    }
    let row = acc + ((from * D4 + d) << 2);
    for (let j = from << 2; j < to << 2; j += 4) {
      const w0 = v128.load32_splat(p + j);
      const w1 = v128.load32_splat(p1 + j);
      const w2 = v128.load32_splat(p2 + j);
      const w3 = v128.load32_splat(p3 + j);
      v128.store(row, f32x4.add(v128.load(row), f32x4.add(f32x4.add(f32x4.mul(w0, v00), f32x4.mul(w1, v10)), f32x4.add(f32x4.mul(w2, v20), f32x4.mul(w3, v30)))));
      if (wide) {
        v128.store(row, f32x4.add(v128.load(row, 16), f32x4.add(f32x4.add(f32x4.mul(w0, v01), f32x4.mul(w1, v11)), f32x4.add(f32x4.mul(w2, v21), f32x4.mul(w3, v31)))), 16);
      }
      row += D4 << 2;
    }
    d += wide ? 8 : 4;
  }
}

/** Scores times `scale`, with those outside [first, last] hidden. */
function hide(row: usize, scale: f32, from: i32, to: i32, first: i32, last: i32): void {
  const scales = f32x4.splat(scale);
  for (let j = from; j < to; j += 4) v128.store(row + (j << 2), f32x4.mul(v128.load(row + (j << 2)), scales));
  for (let j = from; j < first; j++) store<f32>(row + (j << 2), HIDDEN);
  for (let j = last + 1; j < to; j++) store<f32>(row + (j << 2), HIDDEN);
}

/** Scores -> probabilities; returns log-sum-exp by way of its two parts in `lse`: peak and sum. */
function softmaxRow(row: usize, from: i32, to: i32, stats: usize): void {
  let peaks = f32x4.splat(HIDDEN);
  for (let j = from; j < to; j += 4) peaks = f32x4.max(peaks, v128.load(row + (j << 2)));
  const peak = max4(peaks);
  const offset = f32x4.splat(peak);
  let sums = f32x4.splat(0);
  for (let j = from; j < to; j += 4) {
    const e = exp4(f32x4.sub(v128.load(row + (j << 2)), offset));
    sums = f32x4.add(sums, e);
    v128.store(row + (j << 2), e);
  }
  const inverse: f32 = 1 / sum4(sums);
  const inverses = f32x4.splat(inverse);
  for (let j = from; j < to; j += 4) v128.store(row + (j << 2), f32x4.mul(v128.load(row + (j << 2)), inverses));
  store<f32>(stats, peak);
  store<f32>(stats, inverse, 4);
}

/** The same probabilities again, from the peak and the inverse sum that the forward left. */
function softmaxAgain(row: usize, from: i32, to: i32, stats: usize): void {
  const offset = f32x4.splat(load<f32>(stats));
  const inverses = f32x4.splat(load<f32>(stats, 4));
  for (let j = from; j < to; j += 4) v128.store(row + (j << 2), f32x4.mul(exp4(f32x4.sub(v128.load(row + (j << 2)), offset)), inverses));
}

/**
 * One segment: n queries, m keys; q, out [n, heads, d], k, v [m, groups, d], stats [n, heads, 2]; window 0: none.
 */
export function attention(q: usize, k: usize, v: usize, out: usize, stats: usize, scratch: usize, n: i32, m: i32, heads: i32, groups: i32, d: i32, scale: f32, window: i32): void {
  D = d;
  D4 = (d + 3) & ~3;
  M4 = (m + 7) & ~7;
  const matrix = usize((M4 * D4) << 2);
  const kRows = scratch, kColumns = kRows + matrix, vRows = kColumns + matrix, vColumns = vRows + matrix;
  const p = scratch + 6 * matrix, four = p + usize(M4 << 5), result = four + usize(D4 << 4);
  const perGroup = heads / groups;
  for (let g = 0; g < groups; g++) {
    pack(k + ((g * d) << 2), groups * d, m, kRows, kColumns);
    pack(v + ((g * d) << 2), groups * d, m, vRows, vColumns);
    for (let h = g * perGroup; h < (g + 1) * perGroup; h++) {
      for (let i = 0; i < n; i += 4) {
        const count = min(4, n - i);
        const own = m - n + i;
        const from = window > 0 ? max(0, own - window + 1) & ~7 : 0;
        const end = own + count;
        const to = (end + 7) & ~7;
        packFour(q + (((i * heads + h) * d) << 2), heads * d, count, four);
        scores(four, kColumns, p, from, to);
        for (let r = 0; r < 4; r++) {
          const row = p + ((r * M4) << 2);
          if (r >= count) {
            memory.fill(row + (from << 2), 0, usize((to - from) << 2));
            continue;
          }
          hide(row, scale, from, to, window > 0 ? max(from, own + r - window + 1) : 0, own + r);
          softmaxRow(row, from, to, stats + ((((i + r) * heads + h) * 2) << 2));
        }
        weighted(p, vRows, result, from, end);
        for (let r = 0; r < count; r++) memory.copy(out + ((((i + r) * heads + h) * d) << 2), result + ((r * D4) << 2), usize(d << 2));
      }
    }
  }
}

/** Gradients of one segment: dq like q, dk and dv like k; dout like out. */
export function attentionBackward(dout: usize, q: usize, k: usize, v: usize, stats: usize, dq: usize, dk: usize, dv: usize, scratch: usize, n: i32, m: i32, heads: i32, groups: i32, d: i32, scale: f32, window: i32): void {
  D = d;
  D4 = (d + 3) & ~3;
  M4 = (m + 7) & ~7;
  const matrix = usize((M4 * D4) << 2);
  const kRows = scratch, kColumns = kRows + matrix, vRows = kColumns + matrix, vColumns = vRows + matrix, dkRows = vColumns + matrix, dvRows = dkRows + matrix;
  const p = scratch + 6 * matrix, dp = p + usize(M4 << 4), four = p + usize(M4 << 5), dFour = four + usize(D4 << 4), result = dFour + usize(D4 << 4);
  const perGroup = heads / groups;
  for (let g = 0; g < groups; g++) {
    pack(k + ((g * d) << 2), groups * d, m, kRows, kColumns);
    pack(v + ((g * d) << 2), groups * d, m, vRows, vColumns);
    memory.fill(dkRows, 0, 2 * matrix);
    for (let h = g * perGroup; h < (g + 1) * perGroup; h++) {
      for (let i = 0; i < n; i += 4) {
        const count = min(4, n - i);
        const own = m - n + i;
        const from = window > 0 ? max(0, own - window + 1) & ~7 : 0;
        const end = own + count;
        const to = (end + 7) & ~7;
        packFour(q + (((i * heads + h) * d) << 2), heads * d, count, four);
        packFour(dout + (((i * heads + h) * d) << 2), heads * d, count, dFour);
        scores(four, kColumns, p, from, to);
        scores(dFour, vColumns, dp, from, to);
        for (let r = 0; r < 4; r++) {
          const row = p + ((r * M4) << 2);
          const dRow = dp + ((r * M4) << 2);
          if (r >= count) {
            memory.fill(row + (from << 2), 0, usize((to - from) << 2));
            memory.fill(dRow + (from << 2), 0, usize((to - from) << 2));
            continue;
          }
          hide(row, scale, from, to, window > 0 ? max(from, own + r - window + 1) : 0, own + r);
          softmaxAgain(row, from, to, stats + ((((i + r) * heads + h) * 2) << 2));
          let along = f32x4.splat(0);
          for (let j = from; j < to; j += 4) along = f32x4.add(along, f32x4.mul(v128.load(row + (j << 2)), v128.load(dRow + (j << 2))));
          const delta = f32x4.splat(sum4(along));
          const scales = f32x4.splat(scale);
          for (let j = from; j < to; j += 4) {
            v128.store(dRow + (j << 2), f32x4.mul(f32x4.mul(v128.load(row + (j << 2)), f32x4.sub(v128.load(dRow + (j << 2)), delta)), scales));
          }
        }
        weighted(dp, kRows, result, from, end);
        for (let r = 0; r < count; r++) memory.copy(dq + ((((i + r) * heads + h) * d) << 2), result + ((r * D4) << 2), usize(d << 2));
        scatter(dp, four, dkRows, from, end);
        scatter(p, dFour, dvRows, from, end);
      }
    }
    for (let j = 0; j < m; j++) {
      memory.copy(dk + (((j * groups + g) * d) << 2), dkRows + ((j * D4) << 2), usize(d << 2));
      memory.copy(dv + (((j * groups + g) * d) << 2), dvRows + ((j * D4) << 2), usize(d << 2));
    }
  }
}
