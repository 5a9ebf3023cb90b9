/** What any engine's attention over kept keys and values must hold to: what attention over all of them at once gives. */
import { describe, expect, it } from 'vitest';
import * as tf from '@tensorflow/tfjs';
import type { Tensor3D } from '@tensorflow/tfjs-core';
import { portableOps, type CachedAttention, type KeyValueStore } from '../../core/index.ts';
import { constant, distance } from './gradients.ts';

interface Text {
  readonly q: Tensor3D;
  readonly k: Tensor3D;
  readonly v: Tensor3D;
}

const LAYERS = 2;

/** @param cachedOf read when a test runs, after the engine has started */
export function describeCachedAttention(cachedOf: () => CachedAttention): void {
  describe.each([
    ['one head', 1, 1, 4, undefined],
    ['grouped heads', 6, 2, 16, undefined],
    ['a sliding window', 4, 2, 8, 37],
  ])('cached attention with %s', (_, heads, groups, size, window) => {
    const text = (tokens: number, name: string): Text => ({ q: constant([tokens, heads, size], `q${name}`), k: constant([tokens, groups, size], `k${name}`), v: constant([tokens, groups, size], `v${name}`) });
    const part = ({ q, k, v }: Text, from: number, count: number): Text => {
      const rows = (x: Tensor3D): Tensor3D => tf.slice(x, [from, 0, 0], [count, x.shape[1], x.shape[2]]);
      return { q: rows(q), k: rows(k), v: rows(v) };
    };
    const whole = ({ q, k, v }: Text): Tensor3D => {
      const offsets = Int32Array.of(0, q.shape[0]);
      return portableOps.attention(q, k, v, { queryOffsets: offsets, keyOffsets: offsets, scale: 0.5, window });
    };
    /** One pass: the same in every layer, whose results are compared. */
    const pass = (stores: readonly KeyValueStore[], texts: readonly Text[], keep = stores.map(() => true)): Tensor3D => {
      const offsets = new Int32Array(texts.length + 1);
      texts.forEach(({ q }, i) => (offsets[i + 1] = offsets[i]! + q.shape[0]));
      const joined = (of: (text: Text) => Tensor3D): Tensor3D => tf.concat(texts.map(of), 0);
      const [q, k, v] = [joined((t) => t.q), joined((t) => t.k), joined((t) => t.v)];
      const outs = Array.from({ length: LAYERS }, (_, layer) => cachedOf().attend(q, k, v, { layer, offsets, stores, keep, scale: 0.5, window }));
      expect(distance(outs[1]!, outs[0]!)).toBe(0);
      return outs[0]!;
    };
    const store = (): KeyValueStore => cachedOf().createStore({ layers: LAYERS, heads: groups, size });

    it('gives what attention over everything at once gives, in whatever portions the tokens come', () => {
      const texts = [text(75, 'a'), text(33, 'b'), text(130, 'c')];
      const stores = texts.map(store);
      const expected = texts.map(whole);
      const portions = [[40, 1, 100], [1, 30, 1], [33, 1, 28], [1, 1, 1]];
      const at = [0, 0, 0];
      for (const counts of portions) {
        const out = pass(stores, texts.map((each, i) => part(each, at[i]!, counts[i]!)));
        let row = 0;
        counts.forEach((count, i) => {
          const own = tf.slice(out, [row, 0, 0], [count, heads, size]);
          expect(distance(own, tf.slice(expected[i]!, [at[i]!, 0, 0], [count, heads, size]))).toBeLessThan(2e-6);
          stores[i]!.commit(count);
          at[i]! += count;
          row += count;
        });
      }
      expect(stores.map(({ length }) => length)).toEqual([75, 33, 130]);
      stores.forEach((each) => each.dispose());
      expect(cachedOf().bytes()).toBe(0);
    });

    it('lets another go on from its beginning, and neither sees what the other adds', () => {
      const [one, two] = [text(80, 'a'), text(80, 'b')];
      const from = store();
      pass([from], [part(one, 0, 70)]);
      from.commit(70);
      const held = cachedOf().bytes();
      for (const shared of [64, 41, 0]) {
        const other = from.fork(shared);
        expect(other.length).toBe(shared);
        const mixed: Text = { q: tf.concat([part(one, 0, shared).q, part(two, shared, 80 - shared).q]), k: tf.concat([part(one, 0, shared).k, part(two, shared, 80 - shared).k]), v: tf.concat([part(one, 0, shared).v, part(two, shared, 80 - shared).v]) };
        const out = pass([other], [part(mixed, shared, 80 - shared)]);
        expect(distance(out, part({ ...mixed, q: whole(mixed) }, shared, 80 - shared).q)).toBeLessThan(2e-6);
        other.commit(80 - shared);
        other.dispose();
        expect(cachedOf().bytes()).toBe(held);
      }
      expect(distance(pass([from], [part(one, 70, 1)]), part({ ...one, q: whole(one) }, 70, 1).q)).toBeLessThan(2e-6);
      from.dispose();
      expect(() => store().fork(1)).toThrow('A cache of 0 tokens can not give away the first 1.');
    });

    it('stores only what it is told to, and forgets what was not committed', () => {
      const [one, two] = [text(50, 'a'), text(50, 'b')];
      const kept = store();
      pass([kept], [part(one, 0, 40)]);
      kept.commit(40);
      const expected = (of: Text, from: number, count: number): Tensor3D => {
        const all: Text = { q: tf.concat([part(one, 0, 40).q, part(of, 40, 10).q]), k: tf.concat([part(one, 0, 40).k, part(of, 40, 10).k]), v: tf.concat([part(one, 0, 40).v, part(of, 40, 10).v]) };
        return part({ ...all, q: whole(all) }, from, count).q;
      };
      pass([kept], [part(two, 40, 9)]);
      kept.rollback();
      expect(distance(pass([kept], [part(one, 40, 9)]), expected(one, 40, 9))).toBeLessThan(2e-6);
      expect(distance(pass([kept], [part(two, 40, 9)], [false]), expected(two, 40, 9))).toBeLessThan(2e-6);
      kept.commit(9);
      expect(distance(pass([kept], [part(one, 49, 1)]), expected(one, 49, 1))).toBeLessThan(2e-6);
      kept.dispose();
    });
  });
}
