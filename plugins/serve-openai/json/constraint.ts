/** Constrained decoding: a model that can say nothing but JSON of one kind. */
import type { TokenConstraint, Tokenizer } from 'graft';
import { AllowedTokens, type Allowed } from './allowed-tokens.ts';
import { Positions, type Position } from './automaton.ts';
import { anyObject, checkDepth, compileSchema, SchemaProblem } from './schema.ts';

/** Compiled schemas kept for each tokenizer. */
const MOST_GRAMMARS = 16;
/** Bytes, about, that what a grammar remembers may take. */
const MOST_REMEMBERED = 16 * 2 ** 20;
const POSITION_BYTES = 2048;
/** Characters of a schema. */
const MOST_SCHEMA = 256 * 1024;

/** Whether a vocabulary's tokens are known well enough to be constrained. */
export class VocabularyUnknown extends Error {}

const tokenizerToGrammars = new WeakMap<object, Map<string, Grammar>>();

/**
 * What may be said where JSON is asked for.
 * @param schema undefined: any object
 * @throws SchemaProblem; VocabularyUnknown where the tokenizer changes what its tokens say
 */
export function grammarOf(tokenizer: Tokenizer, schema: unknown): Grammar {
  // Before it is written as JSON, which goes as deep as it nests.
  checkDepth(schema);
  let grammars = tokenizerToGrammars.get(tokenizer);
  if (grammars === undefined) tokenizerToGrammars.set(tokenizer, (grammars = new Map()));
  const key = schema === undefined ? '' : JSON.stringify(schema);
  if (key.length > MOST_SCHEMA) throw new SchemaProblem(`it has more than ${MOST_SCHEMA} characters`, [], true);
  const grammar = grammars.get(key) ?? new Grammar(tokenizer, schema);
  grammars.delete(key);
  grammars.set(key, grammar);
  const [oldest] = grammars.keys();
  if (grammars.size > MOST_GRAMMARS) grammars.delete(oldest!);
  return grammar;
}

/** A schema with a vocabulary; what it finds out is kept for all who ask again. */
export class Grammar {
  readonly vocabulary: AllowedTokens;
  readonly eosTokenIds: readonly number[];
  readonly positions: Positions;
  #positionToAllowed = new WeakMap<Position, Allowed>();
  #remembered = 0;

  constructor(tokenizer: Tokenizer, schema: unknown) {
    const { automaton, rule } = schema === undefined ? anyObject() : compileSchema(schema);
    this.vocabulary = AllowedTokens.of(tokenizer);
    if (!this.vocabulary.tokens.exact) throw new VocabularyUnknown();
    this.eosTokenIds = tokenizer.eosTokenIds;
    this.positions = new Positions(automaton, rule);
  }

  allowed(position: Position): Allowed {
    let allowed = this.#positionToAllowed.get(position);
    if (allowed !== undefined) return allowed;
    allowed = this.vocabulary.at(this.positions, position);
    this.#remembered += allowed.ids.byteLength;
    this.#positionToAllowed.set(position, allowed);
    if (this.#remembered + this.positions.count * POSITION_BYTES > MOST_REMEMBERED) {
      this.positions.forget();
      this.#positionToAllowed = new WeakMap();
      this.#remembered = 0;
    }
    return allowed;
  }
}

/** One text that follows a grammar. */
export class JsonConstraint implements TokenConstraint {
  readonly #grammar: Grammar;
  readonly #ends: ReadonlySet<number>;
  #position: Position;

  constructor(grammar: Grammar) {
    this.#grammar = grammar;
    this.#ends = new Set(grammar.eosTokenIds);
    this.#position = grammar.positions.start;
  }

  /** Whether the value is whole and nothing can follow. */
  get complete(): boolean {
    return this.#position.accepting && this.#position.configurations.length === 0;
  }

  mask(logits: Float32Array): void {
    const { vocabulary, eosTokenIds } = this.#grammar;
    const { plain, ids } = this.#grammar.allowed(this.#position);
    const kept = this.#position.accepting ? [...ids, ...eosTokenIds] : ids;
    const values = Float32Array.from(kept, (id: number) => logits[id]!);
    if (plain) {
      for (const id of vocabulary.notPlain) logits[id] = -Infinity;
      logits.fill(-Infinity, vocabulary.tokens.size);
    } else {
      logits.fill(-Infinity);
    }
    kept.forEach((id: number, i: number) => (logits[id] = values[i]!));
  }

  accept(id: number): void {
    if (this.#ends.has(id)) return;
    for (const byte of this.#grammar.vocabulary.tokens.bytes(id) ?? []) {
      const next = this.#grammar.positions.next(this.#position, byte);
      if (next === undefined) throw new Error(`Token ${id} does not follow the grammar.`);
      this.#position = next;
    }
  }
}
