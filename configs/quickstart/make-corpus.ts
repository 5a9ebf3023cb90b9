/**
 * Writes everything that the quickstart stands on, from one seed:
 *
 *   node --import tsx configs/quickstart/make-corpus.ts
 *
 *   configs/quickstart/build/corpus.jsonl   documents to pretrain on (not kept in the repository)
 *   configs/quickstart/seed/                config.json and tokenizer of a model without weights
 *   configs/quickstart/train.jsonl          instructions to fine-tune on (alpaca)
 *   configs/quickstart/eval.jsonl           held-out facts, asked for
 *   configs/quickstart/pairs.jsonl          the same instructions with a preferred and another answer, and pairs-eval.jsonl
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { rng } from '../../core/tensor/rng.ts';
import { trainTokenizer } from './bpe.ts';
import { pairOf, writeInstructions } from './instructions.ts';
import { writeDocument } from './stories.ts';

const SEED = 2026;
const DOCUMENTS = 60_000;
/** Share of the facts that fine-tuning never sees. */
const HELD_OUT = 0.15;
/** An upper bound: the world has fewer words than would fill it. */
const VOCABULARY = 1152;
const CONTEXT = 256;

/** The frame that instructions are trained in, as a chat template: one turn of it is the alpaca format. */
const CHAT_TEMPLATE =
  "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}{{ message['content'] }}{{ eos_token }}" +
  "{% elif message['role'] == 'system' %}{{ message['content'] }}\n\n{% else %}### Instruction:\n{{ message['content'] }}\n\n### Response:\n{% endif %}{% endfor %}";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const lines = (rows: readonly unknown[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
const json = (value: unknown): string => `${JSON.stringify(value, null, 1)}\n`;

const stories = rng(SEED, 'corpus');
const documents = Array.from({ length: DOCUMENTS }, () => writeDocument(stories));
const { train, evaluation } = writeInstructions(rng(SEED, 'instructions'), HELD_OUT);
const framed = [...train, ...evaluation].map((row) => `### Instruction:\n${row.instruction}\n\n### Response:\n${row.output}`);
const tokenizer = trainTokenizer([...documents.slice(0, 10_000), ...framed], VOCABULARY);
const vocabSize = Object.keys((tokenizer['model'] as { vocab: Record<string, number> }).vocab).length;

mkdirSync(here('./build'), { recursive: true });
mkdirSync(here('./seed'), { recursive: true });
writeFileSync(here('./build/corpus.jsonl'), lines(documents.map((text) => ({ text }))));
writeFileSync(here('./train.jsonl'), lines(train));
writeFileSync(here('./eval.jsonl'), lines(evaluation));
writeFileSync(here('./pairs.jsonl'), lines(train.map(pairOf)));
writeFileSync(here('./pairs-eval.jsonl'), lines(evaluation.map(pairOf)));
writeFileSync(here('./seed/tokenizer.json'), json(tokenizer));
writeFileSync(
  here('./seed/tokenizer_config.json'),
  json({
    tokenizer_class: 'PreTrainedTokenizerFast',
    bos_token: '<s>',
    eos_token: '</s>',
    unk_token: '<unk>',
    model_max_length: CONTEXT,
    clean_up_tokenization_spaces: false,
    chat_template: CHAT_TEMPLATE,
  }),
);
writeFileSync(
  here('./seed/config.json'),
  json({
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
    vocab_size: vocabSize,
    hidden_size: 128,
    intermediate_size: 352,
    num_hidden_layers: 5,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: CONTEXT,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    hidden_act: 'silu',
    initializer_range: 0.02,
    tie_word_embeddings: true,
    bos_token_id: 1,
    eos_token_id: 2,
    torch_dtype: 'float16',
  }),
);
process.stdout.write(`${documents.length} documents, ${train.length} instructions, ${evaluation.length} held out, ${vocabSize} tokens in the vocabulary\n`);
