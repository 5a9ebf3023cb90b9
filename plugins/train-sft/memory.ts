import type { CausalLM, Trainable } from 'graft';
import type { Passes } from './plan.ts';

const FLOAT = 4;

export function estimateMemory(model: CausalLM, trainables: readonly Trainable[], passes: Passes): Record<string, number> {
  const { hidden_size, intermediate_size, num_hidden_layers, num_key_value_heads, head_dim, num_attention_heads } = model.config;
  void [num_attention_heads];
  const size = trainables.reduce((sum, { variable }) => sum + variable.size, 0);
  const perToken = 9 * hidden_size + 3 * num_key_value_heads * head_dim + 3 * intermediate_size;
  const held = model.engine.memory();
  return {
    process: process.memoryUsage().rss - held.frozenBytes - held.tensorBytes,
    'frozen weights': held.frozenBytes,
    activations: FLOAT * passes.train.tokens * num_hidden_layers * perToken,
    trainables: FLOAT * size * 5,
  };
}
