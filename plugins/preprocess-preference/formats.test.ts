import { describe, expect, it } from 'vitest';
import { bench, markedPairs } from '../../test/support/preprocess.ts';
import { tinyTokenizer } from '../../test/support/tokenizer.ts';
import preference from './index.ts';

const tokenizer = await tinyTokenizer();

/** What rows become with a template that shows everything: of each pair its two halves, what is trained on in brackets. */
async function texts(rows: readonly unknown[] | string, options: Readonly<Record<string, unknown>> = {}, name = 'data.jsonl') {
  const { run, file } = bench(preference, { tokenizer });
  const data = file(name, typeof rows === 'string' ? rows : rows.map((row) => JSON.stringify(row)).join('\n'));
  const { train } = await run({ data, template: '{system}|{instruction}|{input}|', ...options });
  return markedPairs(train, tokenizer);
}

/** The message with which one row is refused, without the path. */
async function refusal(row: unknown, options: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const failed = await texts([row], options).then(
    () => undefined,
    (error: Error) => error,
  );
  if (failed === undefined) throw new Error('The row was accepted.');
  expect(failed).toMatchObject({ code: 'BAD_ROW' });
  return /^\/.*?data\.jsonl:1: (.*)$/s.exec(failed.message)![1]!;
}

const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });
const human = (value: string) => ({ from: 'human', value });
const gpt = (value: string) => ({ from: 'gpt', value });

