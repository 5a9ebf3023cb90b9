import { describe, expect, it } from 'vitest';
import { normals } from '../../test/support/gradients.ts';
import { crossEntropyInFloat64 } from '../../test/support/naive-ops.ts';
import { loadAddon, Native } from './binding.ts';

const FORMATS = { f32: 0, bf16: 1 } as const;
/** Sums of float32; sums over classes whose probabilities are rounded to bfloat16. */
const TOLERANCE = { f32: 2e-5, bf16: 2 ** -8 } as const;
const addon = loadAddon();

interface Case {
  readonly hidden: Float32Array;
  readonly weight: Float32Array;
  readonly targets: Int32Array;
  readonly size: number;
}

/** Seeded numbers with few enough bits for bfloat16. */
function caseOf(rows: number, size: number, classes: number): Case {
  const coarse = (values: Float32Array): Float32Array => values.map((x) => Math.round(x * 32) / 32);
  const targets = Int32Array.from({ length: rows }, (_, i) => (i * 997) % classes);
  return { hidden: coarse(normals([rows, size], 'h')), weight: coarse(normals([classes, size], 'w', 0.2)), targets, size };
}

/** Of a runtime of its own, without tfjs: a backend is bound to one instruction set for the life of its process. */
function computed({ hidden, weight, targets, size }: Case, dtype: keyof typeof FORMATS, isa: string, threads: number) {
  addon.start(isa, threads);
  const native = new Native(addon);
  const [rows, classes] = [targets.length, weight.length / size];
  const [h, t, loss, directions] = [native.newId(), native.newId(), native.newId(), native.newId()];
  const w = native.newWeightId();
  addon.write(h, hidden);
  addon.write(t, targets);
  addon.freeze(w, new Uint8Array(weight.buffer), FORMATS.f32, FORMATS[dtype], classes, size, true);
  native.run('crossEntropy', [h, rows, size, 0, w, classes, t, loss, directions, -1]);
  const [losses, gradient] = [new Float32Array(rows), new Float32Array(rows * size)];
  addon.read(loss, losses);
  addon.read(directions, gradient);
  const { peak } = addon.memory();
  addon.stop();
  return { losses, gradient, peak };
}

describe.each(addon.isas())('crossEntropy on %s', (isa) => {
  const given = caseOf(41, 45, 2501);
  const exact = crossEntropyInFloat64(given.hidden, given.weight, given.targets, given.size);

  it.each([['f32', 1], ['f32', 3], ['bf16', 1], ['bf16', 3]] as const)('agrees with float64, frozen in %s, on %i threads', (dtype, threads) => {
    const { losses, gradient } = computed(given, dtype, isa, threads);
    losses.forEach((value, i) => expect(Math.abs(value - exact.losses[i]!)).toBeLessThan(2e-5));
    const largest = Math.max(...exact.gradient.map(Math.abs));
    gradient.forEach((value, i) => expect(Math.abs(value - exact.gradient[i]!) / largest).toBeLessThan(TOLERANCE[dtype]));
  });

  it('gives the same bits on any number of threads', () => {
    const alone = computed(given, 'bf16', isa, 1);
    for (const threads of [2, 3, 5]) {
      const { losses, gradient } = computed(given, 'bf16', isa, threads);
      expect(losses).toEqual(alone.losses);
      expect(gradient).toEqual(alone.gradient);
    }
  });

  it('takes no memory for classes, beyond the few thousand that it is at', () => {
    const [few, many] = [4096, 65_536].map((classes) => computed(caseOf(32, 8, classes), 'f32', isa, 1).peak);
    expect(many).toBe(few);
    expect(many).toBeLessThan(1.5 * 2 ** 20);
  });
});
