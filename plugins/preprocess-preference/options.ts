import { chatColumns, chatOptions, maxLengthOption, truncationOption, Type, type Static } from 'graft';

const shared = chatOptions('pair', "trl's texts");

/** The options of `use: preference`. */
export const PreferenceOptions = Type.Object({
  data: shared.data,
  format: Type.Union([Type.Literal('auto'), Type.Literal('trl'), Type.Literal('sharegpt'), Type.Literal('alpaca'), Type.Literal('openai')], {
    default: 'auto',
    description: 'How a row is laid out. `auto` sees it from the names of the fields.',
  }),
  columns: Type.Optional(
    Type.Object(
      {
        prompt: chatColumns.prompt,
        chosen: Type.Optional(Type.String({ description: 'Field that holds the preferred completion. Default: `chosen`, or `preferred_output` for openai.' })),
        rejected: Type.Optional(Type.String({ description: 'Field that holds the other completion. Default: `rejected`, or `non_preferred_output` for openai.' })),
        instruction: chatColumns.instruction,
        input: Type.Optional(Type.String({ description: "Field that holds alpaca's further input, or openai's object of messages. Default: `input`." })),
        history: chatColumns.history,
        system: chatColumns.system,
        messages: Type.Optional(Type.String({ description: "Field that holds the prompt's turns. Default: `conversations` for sharegpt; `messages`, inside the input, for openai." })),
        role: chatColumns.role,
        content: chatColumns.content,
      },
      { description: "Names of the fields, where they differ from the format's own." },
    ),
  ),
  roles: shared.roles,
  template: shared.template,
  template_no_input: shared.template_no_input,
  system_prompt: shared.system_prompt,
  boundary: shared.boundary,
  max_length: maxLengthOption('Tokens of each half of a pair, its prompt and one completion, at most.'),
  truncation: truncationOption(
    'What becomes of a pair with a longer half: `right` cuts each half at its end; `left` cuts both at their beginning (BOS stays), by as much as the longer one exceeds, so that the prompt stays the same in both; `skip` leaves the pair out. What was cut is always counted and said.',
  ),
  eval_data: shared.eval_data,
  eval_split: shared.eval_split,
  shuffle: shared.shuffle,
  seed: shared.seed,
  max_samples: shared.max_samples,
  on_bad_row: shared.on_bad_row,
});

export type PreferenceOptions = Static<typeof PreferenceOptions>;
export type Columns = NonNullable<PreferenceOptions['columns']>;
