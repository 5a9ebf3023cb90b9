/** The addon that native/ is built into, typed, and calls of its operations. */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { GraftError } from 'graft';

type Values = Float32Array | Int32Array | Uint8Array;

/** See native/addon.cc. Ids of tensors and weights are given out on this side. */
export interface Addon {
  /** Instruction sets that this processor runs, the best first. */
  isas(): readonly string[];
  start(isa: string, threads: number): void;
  stop(): void;
  operationNames(): readonly string[];
  setArguments(room: Float64Array): void;
  run(operation: number, count: number): void;
  write(id: number, values: Values): void;
  /** Waits for what was enqueued, and throws what it threw. */
  read(id: number, into: Values): void;
  /** The same without waiting; id -1: only that all before is done. */
  readAsync(id: number, into?: Values): Promise<void>;
  release(id: number): void;
  /** @param storedAs 0 f32, 1 bf16, 2 f16 @param format the same, 3 int8, 4 nf4 */
  freeze(id: number, bytes: Uint8Array, storedAs: number, format: number, rows: number, columns: number, packable: boolean): void;
  freezeFile(id: number, path: string, offset: number, bytes: number, storedAs: number, format: number, rows: number, columns: number, mapped: boolean): void;
  releaseWeight(id: number): void;
  drain(): void;
  /** Calls of each operation and seconds in it, since it was last asked for; waits until nothing is under way. */
  profile(): Readonly<Record<string, readonly [calls: number, seconds: number]>>;
  memory(): { readonly live: number; readonly cached: number; readonly peak: number };
  trim(): void;
}

/** Where the addon is built to; GRAFT_ADDON names another build of it, such as a sanitized one. */
export const ADDON = process.env['GRAFT_ADDON'] ?? join(import.meta.dirname, 'native', 'build', 'Release', 'graft_native.node');

/** @throws Error where it was not built or does not load */
export function loadAddon(): Addon {
  if (!existsSync(ADDON)) throw new GraftError('NATIVE_NOT_BUILT', 'The native engine was not built.', { hint: 'Install a C++ compiler, make and Python 3, and run `npm run build:native`.' });
  return createRequire(import.meta.url)(ADDON) as Addon;
}

/** Numbers of one call, at most: vocabularies and shapes are small, and what is long travels as a tensor. */
const MOST_ARGUMENTS = 2 ** 16;

/** The addon while it runs. */
export class Native {
  readonly addon: Addon;
  readonly #numberByOperation: ReadonlyMap<string, number>;
  readonly #arguments = new Float64Array(MOST_ARGUMENTS);
  readonly #freeIds: number[] = [];
  #ids = 0;
  #weights = 0;

  constructor(addon: Addon) {
    this.addon = addon;
    this.#numberByOperation = new Map(addon.operationNames().map((name, number) => [name, number]));
    addon.setArguments(this.#arguments);
  }

  /** Enqueues an operation: ids, sizes and numbers in the order in which native/ops reads them. */
  run(operation: string, args: readonly number[]): void {
    const number = this.#numberByOperation.get(operation);
    if (number === undefined) throw new Error(`the native addon has no operation ${operation}: it was built from other sources`);
    if (args.length > MOST_ARGUMENTS) throw new Error(`${operation} was given ${args.length} arguments; at most ${MOST_ARGUMENTS} fit a call`);
    for (let i = 0; i < args.length; i++) this.#arguments[i] = args[i]!;
    this.addon.run(number, args.length);
  }

  has(operation: string): boolean {
    return this.#numberByOperation.has(operation);
  }

  /** A name for a tensor that is yet to be made. */
  newId(): number {
    return this.#freeIds.pop() ?? this.#ids++;
  }

  /** Operations run in order, so an id may name another tensor as soon as its release is enqueued. */
  release(id: number): void {
    this.addon.release(id);
    this.#freeIds.push(id);
  }

  newWeightId(): number {
    return this.#weights++;
  }
}
