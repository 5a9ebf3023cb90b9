import { Composer, Lexer, Parser, isAlias, isMap, isScalar, isSeq } from 'yaml';
import type { CST, Document, Node, YAMLMap } from 'yaml';
import type { Findings } from './diagnostic.ts';
import type { ConfigNode, MapEntry, MapNode } from './node.ts';
import type { Source, Span } from './source.ts';

/** Levels of lists and mappings, counted after aliases are followed. */
const MAX_DEPTH = 64;
/** Values after aliases are expanded; nine lists of nine aliases each would make 387 million. */
const MAX_VALUES = 100_000;

/** What to do about the mistakes that people make and whose names say little. */
const ADVICE: Readonly<Record<string, string>> = {
  TAB_AS_INDENT: ' Use spaces.',
  BLOCK_AS_IMPLICIT_KEY: ' Put the value in quotes when it holds `: `; else look at the indentation.',
  TAG_RESOLVE_FAILED: ' Tags are not used in configs.',
};

/**
 * Parses YAML 1.2 (core schema) into a tree with positions.
 *
 * Merge keys (`<<`) are YAML 1.1 and refused: `extends` does that across files, an alias does it for a whole value.
 * Tags beyond the core schema, several documents in a file, and recursive aliases are refused.
 * @param findings takes every mistake; the caller decides when to stop
 * @param offset where in the source the YAML begins
 * @returns undefined when the text has no usable structure
 */
export function parseYaml(source: Source, findings: Findings, offset = 0): ConfigNode | undefined {
  const text = source.text.slice(offset);
  const span = (start: number, end: number): Span => ({ source, start: offset + start, end: offset + Math.max(start, end) });
  const tokens = tokensOf(text);
  if ('tooDeepAt' in tokens) {
    findings.add(span(tokens.tooDeepAt, tokens.tooDeepAt + 1), 'YAML_TOO_DEEP', `This is nested more than ${MAX_DEPTH} levels deep; a config may not be.`);
    return undefined;
  }
  const documents = [...new Composer({ version: '1.2', prettyErrors: false, uniqueKeys: false, keepSourceTokens: false }).compose(tokens, true, text.length)];
  const [document, second] = documents;
  if (document === undefined) return undefined;
  const faults = documents.flatMap((each) => [...each.errors, ...each.warnings]);
  for (const fault of faults) findings.add(span(fault.pos[0], fault.pos[1]), `YAML_${fault.code}`, `${sentence(fault.message)}${ADVICE[fault.code] ?? ''}`);
  if (document.directives?.yaml.explicit === true && document.directives.yaml.version !== '1.2') {
    findings.add(span(0, text.indexOf('\n')), 'YAML_VERSION', `Configs are YAML 1.2, and this one asks for YAML ${document.directives.yaml.version}. Take the %YAML line out.`);
    return undefined;
  }
  if (second !== undefined) {
    const start = second.range[0];
    findings.add(span(start, start + 3), 'YAML_MULTIPLE_DOCUMENTS', 'A second YAML document begins here; a config is one document. Put it into a file of its own.');
  }
  if (faults.length > 0) return undefined;
  return new TreeBuilder(document, findings, span).build();
}

function sentence(message: string): string {
  return /[.!?]$/.test(message) ? message : `${message}.`;
}

/**
 * The tokens of a text, or where it is nested too deeply. The check stands here, between one token and the next, because
 * what follows recurses, and because half a million brackets take seconds to read to their end.
 */
function tokensOf(text: string): readonly CST.Token[] | { readonly tooDeepAt: number } {
  const parser = new Parser();
  const tokens: CST.Token[] = [];
  for (const lexeme of new Lexer().lex(text)) {
    tokens.push(...parser.next(lexeme));
    const deep = parser.stack.length > MAX_DEPTH && parser.stack.filter((token) => 'items' in token).length > MAX_DEPTH;
    if (deep) return { tooDeepAt: Math.max(0, parser.offset - lexeme.length) };
  }
  return [...tokens, ...parser.end()];
}

/** What a node amounts to when every alias in it is expanded. */
interface Extent {
  readonly values: number;
  readonly depth: number;
}

/** Turns one YAML document into config nodes, following aliases and measuring what they expand to. */
class TreeBuilder {
  readonly #anchorToNode = new Map<string, ConfigNode | 'open'>();
  readonly #nodeToExtent = new Map<ConfigNode, Extent>();
  readonly #document: Document.Parsed;
  readonly #findings: Findings;
  readonly #span: (start: number, end: number) => Span;
  #refused = false;

  constructor(document: Document.Parsed, findings: Findings, span: (start: number, end: number) => Span) {
    this.#document = document;
    this.#findings = findings;
    this.#span = span;
  }

  build(): ConfigNode | undefined {
    const root = this.#convert(this.#document.contents, this.#document.range[0]);
    return this.#refused ? undefined : root;
  }

