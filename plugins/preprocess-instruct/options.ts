import { Type, type Static } from 'graft';

const paths = (description: string) =>
  Type.Union([Type.String({ graftPath: true, graftEnv: true, minLength: 1 }), Type.Array(Type.String({ graftPath: true, graftEnv: true, minLength: 1 }), { minItems: 1 })], { description });

const column = (field: string, description: string) => Type.Optional(Type.String({ description: `Field that holds ${description}. Default: \`${field}\`.` }));

/** The options of `use: instruct`. */
export const InstructOptions = Type.Object({
  data: paths('File, glob, or list of them: .json, .jsonl, .csv, .tsv (each also .gz), .parquet. Relative to the config file.'),
  format: Type.Union([Type.Literal('auto'), Type.Literal('alpaca'), Type.Literal('sharegpt'), Type.Literal('messages'), Type.Literal('prompt_completion')], {
    default: 'auto',
    description: 'How a row is laid out. `auto` sees it from the names of the fields.',
  }),
  columns: Type.Optional(
    Type.Object(
      {
        instruction: column('instruction', "alpaca's task"),
        input: column('input', "alpaca's further input"),
        output: column('output', "alpaca's answer"),
        history: column('history', "alpaca's earlier turns, a list of [instruction, answer]"),
        system: column('system', 'the system prompt of a row'),
        prompt: column('prompt', 'the prompt'),
        completion: column('completion', 'the completion'),
        messages: Type.Optional(Type.String({ description: 'Field that holds the list of turns. Default: `messages`, or `conversations` for sharegpt.' })),
        role: Type.Optional(Type.String({ description: 'Field of a turn that says who speaks. Default: `role`, or `from` for sharegpt.' })),
        content: Type.Optional(Type.String({ description: 'Field of a turn that says what. Default: `content`, or `value` for sharegpt.' })),
      },
      { description: 'Names of the fields, where they differ from the format\'s own.' },
    ),
  ),
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
      "How turns become text: `chat` (the model's own chat template), `alpaca`, `alpaca_original` (with Stanford's preamble), `plain` (prompt and completion, nothing added), or a text with {instruction}, {input}, {system} and {output}. `auto`: chat where the model has one, else alpaca; plain for prompt_completion.",
  }),
  template_no_input: Type.Optional(Type.String({ graftPath: false, minLength: 1, description: 'The text for rows without an input, where `template` is a text of your own.' })),
  system_prompt: Type.Optional(Type.String({ graftPath: false, description: 'System prompt of rows that bring none.' })),
  train_on: Type.Union([Type.Literal('completion'), Type.Literal('last_turn'), Type.Literal('all')], {
    default: 'completion',
    description: 'Which tokens carry a loss: what the assistant says in every turn, in its last turn only, or every token.',
  }),
  train_end_of_turn: Type.Boolean({ default: true, description: "Whether the token that ends the assistant's turn is trained on; without it the model does not learn to stop." }),
  boundary: Type.Union([Type.Literal('auto'), Type.Literal('split'), Type.Literal('joint')], {
    default: 'auto',
    description:
      '`split` tokenises prompt and completion apart, so that the prompt has exactly the tokens that a server will send. `joint` tokenises them as one text, and apart only where a token would lie across the boundary. `auto`: joint for chat templates, else split.',
  }),
  max_length: Type.Optional(Type.Integer({ minimum: 2, description: "Tokens of an example, and of a packed sequence, at most. Default: the model's longest sequence, at most 2048." })),
  truncation: Type.Union([Type.Literal('right'), Type.Literal('left'), Type.Literal('skip')], {
    default: 'right',
    description: 'What becomes of an example that is longer: its end is cut off, its beginning is (BOS stays), or it is left out. What was cut is always counted and said.',
  }),
  packing: Type.Boolean({ default: false, description: 'Put several examples into one sequence of up to max_length tokens (best-fit decreasing). Attention never crosses from one to the next.' }),
  eval_data: Type.Optional(paths('Files to evaluate on, in the same format.')),
  eval_split: Type.Number({ minimum: 0, default: 0, description: 'Part of the examples held out for evaluation: a share below 1, or a number of examples.' }),
  shuffle: Type.Boolean({ default: false, description: 'Whether examples come in a random order instead of the file\'s (trainers shuffle every epoch anyway).' }),
  seed: Type.Optional(Type.Integer({ minimum: 0, maximum: 4294967295, description: "Seed of the split and of shuffling. Default: the run's." })),
  max_samples: Type.Optional(Type.Integer({ minimum: 1, description: 'Usable rows to read at most, from the first on.' })),
  on_bad_row: Type.Union([Type.Literal('stop'), Type.Literal('skip')], { default: 'stop', description: 'A row that cannot be used stops the run, or is left out, counted and reported.' }),
});

export type InstructOptions = Static<typeof InstructOptions>;
export type Columns = NonNullable<InstructOptions['columns']>;
