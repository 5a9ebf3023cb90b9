import { fileOptions, pathsOption, Type, type Static } from 'graft';

/** The options of `use: text`. */
export const TextOptions = Type.Object({
  data: pathsOption('File, glob, or list of them: .txt, .md, .text, .json, .jsonl, .csv, .tsv (each also .gz), .parquet. Relative to the config file.'),
  separator: Type.Optional(Type.String({ graftPath: false, minLength: 1, description: 'What stands between the documents of a plain text file, such as "\\n\\n". Default: the whole file is one document.' })),
  text_field: Type.String({ default: 'text', description: 'Field that holds the text of a row, in files that have rows.' }),
  add_bos: Type.Boolean({ default: true, description: 'Whether a document begins with the BOS token, for a model that has one.' }),
  add_eos: Type.Boolean({ default: true, description: 'Whether a document ends with the EOS token.' }),
  max_length: Type.Optional(Type.Integer({ minimum: 8, description: "Tokens of a chunk at most. Default: the model's longest sequence, at most 2048." })),
  across_documents: Type.Boolean({
    default: false,
    description: 'Cut the documents as one long text, so that every chunk is full: a chunk may hold the end of one and the beginning of the next, and attention sees both. Otherwise a chunk is of one document.',
  }),
  packing: Type.Boolean({ default: false, description: 'Put several chunks into one sequence of up to max_length tokens (best-fit decreasing). Attention never crosses from one to the next.' }),
  eval_data: Type.Optional(pathsOption('Files to evaluate on.')),
  eval_split: Type.Number({ minimum: 0, default: 0, description: 'Part of the documents held out for evaluation: a share below 1, or a number of documents. Of chunks, where there is one document.' }),
  shuffle: Type.Boolean({ default: false, description: "Whether chunks come in a random order instead of the files' (trainers shuffle every epoch anyway)." }),
  seed: fileOptions.seed,
  max_samples: Type.Optional(Type.Integer({ minimum: 1, description: 'Documents to read at most, from the first on.' })),
  on_bad_row: fileOptions.on_bad_row,
});

export type TextOptions = Static<typeof TextOptions>;
