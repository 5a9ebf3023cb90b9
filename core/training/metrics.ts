import type { Tensor1D } from '@tensorflow/tfjs-core';
import type { PassLosses } from './objective.ts';

/** Means by name; undefined where the objective tells none. */
export type Metrics = Readonly<Record<string, number>> | undefined;

/** Metrics of passes, added up. */
export class MetricSums {
  readonly #nameToSum = new Map<string, number>();

  async add(metrics: PassLosses['metrics'] = {}): Promise<void> {
    for (const [name, values] of Object.entries(metrics)) {
      this.#nameToSum.set(name, (this.#nameToSum.get(name) ?? 0) + (await doubleSum(values)));
    }
  }

  over(weight: number): Metrics {
    return this.#nameToSum.size === 0 ? undefined : Object.fromEntries([...this.#nameToSum].map(([name, sum]) => [name, sum / weight]));
  }
}

/** Of float32 values, in double precision. */
export async function doubleSum(values: Tensor1D): Promise<number> {
  return (await values.data<'float32'>()).reduce((total, value) => total + value, 0);
}
