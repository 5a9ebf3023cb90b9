import { fileURLToPath } from 'node:url';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { describe, expect, it } from 'vitest';
import { bench, marked } from '../../test/support/preprocess.ts';
import { tinyTokenizer } from '../../test/support/tokenizer.ts';
import instruct from './index.ts';

const tokenizer = await tinyTokenizer();

/** What rows become with a template that shows everything. */
async function texts(rows: readonly unknown[] | string, options: Readonly<Record<string, unknown>> = {}, name = 'data.jsonl'): Promise<readonly string[]> {
  const { run, file } = bench(instruct, { tokenizer });
  const data = file(name, typeof rows === 'string' ? rows : rows.map((row) => JSON.stringify(row)).join('\n'));
  const { train } = await run({ data, template: '{system}|{instruction}|{input}|', ...options });
  return marked(train, tokenizer);
}

/** The message with which one row is refused, without the path. */
async function refusal(row: unknown, options: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const failed = await texts([row], options).then(
    () => undefined,
    (error: Error) => error,
  );
  if (failed === undefined) throw new Error('The row was accepted.');
  expect(failed).toMatchObject({ code: 'BAD_ROW' });
  const [, place, message] = /^\/.*?(data\.jsonl:\d+): (.*)$/s.exec(failed.message)!;
  expect(place).toBe('data.jsonl:1');
  return message!;
}

const said = (role: string, content: string) => ({ role, content });

describe('alpaca', () => {
  it('takes instruction, input and output, and a system prompt', async () => {
    expect(await texts([{ instruction: 'Add', input: '2, 3', output: '5' }, { instruction: 'Go', input: '', output: 'Gone', system: 'Be brief.' }, { instruction: 'Sit', input: null, output: 'Sat' }])).toEqual([
      '<s>|Add|2, 3|[5</s>]',
      '<s>Be brief.|Go||[Gone</s>]',
      '<s>|Sit||[Sat</s>]',
    ]);
  });

  it('takes a task that stands in the input alone', async () => {
    expect(await texts([{ instruction: '', input: '2 + 3', output: '5' }])).toEqual(['<s>||2 + 3|[5</s>]']);
  });

  it('puts earlier turns of a history first', async () => {
    expect(await texts([{ instruction: 'C', input: '', output: 'c', history: [['A', 'a'], ['B', 'b']] }], { template: '{instruction}:' })).toEqual(['<s>A:[a</s>]\n\nB:[b</s>]\n\nC:[c</s>]']);
  });

  it('reads the same from CSV and Parquet', async () => {
    expect(await texts('instruction,input,output\nAdd,"2, 3",5\n', {}, 'data.csv')).toEqual(['<s>|Add|2, 3|[5</s>]']);
    const { run, file } = bench(instruct, { tokenizer });
    const columnData = [{ name: 'instruction', data: ['Add'], type: 'STRING' as const }, { name: 'input', data: ['2, 3'], type: 'STRING' as const }, { name: 'output', data: ['5'], type: 'STRING' as const }];
    const { train } = await run({ data: file('data.parquet', new Uint8Array(parquetWriteBuffer({ columnData }))), template: '{system}|{instruction}|{input}|' });
    expect(marked(train, tokenizer)).toEqual(['<s>|Add|2, 3|[5</s>]']);
  });

  it('says which field is missing, what there is instead and how to rename it', async () => {
    expect(await refusal({ instruction: 'Add', response: '5' })).toBe('the field "output" is missing (there is "instruction", "response"); if "response" is meant, set columns: { output: response }.');
    expect(await refusal({ instructions: 'Add', output: '5' })).toBe('the field "instruction" is missing (there is "instructions", "output"); if "instructions" is meant, set columns: { instruction: instructions }.');
    expect(await refusal({ instruction: 'Add' })).toBe('the field "output" is missing (there is "instruction").');
    expect(await texts([{ question: 'Add', answer: '5' }], { columns: { instruction: 'question', output: 'answer' } })).toEqual(['<s>|Add||[5</s>]']);
  });

  it('refuses what cannot be learned from', async () => {
    expect(await refusal({ instruction: 'Add', output: '' })).toBe('the field "output" is empty.');
    expect(await refusal({ instruction: 'Add', output: ' \n' })).toBe('the field "output" is empty.');
    expect(await refusal({ instruction: 'Add', output: null })).toBe('the field "output" is null (there is "instruction").');
    expect(await refusal({ instruction: 'Add', output: 5 })).toBe('the field "output" must be text, and is a number.');
    expect(await refusal({ instruction: ['Add'], output: '5' })).toBe('the field "instruction" must be text, and is a list.');
    expect(await refusal({ instruction: 'Add', input: { a: 1 }, output: '5' })).toBe('the field "input" must be text, and is an object.');
    expect(await refusal({ instruction: 'Add', output: '5', history: [['A']] })).toBe('the field "history" must be a list of [instruction, answer], and its item 1 is not.');
    expect(await refusal({ instruction: 'Add', output: 'ab\ud83d' })).toBe('the field "output" has an unpaired surrogate (\\ud83d) at character 3: half of a character, as when a text is cut inside an emoji.');
  });
});

