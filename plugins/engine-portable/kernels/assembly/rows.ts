// Operations on each row of a [rows, size] matrix. Sizes need not be multiples of four: the rest goes one by one.
import { exp1, exp4, log1, max4, sum4 } from './math';

/** y = x r w with r = 1 / sqrt(mean(x^2) + eps): x, y [rows, d], w [d], r [rows]. */
export function rmsNorm(x: usize, w: usize, y: usize, r: usize, rows: i32, d: i32, eps: f32): void {
  const whole = d & ~3;
  for (let row = 0; row < rows; row++) {
    const xr = x + ((row * d) << 2);
    const yr = y + ((row * d) << 2);
    let squares = f32x4.splat(0);
    for (let i = 0; i < whole; i += 4) {
      const v = v128.load(xr + (i << 2));
      squares = f32x4.add(squares, f32x4.mul(v, v));
    }
    let total = sum4(squares);
    for (let i = whole; i < d; i++) total += load<f32>(xr + (i << 2)) * load<f32>(xr + (i << 2));
    const scale: f32 = 1 / sqrt<f32>(total / f32(d) + eps);
    store<f32>(r + (row << 2), scale);
    const scales = f32x4.splat(scale);
    for (let i = 0; i < whole; i += 4) {
      v128.store(yr + (i << 2), f32x4.mul(f32x4.mul(v128.load(xr + (i << 2)), scales), v128.load(w + (i << 2))));
    }
    for (let i = whole; i < d; i++) store<f32>(yr + (i << 2), load<f32>(xr + (i << 2)) * scale * load<f32>(w + (i << 2)));
  }
}

/** dx = r (g - x r^2 mean(g x)) with g = dy w; dw += sum_rows dy x r, where dw is not 0: dw [d] starts at zero. */
export function rmsNormBackward(dy: usize, x: usize, w: usize, r: usize, dx: usize, dw: usize, rows: i32, d: i32): void {
  const whole = d & ~3;
  for (let row = 0; row < rows; row++) {
    const xr = x + ((row * d) << 2);
    const dyr = dy + ((row * d) << 2);
    const scale = load<f32>(r + (row << 2));
    const scales = f32x4.splat(scale);
    if (dx != 0) {
      const dxr = dx + ((row * d) << 2);
      let along = f32x4.splat(0);
      for (let i = 0; i < whole; i += 4) {
        const g = f32x4.mul(v128.load(dyr + (i << 2)), v128.load(w + (i << 2)));
        along = f32x4.add(along, f32x4.mul(g, v128.load(xr + (i << 2))));
      }
      let total = sum4(along);
      for (let i = whole; i < d; i++) total += load<f32>(dyr + (i << 2)) * load<f32>(w + (i << 2)) * load<f32>(xr + (i << 2));
      const pull: f32 = (total * scale * scale) / f32(d);
      const pulls = f32x4.splat(pull);
      for (let i = 0; i < whole; i += 4) {
        const g = f32x4.mul(v128.load(dyr + (i << 2)), v128.load(w + (i << 2)));
        v128.store(dxr + (i << 2), f32x4.mul(scales, f32x4.sub(g, f32x4.mul(v128.load(xr + (i << 2)), pulls))));
      }
      for (let i = whole; i < d; i++) {
        const g = load<f32>(dyr + (i << 2)) * load<f32>(w + (i << 2));
        store<f32>(dxr + (i << 2), scale * (g - load<f32>(xr + (i << 2)) * pull));
      }
    }
    if (dw != 0) {
      for (let i = 0; i < whole; i += 4) {
        const part = f32x4.mul(f32x4.mul(v128.load(dyr + (i << 2)), v128.load(xr + (i << 2))), scales);
        v128.store(dw + (i << 2), f32x4.add(v128.load(dw + (i << 2)), part));
      }
      for (let i = whole; i < d; i++) store<f32>(dw + (i << 2), load<f32>(dw + (i << 2)) + load<f32>(dyr + (i << 2)) * load<f32>(xr + (i << 2)) * scale);
    }
  }
}

