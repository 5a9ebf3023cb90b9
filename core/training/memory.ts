import type { CausalLM, Trainable } from '../contracts/index.ts';

const FLOAT = 4;
const MIB = 2 ** 20;
/** Logits that a portable cross-entropy holds at once, in elements. */
const LOGITS_CHUNK = 2 ** 21;
/** Compiled code and scratch space that the first step brings, measured on small models. */
const SCRATCH = 12 * MIB;
/** JavaScript's collector lets about so much pile up in arrays that nothing uses. */
const UNCOLLECTED = 192 * MIB;

/**
 * Bytes that a training holds at its highest, by what they are for. With P trained numbers and passes of T tokens:
 *
 *     process         what is resident now, apart from tensors: Node, plugins, data (measured, not estimated)
 *     frozen weights  as the engine holds them now
 *     packed weights  what the first step adds: each frozen matrix packed for its product, and the output layer [V, hidden] in
 *                     the other orientation and in blocks; nothing where the engine packs in place
 *     trainables      4 P
 *     gradients       4 P, and 4 P more while a step's passes are added up
 *     AdamW moments   8 P
 *     copies          trainables and gradients read back for the optimizer and a checkpoint: 16 P, of which more than 4 P is
 *                     collected in time where it is much; 12 P for a checkpoint alone where the engine has an optimizer
 *     activations     4 T layers (6 hidden + 2 keys + 3 intermediate): what a decoder layer keeps for its backward (two norms,
 *                     queries, attention and both sums; keys, values; gate, up and their product). Attention's scores are
 *                     computed again, not kept; where the engine rematerializes, so are the norms and the product.
 *                     With `recompute: block`, 4 T hidden for each layer, and all that for one.
 *     logits          three arrays of one chunk of rows by the vocabulary
 *
 * @param tokens T, of the largest pass
 * @param accumulates whether a step may have several passes
 * @param recompute whether layers are computed again in the backward
 */
export function estimateMemory({ config, engine }: Pick<CausalLM, 'config' | 'engine'>, trainables: readonly Trainable[], tokens: number, accumulates: boolean, recompute: 'none' | 'block'): Record<string, number> {
  const { frozenBytes, tensorBytes } = engine.memory();
  const trained = FLOAT * trainables.reduce((sum, { variable }) => sum + variable.size, 0);
  const [ofHidden, ofInner] = engine.rematerializes === true ? [4, 2] : [6, 3];
  const keptPerLayer = ofHidden * config.hidden_size + 2 * config.num_key_value_heads * config.head_dim + ofInner * config.intermediate_size;
  const rows = Math.min(tokens, Math.max(1, Math.floor(LOGITS_CHUNK / config.vocab_size)));
  return {
    process: Math.max(0, process.memoryUsage.rss() - frozenBytes - tensorBytes) + SCRATCH,
    'frozen weights': frozenBytes,
    'packed weights': engine.packsInPlace === true ? 0 : frozenBytes + 2 * FLOAT * config.vocab_size * config.hidden_size,
    trainables: trained,
    gradients: trained * (accumulates ? 2 : 1),
    'AdamW moments': 2 * trained,
    copies: engine.optimizer === undefined ? Math.min(4 * trained, trained + UNCOLLECTED) : Math.min(3 * trained, UNCOLLECTED),
    activations: FLOAT * tokens * (recompute === 'block' ? config.num_hidden_layers * config.hidden_size + keptPerLayer : config.num_hidden_layers * keptPerLayer),
    logits: 3 * FLOAT * rows * config.vocab_size,
  };
}