describe('messages', () => {
  const messages = [said('system', 'Be brief.'), said('user', 'A'), said('assistant', 'a'), said('user', 'B'), said('assistant', 'b')];

  it('takes turns with role and content', async () => {
    expect(await texts([{ messages }])).toEqual(['<s>Be brief.|A||[a</s>]\n\n|B||[b</s>]']);
  });

  it('takes text parts, and a list that a table cell holds as JSON', async () => {
    expect(await texts([{ messages: [said('user', 'A'), { role: 'assistant', content: [{ type: 'text', text: 'a' }, { type: 'text', text: 'b' }] }] }])).toEqual(['<s>|A||[ab</s>]']);
    expect(await texts([{ messages: JSON.stringify([said('user', 'A'), said('assistant', 'a')]) }])).toEqual(['<s>|A||[a</s>]']);
  });

  it('does not train on turns with weight 0 or train false', async () => {
    expect(await texts([{ messages: [said('user', 'A'), { ...said('assistant', 'a'), weight: 0 }, said('user', 'B'), { ...said('assistant', 'b'), weight: 1 }] }])).toEqual(['<s>|A||a</s>\n\n|B||[b</s>]']);
    expect(await texts([{ messages: [said('user', 'A'), said('assistant', 'a'), said('user', 'B'), { ...said('assistant', 'b'), train: false }] }])).toEqual(['<s>|A||[a</s>]\n\n|B||b</s>']);
    expect(await refusal({ messages: [said('user', 'A'), { ...said('assistant', 'a'), weight: 0.5 }] })).toBe('messages[1]: "weight" must be 0 or 1, and is 0.5.');
    expect(await refusal({ messages: [said('user', 'A'), { ...said('assistant', 'a'), weight: 0 }] })).toBe('no turn of the assistant is to be trained on.');
  });

  it('refuses conversations that nothing can be learned from', async () => {
    expect(await refusal({ messages: [] })).toBe('the field "messages" is an empty list.');
    expect(await refusal({ messages: [said('user', 'A')] })).toBe('the assistant says nothing, so there is nothing to learn.');
    expect(await refusal({ messages: [said('user', 'A'), said('assistant', 'a'), said('user', 'B')] })).toBe("the last turn is the user's: nothing answers it.");
  });

  it('reads lists of messages from Parquet', async () => {
    const { run } = bench(instruct, { tokenizer });
    const { train, stats } = await run({ data: fileURLToPath(new URL('../../test/data/fixtures/conversations-gzip.parquet', import.meta.url)), template: '{instruction}:', on_bad_row: 'skip' });
    // Every other answer has weight 0, and is all that its row has.
    expect(marked(train, tokenizer)).toEqual(['<s>Q1 é🙂:[A1</s>]', '<s>Q3 é🙂:[A3</s>]']);
    expect(stats.badRows).toBe(3);
  });

  it('names the turn in which something is wrong', async () => {
    expect(await refusal({ messages: [said('user', 'A'), said('assistant', '')] })).toBe('messages[1]: the field "content" is empty.');
    expect(await refusal({ messages: [said('user', 'A'), { role: 'assistant', text: 'a' }] })).toBe('messages[1]: the field "content" is missing (there is "role", "text"); if "text" is meant, set columns: { content: text }.');
    expect(await refusal({ messages: [said('user', 'A'), 'a'] })).toBe('messages[1]: a turn must be an object with "role" and "content", and is a string.');
    expect(await refusal({ messages: [said('narrator', 'A'), said('assistant', 'a')] })).toBe('messages[0]: the role "narrator" is not known; say who it is with roles: { narrator: user }.');
    expect(await refusal({ messages: [said('user', 'A'), { role: 'assistant', content: [{ type: 'image_url' }] }] })).toBe('messages[1]: "content" has a part that is not text ("image_url"), and only text can be trained on.');
    expect(await refusal({ messages: 'A' })).toBe('the field "messages" must be a list, and is a string.');
    expect(await refusal({ messages: '[{"role"' })).toBe('the field "messages" begins like JSON, and is not valid JSON.');
  });

  it('takes further roles by name', async () => {
    expect(await texts([{ messages: [said('narrator', 'A'), said('assistant', 'a')] }], { roles: { narrator: 'user' } })).toEqual(['<s>|A||[a</s>]']);
  });

  it('refuses what a text template has no place for', async () => {
    expect(await refusal({ messages: [said('user', 'A'), said('user', 'B'), said('assistant', 'a')] })).toBe("turn 2 is the user's where the assistant's is expected; a text template needs the two by turns.");
    expect(await refusal({ messages: [said('user', 'A'), said('tool', '5'), said('assistant', 'a')] })).toBe("turn 2 is the tool's where the assistant's is expected; a text template needs the two by turns.");
    expect(await refusal({ messages: [said('assistant', 'hi'), said('user', 'A'), said('assistant', 'a')] })).toBe("turn 1 is the assistant's where the user's is expected; a text template needs the two by turns.");
    expect(await refusal({ messages: [said('user', 'A'), said('assistant', 'a')], tools: [{ name: 'add' }] })).toBe('the field "tools" describes functions to call, which templates are not given yet.');
  });
});