  /** @param at where an empty value would stand */
  #convert(node: Node | null | undefined, at: number): ConfigNode {
    if (node == null) return this.#measured({ kind: 'scalar', value: null, span: this.#span(at, at), quoted: false }, []);
    if (isAlias(node)) return this.#follow(node.source, this.#spanOf(node));
    const anchor = 'anchor' in node ? node.anchor : undefined;
    if (anchor !== undefined) this.#anchorToNode.set(anchor, 'open');
    const converted = this.#collection(node);
    if (anchor !== undefined) this.#anchorToNode.set(anchor, converted);
    return converted;
  }

  #collection(node: Node): ConfigNode {
    const span = this.#spanOf(node);
    if (isMap(node)) return this.#map(node, span);
    if (isSeq(node)) {
      const items = node.items.map((item) => this.#convert(item as Node | null, span.start));
      return this.#measured({ kind: 'list', items, span }, items);
    }
    const value: unknown = isScalar(node) ? node.value : null;
    const quoted = isScalar(node) && node.type !== undefined && node.type !== 'PLAIN';
    const plain = typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' ? value : null;
    return this.#measured({ kind: 'scalar', value: plain, span, quoted }, []);
  }

  #map(node: YAMLMap, span: Span): MapNode {
    const entries = new Map<string, MapEntry>();
    for (const pair of node.items) {
      const keyNode = pair.key as Node | null;
      const key = keyNode == null ? span : this.#spanOf(keyNode);
      const value = this.#convert(pair.value as Node | null | undefined, key.end - this.#span(0, 0).start);
      const name = this.#keyName(keyNode, key);
      if (name === undefined) continue;
      const earlier = entries.get(name);
      if (earlier !== undefined) {
        const line = earlier.key.source.lines.linePos(earlier.key.start).line;
        this.#findings.add(key, 'YAML_DUPLICATE_KEY', `The key \`${name}\` is given twice; the first is on line ${line}. Keep one.`);
        continue;
      }
      entries.set(name, { key, node: value });
    }
    return this.#measured({ kind: 'map', entries, span }, [...entries.values()].map((entry) => entry.node));
  }

  #keyName(node: Node | null, key: Span): string | undefined {
    const text = isScalar(node) ? (typeof node.value === 'string' ? node.value : (node.source ?? String(node.value))) : undefined;
    if (text === undefined || text === '') {
      this.#findings.add(key, 'YAML_KEY', 'A key must be text: `key: value`.');
      return undefined;
    }
    if (text === '<<' && isScalar(node) && node.type === 'PLAIN') {
      this.#findings.add(key, 'YAML_MERGE_KEY', 'Merge keys (`<<`) are not part of YAML 1.2. Use `extends:` to build on another file, or an alias (`*name`) for a whole value.');
      return undefined;
    }
    if (text === '__proto__') {
      this.#findings.add(key, 'YAML_KEY', '`__proto__` cannot be a key.');
      return undefined;
    }
    return text;
  }

  #follow(anchor: string, span: Span): ConfigNode {
    const target = this.#anchorToNode.get(anchor);
    if (target !== undefined && target !== 'open') return target;
    const message = target === 'open' ? `The alias \`*${anchor}\` stands inside the value that it refers to.` : `There is no anchor \`&${anchor}\` before this alias.`;
    this.#findings.add(span, target === 'open' ? 'YAML_RECURSIVE_ALIAS' : 'YAML_UNKNOWN_ALIAS', message);
    return this.#measured({ kind: 'scalar', value: null, span, quoted: false }, []);
  }

  #measured<N extends ConfigNode>(node: N, children: readonly ConfigNode[]): N {
    const extents = children.map((child) => this.#nodeToExtent.get(child) ?? { values: 1, depth: 0 });
    const values = extents.reduce((sum, extent) => sum + extent.values, 1);
    const depth = node.kind === 'scalar' ? 0 : extents.reduce((most, extent) => Math.max(most, extent.depth), 0) + 1;
    this.#nodeToExtent.set(node, { values, depth });
    if (this.#refused) return node;
    if (values > MAX_VALUES) {
      this.#findings.add(node.span, 'YAML_TOO_MANY_VALUES', `With its aliases expanded this holds more than ${MAX_VALUES.toLocaleString('en')} values; a config may not.`);
    }
    if (depth > MAX_DEPTH) {
      this.#findings.add(node.span, 'YAML_TOO_DEEP', `With its aliases expanded this is nested more than ${MAX_DEPTH} levels deep; a config may not be.`);
    }
    this.#refused = values > MAX_VALUES || depth > MAX_DEPTH;
    return node;
  }

  #spanOf(node: Node): Span {
    const [start, end] = node.range ?? [0, 0];
    return this.#span(start, end);
  }
}
