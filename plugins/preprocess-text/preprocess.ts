import { buildDataset, dataExtension, dataFiles, GraftError, readDocuments, readRows, rng, tokeniseFiles, type Dataset, type PreprocessCall, type Tokenised } from 'graft';
import { Chunker, type ChunkOptions } from './chunks.ts';
import type { TextOptions } from './options.ts';

/** Tokens at most where neither the config nor the model sets a lower limit. */
const DEFAULT_MAX_LENGTH = 2048;
const PLAIN_TEXT = ['txt', 'md', 'text'];

/**
 * From documents to chunks of tokens, every token trained on.
 * @param generation hash of this plugin's code: cached chunks of other code are not used
 */
export async function preprocessText(call: PreprocessCall<TextOptions>, generation: string): Promise<Dataset> {
  const { config, model } = call;
  const longest = model.config.max_position_embeddings;
  const maxLength = config.max_length ?? Math.min(DEFAULT_MAX_LENGTH, longest);
  if (maxLength > longest) call.emit({ type: 'log', level: 'warn', message: `max_length is ${maxLength}, and the model was trained on sequences of at most ${longest} tokens.` });
  if (config.eval_data !== undefined && config.eval_split !== 0) {
    throw new GraftError('EVAL_SPLIT', 'eval_data and eval_split both say what to evaluate on.', { option: ['eval_split'], hint: 'Leave one of them out.' });
  }
  const options = { ...config, max_length: maxLength };
  const files = await dataFiles(config.data, call.baseDir, ['data']);
  const evalFiles = config.eval_data === undefined ? undefined : await dataFiles(config.eval_data, call.baseDir, ['eval_data']);
  if (config.separator !== undefined && ![...files, ...(evalFiles ?? [])].some(isPlainText)) {
    throw new GraftError('SEPARATOR_UNUSED', 'separator divides plain text files, and the data has none: each row is a document.', { option: ['separator'], hint: 'Leave it out.' });
  }
  const train = await tokenise(call, options, files, generation);
  const held = evalFiles === undefined ? undefined : await tokenise(call, options, evalFiles, generation);
  const seed = config.seed ?? call.seed;
  return buildDataset(
    train,
    held,
    { evalSplit: config.eval_split, shuffle: config.shuffle, random: (purpose) => rng(seed, 'preprocess-text', purpose) },
    { input: call.input, maxLength, packing: config.packing },
  );
}

function tokenise(call: PreprocessCall<TextOptions>, options: TextOptions & ChunkOptions, files: readonly string[], generation: string): Promise<Tokenised> {
  const { separator, text_field, add_bos, add_eos, across_documents, max_length } = options;
  const chunker = new Chunker(call.tokenizer, options);
  return tokeniseFiles({
    call,
    files,
    // How chunks are split, ordered and packed does not change them.
    key: { plugin: generation, separator, text_field, add_bos, add_eos, across_documents, max_length },
    badRows: options.on_bad_row,
    maxRows: options.max_samples,
    read: (file, meter) => (isPlainText(file) ? readDocuments(file, separator, meter) : readRows(file, meter)),
    tokenise: (row) => chunker.add(row),
    finish: () => chunker.finish(),
    notes: () => (chunker.tooShort === 0 ? [] : [`${chunker.tooShort} ${chunker.tooShort === 1 ? 'document was' : 'documents were'} left out: a single token predicts nothing.`]),
  });
}

function isPlainText(file: string): boolean {
  return PLAIN_TEXT.includes(dataExtension(file));
}
