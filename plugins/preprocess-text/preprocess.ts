import { dataExtension, datasetOfFiles, GraftError, readDocuments, readRows, tokeniseFiles, type Dataset, type PreprocessCall, type Tokenised } from 'graft';
import { Chunker, type ChunkOptions } from './chunks.ts';
import type { TextOptions } from './options.ts';

const PLAIN_TEXT = ['txt', 'md', 'text'];

/**
 * From documents to chunks of tokens, every token trained on.
 * @param generation hash of this plugin's code: cached chunks of other code are not used
 */
export function preprocessText(call: PreprocessCall<TextOptions>, generation: string): Promise<Dataset> {
  return datasetOfFiles(call, {
    plugin: 'preprocess-text',
    check: (files) => {
      if (call.config.separator === undefined || files.some(isPlainText)) return;
      throw new GraftError('SEPARATOR_UNUSED', 'separator divides plain text files, and the data has none: each row is a document.', { option: ['separator'], hint: 'Leave it out.' });
    },
    tokenise: (files, maxLength) => tokenise(call, { ...call.config, max_length: maxLength }, files, generation),
  });
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
