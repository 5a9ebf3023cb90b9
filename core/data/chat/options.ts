import { Type } from 'typebox';
import { fileOptions, pathsOption } from '../file-options.ts';

/** An option under `columns`: the name of a field, where it is not the format's own. */
export function columnOption(field: string, description: string) {
  return Type.Optional(Type.String({ description: `Field that holds ${description}. Default: \`${field}\`.` }));
}

/** What becomes of examples that are longer than `max_length`. */
export function truncationOption(description: string) {
  return Type.Union([Type.Literal('right'), Type.Literal('left'), Type.Literal('skip')], { default: 'right', description });
}

/** @param description without the default, which is said for all */
export function maxLengthOption(description: string) {
  return Type.Optional(Type.Integer({ minimum: 2, description: `${description} Default: the model's longest sequence, at most 2048.` }));
}

/** Options under `columns` of formats that have turns or tasks. */
export const chatColumns = {
  instruction: columnOption('instruction', "alpaca's task"),
  input: columnOption('input', "alpaca's further input"),
  history: columnOption('history', "alpaca's earlier turns, a list of [instruction, answer]"),
  system: columnOption('system', 'the system prompt of a row'),
  prompt: columnOption('prompt', 'the prompt'),
  role: Type.Optional(Type.String({ description: 'Field of a turn that says who speaks. Default: `role`, or `from` for sharegpt.' })),
  content: Type.Optional(Type.String({ description: 'Field of a turn that says what. Default: `content`, or `value` for sharegpt.' })),
};

/**
 * Options of every preprocess plugin that reads conversations.
 * @param unit what a row becomes
 * @param plain the format whose texts get nothing added by `template: auto`
 */
export function chatOptions(unit: 'example' | 'pair', plain: string) {
  return {
    data: pathsOption('File, glob, or list of them: .json, .jsonl, .csv, .tsv (each also .gz), .parquet. Relative to the config file.'),
    roles: Type.Optional(
      Type.Record(Type.String(), Type.Union([Type.Literal('system'), Type.Literal('user'), Type.Literal('assistant'), Type.Literal('tool')]), {
        description: 'Further names of roles in the data, such as { narrator: user }.',
      }),
    ),
    template: Type.String({
      default: 'auto',
      graftPath: false,
      minLength: 1,
      description:
        `How turns become text: \`chat\` (the model's own chat template), \`alpaca\`, \`alpaca_original\` (with Stanford's preamble), \`plain\` (prompt and completion, nothing added), or a text with {instruction}, {input}, {system} and {output}. \`auto\`: chat where the model has one, else alpaca; plain for ${plain}.`,
    }),
    template_no_input: Type.Optional(Type.String({ graftPath: false, minLength: 1, description: 'The text for rows without an input, where `template` is a text of your own.' })),
    system_prompt: Type.Optional(Type.String({ graftPath: false, description: 'System prompt of rows that bring none.' })),
    boundary: Type.Union([Type.Literal('auto'), Type.Literal('split'), Type.Literal('joint')], {
      default: 'auto',
      description:
        '`split` tokenises prompt and completion apart, so that the prompt has exactly the tokens that a server will send. `joint` tokenises them as one text, and apart only where a token would lie across the boundary. `auto`: joint for chat templates, else split.',
    }),
    eval_data: Type.Optional(pathsOption('Files to evaluate on, in the same format.')),
    eval_split: Type.Number({ minimum: 0, default: 0, description: `Part of the ${unit}s held out for evaluation: a share below 1, or a number of ${unit}s.` }),
    shuffle: Type.Boolean({ default: false, description: `Whether ${unit}s come in a random order instead of the file's (trainers shuffle every epoch anyway).` }),
    seed: fileOptions.seed,
    max_samples: Type.Optional(Type.Integer({ minimum: 1, description: 'Usable rows to read at most, from the first on.' })),
    on_bad_row: fileOptions.on_bad_row,
  };
}
