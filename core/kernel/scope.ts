import type { Disposer, Logger, Scope } from '../contracts/index.ts';
import { reasonOf } from './errors.ts';

/** A scope as its owner sees it. */
export interface OwnedScope extends Scope {
  child(label: string): OwnedScope;
  /** Labels of what it holds open, in the order acquired; those of a child follow its own. */
  readonly holds: readonly string[];
  /** What went wrong in disposal so far, one sentence each. */
  readonly failures: readonly string[];
  /** Releases everything, last in first out. Never throws: a failing or slow disposer is logged by its label, and the next one runs. */
  dispose(): Promise<void>;
}

type Held = { readonly label: string; readonly dispose: Disposer; readonly child?: OwnedScope };

/**
 * @param owner for messages: `inject:lora generation 3`
 * @param disposeMs a disposer that takes longer is named and left behind
 */
export function createScope(owner: string, log: Logger, disposeMs = 5_000): OwnedScope {
  const held = new Set<Held>();
  const failures: string[] = [];
  const aborter = new AbortController();
  let disposal: Promise<void> | undefined;

  async function release(each: Held): Promise<void> {
    if (!held.delete(each)) return;
    let timer: NodeJS.Timeout | undefined;
    // A child times each of its own disposers; together they may take longer than one.
    const deadline = each.child === undefined ? [new Promise<string>((late) => (timer = setTimeout(late, disposeMs, `took longer than ${disposeMs} ms and was left behind.`)))] : [];
    const disposed = (async () => each.dispose())().then(() => undefined, (error: unknown) => `failed: ${reasonOf(error)}`);
    const failure = await Promise.race([...deadline, disposed]);
    clearTimeout(timer);
    failures.push(...(each.child?.failures ?? []));
    if (failure === undefined) return;
    failures.push(`Disposing of ${each.label} in ${owner} ${failure}`);
    log.warn(failures.at(-1)!);
  }

  function hold(each: Held): () => Promise<void> {
    held.add(each);
    // What is acquired once disposal has begun, such as by a setup that timed out, is released at once.
    if (aborter.signal.aborted) void release(each);
    return () => release(each);
  }

  async function releaseAll(): Promise<void> {
    aborter.abort(new Error(`${owner} was disposed.`));
    for (const each of [...held].reverse()) await release(each);
  }

  return {
    failures,
    signal: aborter.signal,
    get holds() {
      return [...held].flatMap(({ label, child }) => [label, ...(child?.holds ?? []).map((inner) => `${label} > ${inner}`)]);
    },
    own: (label, dispose) => hold({ label, dispose }),
    use: (label, value, dispose) => {
      hold({ label, dispose: () => dispose(value) });
      return value;
    },
    child: (label) => {
      const child = createScope(`${owner} > ${label}`, log, disposeMs);
      return Object.assign(child, { dispose: hold({ label, child, dispose: child.dispose }) });
    },
    dispose: () => (disposal ??= releaseAll()),
  };
}
