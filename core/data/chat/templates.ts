import { distance } from 'fastest-levenshtein';
import type { Tokenizer } from '../../contracts/index.ts';
import { GraftError } from '../../kernel/errors.ts';
import type { Conversation } from './conversation.ts';
import { TextTemplate } from './text-template.ts';

/** The preamble of Stanford's Alpaca (Taori et al. 2023), with and without an input. */
const PREAMBLE = 'Below is an instruction that describes a task. Write a response that appropriately completes the request.';
const PREAMBLE_INPUT = 'Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.';

const nameToTemplate: Readonly<Record<string, () => TextTemplate>> = {
  alpaca: () => new TextTemplate('### Instruction:\n{instruction}\n\n### Response:\n'),
  alpaca_original: () =>
    new TextTemplate(
      `${PREAMBLE_INPUT}\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n`,
      `${PREAMBLE}\n\n### Instruction:\n{instruction}\n\n### Response:\n`,
    ),
  plain: () => new TextTemplate('{instruction}'),
};

const NAMES = ['auto', 'chat', ...Object.keys(nameToTemplate)];

/** How one conversation becomes text. */
export type Template = TextTemplate | 'chat';

/**
 * Chooses the template of each conversation.
 * @param template a name, or a text with placeholders
 * @throws GraftError `TEMPLATE_UNKNOWN` with the nearest name, `NO_CHAT_TEMPLATE`, or `TEMPLATE_PLACEHOLDER`
 */
export function templateChooser(template: string, templateNoInput: string | undefined, tokenizer: Tokenizer): (conversation: Conversation) => Template {
  const ownText = /[{\n]/.test(template);
  if (templateNoInput !== undefined && !ownText) throw new GraftError('TEMPLATE_UNUSED', `template_no_input goes with a template text of your own, and template is ${template}.`, { option: ['template_no_input'] });
  if (ownText) return always(new TextTemplate(template, templateNoInput));
  if (template === 'auto') {
    const plain = nameToTemplate['plain']!();
    const other: Template = tokenizer.hasChatTemplate ? 'chat' : nameToTemplate['alpaca']!();
    return (conversation) => (conversation.plain ? plain : other);
  }
  if (template === 'chat') {
    if (!tokenizer.hasChatTemplate) {
      throw new GraftError('NO_CHAT_TEMPLATE', 'template: chat needs a chat template, and the model brings none (neither in tokenizer_config.json nor as chat_template.jinja).', {
        option: ['template'],
        hint: 'Use template: alpaca, plain, or a text of your own.',
      });
    }
    return always('chat');
  }
  const named = Object.hasOwn(nameToTemplate, template) ? nameToTemplate[template] : undefined;
  if (named === undefined) {
    const near = NAMES.map((name) => ({ name, apart: distance(name, template.toLowerCase()) })).sort((a, b) => a.apart - b.apart)[0]!;
    throw new GraftError('TEMPLATE_UNKNOWN', `There is no template ${template}.${near.apart <= 3 ? ` Did you mean ${near.name}?` : ''}`, {
      option: ['template'],
      hint: `Named templates are ${NAMES.join(', ')}; a text of your own has placeholders such as {instruction}.`,
    });
  }
  return always(named());
}

function always(template: Template): () => Template {
  return () => template;
}