describe('sharegpt', () => {
  it('takes from and value, human and gpt, and a system prompt beside the turns', async () => {
    expect(await texts([{ system: 'Be brief.', conversations: [{ from: 'human', value: 'A' }, { from: 'gpt', value: 'a' }] }])).toEqual(['<s>Be brief.|A||[a</s>]']);
  });

  it('takes conversations that are written as messages, and fields by other names', async () => {
    expect(await texts([{ conversations: [said('user', 'A'), said('assistant', 'a')] }])).toEqual(['<s>|A||[a</s>]']);
    expect(await texts([{ chat: [{ who: 'human', text: 'A' }, { who: 'gpt', text: 'a' }] }], { format: 'sharegpt', columns: { messages: 'chat', role: 'who', content: 'text' } })).toEqual(['<s>|A||[a</s>]']);
  });
});

describe('prompt_completion', () => {
  it('adds nothing to the two, unless a template is named', async () => {
    const rows = [{ prompt: '2 + 2 =', completion: ' 4' }, { prompt: '', completion: 'Once' }];
    expect(await texts(rows, { template: 'auto' })).toEqual(['<s>2 + 2 =[ 4</s>]', '<s>[Once</s>]']);
    expect(await texts(rows.slice(0, 1), { template: 'Q: {instruction}\nA:' })).toEqual(['<s>Q: 2 + 2 =\nA:[ 4</s>]']);
  });

  it('takes lists of messages, and trains on the completion alone', async () => {
    expect(await texts([{ prompt: [said('user', 'A'), said('assistant', 'a'), said('user', 'B')], completion: [said('assistant', 'b')] }])).toEqual(['<s>|A||a</s>\n\n|B||[b</s>]']);
  });
});

describe('format: auto', () => {
  it('sees the format of each file from its first row', async () => {
    const { run, file } = bench(instruct, { tokenizer });
    const data = [file('a.jsonl', JSON.stringify({ instruction: 'A', output: 'a' })), file('b.jsonl', JSON.stringify({ messages: [said('user', 'B'), said('assistant', 'b')] }))];
    expect(marked((await run({ data, template: '{instruction}:' })).train, tokenizer)).toEqual(['<s>A:[a</s>]', '<s>B:[b</s>]']);
  });

  it('takes a field that is null for one that is not there', async () => {
    const chat = { conversations: [{ from: 'human', value: 'A' }, { from: 'gpt', value: 'a' }] };
    expect(await texts([{ messages: null, instruction: null, output: null, ...chat }])).toEqual(['<s>|A||[a</s>]']);
    expect(await texts([{ messages: null, instruction: null, output: null, prompt: 'A', completion: 'a' }])).toEqual(['<s>|A||[a</s>]']);
  });

  it('says what it looked for', async () => {
    expect(await refusal({ question: 'A', answer: 'a' })).toBe(
      'its format cannot be told from its fields ("question", "answer"); known are instruction and output (alpaca), messages, conversations (sharegpt), prompt and completion; rename others with columns.',
    );
  });

  it('uses system_prompt for rows that bring none', async () => {
    expect(await texts([{ instruction: 'A', output: 'a' }, { instruction: 'B', output: 'b', system: 'Own.' }], { system_prompt: 'Default.' })).toEqual(['<s>Default.|A||[a</s>]', '<s>Own.|B||[b</s>]']);
  });
});

describe('names for fields', () => {
  it.each([
    ['columns.prompt', { format: 'alpaca', columns: { prompt: 'question' } }, ['columns', 'prompt'], 'columns.prompt has no effect: a row of the format alpaca has no such field.'],
    ['columns.output', { format: 'messages', columns: { messages: 'chat', output: 'answer' } }, ['columns', 'output'], 'columns.output has no effect: a row of the format messages has no such field.'],
    ['roles', { format: 'alpaca', roles: { narrator: 'user' } }, ['roles'], 'roles has no effect: in the format alpaca nobody is named.'],
  ] as const)('are refused where the format has no use for %s', async (_, options, option, message) => {
    await expect(texts([{ instruction: 'Add', output: '5' }], options)).rejects.toMatchObject({ code: 'OPTIONS_CONFLICT', option, message });
  });
});