describe('trl', () => {
  it('takes texts, and adds nothing to them unless a template is named', async () => {
    const row = { prompt: '2 + 2 =', chosen: ' 4', rejected: ' 5' };
    expect(await texts([row], { template: 'auto' })).toEqual([['<s>2 + 2 =[ 4</s>]', '<s>2 + 2 =[ 5</s>]']]);
    expect(await texts([row], { template: 'Q: {instruction}\nA:' })).toEqual([['<s>Q: 2 + 2 =\nA:[ 4</s>]', '<s>Q: 2 + 2 =\nA:[ 5</s>]']]);
    expect(await texts([{ prompt: '', chosen: 'Once', rejected: 'Never' }], { template: 'auto' })).toEqual([['<s>[Once</s>]', '<s>[Never</s>]']]);
    expect(await texts('prompt,chosen,rejected\nA,[b],c\n', { template: 'auto' }, 'data.csv')).toEqual([['<s>A[[b]</s>]', '<s>A[c</s>]']]);
  });

  it('takes lists of messages, and trains on no turn of the prompt', async () => {
    const prompt = [{ role: 'system', content: 'S' }, user('A'), assistant('a'), user('B')];
    expect(await texts([{ prompt, chosen: [assistant('b')], rejected: [assistant('c')] }])).toEqual([['<s>S|A||a</s>\n\n|B||[b</s>]', '<s>S|A||a</s>\n\n|B||[c</s>]']]);
  });

  it('takes table cells that hold messages as JSON, and no text that only looks like it', async () => {
    const csv = (...cells: readonly string[]): string => `prompt,chosen,rejected\n${cells.map((cell) => `"${cell.replaceAll('"', '""')}"`).join(',')}\n`;
    const [a, b, c] = [user('A'), assistant('b'), assistant('c')].map((each) => JSON.stringify(each)) as [string, string, string];
    const expected = [['<s>|A||[b</s>]', '<s>|A||[c</s>]']];
    expect(await texts(csv(`[${a}]`, `[${b}]`, `[${c}]`), {}, 'data.csv')).toEqual(expected);
    expect(await texts(csv('A', b, c), {}, 'data.csv')).toEqual(expected);
    expect(await texts(csv('', `[${a}, ${b}]`, `[${a}, ${c}]`), {}, 'data.csv')).toEqual(expected);
    expect(await texts(csv(JSON.stringify([human('A')]), JSON.stringify(gpt('b')), JSON.stringify([gpt('c')])), {}, 'data.csv')).toEqual(expected);
    expect(await texts([{ prompt: `[${a}]`, chosen: [assistant('b')], rejected: [assistant('c')] }])).toEqual(expected);
    for (const text of ['[1]', '[]', '{"role": "user"}', `[${b}, 1]`, `[${b}`]) expect(await texts([{ prompt: 'A', chosen: text, rejected: b }])).toEqual([[`<s>|A||[${text}</s>]`, `<s>|A||[${b}</s>]`]]);
  });

  it('takes completions of several turns, and trains on those of the assistant', async () => {
    expect(await texts([{ prompt: [user('A')], chosen: [assistant('a'), user('B'), assistant('b')], rejected: [assistant('c')] }])).toEqual([['<s>|A||[a</s>]\n\n|B||[b</s>]', '<s>|A||[c</s>]']]);
  });

  it('finds the prompt that two whole conversations begin with', async () => {
    const begin = [user('A'), assistant('a'), user('B')];
    const row = { chosen: [...begin, assistant('b')], rejected: [...begin, assistant('c')] };
    const expected = [['<s>|A||a</s>\n\n|B||[b</s>]', '<s>|A||a</s>\n\n|B||[c</s>]']];
    expect(await texts([row])).toEqual(expected);
    // As UltraFeedback has it: the prompt once more as a text, and the preferred conversation once more.
    expect(await texts([{ ...row, prompt: 'A', messages: row.chosen }])).toEqual(expected);
  });

  it('takes a text that completions of turns answer', async () => {
    expect(await texts([{ prompt: 'A', system: 'S', chosen: [assistant('b')], rejected: [assistant('c')] }])).toEqual([['<s>S|A||[b</s>]', '<s>S|A||[c</s>]']]);
  });

  it('refuses what is no pair', async () => {
    expect(await refusal({ prompt: 'A', chosen: 'b' })).toBe('the field "rejected" is missing (there is "prompt", "chosen").');
    expect(await refusal({ prompt: 'A', chosen: 'b', rejected: ' ' })).toBe('the field "rejected" is empty.');
    expect(await refusal({ prompt: 'A', preferred: 'b', rejected: 'c' })).toBe('the field "chosen" is missing (there is "prompt", "preferred", "rejected"); if "preferred" is meant, set columns: { chosen: preferred }.');
    expect(await refusal({ chosen: 'b', rejected: 'c' })).toBe('the field "prompt" is missing (there is "chosen", "rejected").');
    expect(await refusal({ prompt: 'A', chosen: 'b', rejected: 'b' })).toBe('"chosen" and "rejected" are the same, which teaches nothing.');
    expect(await refusal({ prompt: [user('A')], chosen: 'b', rejected: 'c' })).toBe('the field "chosen" must be a turn or a list of turns, and is a string.');
    expect(await refusal({ prompt: [user('A')], chosen: [assistant('b')], rejected: [] })).toBe('the field "rejected" is an empty list.');
    expect(await refusal({ prompt: [user('A')], chosen: [assistant('b')], rejected: [assistant('')] })).toBe('rejected[0]: the field "content" is empty.');
    expect(await refusal({ prompt: [user('A')], chosen: [assistant('b')], rejected: [assistant('c'), user('C')] })).toBe('the last turn of "rejected" is the user\'s: nothing answers it.');
    expect(await refusal({ prompt: [user('A')], chosen: [assistant('b')], rejected: [user('C'), assistant('c')] })).toBe('the first turn of "rejected" is the user\'s: a completion begins with what the assistant says.');
    expect(await refusal({ prompt: [user('A')], chosen: [{ ...assistant('b'), weight: 0 }], rejected: [assistant('c')] })).toBe('no turn of the assistant in "chosen" is to be trained on.');
    const unlike = 'what "chosen" and "rejected" have before the first turn to be trained on differs, so they are not completions of one prompt.';
    const begins = (content: string, ...turns: readonly object[]) => [{ ...assistant(content), weight: 0 }, user('B'), ...turns];
    expect(await refusal({ prompt: [user('A')], chosen: begins('a', assistant('b')), rejected: begins('z', assistant('c')) })).toBe(unlike);
    expect(await refusal({ prompt: [user('A')], chosen: begins('a', assistant('b')), rejected: [assistant('c')] })).toBe(unlike);
    expect(await texts([{ prompt: [user('A')], chosen: begins('a', assistant('b')), rejected: begins('a', assistant('c')) }])).toEqual([['<s>|A||a</s>\n\n|B||[b</s>]', '<s>|A||a</s>\n\n|B||[c</s>]']]);
    expect(await refusal({ prompt: [user('A'), assistant('a')], chosen: [assistant('b')], rejected: [assistant('c')] })).toBe("the prompt's last turn is the assistant's: there is nothing for the completions to answer.");
  });

  it('refuses whole conversations that do not say what is to be compared', async () => {
    const row = { chosen: [user('A'), assistant('b')], rejected: [user('A'), assistant('c')] };
    expect(await refusal({ ...row, rejected: row.chosen })).toBe('"chosen" and "rejected" are the same, which teaches nothing.');
    expect(await refusal({ ...row, rejected: [user('B'), assistant('c')] })).toBe('"chosen" and "rejected" have no turn in common at their beginning, and there is no "prompt" to answer.');
    expect(await refusal({ ...row, rejected: [user('A')] })).toBe('"rejected" is nothing but the beginning of the other conversation, so it answers nothing.');
    expect(await refusal({ ...row, prompt: 'B' })).toBe('"chosen" and "rejected" are whole conversations, and what they begin with is not the field "prompt".');
  });
});