/** y = x turned by the angle of each pair (i, i + half), the other way where sign is -1: x, y [tokens, heads, 2 half], cos, sin [tokens, half]. */
export function rope(x: usize, cos: usize, sin: usize, y: usize, tokens: i32, heads: i32, half: i32, sign: f32): void {
  const whole = half & ~3;
  const signs = f32x4.splat(sign);
  for (let t = 0; t < tokens; t++) {
    const c = cos + ((t * half) << 2);
    const s = sin + ((t * half) << 2);
    for (let h = 0; h < heads; h++) {
      const first = ((t * heads + h) * 2 * half) << 2;
      const second = first + (half << 2);
      for (let i = 0; i < whole; i += 4) {
        const at = i << 2;
        const ci = v128.load(c + at);
        const si = f32x4.mul(v128.load(s + at), signs);
        const a = v128.load(x + first + at);
        const b = v128.load(x + second + at);
        v128.store(y + first + at, f32x4.sub(f32x4.mul(a, ci), f32x4.mul(b, si)));
        v128.store(y + second + at, f32x4.add(f32x4.mul(b, ci), f32x4.mul(a, si)));
      }
      for (let i = whole; i < half; i++) {
        const at = i << 2;
        const ci = load<f32>(c + at);
        const si = load<f32>(s + at) * sign;
        const a = load<f32>(x + first + at);
        const b = load<f32>(x + second + at);
        store<f32>(y + first + at, a * ci - b * si);
        store<f32>(y + second + at, b * ci + a * si);
      }
    }
  }
}

/** y = gate sigmoid(gate) up, over n elements. */
export function swiglu(gate: usize, up: usize, y: usize, n: i32): void {
  const one = f32x4.splat(1);
  const whole = n & ~3;
  for (let i = 0; i < whole; i += 4) {
    const at = i << 2;
    const g = v128.load(gate + at);
    const s = f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(g))));
    v128.store(y + at, f32x4.mul(f32x4.mul(g, s), v128.load(up + at)));
  }
  for (let i = whole; i < n; i++) {
    const at = i << 2;
    const g = load<f32>(gate + at);
    store<f32>(y + at, (g / (1 + exp1(-g))) * load<f32>(up + at));
  }
}

/** dup = dy g s, dgate = dy up s (1 + g (1 - s)) with s = sigmoid(g), over n elements. */
export function swigluBackward(dy: usize, gate: usize, up: usize, dgate: usize, dup: usize, n: i32): void {
  const one = f32x4.splat(1);
  const whole = n & ~3;
  for (let i = 0; i < whole; i += 4) {
    const at = i << 2;
    const g = v128.load(gate + at);
    const d = v128.load(dy + at);
    const s = f32x4.div(one, f32x4.add(one, exp4(f32x4.neg(g))));
    const silu = f32x4.mul(g, s);
    v128.store(dup + at, f32x4.mul(d, silu));
    const slope = f32x4.add(s, f32x4.mul(silu, f32x4.sub(one, s)));
    v128.store(dgate + at, f32x4.mul(f32x4.mul(d, v128.load(up + at)), slope));
  }
  for (let i = whole; i < n; i++) {
    const at = i << 2;
    const g = load<f32>(gate + at);
    const d = load<f32>(dy + at);
    const s: f32 = 1 / (1 + exp1(-g));
    store<f32>(dup + at, d * g * s);
    store<f32>(dgate + at, d * load<f32>(up + at) * (s + g * s * (1 - s)));
  }
}

/**
 * In place, each row of logits [rows, size] becomes its softmax minus one at the row's class; loss[row] = log-sum-exp
 * minus the class's logit.
 */
export function softmaxLoss(logits: usize, classes: usize, loss: usize, rows: i32, size: i32): void {
  const whole = size & ~3;
  for (let row = 0; row < rows; row++) {
    const l = logits + ((row * size) << 2);
    const target = l + (load<i32>(classes + (row << 2)) << 2);
    const targetLogit = load<f32>(target);
    let peaks = f32x4.splat(-Infinity);
    for (let i = 0; i < whole; i += 4) peaks = f32x4.max(peaks, v128.load(l + (i << 2)));
    let peak = max4(peaks);
    for (let i = whole; i < size; i++) peak = max(peak, load<f32>(l + (i << 2)));
    let sums = f32x4.splat(0);
    const offset = f32x4.splat(peak);
    for (let i = 0; i < whole; i += 4) {
      const e = exp4(f32x4.sub(v128.load(l + (i << 2)), offset));
      sums = f32x4.add(sums, e);
      v128.store(l + (i << 2), e);
    }
    let sum = sum4(sums);
    for (let i = whole; i < size; i++) {
      const e = exp1(load<f32>(l + (i << 2)) - peak);
      sum += e;
      store<f32>(l + (i << 2), e);
    }
    const inverse: f32 = 1 / sum;
    const inverses = f32x4.splat(inverse);
    for (let i = 0; i < whole; i += 4) v128.store(l + (i << 2), f32x4.mul(v128.load(l + (i << 2)), inverses));
    for (let i = whole; i < size; i++) store<f32>(l + (i << 2), load<f32>(l + (i << 2)) * inverse);
    store<f32>(loss + (row << 2), peak - targetLogit + log1(sum));
    store<f32>(target, load<f32>(target) - 1);
  }
}

