/**
 * Random calls on the native engine, on every path of the processor, each held against tfjs's plain JavaScript: fuzz.ts SECONDS SEED.
 * Values are read now and later, tensors and weights disposed while what uses them is still enqueued. Run by run.sh with the sanitizers.
 */
import { freezePortable, portableOps, rng, tf, valueAndGrads, type Engine, type FrozenWeight, type FusedOps, type Rng, type WeightDtype } from '../../core/index.ts';
import type { Tensor, Variable } from '@tensorflow/tfjs-core';
import { BACKEND, type NativeBackend } from '../../plugins/engine-native/backend.ts';
import { startNative } from '../../plugins/engine-native/engine.ts';
import { chance, FUSED, input, type Call, type Given } from './cases.ts';
import { kernelCall } from './kernel-cases.ts';

/** Calls between two changes of path. */
const CALLS_OF_A_PATH = 40;

type Values = readonly ArrayLike<number>[];

let names = 0;

/** Value and gradients of a call on the engine that is set; `read` is given every tensor before it is disposed. */
function evaluate<T>(call: Call, random: Rng, given: Pick<Given, 'ops' | 'frozen'>, read: (tensors: readonly Tensor[]) => T): T {
  const tensors: Record<string, Tensor> = {};
  const trained: Variable[] = [];
  for (const [name, { values, shape, trained: isTrained }] of Object.entries(call.inputs)) {
    const tensor = tf.tensor(values, [...shape]);
    if (isTrained) trained.push((tensors[name] = tf.variable(tensor, true, `fuzz${names++}`)) as Variable);
    else tensors[name] = tensor;
    if (isTrained) tensor.dispose();
  }
  const made: Tensor[] = [];
  const loss = (): tf.Scalar => {
    const y = call.apply({ ...given, tensors });
    made.push(tf.keep(tf.clone(y)));
    return tf.sum(tf.mul(tf.cast(y, 'float32'), tf.tensor(input(random, y.shape).values, y.shape)));
  };
  try {
    if (trained.length === 0) made.push(tf.tidy(loss));
    else {
      const { value, grads } = valueAndGrads(loss, trained);
      made.push(value, ...grads);
    }
    return read(made);
  } finally {
    tf.dispose([...made, ...Object.values(tensors)]);
  }
}

/** A weight and its values as the native engine keeps them, for the reference. */
function freeze(call: Call, engine: Engine): { readonly native?: FrozenWeight; readonly plain?: Float32Array } {
  if (call.frozen === undefined) return {};
  const { shape, values, dtype } = call.frozen;
  const native = engine.freeze({ name: 'fuzz', shape, dtype: 'F32', bytes: () => new Uint8Array(values.buffer) }, dtype);
  const tensor = native.toTensor();
  try {
    return { native, plain: tensor.dataSync<'float32'>().slice() };
  } finally {
    tensor.dispose();
  }
}

/** Formats that the addon keeps weights in. */
function formatsOf(engine: Engine): readonly WeightDtype[] {
  return (['f32', 'bf16', 'f16', 'int8', 'nf4'] as const).filter((dtype) => {
    try {
      freeze({ label: '', inputs: {}, tolerance: 0, apply: () => tf.scalar(0), frozen: { shape: [1, 1], values: new Float32Array(1), dtype } }, engine).native?.dispose();
      return true;
    } catch (error) {
      console.log(`fuzz: no weights in ${dtype}: ${String(error)}`);
      return false;
    }
  });
}

function compare(call: Call, actual: Values, expected: Values, path: string): void {
  if (actual.length !== expected.length) throw new Error(`${path}: ${call.label} made ${actual.length} tensors, not ${expected.length}`);
  expected.forEach((values, which) => {
    const ours = actual[which]!;
    // The loss is a sum over the value's elements, and off by a part of what was added up, not of what is left.
    const terms = which === 1 ? expected[0]! : values;
    let largest = 1;
    for (let i = 0; i < terms.length; i++) {
      const size = Math.abs(terms[i]!);
      if (size < Infinity) largest = which === 1 ? largest + size : Math.max(largest, size);
    }
    for (let i = 0; i < Math.max(values.length, ours.length); i++) {
      const [a, b] = [ours[i]!, values[i]!];
      if (Object.is(a, b) || a === b || Math.abs(a - b) <= call.tolerance * largest) continue;
      throw new Error(`${path}: ${call.label}: ${which === 0 ? 'value' : which === 1 ? 'loss' : `gradient ${which - 2}`}[${i}] is ${a}, not ${b}`);
    }
  });
}

