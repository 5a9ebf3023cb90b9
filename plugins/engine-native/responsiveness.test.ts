import { expect, it } from 'vitest';
import { randomTraining } from '../../test/support/random-training.ts';
import { startNative } from './engine.ts';

const CONFIG = {
  ...{ architectures: ['LlamaForCausalLM'], model_type: 'llama', hidden_act: 'silu', hidden_size: 288, intermediate_size: 768, num_hidden_layers: 6 },
  ...{ num_attention_heads: 6, num_key_value_heads: 6, vocab_size: 8000, tie_word_embeddings: true, torch_dtype: 'float32' },
  ...{ max_position_embeddings: 2048, rms_norm_eps: 1e-6, bos_token_id: 1, eos_token_id: 2 },
};

it('lets the event loop go on while a step is computed: a tick waits for far less than a step', async () => {
  const engine = await startNative(2);
  let last = performance.now();
  let [longest, ticks] = [0, 0];
  const tick = (): void => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    ticks++;
  };
  const seconds: number[] = [];
  const timer = setInterval(tick, 20);
  try {
    for await (const event of randomTraining(engine, { config: CONFIG, batch: 6, length: 256, steps: 2, dropout: 0.05 })) {
      if (event.type !== 'step') continue;
      seconds.push(event.seconds);
      if (seconds.length > 1) continue;
      // The first step warms up: it compiles JavaScript and packs weights.
      last = performance.now();
      [longest, ticks] = [0, 0];
    }
    tick();
  } finally {
    clearInterval(timer);
  }
  const step = seconds[1]!;
  expect(longest / 1000).toBeLessThan(step / 3);
  expect(ticks).toBeGreaterThan(6);
}, 60_000);
