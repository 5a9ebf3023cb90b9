import { datasetOfFiles, endTokenOf, readRows, RowProblem, tokeniseFiles, type Dataset, type PreprocessCall, type Row, type Tokenised, type TokeniseJob } from 'graft';
import { exampleOf, newTally, type ExampleOptions } from './example.ts';
import { assertColumnsUsed, detectFormat, readRow, type Format, type RowReading } from './formats.ts';
import type { InstructOptions } from './options.ts';
import { tallyNotes } from './tally-notes.ts';
import { templateChooser } from './templates.ts';

/**
 * From rows of instructions or conversations to token sequences with the answers labelled.
 * @param generation hash of this plugin's code: cached examples of other code are not used
 */
export function preprocessInstruct(call: PreprocessCall<InstructOptions>, generation: string): Promise<Dataset> {
  if (endTokenOf(call.tokenizer) === undefined) call.emit({ type: 'log', level: 'warn', message: 'The tokenizer has no end token, so the model cannot learn to stop.' });
  return datasetOfFiles(call, {
    plugin: 'preprocess-instruct',
    check: () => assertColumnsUsed(call.config),
    tokenise: (files, maxLength) => tokenise(call, { ...call.config, max_length: maxLength }, files, generation),
  });
}

function tokenise(call: PreprocessCall<InstructOptions>, options: InstructOptions & ExampleOptions, files: readonly string[], generation: string): Promise<Tokenised> {
  const { tokenizer } = call;
  const tally = newTally();
  const templateOf = templateChooser(options.template, options.template_no_input, tokenizer);
  const reading: RowReading = { columns: options.columns ?? {}, roles: options.roles ?? {}, systemPrompt: options.system_prompt };
  const fileToFormat = new Map<string, Format>();

  const formatOf = (row: Row): Format => {
    const known = options.format === 'auto' ? fileToFormat.get(row.file) : options.format;
    if (known !== undefined) return known;
    const format = detectFormat(row.value, reading.columns);
    if (format === undefined) {
      const names = Object.keys(row.value).map((name) => `"${name}"`).join(', ');
      throw new RowProblem(`its format cannot be told from its fields (${names || 'there are none'}); known are instruction and output (alpaca), messages, conversations (sharegpt), prompt and completion; rename others with columns`);
    }
    fileToFormat.set(row.file, format);
    return format;
  };

  // What the tokens of a row depend on; how examples are split, ordered and packed does not change them.
  const { format, template, template_no_input, train_on, train_end_of_turn, boundary, truncation, max_length } = options;
  const job: TokeniseJob = {
    call,
    files,
    key: { plugin: generation, format, template, template_no_input, train_on, train_end_of_turn, boundary, truncation, max_length, ...reading },
    badRows: options.on_bad_row,
    maxRows: options.max_samples,
    read: readRows,
    tokenise: (row) => {
      const conversation = readRow(row.value, formatOf(row), reading);
      const example = exampleOf(row, conversation, templateOf(conversation), tokenizer, options, tally);
      return example === undefined ? [] : [example];
    },
    notes: () => tallyNotes(tally, options),
  };
  return tokeniseFiles(job);
}
