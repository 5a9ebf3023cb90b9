import { assertColumnsUsed, datasetOfFiles, endTokenOf, formatTeller, newTally, readRows, tallyNotes, templateChooser, tokeniseFiles, type Dataset, type PreprocessCall, type Tokenised, type TokeniseJob } from 'graft';
import { exampleOf, type ExampleOptions } from './example.ts';
import { detectFormat, formatToColumns, readRow, type RowReading } from './formats.ts';
import type { InstructOptions } from './options.ts';

/**
 * From rows of instructions or conversations to token sequences with the answers labelled.
 * @param generation hash of this plugin's code: cached examples of other code are not used
 */
export function preprocessInstruct(call: PreprocessCall<InstructOptions>, generation: string): Promise<Dataset> {
  if (endTokenOf(call.tokenizer) === undefined) call.emit({ type: 'log', level: 'warn', message: 'The tokenizer has no end token, so the model cannot learn to stop.' });
  return datasetOfFiles(call, {
    plugin: 'preprocess-instruct',
    check: () => assertColumnsUsed(call.config, formatToColumns),
    tokenise: (files, maxLength) => tokenise(call, { ...call.config, max_length: maxLength }, files, generation),
  });
}

function tokenise(call: PreprocessCall<InstructOptions>, options: InstructOptions & ExampleOptions, files: readonly string[], generation: string): Promise<Tokenised> {
  const { tokenizer } = call;
  const tally = newTally();
  const templateOf = templateChooser(options.template, options.template_no_input, tokenizer);
  const reading: RowReading = { columns: options.columns ?? {}, roles: options.roles ?? {}, systemPrompt: options.system_prompt };
  const formatOf = formatTeller(options.format, (value) => detectFormat(value, reading.columns), 'instruction and output (alpaca), messages, conversations (sharegpt), prompt and completion');

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
    notes: () => tallyNotes(tally, { max_length, truncation, unit: 'examples' }),
  };
  return tokeniseFiles(job);
}