/** What the plain definition says; undefined where it refuses the call. */
function reference(call: Call, seed: number, plain: Float32Array | undefined): Values | undefined {
  const frozen = call.frozen && freezePortable({ name: 'fuzz', shape: call.frozen.shape, dtype: 'F32', bytes: () => new Uint8Array(plain!.buffer) }, 'f32');
  try {
    return evaluate(call, rng(seed, 'projection'), { ops: portableOps, frozen }, (made) => made.map((tensor) => tensor.dataSync().slice()));
  } catch {
    return undefined;
  } finally {
    frozen?.dispose();
  }
}

const failures: string[] = [];
const counts = new Map<string, number>();

async function once(engine: Engine, random: Rng, call: Call, path: string, reading: Promise<void>[]): Promise<void> {
  const seed = random.integer(2 ** 31);
  const { native, plain } = freeze(call, engine);
  await tf.setBackend('cpu');
  const expected = reference(call, seed, plain);
  await tf.setBackend(BACKEND);
  try {
    const later = chance(random, 2);
    const values = evaluate(call, rng(seed, 'projection'), { ops: engine.ops, frozen: native }, (made) => (later ? Promise.all(made.map((tensor) => tensor.data())) : made.map((tensor) => tensor.dataSync().slice())));
    if (expected === undefined) throw new Error(`${path}: ${call.label} is refused by the plain definition and not by ours`);
    if (values instanceof Promise) reading.push(values.then((all) => compare(call, all, expected, path)).catch((error: Error) => void failures.push(error.message)));
    else compare(call, values, expected, path);
  } catch (error) {
    if (expected !== undefined) failures.push(error instanceof Error && error.message.startsWith(path) ? error.message : `${path}: ${call.label}: ${String(error)}`);
    else if (String(error).includes('refused by the plain')) counts.set('refused by the plain definition alone', (counts.get('refused by the plain definition alone') ?? 0) + 1);
  } finally {
    native?.dispose();
  }
}

async function main(seconds: number, seed: number): Promise<void> {
  const random = rng(seed, 'fuzz');
  const engine = await startNative();
  const backend = tf.backend() as NativeBackend;
  const { addon } = backend.native;
  const formats = formatsOf(engine);
  const unknown = Object.keys(engine.ops).filter((name) => !(name in FUSED));
  if (unknown.length > 0) console.log(`fuzz: no case for ${unknown.join(', ')}`);
  const end = Date.now() + seconds * 1000;
  let calls = 0;
  while (Date.now() < end && failures.length < 20) {
    const [isa, threads] = [addon.isas()[random.integer(addon.isas().length)]!, 1 + random.integer(4)];
    addon.start(isa, threads);
    const reading: Promise<void>[] = [];
    for (let i = 0; i < CALLS_OF_A_PATH && Date.now() < end; i++, calls++) {
      const fused = Object.keys(FUSED) as (keyof FusedOps)[];
      const kind = chance(random, 2) ? 'kernel' : fused[random.integer(fused.length)]!;
      const call = kind === 'kernel' ? kernelCall(random) : FUSED[kind](random, formats);
      counts.set(kind, (counts.get(kind) ?? 0) + 1);
      if (process.env['FUZZ_VERBOSE'] === '1') console.log(`${isa}, ${threads} threads: ${call.label}`);
      await once(engine, random, call, `${isa}, ${threads} threads`, reading);
      if (chance(random, 10)) addon.trim();
    }
    await Promise.all(reading);
    const { arenaBytes } = backend.memory();
    // The left side of the last product stays packed.
    if (arenaBytes > 8 * 2 ** 20) failures.push(`${isa}, ${threads} threads: ${arenaBytes} bytes are in use where every tensor was disposed`);
  }
  console.log(`fuzz: ${calls} calls in ${seconds} s, seed ${seed}: ${[...counts].map(([name, count]) => `${name} ${count}`).join(', ')}`);
  for (const failure of new Set(failures)) console.log(`fuzz: ${failure}`);
  if (failures.length === 0) console.log('fuzz: nothing found');
  process.exitCode = failures.length > 0 ? 1 : 0;
}

await main(Number(process.argv[2] ?? 60), Number(process.argv[3] ?? Date.now() % 1_000_000));
