import { describe, expect, it } from 'vitest';
import { bench, marked } from '../../test/support/preprocess.ts';
import { CHATML, tinyTokenizer } from '../../test/support/tokenizer.ts';
import instruct from './index.ts';

const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });
const twoTurns = [user('A'), assistant('a'), user('B'), assistant('b')];

/** One conversation through a chat template: its text with what is trained on in brackets, and all that was warned of. */
async function through(chatTemplate: string, messages: readonly object[], options: Readonly<Record<string, unknown>> = {}, eosTokenIds?: readonly number[]) {
  const tokenizer = await tinyTokenizer({ chatTemplate, eosTokenIds });
  const { run, file, said } = bench(instruct, { tokenizer });
  const { train, info } = await run({ data: file('data.jsonl', JSON.stringify({ messages })), template: 'chat', ...options });
  return { text: marked(train, tokenizer)[0], warnings: said(), endOfTurnTrained: info[0]!.endOfTurnTrained };
}

/** Drops the thoughts of turns before the last question, as Qwen 3 does. */
const FORGETS_THOUGHTS =
  "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m['role'] == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}" +
  "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' and loop.index0 > ns.last %}<think>\n\n</think>\n\n{% endif %}{{ m['content'] }}<|im_end|>\n{% endfor %}" +
  "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
/** Ends the last answer only. */
const ENDS_LAST = "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{% if loop.last and m['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";
/** Begins a thought for the model to go on with, and strips thoughts from what was said. */
const BEGINS_THOUGHT = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}";

describe('a chat template', () => {
  it("trains on every turn of the assistant with its end token, and not on the line end after it", async () => {
    expect(await through(CHATML, [{ role: 'system', content: 'S' }, ...twoTurns])).toEqual({
      text: '<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\n[a<|im_end|>]\n<|im_start|>user\nB<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]\n',
      warnings: [],
      endOfTurnTrained: true,
    });
  });

  it('trains on the last turn only, or on every token, when asked to', async () => {
    expect((await through(CHATML, twoTurns, { train_on: 'last_turn' })).text).toMatch(/assistant\na<\|im_end\|>\n.*\[b<\|im_end\|>\]\n$/s);
    expect((await through(CHATML, twoTurns, { train_on: 'all' })).text).toMatch(/^\[<\|im_start\|>user\nA.*\n\]$/s);
  });

  it('leaves the end tokens out when asked to, and says so of each example', async () => {
    const { text, endOfTurnTrained } = await through(CHATML, twoTurns, { train_end_of_turn: false });
    expect(text).toMatch(/\[a\]<\|im_end\|>\n.*\[b\]<\|im_end\|>\n$/s);
    expect(endOfTurnTrained).toBe(false);
  });

  it('does not train on turns that the data keeps from it', async () => {
    expect((await through(CHATML, [user('A'), { ...assistant('a'), weight: 0 }, user('B'), assistant('b')])).text).toMatch(/assistant\na<\|im_end\|>\n.*\[b<\|im_end\|>\]\n$/s);
  });

  it('tokenises as a server will: the tokens before an answer are those of the prompt', async () => {
    const tokenizer = await tinyTokenizer({ chatTemplate: CHATML });
    const { run, file } = bench(instruct, { tokenizer });
    // Two line ends are one token of this tokenizer; here one belongs to the prompt and one to the answer.
    const { train } = await run({ data: file('data.jsonl', JSON.stringify({ messages: [user('A'), assistant('\nb')] })) });
    const prompt = tokenizer.encode(tokenizer.applyChatTemplate([user('A')], { addGenerationPrompt: true }), { addSpecialTokens: false });
    expect([...train[0]!.inputIds.subarray(0, prompt.length)]).toEqual([...prompt]);
    expect(train[0]!.labels.findIndex((label) => label !== -100)).toBe(prompt.length);
  });

  it('counts boundaries across which a token would lie', async () => {
    expect((await through(CHATML, [user('A'), assistant('\nb')])).warnings).toEqual(['At 1 boundaries between what is given and what is learned a token would have lain across; the text is tokenised apart there.']);
  });

  it('finds turns that the template renders differently once others follow', async () => {
    expect((await through(FORGETS_THOUGHTS, twoTurns)).text).toBe(
      '<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\n[a<|im_end|>]\n<|im_start|>user\nB<|im_end|>\n<|im_start|>assistant\n[<think>\n\n</think>\n\nb<|im_end|>]\n',
    );
  });

  it('trains on an end token only where the template writes one', async () => {
    expect(await through(ENDS_LAST, twoTurns)).toEqual({ text: '<s>user: A\nassistant: [a]\nuser: B\nassistant: [b</s>]', warnings: [], endOfTurnTrained: true });
  });

  it('appends an end token where the template ends a turn with none that the model knows, and says so', async () => {
    const { text, warnings, endOfTurnTrained } = await through(CHATML, [user('A'), assistant('a')], {}, [1]);
    expect(text).toBe('<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\n[a<|im_end|>\n</s>]');
    expect(warnings).toEqual(["The chat template ends the last turn of 1 of 1 examples with none of the model's end tokens; one was appended, so that the model learns to stop."]);
    expect(endOfTurnTrained).toBe(true);
  });

  it('begins with the answer where a server would begin a thought, and says so', async () => {
    const { text, warnings } = await through(BEGINS_THOUGHT, twoTurns);
    expect(text).toBe('<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\n[a<|im_end|>]\n<|im_start|>user\nB<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]\n');
    expect(warnings).toEqual([expect.stringContaining('In 1 of 1 examples the chat template writes something else before an answer than it does for a server')]);
  });

  it('names the turn that cannot be found in what the template renders', async () => {
    const shouts = "{% for m in messages %}{{ m['content'] | upper if not loop.last else m['content'] }}\n{% endfor %}";
    await expect(through(shouts, twoTurns)).rejects.toThrow('the chat template renders turn 2 differently once later turns follow, so what is to be trained on cannot be told; use train_on: last_turn, or a text template.');
    expect((await through(shouts, twoTurns, { train_on: 'last_turn' })).text).toBe('A\nA\nB\n[b\n</s>]');
  });

  it("reports the template's own refusal as the row's", async () => {
    const strict = "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{{ m['content'] }}{% endfor %}";
    await expect(through(strict, [{ role: 'system', content: 'S' }, ...twoTurns])).rejects.toMatchObject({ code: 'BAD_ROW', message: expect.stringMatching(/data\.jsonl:1: .*System role not supported/) as string });
  });

  it('warns of an answer that has an end token within its text', async () => {
    const warning = 'In 1 of 1 examples an answer has the text of an end token within it; the model learns to stop there. Take it out of the data, unless that is meant.';
    expect((await through(CHATML, [user('A'), assistant('a</s>b')])).warnings).toEqual([warning]);
    expect((await through(CHATML, [user('A'), assistant('a</s>b')], { template: 'plain' })).warnings).toEqual([warning]);
    expect((await through(CHATML, [user('A</s>'), assistant('b')])).warnings).toEqual([]);
  });

  it('hands other fields of a message to the template', async () => {
    const named = "{% for m in messages %}{{ m['name'] }}: {{ m['content'] }}</s>{% endfor %}{% if add_generation_prompt %}bot: {% endif %}";
    expect((await through(named, [{ ...user('A'), name: 'ann' }, { ...assistant('a'), name: 'bot' }])).text).toBe('ann: A</s>bot: [a</s>]');
  });
});
