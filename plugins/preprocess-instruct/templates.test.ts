import { describe, expect, it } from 'vitest';
import { bench, marked } from '../../test/support/preprocess.ts';
import { CHATML, tinyTokenizer } from '../../test/support/tokenizer.ts';
import instruct from './index.ts';

const plainTokenizer = await tinyTokenizer();
const chatTokenizer = await tinyTokenizer({ chatTemplate: CHATML });

async function texts(rows: readonly unknown[], options: Readonly<Record<string, unknown>>, tokenizer = plainTokenizer): Promise<readonly string[]> {
  const { run, file } = bench(instruct, { tokenizer });
  return marked((await run({ data: file('data.jsonl', rows.map((row) => JSON.stringify(row)).join('\n')), ...options })).train, tokenizer);
}

const add = { instruction: 'Add', input: '2, 3', output: '5' };
const go = { instruction: 'Go', output: 'Gone' };

describe('named templates', () => {
  it('alpaca has no preamble, and puts an input below the instruction', async () => {
    expect(await texts([add, go], { template: 'alpaca' })).toEqual(['<s>### Instruction:\nAdd\n2, 3\n\n### Response:\n[5</s>]', '<s>### Instruction:\nGo\n\n### Response:\n[Gone</s>]']);
  });

  it('alpaca puts a system prompt first, and earlier turns in the same frame', async () => {
    expect(await texts([{ ...go, system: 'Be brief.', history: [['Sit', 'Sat']] }], { template: 'alpaca' })).toEqual([
      '<s>Be brief.\n\n### Instruction:\nSit\n\n### Response:\n[Sat</s>]\n\n### Instruction:\nGo\n\n### Response:\n[Gone</s>]',
    ]);
  });

  it("alpaca_original has Stanford's preamble and a place for the input", async () => {
    expect(await texts([add, go], { template: 'alpaca_original' })).toEqual([
      '<s>Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\nAdd\n\n### Input:\n2, 3\n\n### Response:\n[5</s>]',
      '<s>Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nGo\n\n### Response:\n[Gone</s>]',
    ]);
  });

  it('plain adds nothing', async () => {
    expect(await texts([add, go], { template: 'plain' })).toEqual(['<s>Add\n2, 3[5</s>]', '<s>Go[Gone</s>]']);
  });

  it("auto is the model's chat template where there is one, else alpaca", async () => {
    expect(await texts([go], {})).toEqual(['<s>### Instruction:\nGo\n\n### Response:\n[Gone</s>]']);
    expect(await texts([add], {}, chatTokenizer)).toEqual(['<|im_start|>user\nAdd\n2, 3<|im_end|>\n<|im_start|>assistant\n[5<|im_end|>]\n']);
    expect(await texts([{ prompt: 'Go', completion: 'ne' }], {}, chatTokenizer)).toEqual(['<s>Go[ne</s>]']);
  });

  it('are suggested where a name is misspelled', async () => {
    await expect(texts([go], { template: 'alpacca' })).rejects.toMatchObject({
      code: 'TEMPLATE_UNKNOWN',
      option: ['template'],
      message: 'There is no template alpacca. Did you mean alpaca?',
      hint: 'Named templates are auto, chat, alpaca, alpaca_original, plain; a text of your own has placeholders such as {instruction}.',
    });
    await expect(texts([go], { template: 'something' })).rejects.toMatchObject({ message: 'There is no template something.' });
  });

  it('say that the model brings no chat template', async () => {
    await expect(texts([go], { template: 'chat' })).rejects.toMatchObject({
      code: 'NO_CHAT_TEMPLATE',
      option: ['template'],
      message: 'template: chat needs a chat template, and the model brings none (neither in tokenizer_config.json nor as chat_template.jinja).',
    });
  });
});

describe('templates of your own', () => {
  it('fill in placeholders, with another text for rows without an input', async () => {
    expect(await texts([add, go], { template: 'Q: {instruction} ({input})\nA:', template_no_input: 'Q: {instruction}\nA:' })).toEqual(['<s>Q: Add (2, 3)\nA:[5</s>]', '<s>Q: Go\nA:[Gone</s>]']);
  });

  it('train on what follows {output}, too', async () => {
    expect(await texts([go], { template: '{instruction} -> {output} #' })).toEqual(['<s>Go -> [Gone #</s>]']);
  });

  it('write braces doubled', async () => {
    expect(await texts([go], { template: '{{"task": "{instruction}"}}\n' })).toEqual(['<s>{"task": "Go"}\n[Gone</s>]']);
  });

  it('put the system prompt where it is named, in the first exchange only', async () => {
    const row = { messages: [{ role: 'system', content: 'S' }, { role: 'user', content: 'A' }, { role: 'assistant', content: 'a' }, { role: 'user', content: 'B' }, { role: 'assistant', content: 'b' }] };
    expect(await texts([row], { template: '{system}\n{instruction}:' })).toEqual(['<s>S\nA:[a</s>]\n\nB:[b</s>]']);
  });

  it('name a placeholder that is not known, and the nearest', async () => {
    await expect(texts([go], { template: '{instrution}:' })).rejects.toMatchObject({ code: 'TEMPLATE_PLACEHOLDER', option: ['template'], message: 'The template names {instrution}, which is not known. Did you mean {instruction}?' });
    await expect(texts([go], { template: '{instruction} {name}' })).rejects.toMatchObject({ message: 'The template names {name}, which is not known.', hint: 'Known are {instruction}, {input}, {system}, {output}.' });
    await expect(texts([go], { template: '{instruction}', template_no_input: '{task}' })).rejects.toMatchObject({ option: ['template_no_input'] });
  });

  it('refuse what would lose the task or train on it twice', async () => {
    await expect(texts([go], { template: 'Say {output}' })).rejects.toThrow('The template has no {instruction}, so no example would hold its task.');
    await expect(texts([go], { template: '{instruction}{output}{output}' })).rejects.toThrow('The template has {output} more than once.');
    await expect(texts([go], { template: '{instruction} }' })).rejects.toMatchObject({ message: 'The template has a single }.', hint: 'Write }} for a brace, or one of {instruction}, {input}, {system}, {output}.' });
    await expect(texts([go], { template: 'alpaca', template_no_input: '{instruction}' })).rejects.toThrow('template_no_input goes with a template text of your own, and template is alpaca.');
  });
});