// @ts-ignore: decorator
@inline
function mix4(x: v128): v128 {
  let y = i32x4.mul(v128.xor(x, i32x4.shr_u(x, 16)), i32x4.splat(0x7feb352d));
  y = i32x4.mul(v128.xor(y, i32x4.shr_u(y, 15)), i32x4.splat(0x846ca68b));
  return v128.xor(y, i32x4.shr_u(y, 16));
}

/** y = x kept where the random bits of an element (core/tensor/rng.ts, `bitsAt`) reach the threshold, else 0; n elements. */
export function dropout(x: usize, y: usize, n: i32, low: i32, high: i32, threshold: i32, kept: f32): void {
  const lows = i32x4.splat(low), highs = i32x4.splat(high), thresholds = i32x4.splat(threshold), scales = f32x4.splat(kept);
  let counters = i32x4(0, 1, 2, 3);
  const whole = n & ~3;
  for (let i = 0; i < whole; i += 4) {
    const bits = mix4(v128.xor(mix4(i32x4.add(i32x4.mul(counters, i32x4.splat(0x9e3779b9)), lows)), highs));
    v128.store(y + (i << 2), v128.and(f32x4.mul(v128.load(x + (i << 2)), scales), i32x4.ge_u(bits, thresholds)));
    counters = i32x4.add(counters, i32x4.splat(4));
  }
  const bits = mix4(v128.xor(mix4(i32x4.add(i32x4.mul(counters, i32x4.splat(0x9e3779b9)), lows)), highs));
  const kepts = i32x4.ge_u(bits, thresholds);
  for (let i = whole; i < n; i++) {
    const lane = i - whole;
    const keep = lane == 0 ? i32x4.extract_lane(kepts, 0) : lane == 1 ? i32x4.extract_lane(kepts, 1) : i32x4.extract_lane(kepts, 2);
    store<f32>(y + (i << 2), keep != 0 ? load<f32>(x + (i << 2)) * kept : 0);
  }
}

/** y = x^T: x [rows, columns]. */
export function transpose(x: usize, y: usize, rows: i32, columns: i32): void {
  const wholeRows = rows & ~3;
  const wholeColumns = columns & ~3;
  for (let i = 0; i < wholeRows; i += 4) {
    for (let j = 0; j < wholeColumns; j += 4) {
      const from = x + ((i * columns + j) << 2);
      const a = v128.load(from);
      const b = v128.load(from + (columns << 2));
      const c = v128.load(from + (columns << 3));
      const d = v128.load(from + columns * 12);
      const ab = v128.shuffle<f32>(a, b, 0, 4, 1, 5);
      const AB = v128.shuffle<f32>(a, b, 2, 6, 3, 7);
      const cd = v128.shuffle<f32>(c, d, 0, 4, 1, 5);
      const CD = v128.shuffle<f32>(c, d, 2, 6, 3, 7);
      const to = y + ((j * rows + i) << 2);
      v128.store(to, v128.shuffle<f32>(ab, cd, 0, 1, 4, 5));
      v128.store(to + (rows << 2), v128.shuffle<f32>(ab, cd, 2, 3, 6, 7));
      v128.store(to + (rows << 3), v128.shuffle<f32>(AB, CD, 0, 1, 4, 5));
      v128.store(to + rows * 12, v128.shuffle<f32>(AB, CD, 2, 3, 6, 7));
    }
    for (let j = wholeColumns; j < columns; j++) {
      for (let k = i; k < i + 4; k++) store<f32>(y + ((j * rows + k) << 2), load<f32>(x + ((k * columns + j) << 2)));
    }
  }
  for (let i = wholeRows; i < rows; i++) {
    for (let j = 0; j < columns; j++) store<f32>(y + ((j * rows + i) << 2), load<f32>(x + ((i * columns + j) << 2)));
  }
}
