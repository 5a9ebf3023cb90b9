import type { PluginFolder, PluginManifest, SlotReport, SlotState } from '../contracts/index.ts';
import type { Build } from './builder.ts';
import type { Generation } from './generation.ts';

/** A plugin's place in the kernel: its current generation and those that drain. */
export class Slot {
  /** Of the folder's files when they were last built; a different one means an edit. */
  signature: string | undefined;
  /** The newest content that builds, whether it serves or not. */
  latest: Build | undefined;
  current: Generation | undefined;
  /** Replaced generations, and when each is gone. */
  readonly draining = new Map<Generation, Promise<void>>();
  /** Why the newest edit is not serving. */
  failure: { readonly code: string; readonly reason: string } | undefined;
  /** What a slot without a generation waits for. */
  waitsFor: string | undefined;
  removed = false;
  /** When the edit that is being worked on was seen, by `performance.now()`. */
  editedAt = 0;
  generations = 0;
  failures = 0;

  constructor(public folder: PluginFolder) {}

  get id(): string {
    return this.folder.id;
  }

  /** That of what serves, else of what is on disk. */
  get manifest(): PluginManifest {
    return this.current?.build.manifest ?? this.folder.manifest;
  }

  get state(): SlotState {
    if (this.removed) return 'disabled';
    return this.current !== undefined ? 'active' : this.failure === undefined ? 'pending' : 'failed';
  }

  get reason(): string | undefined {
    if (this.removed) return 'Its folder is gone; calls in flight finish.';
    return this.failure?.reason ?? (this.current === undefined && this.waitsFor !== undefined ? `It waits for ${this.waitsFor}.` : undefined);
  }

  report(dependents: readonly string[]): SlotReport {
    const { id, folder, manifest, state, reason, generations, failures } = this;
    const draining = [...this.draining.keys()].map((generation) => generation.report());
    return { id, manifest, dir: folder.dir, state, reason, consumes: manifest.consumes, dependents, current: this.current?.report(), draining, swaps: Math.max(0, generations - 1), failures };
  }
}
