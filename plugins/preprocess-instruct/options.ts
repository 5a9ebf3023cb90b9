import { chatColumns, chatOptions, columnOption, maxLengthOption, truncationOption, Type, type Static } from 'graft';

const shared = chatOptions('example', 'prompt_completion');

/** The options of `use: instruct`. */
export const InstructOptions = Type.Object({
  data: shared.data,
  format: Type.Union([Type.Literal('auto'), Type.Literal('alpaca'), Type.Literal('sharegpt'), Type.Literal('messages'), Type.Literal('prompt_completion')], {
    default: 'auto',
    description: 'How a row is laid out. `auto` sees it from the names of the fields.',
  }),
  columns: Type.Optional(
    Type.Object(
      {
        instruction: chatColumns.instruction,
        input: chatColumns.input,
        output: columnOption('output', "alpaca's answer"),
        history: chatColumns.history,
        system: chatColumns.system,
        prompt: chatColumns.prompt,
        completion: columnOption('completion', 'the completion'),
        messages: Type.Optional(Type.String({ description: 'Field that holds the list of turns. Default: `messages`, or `conversations` for sharegpt.' })),
        role: chatColumns.role,
        content: chatColumns.content,
      },
      { description: 'Names of the fields, where they differ from the format\'s own.' },
    ),
  ),
  roles: shared.roles,
  template: shared.template,
  template_no_input: shared.template_no_input,
  system_prompt: shared.system_prompt,
  train_on: Type.Union([Type.Literal('completion'), Type.Literal('last_turn'), Type.Literal('all')], {
    default: 'completion',
    description: 'Which tokens carry a loss: what the assistant says in every turn, in its last turn only, or every token.',
  }),
  train_end_of_turn: Type.Boolean({ default: true, description: "Whether the token that ends the assistant's turn is trained on; without it the model does not learn to stop." }),
  boundary: shared.boundary,
  max_length: maxLengthOption('Tokens of an example, and of a packed sequence, at most.'),
  truncation: truncationOption('What becomes of an example that is longer: its end is cut off, its beginning is (BOS stays), or it is left out. What was cut is always counted and said.'),
  packing: Type.Boolean({ default: false, description: 'Put several examples into one sequence of up to max_length tokens (best-fit decreasing). Attention never crosses from one to the next.' }),
  eval_data: shared.eval_data,
  eval_split: shared.eval_split,
  shuffle: shared.shuffle,
  seed: shared.seed,
  max_samples: shared.max_samples,
  on_bad_row: shared.on_bad_row,
});

export type InstructOptions = Static<typeof InstructOptions>;
export type Columns = NonNullable<InstructOptions['columns']>;
