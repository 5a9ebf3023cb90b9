import { assertColumnsUsed, datasetOfFiles, endTokenOf, formatTeller, newTally, readRows, tallyNotes, templateChooser, tokeniseFiles, type Dataset, type PreprocessCall, type Tokenised } from 'graft';
import { detectFormat, formatToColumns, KNOWN_FIELDS, readRow, type RowReading } from './formats.ts';
import type { PreferenceOptions } from './options.ts';
import { pairOf, type PairOptions } from './pair.ts';

/**
 * From rows of two completions of one prompt to pairs of token sequences with the completions labelled.
 * @param generation hash of this plugin's code: cached pairs of other code are not used
 */
export function preprocessPreference(call: PreprocessCall<PreferenceOptions>, generation: string): Promise<Dataset> {
  if (endTokenOf(call.tokenizer) === undefined) call.emit({ type: 'log', level: 'warn', message: 'The tokenizer has no end token, so the model cannot learn to stop.' });
  return datasetOfFiles(call, {
    plugin: 'preprocess-preference',
    preferences: true,
    check: () => assertColumnsUsed(call.config, formatToColumns),
    tokenise: (files, maxLength) => tokenise(call, { ...call.config, max_length: maxLength }, files, generation),
  });
}

function tokenise(call: PreprocessCall<PreferenceOptions>, options: PreferenceOptions & PairOptions, files: readonly string[], generation: string): Promise<Tokenised> {
  const { tokenizer } = call;
  const tally = newTally();
  const templateOf = templateChooser(options.template, options.template_no_input, tokenizer);
  const reading: RowReading = { columns: options.columns ?? {}, roles: options.roles ?? {}, systemPrompt: options.system_prompt };
  const formatOf = formatTeller(options.format, (value) => detectFormat(value, reading.columns), KNOWN_FIELDS);

  // What the tokens of a row depend on; how pairs are split and ordered does not change them.
  const { format, template, template_no_input, boundary, truncation, max_length } = options;
  return tokeniseFiles({
    call,
    files,
    key: { plugin: generation, format, template, template_no_input, boundary, truncation, max_length, ...reading },
    badRows: options.on_bad_row,
    maxRows: options.max_samples,
    read: readRows,
    tokenise: (row) => {
      const preference = readRow(row.value, formatOf(row), reading);
      return pairOf(row, preference, templateOf({ plain: preference.plain, turns: preference.prompt }), tokenizer, options, tally);
    },
    notes: () => tallyNotes(tally, { max_length, truncation, unit: 'pairs' }),
  });
}