describe('sharegpt', () => {
  it('takes a turn for either completion, or a list of them, and a system prompt beside', async () => {
    const expected = [['<s>S|A||[b</s>]', '<s>S|A||[c</s>]']];
    expect(await texts([{ conversations: [human('A')], chosen: gpt('b'), rejected: gpt('c'), system: 'S' }])).toEqual(expected);
    expect(await texts([{ conversations: [{ from: 'system', value: 'S' }, human('A')], chosen: [gpt('b')], rejected: [gpt('c')] }])).toEqual(expected);
  });

  it('takes turns with role and content, and table cells with JSON', async () => {
    expect(await texts([{ conversations: JSON.stringify([user('A')]), chosen: JSON.stringify(assistant('b')), rejected: JSON.stringify([assistant('c')]) }])).toEqual([['<s>|A||[b</s>]', '<s>|A||[c</s>]']]);
  });

  it('takes fields and roles by other names', async () => {
    const row = { chat: [{ who: 'narrator', text: 'A' }], good: { who: 'gpt', text: 'b' }, bad: { who: 'gpt', text: 'c' } };
    const columns = { messages: 'chat', chosen: 'good', rejected: 'bad', role: 'who', content: 'text' };
    expect(await texts([row], { columns, roles: { narrator: 'user' } })).toEqual([['<s>|A||[b</s>]', '<s>|A||[c</s>]']]);
    expect(await refusal(row, { columns })).toBe('chat[0]: the role "narrator" is not known; say who it is with roles: { narrator: user }.');
  });

  it('refuses what is no pair', async () => {
    expect(await refusal({ conversations: [human('A')], chosen: gpt('b'), rejected: gpt('b') })).toBe('"chosen" and "rejected" are the same, which teaches nothing.');
    expect(await refusal({ conversations: [human('A'), gpt('a')], chosen: gpt('b'), rejected: gpt('c') })).toBe("the prompt's last turn is the assistant's: there is nothing for the completions to answer.");
    expect(await refusal({ conversations: [human('A')], chosen: 'b', rejected: 'c' })).toBe('the field "chosen" must be a turn or a list of turns, and is a string.');
    expect(await refusal({ conversations: [human('A')], chosen: gpt('b') })).toBe('the field "rejected" is missing (there is "conversations", "chosen").');
    expect(await refusal({ conversations: [human('A')], chosen: gpt('b'), rejected: gpt('c'), tools: [{ name: 'add' }] })).toBe('the field "tools" describes functions to call, which templates are not given yet.');
  });
});

