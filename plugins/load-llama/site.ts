/** A named place where strategies graft, stack by stack. */
import { GraftError, tf, type Disposer, type FusedOps, type GraftOptions, type LowRankTerm, type Site, type SiteCall, type SiteNext, type SiteWrap } from 'graft';
import type { LlamaParameter } from './parameter.ts';
import type { Pass, PassGroup } from './pass.ts';
import { joinRows, takeRows } from './rows.ts';

export interface SiteShape {
  readonly path: string;
  readonly kind: Site['kind'];
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly weight?: LlamaParameter;
  readonly bias?: LlamaParameter;
}

/** What the site computes without grafts, over the rows of a pass: x `[T, in]` -> `[T, out]`. */
export type PlainSite = (x: tf.Tensor2D, pass: Pass, terms?: readonly LowRankTerm[]) => tf.Tensor2D;

interface Grafted {
  readonly wrap: SiteWrap;
  readonly terms: GraftOptions['terms'];
}

export class LlamaSite {
  readonly shape: SiteShape;
  readonly #ops: FusedOps;
  readonly #graftsByStack = new Map<string, Grafted[]>();

  constructor(shape: SiteShape, ops: FusedOps) {
    this.shape = shape;
    this.#ops = ops;
  }

  /** As a stack's inject plugins see it. */
  in(stack: string): Site {
    const { weight, bias, ...rest } = this.shape;
    return { ...rest, weight: weight?.in(stack), bias: bias?.in(stack), graft: (wrap, options) => this.#graft(stack, wrap, options) };
  }

  isGraftedIn(stack: string): boolean {
    return this.#graftsByStack.has(stack);
  }

  /**
   * Computes the site, each segment's rows through the grafts of its stack. Where stacks differ within the pass, the base
   * computes all rows once for the grafts that hand their input on unchanged.
   * @param residual for a block: `[T, d]`
   */
  run(x: tf.Tensor2D, pass: Pass, plain: PlainSite, residual?: tf.Tensor2D): tf.Tensor2D {
    if (this.#graftsByStack.size === 0) return plain(x, pass);
    const groups = pass.groups((stack) => this.#graftsByStack.has(stack));
    const [first] = groups;
    if (groups.length === 1) return first!.stack === undefined ? plain(x, pass) : this.#through(first!, x, (input, terms) => plain(input, pass, terms), residual);
    const terms = this.#termsOf(groups, pass);
    if (terms !== undefined) return plain(x, pass, terms);

    let ofAllRows: tf.Tensor2D | undefined;
    const graftedRows = (group: PassGroup): tf.Tensor2D => {
      const rows = takeRows(x, group.runs);
      const next: SiteNext = (input, terms) => {
        if (input !== rows) return plain(input, group.pass.asOwn(), terms);
        ofAllRows ??= plain(x, pass);
        return this.#addTerms(takeRows(ofAllRows, group.runs), rows, terms);
      };
      return this.#through(group, rows, next, residual && takeRows(residual, group.runs));
    };
    const parts = groups.filter(({ stack }) => stack !== undefined).map((group) => ({ runs: group.runs, rows: graftedRows(group) }));
    const rest = groups.find(({ stack }) => stack === undefined);
    if (rest !== undefined) parts.push({ runs: rest.runs, rows: ofAllRows === undefined ? plain(takeRows(x, rest.runs), rest.pass) : takeRows(ofAllRows, rest.runs) });
    return joinRows(parts);
  }

  #graft(stack: string, wrap: SiteWrap, { terms }: GraftOptions = {}): Disposer {
    const entry: Grafted = { wrap, terms };
    this.#graftsByStack.set(stack, [...(this.#graftsByStack.get(stack) ?? []), entry]);
    return () => {
      const left = (this.#graftsByStack.get(stack) ?? []).filter((other) => other !== entry);
      if (left.length > 0) this.#graftsByStack.set(stack, left);
      else this.#graftsByStack.delete(stack);
    };
  }

  /** All grafts of a pass as terms of their rows; undefined where one of them is more than that, or a stack changes the weight itself. */
  #termsOf(groups: readonly PassGroup[], pass: Pass): readonly LowRankTerm[] | undefined {
    const { kind, weight, bias } = this.shape;
    if (kind === 'block') return undefined;
    const call = { training: pass.training !== undefined };
    const all: LowRankTerm[] = [];
    for (const { stack, runs } of groups) {
      if (stack === undefined) continue;
      for (const graft of this.#graftsByStack.get(stack)!) {
        const terms = graft.terms?.(call);
        if (terms === undefined) return undefined;
        for (const { input, a, b, scale } of terms) {
          if (input !== undefined) return undefined;
          all.push({ a, b, scale, rows: runs });
        }
      }
    }
    const changed = pass.stacks.some((stack) => stack !== undefined && (weight?.isThawedIn(stack) === true || bias?.isThawedIn(stack) === true));
    return changed ? undefined : all;
  }

  /** The grafts of one stack, the last outermost, around the site's own computation. */
  #through({ stack, pass }: PassGroup, x: tf.Tensor2D, plain: SiteNext, residual: tf.Tensor2D | undefined): tf.Tensor2D {
    const call = this.#call(pass, residual);
    const base: SiteNext = (input, terms) => {
      if (terms !== undefined && this.shape.kind === 'block') throw new GraftError('BLOCK_TERMS', `A strategy passed low-rank terms to ${this.shape.path}, which is a block and not a linear layer.`);
      return plain(input, terms);
    };
    const nest = (below: SiteNext, { wrap }: Grafted): SiteNext => (input, terms) => this.#addTerms(wrap(input, below, call), input, terms);
    return this.#graftsByStack.get(stack!)!.reduce(nest, base)(x);
  }

  #call({ offsets, training }: Pass, residual: tf.Tensor2D | undefined): SiteCall {
    const { path } = this.shape;
    return {
      path,
      training: training !== undefined,
      offsets,
      residual,
      dropoutKey: (salt) => {
        if (training === undefined) throw new GraftError('DROPOUT_OUTSIDE_TRAINING', `A strategy asked for a dropout mask at ${path} in a pass that is not training.`);
        return { seed: training.seed, step: training.step, path: `${path}/${salt}` };
      },
    };
  }

  /** Low-rank terms on what a graft below, or the base for all rows, has computed: y `[T, out]`, x `[T, in]`. */
  #addTerms(y: tf.Tensor2D, x: tf.Tensor2D, terms: readonly LowRankTerm[] = []): tf.Tensor2D {
    return terms.reduce<tf.Tensor2D>((sum, { input = x, a, b, scale }) => tf.add(sum, tf.mul(this.#ops.linear(this.#ops.linear(input, a), b), scale)), y);
  }
}