describe('alpaca', () => {
  it('takes a task with its input, a system prompt and earlier turns', async () => {
    expect(await texts([{ instruction: 'Add', input: '2, 3', chosen: '5', rejected: '6' }])).toEqual([['<s>|Add|2, 3|[5</s>]', '<s>|Add|2, 3|[6</s>]']]);
    expect(await texts([{ instruction: 'B', system: 'S', history: [['A', 'a']], chosen: 'b', rejected: 'c' }])).toEqual([['<s>S|A||a</s>\n\n|B||[b</s>]', '<s>S|A||a</s>\n\n|B||[c</s>]']]);
  });

  it('refuses what is no pair', async () => {
    expect(await refusal({ instruction: 'Add', output: '5' })).toBe('the field "chosen" is missing (there is "instruction", "output").');
    expect(await refusal({ instruction: 'Add', chosen: '5', rejected: 6 })).toBe('the field "rejected" must be text, and is a number.');
    expect(await refusal({ instruction: 'Add', chosen: '5', rejected: '5' })).toBe('"chosen" and "rejected" are the same, which teaches nothing.');
  });
});

describe('openai', () => {
  const row = { input: { messages: [user('A')], tools: [], parallel_tool_calls: true }, preferred_output: [assistant('b')], non_preferred_output: [assistant('c')] };

  it('takes the file format of preference fine-tuning', async () => {
    expect(await texts([row])).toEqual([['<s>|A||[b</s>]', '<s>|A||[c</s>]']]);
  });

  it('refuses functions to call, and what is no pair', async () => {
    expect(await refusal({ ...row, input: { ...row.input, tools: [{ type: 'function' }] } })).toBe('input: the field "tools" describes functions to call, which templates are not given yet.');
    expect(await refusal({ ...row, input: 'A' })).toBe('the field "input" must be an object, and is a string.');
    expect(await refusal({ ...row, input: {} })).toBe('input: the field "messages" is missing (there is none).');
    expect(await refusal({ ...row, input: { messages: [{ role: 'user' }] } })).toBe('input.messages[0]: the field "content" is missing (there is "role").');
    expect(await refusal({ input: row.input, preferred_output: row.preferred_output, rejected: [assistant('c')] })).toBe('the field "non_preferred_output" is missing (there is "input", "preferred_output", "rejected"); if "rejected" is meant, set columns: { rejected: rejected }.');
    expect(await refusal({ ...row, non_preferred_output: row.preferred_output })).toBe('"preferred_output" and "non_preferred_output" are the same, which teaches nothing.');
  });
});

describe('format: auto', () => {
  it('says what it looked for', async () => {
    expect(await refusal({ question: 'A', answer: 'a' })).toBe(
      'its format cannot be told from its fields ("question", "answer"); known are prompt, chosen and rejected (trl), conversations, chosen and rejected (sharegpt), instruction, chosen and rejected (alpaca), input, preferred_output and non_preferred_output (openai); rename others with columns.',
    );
  });

  it('takes a field that is null for one that is not there', async () => {
    const chat = { conversations: [human('A')], chosen: gpt('b'), rejected: gpt('c') };
    expect(await texts([{ prompt: null, instruction: null, preferred_output: null, ...chat }])).toEqual([['<s>|A||[b</s>]', '<s>|A||[c</s>]']]);
  });

  it('goes by the names that columns gives', async () => {
    expect(await texts([{ question: 'A', chosen: 'b', rejected: 'c' }], { columns: { prompt: 'question' }, template: 'auto' })).toEqual([['<s>A[b</s>]', '<s>A[c</s>]']]);
  });

  it('uses system_prompt for rows that bring none', async () => {
    expect(await texts([{ prompt: 'A', chosen: 'b', rejected: 'c' }], { system_prompt: 'Default.' })).toEqual([['<s>Default.|A||[b</s>]', '<s>Default.|A||[c</s>]']]);
  });
});

describe('names for fields', () => {
  it.each([
    ['columns.history', { format: 'trl', columns: { history: 'before' } }, ['columns', 'history'], 'columns.history has no effect: a row of the format trl has no such field.'],
    ['roles', { format: 'alpaca', roles: { narrator: 'user' } }, ['roles'], 'roles has no effect: in the format alpaca nobody is named.'],
  ] as const)('are refused where the format has no use for %s', async (_, options, option, message) => {
    await expect(texts([{ prompt: 'A', chosen: 'b', rejected: 'c' }], options)).rejects.toMatchObject({ code: 'OPTIONS_CONFLICT', option, message });
  });
});
